package plan

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// Side is one of the namespaces that an attachment joins.
type Side int

const (
	OnHost Side = iota
	InGuest
	InFar // the other guest, of a link between two
)

// Machine is what a plan is carried out on: its sides, and what its steps have
// learned so far.
type Machine struct {
	sides    [3]Kernel // nil: no such side
	HostNS   *os.File
	Guests   [3]guests.Guest // by their side; none on the host's
	index    map[end]int     // of the links that steps have made or found
	isUp     map[end]bool    // links of guests that steps have set up
	Card     string          // that the guest is plugged into; "": a switch, or another guest
	doing    Step            // what is carried out now
	Warnings []string        // of what a step has met
	HostLock *Lock
	locks    []*Lock     // of the guests
	memory   map[any]any // see Remember

	shortfalls []*fault.Error // what steps have not done wholly
}

// end names a link on a side.
type end struct {
	side Side
	name string
}

// Open opens the host's side and each guest's, and takes all locks: the
// guests' first, so that a guest that holds its own lock keeps nobody else
// waiting, and among two of them in the order of their inodes, so that no two
// runs wait for each other.
func Open(ctx context.Context, hostNS *os.File, of ...guests.Guest) (*Machine, error) {
	m := &Machine{HostNS: hostNS, index: map[end]int{}, isUp: map[end]bool{}, memory: map[any]any{}, HostLock: &Lock{}}
	for i, g := range of {
		g.GuestInfo = guests.Short(g.GuestInfo)
		m.Guests[InGuest+Side(i)] = g
	}
	if err := m.enter(ctx, of); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Machine) enter(ctx context.Context, all []guests.Guest) error {
	if err := m.openSide(OnHost, m.HostNS, "host"); err != nil {
		return err
	}
	m.HostLock = &Lock{host: m.sides[OnHost], NS: m.HostNS}
	inOrder := slices.Clone(all)
	slices.SortFunc(inOrder, func(a, b guests.Guest) int { return cmp.Compare(a.NetNS, b.NetNS) })
	for _, g := range inOrder {
		l, err := Acquire(ctx, m.sides[OnHost], g.Namespace, "guest "+g.Name)
		if err != nil {
			return err
		}
		m.locks = append(m.locks, l)
	}
	if err := m.HostLock.Acquire(ctx, "host"); err != nil {
		return err
	}
	for i, g := range all {
		if err := m.openSide(InGuest+Side(i), g.Namespace, "guest "+g.Name); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) openSide(at Side, ns *os.File, what string) error {
	c, err := rtnl.Open(ns)
	if err == nil {
		m.sides[at] = c
	}
	return fault.Explain("enter", what, err)
}

// Close releases the locks, and closes the sides.
func (m *Machine) Close() {
	m.HostLock.Release()
	for _, l := range m.locks {
		l.Release()
	}
	for _, k := range m.sides {
		if k != nil {
			k.Close()
		}
	}
}

// Host is the kernel on the host's side.
func (m *Machine) Host() Kernel { return m.sides[OnHost] }

// In is the kernel on a side.
func (m *Machine) In(at Side) Kernel { return m.sides[at] }

// Wrap has each side be what by returns for it, as a test does that has one fail.
func (m *Machine) Wrap(by func(Side, Kernel) Kernel) {
	for i, k := range m.sides {
		if k != nil {
			m.sides[i] = by(Side(i), k)
		}
	}
}

// Know notes the index of a link that a step has made, or that the plan is about.
func (m *Machine) Know(at Side, name string, index int) { m.index[end{at, name}] = index }

// Forget strikes out a link that is about to go.
func (m *Machine) Forget(at Side, name string) { delete(m.index, end{at, name}) }

// Index returns the index of a link that is known.
func (m *Machine) Index(at Side, name string) int { return m.index[end{at, name}] }

// Knows reports whether a step has made or found a link.
func (m *Machine) Knows(at Side, name string) bool {
	_, ok := m.index[end{at, name}]
	return ok
}

// Find returns the index of a link that the plan names, and knows it from then on.
func (m *Machine) Find(at Side, name string) (int, error) {
	if i, ok := m.index[end{at, name}]; ok {
		return i, nil
	}
	l, err := m.sides[at].LinkByName(name)
	if err != nil {
		return 0, err
	}
	m.Know(at, name, l.Index)
	return l.Index, nil
}

// check returns the reason not to go on: the end of ctx, or the guest's death.
func (m *Machine) check(ctx context.Context) error {
	switch context.Cause(ctx) {
	case nil:
	case context.DeadlineExceeded:
		op, object := m.task()
		return fault.New(fault.Timeout, op, object, "%w%s", errTooLong, m.lacks()).
			WithHint("%s", m.remedy())
	default:
		return context.Cause(ctx)
	}
	for _, g := range m.Guests {
		if err := g.Alive(); err != nil {
			return err
		}
	}
	return nil
}

// Warn adds a warning about something that a step has met, unless text is empty.
func (m *Machine) Warn(text string) {
	if text != "" {
		m.Warnings = append(m.Warnings, text)
	}
}

// FallShort notes that a step is done but for what e says. The plan goes on; if it
// deletes, its error at the end is e.
func (m *Machine) FallShort(e *fault.Error) { m.shortfalls = append(m.shortfalls, e) }

// Remember keeps a value for later steps, or for the undo of this one. As with
// [context.WithValue], the key is of a type of whoever keeps it.
func (m *Machine) Remember(key, value any) { m.memory[key] = value }

// Remembered returns the value that was kept under the key; nil: none.
func (m *Machine) Remembered(key any) any { return m.memory[key] }

// errTooLong says that a run has used up its time.
var errTooLong = errors.New("it took longer than --timeout allows")

// lacks says what a run that takes too long is waiting for.
func (m *Machine) lacks() string {
	if dead := m.WithoutCarrier(); dead != "" {
		return ": " + NoCarrier(dead)
	}
	if m.doing == nil {
		return ""
	}
	step, _, _ := strings.Cut(m.doing.String(), "\n")
	return ", in this step: " + strings.TrimPrefix(step, "# ")
}

// remedy returns the hint for a run that takes too long.
func (m *Machine) remedy() string {
	if s, ok := m.doing.(asksOthers); ok && m.WithoutCarrier() == "" {
		return s.Whom() + " a longer --timeout gives it more time"
	}
	return "-v shows each step"
}

// WithoutCarrier returns the card, or a guest's link, that steps have set up and
// that has no carrier; "" if there is none.
func (m *Machine) WithoutCarrier() string {
	for _, e := range m.ends() {
		if e.side == OnHost || !m.isUp[e] {
			continue
		}
		if l, err := m.sides[e.side].LinkByIndex(m.index[e]); err == nil && l.Up && !l.Carrier {
			return cmp.Or(m.Card, e.name)
		}
	}
	return ""
}

// ends returns the links that steps have made or found, always in the same order.
func (m *Machine) ends() []end {
	return slices.SortedFunc(maps.Keys(m.index), func(a, b end) int {
		return cmp.Or(cmp.Compare(a.side, b.side), cmp.Compare(a.name, b.name))
	})
}

// stillThere is check, and also returns an error if a link that steps have made or
// found is gone or renamed, or one in a guest is down. There is no use in
// waiting for such a link.
func (m *Machine) stillThere(ctx context.Context) error {
	if err := m.check(ctx); err != nil {
		return err
	}
	for _, e := range m.ends() {
		where := "on the host"
		if e.side != OnHost {
			where = "in " + m.Guests[e.side].Name
		}
		l, err := m.sides[e.side].LinkByIndex(m.index[e])
		switch {
		case errors.Is(err, rtnl.ErrNotFound):
			return fault.New(fault.Gone, "wait for", e.name, "somebody deleted it, or moved it away, %s", where)
		case err != nil:
			return fault.Explain("find", e.name, err)
		case l.Name != e.name:
			return fault.New(fault.Gone, "wait for", e.name, "somebody %s renamed it to %s", where, l.Name)
		case m.isUp[e] && !l.Up:
			return fault.New(fault.Failed, "wait for", e.name, "somebody %s set it down", where)
		}
	}
	return nil
}

// task names what a run is about, for an error that concerns no single step.
func (m *Machine) task() (op, object string) {
	if m.Guests[InGuest].Name == "" {
		return "clean up", "this host"
	}
	return "change", m.Guests[InGuest].Name
}

// OwnName returns the own name of a link that is named by an alternative name, and
// any other name as it is.
func (m *Machine) OwnName(at Side, name string) (string, error) {
	if name == "" {
		return name, nil
	}
	l, err := m.sides[at].LinkByName(name)
	switch {
	case errors.Is(err, rtnl.ErrNotFound):
		return name, nil
	case err != nil:
		return name, fault.Explain("look at", name, err)
	}
	return l.Name, nil
}

// Place is one side, and how a person's command gets there: "" on the host,
// "nsenter ... " in a guest.
type Place struct {
	Side  Side
	Enter string
}

// Kernel is the side's.
func (p Place) Kernel(m *Machine) Kernel { return m.sides[p.Side] }

// Index is that of a link which an earlier step has made there.
func (p Place) Index(m *Machine, name string) int { return m.Index(p.Side, name) }
