package lease

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// keeperWord makes this program a keeper, as a word of gopipework does.
const keeperWord = "lease-keeper"

func TestMain(m *testing.M) {
	commandTime = time.Minute // how long a busy machine takes proves nothing
	if len(os.Args) > 1 && os.Args[1] == keeperWord {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := Serve(ctx, os.Args[2:], os.Stdout, openTestLinks); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == poolWord {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := servePool(ctx, os.Args[2]); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	host.Main()
	os.Exit(m.Run())
}

// testLinks sets addresses and routes of a namespace by netlink, as the
// product's will.
type testLinks struct{ h *netlink.Handle }

type testLink struct {
	h     *netlink.Handle
	index int
}

var (
	_ Links = testLinks{}
	_ Link  = testLink{}
)

func openTestLinks(ns *os.File) (Links, error) {
	in, err := nsfs.Enter(ns)
	if err != nil {
		return nil, err
	}
	defer in.End()
	var h *netlink.Handle
	err = in.Run(func() (err error) { h, err = netlink.NewHandle(unix.NETLINK_ROUTE); return err })
	return testLinks{h}, err
}

func (l testLinks) Close()          { l.h.Close() }
func (l testLinks) Link(a Ask) Link { return testLink{l.h, a.Index} }

func (l testLink) of() netlink.Link {
	return &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: l.index}}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

func (l testLink) SetAddr(p netip.Prefix, valid, preferred time.Duration) error {
	return l.h.AddrReplace(l.of(), &netlink.Addr{IPNet: ipNet(p), ValidLft: int(valid / time.Second), PreferedLft: int(preferred / time.Second)})
}

func (l testLink) DAD(netip.Prefix) (DAD, error) { return Settled, nil }

func (l testLink) DelAddr(p netip.Prefix) error {
	err := l.h.AddrDel(l.of(), &netlink.Addr{IPNet: ipNet(p)})
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return err
}

func (l testLink) route(r Route) *netlink.Route {
	out := &netlink.Route{LinkIndex: l.index, Dst: ipNet(r.Dst), Src: r.Source.AsSlice(), Protocol: unix.RTPROT_DHCP}
	if r.Gateway.IsValid() {
		out.Gw = r.Gateway.AsSlice()
	} else {
		out.Scope = netlink.SCOPE_LINK
	}
	return out
}

func (l testLink) AddRoute(r Route) error {
	err := l.h.RouteAdd(l.route(r))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func (l testLink) DelRoute(r Route) error {
	err := l.h.RouteDel(l.route(r))
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

func (l testLink) AddAsked() error        { return nil } // none is asked for here
func (l testLink) SetReplies(Lease) error { return nil }
func (l testLink) SetAccess(Lease) error  { return nil }

func (l testLink) LowerMTU(n int) error {
	link, err := l.h.LinkByIndex(l.index)
	if err != nil || link.Attrs().MTU <= n {
		return err
	}
	if err := l.h.LinkSetMTU(link, n); err != nil {
		return fmt.Errorf("set MTU %d: %w", n, err)
	}
	return nil
}
