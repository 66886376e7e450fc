package ours

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/rundir"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// Loan is a network card of the host's that is in a guest. What it was like at
// home no kernel object can hold, so it is in a file; and since the guest can
// rename the card and write its alias, so is where it came from.
type Loan struct {
	HostNS   uint64           `json:"host"`             // cookie of the namespace it is of
	GuestNS  uint64           `json:"guest"`            // cookie of the guest's
	To       guests.GuestInfo `json:"to"`               // the guest
	PIDs     uint64           `json:"pids,omitempty"`   // inode of the PID namespace that has its process; 0: not known
	IfName   string           `json:"ifname"`           // its name there
	Index    int              `json:"index"`            // its index there; 0: not known yet
	Complete bool             `json:"complete"`         // the attach came to its end: a guest's alias would not tell
	Origin   spec.Origin      `json:"origin,omitempty"` // who asked for it; "": a typed line
	Hardware hardware         `json:"hardware"`         // which card it is, wherever it is
	Card     rtnl.Kept        `json:"card"`             // what it was like

	// Missing are the parts of a returned card that could not be restored yet.
	// All else of the loan is over: the card is in use, and may have been changed.
	Missing []rtnl.Part `json:"missing,omitempty"`
}

// UnmarshalJSON also reads a file of a version that kept the master beside the card.
func (l *Loan) UnmarshalJSON(b []byte) error {
	type plain Loan
	was := struct {
		*plain
		Master string `json:"master"`
	}{plain: (*plain)(l)}
	if err := json.Unmarshal(b, &was); err != nil {
		return err
	}
	l.Card.Master = cmp.Or(l.Card.Master, was.Master)
	return nil
}

// Owed reports whether the card was returned without all that it had.
func (l Loan) Owed() bool { return len(l.Missing) > 0 }

// hardware tells a card from others, whatever somebody has configured.
type hardware struct {
	Kind      string           `json:"kind"` // "" for a real one
	PermMAC   net.HardwareAddr `json:"permaddr,omitempty"`
	ParentBus string           `json:"parentbus,omitempty"`
	ParentDev string           `json:"parentdev,omitempty"`
	Peer      int              `json:"peer,omitempty"`  // index of a veth's other end, or of what the link is on
	PeerNS    int              `json:"peerns"`          // and the id of its namespace on the host; -1: it is the host's
	VLAN      int              `json:"vlan,omitempty"`  // tag of a vlan link
	Radio     *int             `json:"radio,omitempty"` // of a Wi-Fi card
	Node      uint64           `json:"node,omitempty"`  // by which the kernel knows it; 0: it would not say
}

func HardwareOf(l *rtnl.Link) hardware {
	h := hardware{Kind: l.Kind, PermMAC: l.PermMAC, ParentBus: l.ParentBus, ParentDev: l.ParentDev, PeerNS: l.PeerNS, VLAN: l.VLAN}
	if Paired(l.Kind) || onLower(l.Kind) {
		h.Peer = l.Peer
	}
	return h
}

// Paired reports whether links of a kind come in pairs.
func Paired(kind string) bool { return kind == "veth" || kind == "netkit" || kind == "vxcan" }

// onLower reports whether a link of a kind stays on one other link for as long as it
// lives, and is deleted with it. For other kinds, such as vxlan, the link that the
// kernel names below them can change, or shows only from another namespace.
func onLower(kind string) bool {
	switch kind {
	case "macvlan", "macvtap", "ipvlan", "ipvtap", "vlan", "macsec", "ipoib":
		return true
	}
	return false
}

// is reports whether a link can be the card.
func (h hardware) is(l *rtnl.Link) bool {
	return l.Kind == h.Kind && bytes.Equal(l.PermMAC, h.PermMAC) &&
		l.ParentBus == h.ParentBus && l.ParentDev == h.ParentDev && (h.VLAN == 0 || l.VLAN == h.VLAN) &&
		(!Paired(h.Kind) && !onLower(h.Kind) || l.Peer == h.Peer)
}

// certain reports whether no other link can be mistaken for it.
func (h hardware) certain() bool { return len(h.PermMAC) > 0 || h.ParentDev != "" }

// Away returns the card among the links of the guest; nil: it is not there.
func (l Loan) Away(k plan.Reader, links []*rtnl.Link) *rtnl.Link {
	if l.Index == 0 { // the kernel tries to keep it
		return l.find(k, links, l.Card.Index)
	}
	return l.find(k, links, l.Index)
}

