package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// SetLink changes a link of ours. What it sets goes with the link.
type SetLink struct {
	Place
	Name string
	Set  rtnl.Change

	Taken Taken // why the link cannot come up, if it cannot; the zero Taken: its MAC address
}

// Taken explains unix.EADDRINUSE, with which the kernel refuses to set a link up: somebody
// else has what the link is to have.
type Taken struct{ Why, Hint string }

var macTaken = Taken{"its card, or another macvlan on the card, has that MAC address already", "choose another MAC address, or leave it out"}

// dying is how long the kernel may take to delete the links of a namespace that has ended.
// One with the same MAC address, or the same UDP port, may be in there: that of the guest
// before its restart.
const dying = 2 * time.Second

func (s SetLink) Do(ctx context.Context, m *Machine) error {
	err := s.Apply(m, s.Set)
	if !s.Set.Up || !errors.Is(err, unix.EADDRINUSE) {
		return err
	}
	until := time.Now().Add(dying)
	return m.Await(ctx, s.Side, func() (bool, error) {
		err := s.Apply(m, s.Set)
		if errors.Is(err, unix.EADDRINUSE) && time.Now().Before(until) {
			return false, nil
		}
		return true, err
	})
}

func (s SetLink) Undo(context.Context, *Machine) error { return nil }

// Apply makes a change to the link, which need not be that of the step.
func (s SetLink) Apply(m *Machine, ch rtnl.Change) error {
	i, err := m.Find(s.Side, s.Name)
	if err != nil {
		return fault.Explain("find", s.Name, err)
	}
	err = s.Kernel(m).SetLink(i, ch)
	if ch.AddrGenNone && errors.Is(err, unix.EAFNOSUPPORT) {
		// Without IPv6, for its MTU is below 1280 or the kernel has none, it
		// gets no address anyway.
		ch.AddrGenNone = false
		err = s.Kernel(m).SetLink(i, ch)
	}
	if s.Set.Up && errors.Is(err, unix.EADDRINUSE) {
		taken := cmp.Or(s.Taken, macTaken)
		return fault.New(fault.Conflict, "set", s.words(), "%s: %w", taken.Why, err).WithHint("%s", taken.Hint)
	}
	if err == nil && s.Side != OnHost {
		m.isUp[end{s.Side, s.Name}] = ch.Up || m.isUp[end{s.Side, s.Name}] && !ch.Down
	}
	return fault.Explain("set", s.words(), err)
}

func (SetLink) Nature() Nature { return Undoable }

func (s SetLink) String() string { return s.Enter + "ip link set dev " + s.words() }

func (s SetLink) words() string {
	w := s.Name
	if s.Set.MAC != nil {
		w += " address " + s.Set.MAC.String()
	}
	if s.Set.MTU != 0 {
		w += " mtu " + strconv.Itoa(s.Set.MTU)
	}
	if s.Set.Alias != "" {
		w += " alias " + shell.Quote(s.Set.Alias)
	}
	if s.Set.AddrGenNone {
		w += " addrgenmode none"
	}
	if s.Set.Up {
		w += " up"
	}
	return w
}

// ChangeMTU changes that of a link.
type ChangeMTU struct {
	Place
	Link     string
	MTU, Was int // bytes
}

func (s ChangeMTU) Do(_ context.Context, m *Machine) error {
	return SetLink{Place: s.Place, Name: s.Link, Set: rtnl.Change{MTU: s.MTU}}.Do(context.Background(), m)
}

func (s ChangeMTU) Undo(_ context.Context, m *Machine) error {
	err := SetLink{Place: s.Place, Name: s.Link, Set: rtnl.Change{MTU: s.Was}}.Do(context.Background(), m)
	return fault.IgnoreAbsent("set", s.Link, err)
}

func (ChangeMTU) Nature() Nature { return Undoable }

func (s ChangeMTU) String() string {
	return s.Enter + "ip link set " + s.Link + " mtu " + strconv.Itoa(s.MTU)
}

// SetSysctl sets a sysctl of our interface in a guest. It goes with the
// interface: there is nothing to undo, unless that stays.
type SetSysctl struct {
	Place
	Path, Value string
	Was         string // undo sets it to that; "": it does not
}

func (s SetSysctl) Do(_ context.Context, m *Machine) error {
	err := s.Kernel(m).SetSysctl(s.Path, s.Value)
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	object := fmt.Sprintf("net/%s=%s of %s", s.Path, s.Value, m.Guests[s.Side].Name)
	if errors.Is(err, os.ErrPermission) && os.Geteuid() == 0 {
		return fault.New(fault.Permission, "set sysctl", object, "%w", err).WithHint("the kernel lets nobody write this one, or root lacks CAP_NET_ADMIN here")
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE) {
		return fault.New(fault.Failed, "set sysctl", object, "%w", err).WithHint("the kernel does not take this value: see ip-sysctl in its documentation")
	}
	if !SysctlsLocked(err) {
		return fault.Explain("set sysctl", object, err)
	}
	if is, rerr := s.Kernel(m).Sysctl(s.Path); rerr == nil && is == s.Value {
		return nil
	}
	if without, nice := niceties[filepath.Base(s.Path)+"="+s.Value]; nice {
		m.Warn(fmt.Sprintf("/proc/sys cannot be written here (%v), and net/%s is not %s: %s", err, s.Path, s.Value, without))
		return nil
	}
	return fault.New(fault.Permission, "set sysctl", object, "%w", err).
		WithHint("in a container /proc/sys is read-only: mount the host's with -v /proc/sys/net:/host/proc/sys/net, run it with --privileged, or on the host")
}

func (s SetSysctl) Undo(ctx context.Context, m *Machine) error {
	if s.Was == "" {
		return nil
	}
	return SetSysctl{Place: s.Place, Path: s.Path, Value: s.Was}.Do(ctx, m)
}

func (SetSysctl) Nature() Nature { return Undoable }

func (s SetSysctl) String() string {
	return s.Enter + "sysctl -qw net/" + s.Path + "=" + shell.Quote(s.Value)
}

// SysctlsLocked reports whether a sysctl could not be set because none can: /proc/sys
// is mounted read-only, as in a container with capabilities but not privileged.
func SysctlsLocked(err error) bool { return errors.Is(err, unix.EROFS) }

// niceties are the sysctls that an attachment works without, and how.
var niceties = map[string]string{
	"arp_notify=1":                "neighbours that already know its address may send to an old MAC address for a while",
	"ndisc_notify=1":              "neighbours that already know its address may send to an old MAC address for a while",
	"router_solicitation_delay=0": "the wait for duplicate address detection takes up to a second more",
	"autoconf=0":                  "a router may give it other addresses beside its own",
	"accept_ra=0":                 "a router may take the place of its gateway",
	"accept_ra=1":                 "a router is heard even if the guest forwards",
}
