package rtnl

import (
	"errors"
	"fmt"
)

func (k Kept) masterPart() (parts []Part) {
	if k.Master != "" {
		parts = append(parts, Part{Kind: partMaster, Value: k.Master, KeptPart: KeptPart{Command: masterCommand(k)}})
	}
	return parts
}

// needsMaster is of what a link has by its master: it will not come back once there is
// no such link.
type needsMaster struct{ plainKind }

func (needsMaster) never(r *restorer, _ Part) error {
	if _, err := r.LinkByName(r.kept.Master); errors.Is(err, ErrNotFound) {
		return fmt.Errorf("there is no %s any more", r.kept.Master)
	}
	return nil
}

// masterKind is what the link is a port of.
type masterKind struct{ needsMaster }

func (masterKind) countIn(k *Kept, p Part) {
	if k.Master == "" {
		k.Master = p.Value
	}
}

// restore makes the link a port again of what it was one of. A bond takes only
// links that are down, and so may others; down, the link loses what it has of
// IPv6, and all its routes.
func (masterKind) restore(r *restorer, p Part) error {
	master, err := r.LinkByName(p.Value)
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
	for _, up := range r.restorer(r.index, k).restore(k.upParts()) {
		err = errors.Join(err, up.Err)
	}
	return err
}

func masterCommand(k Kept) string { return setCommand(k.Name, "master", k.Master) }

func (masterKind) look(r *restorer, p Part) (there bool, found string, err error) {
	l, err := r.LinkByIndex(r.index)
	if err != nil || l.Master == 0 {
		return false, "", err
	}
	found, err = r.linkName(l.Master)
	return found == p.Value, found, err
}