// Means reports whether HOSTIF is the card. home is the card on the host; nil: it is
// not there. Somebody may have renamed a card that was returned, or moved it away,
// and given its name to another.
func (l Loan) Means(name string, home *rtnl.Link) bool {
	return home != nil && home.Name == name || l.Card.Name == name && !l.Owed()
}

// Home returns the card among the links of the host; nil: it is not there.
func (l Loan) Home(k plan.Reader, links []*rtnl.Link) *rtnl.Link {
	return l.find(k, links, l.Card.Index)
}

// elsewhere returns the card among the links of any other namespace, where its
// index says nothing; nil: it is not there.
func (l Loan) elsewhere(k plan.Reader, links []*rtnl.Link) *rtnl.Link {
	return l.find(k, links, 0)
}

// find identifies the card by its node. Only if that is unknown or cannot be read
// does it fall back on the index, or on the MAC address, which a guest can change.
func (l Loan) find(k plan.Reader, links []*rtnl.Link, index int) *rtnl.Link {
	var found *rtnl.Link
	for _, link := range links {
		if l.Hardware.Node != 0 && link.Kind == l.Hardware.Kind {
			node, err := k.Node(link)
			switch {
			case err == nil && node == l.Hardware.Node:
				return link
			case err == nil, errors.Is(err, rtnl.ErrNotFound):
				continue
			}
		}
		switch {
		case !l.Hardware.is(link):
		case link.Index == index:
			return link
		case l.Hardware.certain() || l.ownMAC() && link.MAC.String() == l.Card.MAC:
			found = link
		}
	}
	return found
}

// ownMAC reports whether the card's MAC address identifies it: it has one, and it is
// not the parent's.
func (l Loan) ownMAC() bool {
	switch l.Hardware.Kind {
	case "ipvlan", "ipvtap", "vlan":
		return false
	}
	return l.Card.MAC != ""
}

// Answers reports whether HOSTIF, which is not there, means the card.
func (l Loan) Answers(name string) bool {
	mac, byMAC := strings.CutPrefix(name, spec.MACWord)
	return l.Card.Name == name || slices.Contains(l.Card.AltNames, name) || byMAC && l.Card.MAC == mac
}

// RunDir is where the loans are.
var RunDir = rundir.Path

const LoanSuffix = ".loan.json"

func (l Loan) File() string { return fmt.Sprintf("%d.%s%s", l.HostNS, l.Card.Name, LoanSuffix) }

// Save writes the loan down.
func (l Loan) Save() error { return l.noted(rundir.Put(RunDir, l.File(), l)) }

// Forget strikes it out.
func (l Loan) Forget() error { return l.noted(rundir.Drop(RunDir, l.File())) }

func (l Loan) noted(err error) error {
	return fault.Explain("save in "+RunDir+" the settings of", l.Card.Name, err)
}

// Loans returns those of a host, by the cookie of its namespace, and what to say
// about files that cannot be read. Such a file harms nobody's card but its own.
func Loans(k plan.Kernel) (all []Loan, unread []unreadLoan, err error) {
	cookie, err := k.Cookie()
	if errors.Is(err, unix.ENOPROTOOPT) {
		return nil, nil, nil // no card can have been lent: see lend
	}
	if err != nil {
		return nil, nil, fault.Explain("read", "the host's namespace", err)
	}
	return ReadLoans(fmt.Sprintf("%d.", cookie))
}

// ReadLoans returns the loans whose files' names begin with the prefix.
func ReadLoans(prefix string) (all []Loan, unread []unreadLoan, err error) {
	err = rundir.View(RunDir, func(d *rundir.Dir) error {
		names, err := d.Names(LoanSuffix)
		for _, name := range names {
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			var l Loan
			err := d.Read(name, &l)
			if err == nil && l.File() != name {
				err = errors.New("it describes a different card from the one in its name")
			}
			switch {
			case errors.Is(err, fs.ErrNotExist): // it was returned while we looked
			case err != nil:
				unread = append(unread, newUnreadLoan(name, err))
			default:
				all = append(all, l)
			}
		}
		return fault.Explain("read", RunDir, err)
	})
	return all, unread, fault.Explain("open", RunDir, err)
}

// unreadLoan is a file that cannot be read.
type unreadLoan struct {
	Card, File string // which card it is about, by its name
	err        error
}

func newUnreadLoan(file string, err error) unreadLoan {
	_, card, _ := strings.Cut(strings.TrimSuffix(file, LoanSuffix), ".")
	return unreadLoan{card, file, err}
}

func (u unreadLoan) String() string {
	return fmt.Sprintf("the settings of the lent card %s cannot be read: %s: %v; once the card is as it should be, delete the file",
		u.Card, shell.Quote(RunDir+"/"+u.File), u.err)
}
