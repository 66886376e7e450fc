package rtnl

import (
	"fmt"
	"net/netip"

	"github.com/gopipework/gopipework/internal/shell"
)

func (k Kept) tokenPart() (parts []Part) {
	if k.Token != "" {
		parts = append(parts, Part{Kind: partToken, Value: k.Token,
			KeptPart: KeptPart{Command: shell.Line([]string{"ip", "token", "set", k.Token, "dev", k.Name})}})
	}
	return parts
}

// tokenKind is the end of the IPv6 addresses that routers give the link.
type tokenKind struct{ plainKind }

func (tokenKind) countIn(k *Kept, p Part) {
	if k.Token == "" {
		k.Token = p.Value
	}
}

func (tokenKind) restore(r *restorer, p Part) error {
	ip, err := netip.ParseAddr(p.Value)
	if err != nil {
		return fmt.Errorf("token %q: %w", p.Value, errDamaged)
	}
	return r.SetLink(r.index, Change{Token: ip})
}

func (tokenKind) look(r *restorer, p Part) (there bool, found string, err error) {
	l, err := r.LinkByIndex(r.index)
	if err != nil {
		return false, "", err
	}
	return l.Token == p.Value, l.Token, nil
}
