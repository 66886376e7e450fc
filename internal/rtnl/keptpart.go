package rtnl

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// Part is one of the things on a link that [Conn.Restore] restores one by one.
// As JSON it outlives the process, like [Kept].
type Part struct {
	Kind string `json:"kind"` // one of those below
	KeptPart
	Key      string          `json:"key,omitempty"`      // of a sysctl, as in Kept.Sysctls
	Value    string          `json:"value,omitempty"`    // of a sysctl; or a name
	Offloads map[string]bool `json:"offloads,omitempty"` // which are to be on, and which off
	VLANs    []PortVLAN      `json:"vlans,omitempty"`
	// Found is what was in its place when it could not be restored. If that is
	// not there any more when it is tried again, somebody has changed it, and the
	// part is over. nil: it was not looked at yet.
	Found *string `json:"found,omitempty"`

	Err   error `json:"-"` // why it is missing
	Over  bool  `json:"-"` // it will not come back: Err says why
	Taken bool  `json:"-"` // Over, because somebody has put something in its place
}

// The kinds of parts, in the order in which they are restored. A master comes
// before addresses, because a link that becomes a port of some loses them.
const (
	partAltName  = "altname"
	partXDP      = "xdp"
	partOffloads = "offloads"
	partSysctl   = "sysctl"
	partMaster   = "master"
	partPort     = "port"
	partVLANs    = "vlans"
	partToken    = "token"
	partAddr     = "address"
	partNeigh    = "neighbour"
	partRoute    = "route"
)

var (
	errBehind  = errors.New("it has to come behind one that could not be restored")
	errChanged = errors.New("somebody has changed it meanwhile")
)

func (k Kept) addrParts() (parts []Part) {
	for _, p := range k.Addrs {
		parts = append(parts, Part{Kind: partAddr, KeptPart: p})
	}
	return parts
}

func (k Kept) neighParts() (parts []Part) {
	for _, p := range k.Neighs {
		parts = append(parts, Part{Kind: partNeigh, KeptPart: p})
	}
	return parts
}

func (k Kept) tokenPart() (parts []Part) {
	if k.Token != "" {
		parts = append(parts, Part{Kind: partToken, Value: k.Token,
			KeptPart: KeptPart{Command: shell.Line([]string{"ip", "token", "set", k.Token, "dev", k.Name})}})
	}
	return parts
}

func (k Kept) routeParts() (parts []Part) {
	for _, p := range k.Routes {
		parts = append(parts, Part{Kind: partRoute, KeptPart: p})
	}
	return parts
}

// upParts are those that a link needs to be up for.
func (k Kept) upParts() []Part {
	return slices.Concat(k.tokenPart(), k.addrParts(), k.neighParts(), k.routeParts())
}

func (k Kept) masterPart() (parts []Part) {
	if k.Master != "" {
		parts = append(parts, Part{Kind: partMaster, Value: k.Master, KeptPart: KeptPart{Command: masterCommand(k)}})
	}
	return parts
}

// With returns what the link is to be like when the missing parts are counted in.
func (k Kept) With(missing []Part) Kept {
	for _, p := range missing {
		switch p.Kind {
		case partAltName:
			if !slices.Contains(k.AltNames, p.Value) {
				k.AltNames = append(slices.Clone(k.AltNames), p.Value)
			}
		case partSysctl:
			k.Sysctls = over(k.Sysctls, map[string]string{p.Key: p.Value})
		case partMaster:
			if k.Master == "" {
				k.Master = p.Value
			}
		case partXDP:
			if id, err := strconv.ParseUint(p.Value, 10, 32); err == nil {
				k.XDP = over(k.XDP, map[string]uint32{p.Key: uint32(id)})
			}
		case partOffloads:
			k.Offloads = over(k.Offloads, p.Offloads)
		case partPort:
			k.Port = p.Message
		case partVLANs:
			k.VLANs = append([]PortVLAN{}, p.VLANs...)
		case partToken:
			if k.Token == "" {
				k.Token = p.Value
			}
		case partNeigh:
			k.Neighs = append(slices.Clone(k.Neighs), p.KeptPart)
		case partAddr:
			k.Addrs = append(slices.Clone(k.Addrs), p.KeptPart)
		case partRoute:
			k.Routes = append(slices.Clone(k.Routes), p.KeptPart)
		}
	}
	return k
}

// over returns a copy of a map with others laid over it; the map may be nil.
func over[V any](m, others map[string]V) map[string]V {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]V{}
	}
	maps.Copy(out, others)
	return out
}

// RestoreParts tries again to restore parts that [Conn.Restore] has said are
// missing, and changes nothing else. It returns those that are still missing. A
// part is over if somebody has put it, or something else, in its place.
func (c *Conn) RestoreParts(index int, k Kept, parts []Part) []Part {
	r := c.restorer(index, k)
	r.again = true
	return r.restore(parts)
}

func (c *Conn) restorer(index int, k Kept) *restorer {
	return &restorer{Conn: c, index: index, kept: k, age: max(time.Since(k.Taken), 0)}
}

