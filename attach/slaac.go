package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// Addresses and a default route from router advertisements (RFC 4862), on our
// interface alone. The kernel keeps them true by itself.

// acceptRA makes the kernel take advertisements also where it forwards.
const acceptRA = "ipv6/conf/%s/accept_ra"

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

// newLinks are the sysctls of a guest's new interfaces that matter.
func (o *looker) newLinks(k plan.Kernel) map[string]string {
	values := map[string]string{}
	names := []string{"accept_ra", "autoconf"}
	for _, n := range routerNeeds {
		names = append(names, n.name)
	}
	for _, name := range names {
		o.look("the guest's IPv6", func() error {
			v, err := k.Sysctl("ipv6/conf/default/" + name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // no IPv6, or an older kernel
			}
			values[name] = v
			return err
		})
	}
	return values
}

// routerSysctls plans for what our interface makes of router advertisements:
// all of it where they are asked for. Where the line gives a gateway none of it,
// for a router takes the place of that by calling itself preferable; where it
// gives IPv6 addresses no other address, which would become the source.
func (j *job) routerSysctls(d *draft) {
	set := func(name, value string) {
		if is, ok := j.f.NewLinks[name]; ok && is != value {
			d.add(plan.SetSysctl{Place: j.Place, Path: "ipv6/conf/" + j.names.inner + "/" + name, Value: value})
		}
	}
	switch {
	case j.From.HearsRouters():
		for _, n := range routerNeeds {
			if is := j.f.NewLinks[n.name]; n.but == "" || is == n.but {
				set(n.name, n.value)
			}
		}
		if j.From.Kind == FromSLAAC {
			set("autoconf", "1")
		}
	case j.Gateway(true).IsValid():
		set("accept_ra", "0")
	default:
		if len(j.AddrsOf(true)) > 0 {
			set("autoconf", "0")
		}
		if j.f.NewLinks["accept_ra"] == "2" {
			set("accept_ra", "1") // 2 is how an interface is told that routers were asked for
		}
	}
}

// slaac is the routers on the network.
type slaac struct{ passively }

func (slaac) kind() SourceKind  { return FromSLAAC }
func (slaac) sysctls() []needed { return []needed{{acceptRA, "2"}} }

func (slaac) keeps(in Inside) string {
	if !in.RA {
		return ""
	}
	return "its addresses come from a router"
}

// get plans to wait for an address.
func (slaac) get(j *job, d *draft) error {
	d.add(awaitSLAAC{Place: j.Place, inner: j.names.inner})
	j.routes(d, true)
	return nil
}

// acceptsRA reports whether an interface was told to take advertisements
// whatever else it does, as only we do.
func (o *looker) acceptsRA(k plan.Kernel, name string) (yes bool) {
	o.look("what "+name+" accepts", func() error {
		v, err := k.Sysctl("ipv6/conf/" + name + "/accept_ra")
		yes = v == "2"
		if errors.Is(err, fs.ErrNotExist) {
			return nil // no IPv6, or the guest has renamed it
		}
		return err
	})
	return yes
}

func (slaac) differ(j *job, differ differ) {
	if j.From.Kind == FromDHCP6 || j.f.Lease != nil && sourceOf(j.f.Lease.Ask) == FromDHCP6 {
		return // what is said of the lease is enough
	}
	if asked := j.From.HearsRouters(); asked != j.f.RA {
		words := map[bool]string{true: "from router advertisements", false: "without router advertisements"}
		differ("address", words[j.f.RA], j.AddressWord())
	}
}

// awaitSLAAC waits for an address that a router's advertisement has brought,
// and that is known to be nobody else's.
type awaitSLAAC struct {
	plan.Place
	inner string
}

func (s awaitSLAAC) Do(ctx context.Context, m *plan.Machine) error {
	return m.Await(ctx, s.Side, func() (bool, error) {
		if _, err := s.Kernel(m).LinkByIndex(s.Index(m, s.inner)); err != nil {
			return false, fault.Explain("find", s.inner, err)
		}
		all, err := s.Kernel(m).Addrs()
		for _, a := range all {
			if a.Index == s.Index(m, s.inner) && learned(a) && !a.Tentative() && !a.Duplicate() {
				return true, nil
			}
		}
		return false, fault.Explain("read addresses of", s.inner, err)
	})
}

// learned reports whether a router's advertisement has brought an address.
func learned(a rtnl.Addr) bool {
	ip := a.Prefix.Addr()
	return ip.Is6() && !ip.IsLinkLocalUnicast() && !a.Permanent()
}

func (s awaitSLAAC) Whom() string {
	return "is there a router on this network that advertises a prefix to make addresses from? dhcp6 asks a server instead;"
}

func (s awaitSLAAC) Undo(context.Context, *plan.Machine) error { return nil }

func (awaitSLAAC) Nature() plan.Nature { return plan.Passive }

func (s awaitSLAAC) String() string {
	return "# wait until a router has given " + s.inner + " an address"
}

// ignoreRouters has the host take no advertisements by a link that we have made
// there: a guest is no router of the host's, and nothing new is to bring it a
// default route. On a kernel without IPv6 there is
// nothing to tell.
type ignoreRouters struct{ name string }

func (s ignoreRouters) Do(_ context.Context, m *plan.Machine) error {
	err := m.Host().SetSysctl(fmt.Sprintf(acceptRA, s.name), "0")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case plan.SysctlsLocked(err):
		m.Warn(fmt.Sprintf("/proc/sys cannot be written here (%v): the host may take a guest behind %s for a router", err, s.name))
		return nil
	}
	return fault.Explain("have the host ignore routers on", s.name, err)
}

// undo is left to the link, with which it goes.
func (s ignoreRouters) Undo(context.Context, *plan.Machine) error { return nil }

func (ignoreRouters) Nature() plan.Nature { return plan.Undoable }

func (s ignoreRouters) String() string {
	return "sysctl -eqw net/" + fmt.Sprintf(acceptRA, s.name) + "=0"
}
