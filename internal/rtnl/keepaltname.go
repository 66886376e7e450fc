package rtnl

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/internal/shell"
)

// dropAltNames deletes alternative names, unless they are what they were.
func (c *Conn) dropAltNames(index int, k Kept) error {
	now, err := c.LinkByIndex(index)
	if err != nil {
		return failed(lookAt(k.Name), err)
	}
	del, _ := k.altNames(now)
	for _, name := range del {
		err = errors.Join(err, failed(altNameCommand("del", now.Name, name), c.DelAltName(index, name)))
	}
	return err
}

func (c *Conn) altNameParts(index int, k Kept) (parts []Part, err error) {
	now, err := c.LinkByIndex(index)
	if err != nil {
		return nil, failed(lookAt(k.Name), err)
	}
	_, add := k.altNames(now)
	for _, name := range add {
		parts = append(parts, Part{Kind: partAltName, Value: name, KeptPart: KeptPart{Command: altNameCommand("add", k.Name, name)}})
	}
	return parts, nil
}

// altNames returns the names to delete and to add: none, or all of them,
// for they have an order.
func (k Kept) altNames(now *Link) (del, add []string) {
	if slices.Equal(now.AltNames, k.AltNames) {
		return nil, nil
	}
	return now.AltNames, k.AltNames
}

func altNameCommand(do, name, alt string) string {
	return shell.Line([]string{"ip", "link", "property", do, "dev", name, "altname", alt})
}

// altNameKind is an alternative name.
type altNameKind struct{ plainKind }

func (altNameKind) countIn(k *Kept, p Part) {
	if !slices.Contains(k.AltNames, p.Value) {
		k.AltNames = append(slices.Clone(k.AltNames), p.Value)
	}
}

// restore adds the name. Names have an order: those that come behind it are
// added again.
func (altNameKind) restore(r *restorer, p Part) error {
	name := p.Value
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

func (altNameKind) look(r *restorer, p Part) (there bool, found string, err error) {
	l, err := r.LinkByAltName(p.Value)
	if errors.Is(err, ErrNotFound) {
		return false, "", nil
	}
	if err != nil {
		return false, "", err
	}
	return l.Index == r.index, l.Name, nil
}

func (altNameKind) never(r *restorer, p Part) error {
	l, err := r.LinkByName(p.Value)
	if err == nil && l.Index != r.index {
		return fmt.Errorf("%s has that name by now", l.Name)
	}
	return nil
}
