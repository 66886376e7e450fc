package guestnet

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// Sysctls that the line asks for. They go with the interface.

// sameValue compares values as the kernel reads them: 02 is 2.
func sameValue(a, b string) bool {
	x, errX := strconv.ParseInt(a, 0, 64)
	y, errY := strconv.ParseInt(b, 0, 64)
	if errX == nil && errY == nil {
		return x == y
	}
	return slices.Equal(strings.Fields(a), strings.Fields(b))
}

// model names an interface that every guest has: default, or lo where there is no default.
func model(c spec.Sysctl) string {
	if strings.HasSuffix(c.Dir, "/neigh") {
		return "lo"
	}
	return "default"
}

// AskedSysctls reads what those that are asked for are now, of the interface if it is there
// and of its model.
func AskedSysctls(o *build.Looker, k plan.Kernel, s spec.Spec, inner *rtnl.Link) (values map[string]string) {
	all := s.AllSysctls()
	if len(all) == 0 {
		return nil
	}
	values = map[string]string{}
	look := func(path string) {
		o.Look("the sysctls of the guest", func() error {
			value, err := k.Sysctl(path)
			switch {
			case err == nil, errors.Is(err, unix.EIO): // stable_secret cannot be read before it is set
				values[path] = value
			case !errors.Is(err, fs.ErrNotExist):
				return err
			}
			return nil
		})
	}
	for _, c := range all {
		look(c.Path(model(c)))
		if inner != nil {
			look(c.Path(inner.Name))
		}
	}
	return values
}

// CheckSysctls refuses those that the guest's kernel does not have.
func CheckSysctls(j *build.Job) error {
	for _, c := range j.AllSysctls() {
		if _, ok := j.There.Sysctls[c.Path(model(c))]; !ok {
			return j.Refuse(fault.Unsupported, "this kernel has no sysctl net/%s", c.Path(model(c))).
				WithHint("see what there is: %sls /proc/sys/net/%s/%s", j.Enter, c.Dir, model(c))
		}
	}
	return nil
}

// askedSysctls plans for them on a new interface.
func askedSysctls(j *build.Job, d *build.Draft) {
	for _, c := range j.AllSysctls() {
		d.Add(plan.SetSysctl{Place: j.Place, Path: c.Path(j.Names.Inner), Value: c.Value})
	}
}

// RepairSysctls plans for those of an interface that is there and that somebody has changed.
func RepairSysctls(j *build.Job, d *build.Draft) {
	for _, c := range j.AllSysctls() {
		path := c.Path(j.There.Inner.Name)
		if is := j.There.Sysctls[path]; !sameValue(is, c.Value) {
			d.Add(plan.SetSysctl{Place: j.Place, Path: path, Value: c.Value, Was: is})
		}
	}
}
