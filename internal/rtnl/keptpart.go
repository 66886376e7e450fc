package rtnl

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

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

// partKind is what is known of one kind of parts. Each stands in the file of what it
// restores, and in Part.kind.
type partKind interface {
	// countIn makes the part one of those that the link is to have.
	countIn(k *Kept, p Part)
	// restore has the kernel make the part.
	restore(r *restorer, p Part) error
	// look reports whether the part is there, and what is in its place.
	look(r *restorer, p Part) (there bool, found string, err error)
	// place is the same for parts that have an order among themselves; "": it has none.
	place(p Part) string
	// never returns the reason why a part that was refused will not come back whatever
	// is done; nil if it may.
	never(r *restorer, p Part) error
	// late reports whether the last try of such a part comes when no address is
	// tentative, and does not heed the order: one without the other is better than neither.
	late() bool
}

func (p Part) kind() partKind {
	switch p.Kind {
	case partAltName:
		return altNameKind{}
	case partXDP:
		return xdpKind{}
	case partOffloads:
		return offloadsKind{}
	case partSysctl:
		return sysctlKind{}
	case partMaster:
		return masterKind{}
	case partPort:
		return portKind{}
	case partVLANs:
		return vlansKind{}
	case partToken:
		return tokenKind{}
	case partAddr:
		return addrKind{}
	case partNeigh:
		return neighKind{}
	case partRoute:
		return routeKind{}
	}
	return unknownKind{}
}

// plainKind has no order, may always come back, and needs no addresses.
type plainKind struct{}

func (plainKind) place(Part) string           { return "" }
func (plainKind) never(*restorer, Part) error { return nil }
func (plainKind) late() bool                  { return false }

// unknownKind is that of a part which another version has written.
type unknownKind struct{ plainKind }

func (unknownKind) countIn(*Kept, Part) {}

func (unknownKind) restore(_ *restorer, p Part) error {
	return fmt.Errorf("part %q: %w", p.Kind, errDamaged)
}

func (unknownKind) look(*restorer, Part) (bool, string, error) { return false, "", errDamaged }

var (
	errBehind  = errors.New("it has to come behind one that could not be restored")
	errChanged = errors.New("somebody has changed it meanwhile")
)

// upParts are those that a link needs to be up for.
func (k Kept) upParts() []Part {
	return slices.Concat(k.tokenPart(), k.addrParts(), k.neighParts(), k.routeParts())
}

// With returns what the link is to be like when the missing parts are counted in.
func (k Kept) With(missing []Part) Kept {
	for _, p := range missing {
		p.kind().countIn(&k, p)
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
			if slices.ContainsFunc(todo, func(p Part) bool { return p.kind().late() }) {
				_ = r.awaitAddrs(r.index) // if that fails, the late ones will
			}
		}
		parts = todo
	}
}

// round tries each part once. Those in one place have an order, so one that comes
// behind another waits for that; but a late one goes ahead in the last round.
func (r *restorer) round(parts []Part, last bool) (missing []Part) {
	blocked := map[string]bool{}
	for _, p := range parts {
		place := p.kind().place(p)
		if place != "" && blocked[place] && !(last && p.kind().late()) {
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
		there, found, err := p.kind().look(r, p)
		switch {
		case err == nil && there:
			return p
		case err == nil && found != *p.Found:
			p.Err, p.Over, p.Taken = failed(p.Command, errChanged), true, true
			return p
		}
	}
	err := p.kind().restore(r, p)
	if err == nil {
		return p
	}
	// The kernel also refuses what is there already.
	if there, _, lerr := p.kind().look(r, p); lerr == nil && there {
		return p
	}
	why := p.kind().never(r, p)
	p.Err, p.Over = failed(p.Command, errors.Join(err, why)), why != nil || damaged(err)
	return p
}

// found notes what is in the place of parts that are to be tried again.
func (r *restorer) found(parts []Part) []Part {
	for i, p := range parts {
		parts[i].Found = nil
		if _, found, err := p.kind().look(r, p); err == nil {
			parts[i].Found = &found
		}
	}
	return parts
}

// errDamaged is for a part that is not as it was written.
var errDamaged = fmt.Errorf("%w: the note about it is damaged", unix.EINVAL)

func damaged(err error) bool { return errors.Is(err, errDamaged) || errors.Is(err, fs.ErrInvalid) }