// restorer restores the parts of a link.
type restorer struct {
	*Conn
	index  int
	kept   Kept
	age    time.Duration
	again  bool               // the link itself is as it was, and may be in use
	routes map[uint8][][]byte // as the kernel tells them, by family, since the last change
}

// restore returns the parts that could not be restored. One may need another: a
// route finds its gateway by another route, of the other family even. So it goes
// round until nothing more gets in, and once more when no address is tentative.
func (r *restorer) restore(parts []Part) (missing []Part) {
	for last := false; ; {
		var todo []Part
		for _, p := range r.round(parts, last) {
			if p.Over {
				missing = append(missing, p)
			} else {
				todo = append(todo, p)
			}
		}
		switch {
		case len(todo) == 0:
			return missing
		case len(todo) == len(parts) && last:
			return append(missing, r.found(todo)...)
		case len(todo) == len(parts):
			last = true
			if slices.ContainsFunc(todo, func(p Part) bool { return p.Kind == partRoute }) {
				_ = r.awaitAddrs(r.index) // if that fails, the routes will
			}
		}
		parts = todo
	}
}

// round tries each part once. Those in one place have an order, so one that comes
// behind another waits for that; but in the last round a route without the other is
// better than neither.
func (r *restorer) round(parts []Part, last bool) (missing []Part) {
	blocked := map[string]bool{}
	for _, p := range parts {
		place := p.place()
		if place != "" && blocked[place] && !(last && p.Kind == partRoute) {
			p.Err = errBehind
		} else {
			p = r.one(p)
		}
		if p.Err == nil {
			continue
		}
		blocked[place] = blocked[place] || !p.Over
		missing = append(missing, p)
	}
	return missing
}

// one tries to restore one part.
func (r *restorer) one(p Part) Part {
	p.Err = nil
	if p.Found != nil {
		there, found, err := r.look(p)
		switch {
		case err == nil && there:
			return p
		case err == nil && found != *p.Found:
			p.Err, p.Over, p.Taken = failed(p.Command, errChanged), true, true
			return p
		}
	}
	err := r.give(p)
	if err == nil {
		return p
	}
	// The kernel also refuses what is there already.
	if there, _, lerr := r.look(p); lerr == nil && there {
		return p
	}
	why := r.never(p)
	p.Err, p.Over = failed(p.Command, errors.Join(err, why)), why != nil || damaged(err)
	return p
}

// found notes what is in the place of parts that are to be tried again.
func (r *restorer) found(parts []Part) []Part {
	for i, p := range parts {
		parts[i].Found = nil
		if _, found, err := r.look(p); err == nil {
			parts[i].Found = &found
		}
	}
	return parts
}

// place says which parts have an order among themselves; "": it has none.
func (p Part) place() string {
	switch p.Kind {
	case partAddr:
		if a, err := readAddr(p.Message); err == nil {
			return fmt.Sprint(p.Kind, a.header[0])
		}
	case partRoute:
		if r, err := readRoute(p.Message); err == nil {
			return fmt.Sprint(p.Kind, r.place())
		}
	}
	return ""
}

// errDamaged is for a part that is not as it was written.
var errDamaged = fmt.Errorf("%w: the note about it is damaged", unix.EINVAL)

func damaged(err error) bool { return errors.Is(err, errDamaged) || errors.Is(err, fs.ErrInvalid) }

func (r *restorer) give(p Part) error {
	switch p.Kind {
	case partAltName:
		return r.giveAltName(p.Value)
	case partSysctl:
		return r.onSysctl(p, func(path string) error { return r.SetSysctl(path, p.Value) })
	case partMaster:
		return r.giveMaster(p.Value)
	case partXDP:
		return r.giveXDP(p)
	case partOffloads:
		if err := r.SetOffloads(r.index, p.Offloads); err != nil {
			return err
		}
		if there, _, err := r.lookOffloads(p); err != nil || !there {
			return errors.Join(err, unix.EOPNOTSUPP) // the kernel says nothing of those that it leaves as they are
		}
		return nil
	case partPort:
		return r.givePort(p)
	case partVLANs:
		return r.giveVLANs(p)
	case partToken:
		ip, err := netip.ParseAddr(p.Value)
		if err != nil {
			return fmt.Errorf("token %q: %w", p.Value, errDamaged)
		}
		return r.SetLink(r.index, Change{Token: ip})
	case partNeigh:
		return r.addNeigh(r.index, p.KeptPart)
	case partAddr:
		return r.addAddr(r.index, p.KeptPart, r.age)
	case partRoute:
		err := r.addRoute(r.index, r.kept.Index, p.KeptPart, r.age)
		if err == nil {
			r.routes = nil
		}
		return err
	}
	return fmt.Errorf("part %q: %w", p.Kind, errDamaged)
}

