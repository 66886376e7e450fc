package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/gopipework/gopipework/internal/rtnl"
)

// Addresses and a default route from router advertisements (RFC 4862), on our
// interface alone. The kernel keeps them true by itself.

// acceptRA makes the kernel take advertisements also where it forwards.
const acceptRA = "ipv6/conf/%s/accept_ra"

// slaac plans to wait for an address.
func (b *builder) slaac() {
	if b.From.Kind == FromSLAAC {
		b.add(awaitSLAAC{place: b.place, inner: b.names.inner})
	}
}

// acceptsRA reports whether an interface was told to take advertisements
// whatever else it does, as only we do.
func (o *looker) acceptsRA(k kernel, name string) (yes bool) {
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

func (b *builder) slaacDiffers(differ differ) {
	if b.From.Kind == FromDHCP6 || b.f.Lease != nil && sourceOf(b.f.Lease.Ask) == FromDHCP6 {
		return // what dhcpDiffers says is enough
	}
	if asked := b.From.hearsRouters(); asked != b.f.RA {
		words := map[bool]string{true: "from router advertisements", false: "without router advertisements"}
		differ("address", words[b.f.RA], b.addressWord())
	}
}

// awaitSLAAC waits for an address that a router's advertisement has brought,
// and that is known to be nobody else's.
type awaitSLAAC struct {
	place
	inner string
}

func (s awaitSLAAC) do(ctx context.Context, m *machine) error {
	return m.await(ctx, s.side, func() (bool, error) {
		if _, err := s.kernel(m).LinkByIndex(s.index(m, s.inner)); err != nil {
			return false, explain("find", s.inner, err)
		}
		all, err := s.kernel(m).Addrs()
		for _, a := range all {
			if a.Index == s.index(m, s.inner) && learned(a) && !a.Tentative() && !a.Duplicate() {
				return true, nil
			}
		}
		return false, explain("read addresses of", s.inner, err)
	})
}

// learned reports whether a router's advertisement has brought an address.
func learned(a rtnl.Addr) bool {
	ip := a.Prefix.Addr()
	return ip.Is6() && !ip.IsLinkLocalUnicast() && !a.Permanent()
}

func (s awaitSLAAC) undo(context.Context, *machine) error { return nil }

func (s awaitSLAAC) String() string {
	return "# wait until a router has given " + s.inner + " an address"
}

// ignoreRouters has the host take no advertisements by a link that we have made
// there: a guest is no router of the host's, and nothing new is to bring it a
// default route. On a kernel without IPv6 there is
// nothing to tell.
type ignoreRouters struct{ name string }

func (s ignoreRouters) do(_ context.Context, m *machine) error {
	err := m.sides[host].SetSysctl(fmt.Sprintf(acceptRA, s.name), "0")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return explain("have the host ignore routers on", s.name, err)
}

// undo is left to the link, with which it goes.
func (s ignoreRouters) undo(context.Context, *machine) error { return nil }

func (s ignoreRouters) String() string {
	return "sysctl -eqw net/" + fmt.Sprintf(acceptRA, s.name) + "=0"
}
