package attach

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// kernel is what this package asks of the kernel, in one namespace.
type kernel interface {
	reader
	writer
	Run(func() error) error
	Watch() (*rtnl.Events, error)
	AbstractSocket(address string) (rtnl.UnixSocket, error)
	Close()
}

type reader interface {
	LinkByName(name string) (*rtnl.Link, error)
	LinkByAltName(name string) (*rtnl.Link, error)
	LinkByIndex(index int) (*rtnl.Link, error)
	LinkIn(nsid, index int) (*rtnl.Link, error)
	Links() ([]*rtnl.Link, error)
	Ports(master int) ([]*rtnl.Link, error)
	NamespaceID(ns *os.File) (int, error)
	NamespaceIDs() ([]int, error)
	LinksIn(nsid int) ([]*rtnl.Link, error)
	Cookie() (uint64, error)
	Keep(index int) (rtnl.Kept, error)
	Node(l *rtnl.Link) (uint64, error)
	Wiphy(index int) (phy int, ok bool, err error)
	Addrs() ([]rtnl.Addr, error)
	AddrsIn(nsid, index int) ([]rtnl.Addr, error)
	Routes() ([]rtnl.Route, error)
	AllRoutes() ([]rtnl.Route, error)
	Nexthops() ([]rtnl.Nexthop, error)
	Rules() ([]rtnl.Rule, error)
	PortVLANs() (map[int][]rtnl.PortVLAN, error)
	Sysctl(path string) (string, error)
	Qdiscs() ([]rtnl.Qdisc, error)
	Redirect(from int) (int, error)
	Ingress(index int) (bool, error)
	Way(rtnl.Lookup) (rtnl.Way, error)
	Neighbours(index int) ([]netip.Addr, error)
}

type writer interface {
	AddVeth(rtnl.Veth) error
	AddChild(rtnl.Child) error
	AddBridge(name string, mac net.HardwareAddr, mtu int, group uint32) error
	SetLink(index int, ch rtnl.Change) error
	SetVLANFiltering(bridge int, on bool) error
	AddPortVLANs(port int, vlans []rtnl.PortVLAN) error
	DelPortVLANs(port int, vlans []rtnl.PortVLAN) error
	GiveNamespaceID(ns *os.File) (int, error)
	SetTxChecksum(index int, on bool) error
	MoveLink(index int, to rtnl.Move) error
	MoveWiphy(phy int, ns *os.File) error
	Restore(index int, k rtnl.Kept) (missing []rtnl.Part, err error)
	RestoreParts(index int, k rtnl.Kept, parts []rtnl.Part) []rtnl.Part
	AddAltName(index int, name string) error
	DelAltName(index int, name string) error
	DelLink(index int) error
	AddAddr(index int, p netip.Prefix, nodad bool) error
	DelAddr(index int, p netip.Prefix) error
	SetAddr(index int, p netip.Prefix, valid, preferred time.Duration) error
	AddRoute(r rtnl.Route, prepend bool) error
	DelRoute(r rtnl.Route) error
	AddRule(r rtnl.Rule) error
	DelRule(r rtnl.Rule) error
	SetSysctl(path, value string) error
	SetQdisc(q rtnl.Qdisc) error
	DelQdisc(q rtnl.Qdisc) error
	RedirectIngress(from, to int) error
	NoIngress(index int) error
	SetNeighbour(index int, a netip.Addr, mac net.HardwareAddr) error
	DelNeighbour(index int, a netip.Addr) error
}

var _ kernel = (*rtnl.Conn)(nil)

// side is one of the two namespaces that an attachment joins.
type side int

const (
	host side = iota
	guest
	far // the other guest, of a link between two
)

// machine is what a plan is carried out on: its sides, and what its steps have
// learned so far.
type machine struct {
	sides    [3]kernel // nil: no such side
	hostNS   *os.File
	guests   [3]Guest     // by their side; none on the host's
	index    map[end]int  // of the links that steps have made or found
	isUp     map[end]bool // links of guests that steps have set up
	card     string       // that the guest is plugged into; "": a switch, or another guest
	keeper   string       // Options.Keeper
	doing    Step         // what is carried out now
	warnings []string     // of what a step has met
	hostLock *lock
	locks    []*lock     // of the guests
	memory   map[any]any // see remember

	shortfalls []*fault.Error // what steps have not done wholly
}