// look reports whether the part is there, and what is in its place.
func (r *restorer) look(p Part) (there bool, found string, err error) {
	switch p.Kind {
	case partAltName:
		l, err := r.LinkByAltName(p.Value)
		if errors.Is(err, ErrNotFound) {
			return false, "", nil
		}
		if err != nil {
			return false, "", err
		}
		return l.Index == r.index, l.Name, nil
	case partSysctl:
		err = r.onSysctl(p, func(path string) (err error) { found, err = r.Sysctl(path); return err })
		return found == p.Value, found, err
	case partMaster:
		l, err := r.LinkByIndex(r.index)
		if err != nil || l.Master == 0 {
			return false, "", err
		}
		found, err = r.linkName(l.Master)
		return found == p.Value, found, err
	case partXDP:
		return r.lookXDP(p)
	case partOffloads:
		return r.lookOffloads(p)
	case partPort:
		return r.lookPort(p)
	case partVLANs:
		return r.lookVLANs(p)
	case partToken:
		l, err := r.LinkByIndex(r.index)
		if err != nil {
			return false, "", err
		}
		return l.Token == p.Value, l.Token, nil
	case partNeigh:
		return r.lookNeigh(p)
	case partAddr:
		return r.lookAddr(p)
	case partRoute:
		return r.lookRoute(p)
	}
	return false, "", errDamaged
}

// never returns why a part that was refused will not come back whatever is done;
// nil if it may.
func (r *restorer) never(p Part) error {
	switch p.Kind {
	case partAltName:
		l, err := r.LinkByName(p.Value)
		if err == nil && l.Index != r.index {
			return fmt.Errorf("%s has that name by now", l.Name)
		}
	case partXDP:
		if id, _ := strconv.ParseUint(p.Value, 10, 32); id != 0 {
			prog, err := programByID(uint32(id))
			if err == nil {
				prog.Close()
			}
			if errors.Is(err, unix.ENOENT) {
				return errors.New("the program has ended")
			}
		}
	case partMaster, partPort, partVLANs, partNeigh:
		if p.Kind == partNeigh && !p.ofMaster() {
			return nil
		}
		if _, err := r.LinkByName(r.kept.Master); errors.Is(err, ErrNotFound) {
			return fmt.Errorf("there is no %s any more", r.kept.Master)
		}
	case partRoute:
		return r.neverRoute(p)
	}
	return nil
}

// onSysctl does something with the sysctl, under the name that the link has now.
func (r *restorer) onSysctl(p Part, do func(path string) error) error {
	name, err := r.linkName(r.index)
	if err != nil {
		return err
	}
	path, err := sysctlPath(name, p.Key)
	if err != nil {
		return err
	}
	return do(path)
}

// giveAltName adds the name. Names have an order: those that come behind it are
// added again.
func (r *restorer) giveAltName(name string) error {
	now, err := r.LinkByIndex(r.index)
	if err != nil {
		return err
	}
	if err := r.AddAltName(r.index, name); err != nil {
		return err
	}
	if !r.again {
		return nil
	}
	at := slices.Index(r.kept.AltNames, name)
	for _, behind := range now.AltNames {
		if slices.Index(r.kept.AltNames, behind) <= at {
			continue
		}
		if err := errors.Join(r.DelAltName(r.index, behind), r.AddAltName(r.index, behind)); err != nil {
			return fmt.Errorf("alternative name %s: %w", behind, err)
		}
	}
	return nil
}

// giveMaster makes the link a port again of what it was one of. A bond takes only
// links that are down, and so may others; down, the link loses what it has of
// IPv6, and all its routes.
func (r *restorer) giveMaster(name string) error {
	master, err := r.LinkByName(name)
	if err != nil {
		return err
	}
	now, err := r.LinkByIndex(r.index)
	if err != nil {
		return err
	}
	if master.Kind == "bridge" || !now.Up && !r.again {
		return r.SetLink(r.index, Change{Master: master.Index})
	}
	k, err := r.Keep(r.index)
	if err != nil {
		return err
	}
	err = errors.Join(r.SetLink(r.index, Change{Down: true}), r.SetLink(r.index, Change{Master: master.Index}))
	if now.Up {
		err = errors.Join(err, r.SetLink(r.index, Change{Up: true}))
	}
	for _, p := range r.restorer(r.index, k).restore(k.upParts()) {
		err = errors.Join(err, p.Err)
	}
	return err
}

func masterCommand(k Kept) string { return setCommand(k.Name, "master", k.Master) }

// lookAddr also tells what addresses of the family the link has that it had not,
// and which other links have the same address: whoever gives it those may not want
// this one back.
func (r *restorer) lookAddr(p Part) (there bool, found string, err error) {
	want, err := readAddr(p.Message)
	if err != nil {
		return false, "", err
	}
	msgs, err := r.addrMessages(want.header[0])
	if err != nil {
		return false, "", err
	}
	ours := map[string]bool{}
	for _, k := range r.kept.Addrs {
		if a, err := readAddr(k.Message); err == nil {
			ours[a.text()] = true
		}
	}
	var others []string
	for _, m := range msgs {
		a, err := readAddr(m)
		if err != nil {
			return false, "", err
		}
		switch here := a.index() == r.index; {
		case here && a.text() == want.text():
			there = true
		case here && !a.kernels() && !ours[a.text()], !here && a.local() == want.local():
			others = append(others, fmt.Sprintf("%s on %d", a.text(), a.index()))
		}
	}
	slices.Sort(others)
	return there, strings.Join(others, ", "), nil
}
