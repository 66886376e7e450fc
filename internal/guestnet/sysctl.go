package guestnet

import (
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// Sysctls that the line asks for. They go with the interface.

// model is an interface that has what any other has: what a new one begins with; and the
// loopback interface, because only the first network namespace has neigh/default.
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
	var paths []string
	for _, c := range all {
		paths = append(paths, c.Path(model(c)))
		if inner != nil {
			paths = append(paths, c.Path(inner.Name))
		}
	}
	o.Look("the sysctls of the guest", func() (err error) { values, err = k.Sysctls(paths...); return err })
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
		if is := j.There.Sysctls[path]; is != c.Value {
			d.Add(plan.SetSysctl{Place: j.Place, Path: path, Value: c.Value, Was: is})
		}
	}
}