// end names a link on a side.
type end struct {
	side side
	name string
}

// open opens the host's side and each guest's, and takes all locks: the
// guests' first, so that a guest that holds its own lock keeps nobody else
// waiting, and among two of them in the order of their inodes, so that no two
// runs wait for each other.
func open(ctx context.Context, hostNS *os.File, of ...Guest) (*machine, error) {
	m := &machine{hostNS: hostNS, index: map[end]int{}, isUp: map[end]bool{}, memory: map[any]any{}, hostLock: &lock{}}
	for i, g := range of {
		g.GuestInfo = guests.Short(g.GuestInfo)
		m.guests[guest+side(i)] = g
	}
	if err := m.enter(ctx, of); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *machine) enter(ctx context.Context, guests []Guest) error {
	if err := m.openSide(host, m.hostNS, "host"); err != nil {
		return err
	}
	m.hostLock = &lock{host: m.sides[host], ns: m.hostNS}
	inOrder := slices.Clone(guests)
	slices.SortFunc(inOrder, func(a, b Guest) int { return cmp.Compare(a.NetNS, b.NetNS) })
	for _, g := range inOrder {
		l, err := acquire(ctx, m.sides[host], g.Namespace, "guest "+g.Name)
		if err != nil {
			return err
		}
		m.locks = append(m.locks, l)
	}
	if err := m.hostLock.acquire(ctx, "host"); err != nil {
		return err
	}
	for i, g := range guests {
		if err := m.openSide(guest+side(i), g.Namespace, "guest "+g.Name); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) openSide(at side, ns *os.File, what string) error {
	c, err := rtnl.Open(ns)
	if err == nil {
		m.sides[at] = c
	}
	return explain("enter", what, err)
}

func (m *machine) close() {
	m.hostLock.release()
	for _, l := range m.locks {
		l.release()
	}
	for _, k := range m.sides {
		if k != nil {
			k.Close()
		}
	}
}

// find returns the index of a link that the plan names.
func (m *machine) find(e end) (int, error) {
	if i, ok := m.index[e]; ok {
		return i, nil
	}
	l, err := m.sides[e.side].LinkByName(e.name)
	if err != nil {
		return 0, err
	}
	m.index[e] = l.Index
	return l.Index, nil
}

// check returns the reason not to go on: the end of ctx, or the guest's death.
func (m *machine) check(ctx context.Context) error {
	switch context.Cause(ctx) {
	case nil:
	case context.DeadlineExceeded:
		op, object := m.task()
		return fault.New(fault.Timeout, op, object, "%w%s", errTooLong, m.lacks()).
			WithHint("%s", m.remedy())
	default:
		return context.Cause(ctx)
	}
	for _, g := range m.guests {
		if err := g.Alive(); err != nil {
			return err
		}
	}
	return nil
}

// warn adds a warning about something that a step has met, unless text is empty.
func (m *machine) warn(text string) {
	if text != "" {
		m.warnings = append(m.warnings, text)
	}
}

// fallShort notes that a step is done but for what e says. The plan goes on; if it
// takes things away, its error at the end is e.
func (m *machine) fallShort(e *fault.Error) { m.shortfalls = append(m.shortfalls, e) }

// remember keeps a value for later steps, or for the undo of this one. As with
// [context.WithValue], the key is of a type of whoever keeps it.
func (m *machine) remember(key, value any) { m.memory[key] = value }

// remembered returns the value that was kept under the key; nil: none.
func (m *machine) remembered(key any) any { return m.memory[key] }

// errTooLong says that a run has used up its time.
var errTooLong = errors.New("it took longer than --timeout allows")

// lacks says what a run that takes too long is waiting for.
func (m *machine) lacks() string {
	if dead := m.withoutCarrier(); dead != "" {
		return ": " + noCarrier(dead)
	}
	if m.doing == nil {
		return ""
	}
	step, _, _ := strings.Cut(m.doing.String(), "\n")
	return ", in this step: " + strings.TrimPrefix(step, "# ")
}

// remedy returns the hint for a run that takes too long.
func (m *machine) remedy() string {
	if s, ok := m.doing.(asksOthers); ok && m.withoutCarrier() == "" {
		return s.whom() + " a longer --timeout gives it more time"
	}
	return "-v shows each step"
}

// withoutCarrier returns the card, or a guest's link, that steps have set up and
// that has no carrier; "" if there is none.
func (m *machine) withoutCarrier() string {
	for _, e := range m.ends() {
		if e.side == host || !m.isUp[e] {
			continue
		}
		if l, err := m.sides[e.side].LinkByIndex(m.index[e]); err == nil && l.Up && !l.Carrier {
			return cmp.Or(m.card, e.name)
		}
	}
	return ""
}

// ends returns the links that steps have made or found, always in the same order.
func (m *machine) ends() []end {
	return slices.SortedFunc(maps.Keys(m.index), func(a, b end) int {
		return cmp.Or(cmp.Compare(a.side, b.side), cmp.Compare(a.name, b.name))
	})
}

// stillThere is check, and also returns an error if a link that steps have made or
// found is gone or renamed, or one in a guest is down. To wait on such a link would
// be in vain.
func (m *machine) stillThere(ctx context.Context) error {
	if err := m.check(ctx); err != nil {
		return err
	}
	for _, e := range m.ends() {
		where := "on the host"
		if e.side != host {
			where = "in " + m.guests[e.side].Name
		}
		l, err := m.sides[e.side].LinkByIndex(m.index[e])
		switch {
		case errors.Is(err, rtnl.ErrNotFound):
			return fault.New(fault.Gone, "wait for", e.name, "somebody deleted it, or moved it away, %s", where)
		case err != nil:
			return explain("find", e.name, err)
		case l.Name != e.name:
			return fault.New(fault.Gone, "wait for", e.name, "somebody %s renamed it to %s", where, l.Name)
		case m.isUp[e] && !l.Up:
			return fault.New(fault.Failed, "wait for", e.name, "somebody %s set it down", where)
		}
	}
	return nil
}

// task names what a run is about, for an error that concerns no single step.
func (m *machine) task() (op, object string) {
	if m.guests[guest].Name == "" {
		return "clean up", "this host"
	}
	return "change", m.guests[guest].Name
}

// explain turns the kernel's refusal into an error a user can act on.
func explain(op, object string, err error) error {
	var f *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return err
	}
	e := fault.New(fault.Failed, op, object, "%w", err)
	switch {
	case errors.Is(err, os.ErrPermission): // EPERM and EACCES
		e.Code = fault.Permission
		e.Hint = "run it as root, with CAP_NET_ADMIN and CAP_SYS_ADMIN"
	case errors.Is(err, unix.EEXIST):
		e.Code = fault.Conflict
	case errors.Is(err, unix.EXFULL), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		e.Code = fault.Limit
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		e.Code = fault.Unsupported
	case errors.Is(err, unix.ETIMEDOUT), errors.Is(err, unix.EAGAIN):
		e.Code = fault.Timeout
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		e.Code = fault.Gone
		e.Err = errors.New("somebody deleted or moved it meanwhile")
	}
	return e
}

// ownName returns the own name of a link that is named by an alternative name, and
// any other name as it is.
func (m *machine) ownName(at side, name string) (string, error) {
	if name == "" {
		return name, nil
	}
	l, err := m.sides[at].LinkByName(name)
	switch {
	case errors.Is(err, rtnl.ErrNotFound):
		return name, nil
	case err != nil:
		return name, explain("look at", name, err)
	}
	return l.Name, nil
}

// absent reports whether an undo found that there is nothing left to undo.
func absent(err error) bool {
	for _, e := range []error{unix.ENODEV, unix.ENXIO, unix.EADDRNOTAVAIL, unix.ESRCH, unix.ENOENT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
