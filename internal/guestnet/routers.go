package guestnet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// routerNeed is a sysctl of an interface that decides what is made of router
// advertisements there.
type routerNeed struct {
	name  string
	value string // that is needed
	but   string // the only value that will not do; "": any other
}

// routerNeeds are what it takes to hear routers, beside accept_ra. A guest may
// have each of them another way on its new interfaces.
var routerNeeds = []routerNeed{
	{"accept_ra_pinfo", "1", ""},        // prefixes: the subnet, and with autoconf an address in it
	{"accept_ra_defrtr", "1", ""},       // the default route
	{"accept_ra_min_lft", "0", ""},      // however short its time is (Linux 6.6)
	{"addr_gen_mode", "0", "1"},         // 1 is no link-local address, and so nothing to ask from
	{"router_solicitations", "-1", "0"}, // 0 is to wait until a router speaks by itself
}

// AcceptRA makes the kernel take advertisements also where it forwards.
const AcceptRA = "ipv6/conf/%s/accept_ra"

// NewLinks are the sysctls of a guest's new interfaces that matter to a line: each takes
// the kernel the longer the more network namespaces this machine has had.
func NewLinks(o *build.Looker, k plan.Kernel, s spec.Spec) map[string]string {
	const above = "ipv6/conf/default/"
	paths := []string{above + "accept_ra"}
	if s.Has(true) {
		paths = append(paths, above+"autoconf")
	}
	if s.From.HearsRouters() {
		for _, n := range routerNeeds {
			paths = append(paths, above+n.name)
		}
	}
	values := map[string]string{}
	o.Look("the guest's IPv6", func() error {
		all, err := k.Sysctls(paths...) // without IPv6 there is none, on an older kernel not each
		for path, v := range all {
			values[strings.TrimPrefix(path, above)] = v
		}
		return err
	})
	return values
}

// AcceptsRA reports whether an interface was told to take advertisements
// whatever else it does, as only we do.
func AcceptsRA(o *build.Looker, k plan.Kernel, name string) (yes bool) {
	o.Look("what "+name+" accepts", func() error {
		v, err := k.Sysctl("ipv6/conf/" + name + "/accept_ra")
		yes = v == "2"
		if errors.Is(err, fs.ErrNotExist) {
			return nil // no IPv6, or the guest has renamed it
		}
		return err
	})
	return yes
}

// routerSysctls plans for what our interface makes of router advertisements:
// all of it where they are asked for. Where the line gives a gateway none of it,
// for a router takes the place of that by calling itself preferable; where it
// gives IPv6 addresses no other address, which would become the source.
func routerSysctls(j *build.Job, d *build.Draft) {
	set := func(name, value string) {
		if is, ok := j.There.NewLinks[name]; ok && is != value {
			d.Add(plan.SetSysctl{Place: j.Place, Path: "ipv6/conf/" + j.Names.Inner + "/" + name, Value: value})
		}
	}
	switch {
	case j.From.HearsRouters():
		for _, n := range routerNeeds {
			if is := j.There.NewLinks[n.name]; n.but == "" || is == n.but {
				set(n.name, n.value)
			}
		}
		if j.From.Kind == spec.FromSLAAC {
			set("autoconf", "1")
		}
	case j.Gateway(true).IsValid():
		set("accept_ra", "0")
	default:
		if len(j.AddrsOf(true)) > 0 {
			set("autoconf", "0")
		}
		if j.There.NewLinks["accept_ra"] == "2" {
			set("accept_ra", "1") // 2 is how an interface is told that routers were asked for
		}
	}
}

// IgnoreRouters has the host take no advertisements by a link that we have made
// there: a guest is no router of the host's, and nothing new is to bring it a
// default route. On a kernel without IPv6 there is
// nothing to tell.
type IgnoreRouters struct{ Name string }

func (s IgnoreRouters) Do(_ context.Context, m *plan.Machine) error {
	err := m.Host().SetSysctl(fmt.Sprintf(AcceptRA, s.Name), "0")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case plan.SysctlsLocked(err):
		m.Warn(fmt.Sprintf("/proc/sys cannot be written here (%v): the host may take a guest behind %s for a router", err, s.Name))
		return nil
	}
	return fault.Explain("have the host ignore routers on", s.Name, err)
}

// Undo is left to the link, with which it goes.
func (s IgnoreRouters) Undo(context.Context, *plan.Machine) error { return nil }

func (IgnoreRouters) Nature() plan.Nature { return plan.Undoable }

func (s IgnoreRouters) String() string {
	return "sysctl -eqw net/" + fmt.Sprintf(AcceptRA, s.Name) + "=0"
}
