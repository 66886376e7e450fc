package attach

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/rundir"
	"golang.org/x/sys/unix"
)

// Loan is a network card of the host's that is in a guest. What it was like at
// home no kernel object can hold, so it is in a file; and since the guest can
// rename the card and write its alias, so is where it came from.
type Loan struct {
	HostNS   uint64    `json:"host"`             // cookie of the namespace it is of
	GuestNS  uint64    `json:"guest"`            // cookie of the guest's
	To       GuestInfo `json:"to"`               // the guest
	IfName   string    `json:"ifname"`           // its name there
	Index    int       `json:"index"`            // its index there; 0: not known yet
	Complete bool      `json:"complete"`         // the attach came to its end: a guest's alias would not tell
	Hardware hardware  `json:"hardware"`         // which card it is, wherever it is
	Card     rtnl.Kept `json:"card"`             // what it was like
	Master   string    `json:"master,omitempty"` // what it was a port of
}

// hardware tells a card from others, whatever somebody has configured.
type hardware struct {
	Kind      string           `json:"kind"` // "" for a real one
	PermMAC   net.HardwareAddr `json:"permaddr,omitempty"`
	ParentBus string           `json:"parentbus,omitempty"`
	ParentDev string           `json:"parentdev,omitempty"`
	Peer      int              `json:"peer,omitempty"`  // index of a veth's other end
	PeerNS    int              `json:"peerns"`          // and the id of its namespace on the host; -1: it is the host's
	Radio     *int             `json:"radio,omitempty"` // of a Wi-Fi card
}

func hardwareOf(l *rtnl.Link) hardware {
	return hardware{Kind: l.Kind, PermMAC: l.PermMAC, ParentBus: l.ParentBus, ParentDev: l.ParentDev, Peer: l.Peer, PeerNS: l.PeerNS}
}

// is reports whether a link can be the card.
func (h hardware) is(l *rtnl.Link) bool {
	return l.Kind == h.Kind && bytes.Equal(l.PermMAC, h.PermMAC) &&
		l.ParentBus == h.ParentBus && l.ParentDev == h.ParentDev && l.Peer == h.Peer
}

// certain reports whether no other link can be mistaken for it.
func (h hardware) certain() bool { return len(h.PermMAC) > 0 || h.ParentDev != "" }

// find returns the card among the links of a namespace; nil: it is not there.
// Its index is what the kernel tries to keep when it moves.
func (l Loan) find(links []*rtnl.Link) *rtnl.Link {
	var found *rtnl.Link
	for _, link := range links {
		switch {
		case !l.Hardware.is(link):
		case link.Index == l.Index || l.Index == 0 && link.Index == l.Card.Index:
			return link
		case l.Hardware.certain() || link.MAC.String() == l.Card.MAC:
			found = link
		}
	}
	return found
}

// answers reports whether HOSTIF, which is not there, means the card.
func (l Loan) answers(name string) bool {
	mac, byMAC := strings.CutPrefix(name, macWord)
	return l.Card.Name == name || slices.Contains(l.Card.AltNames, name) || byMAC && l.Card.MAC == mac
}

// runDir is where the loans are.
var runDir = rundir.Path

const loanSuffix = ".loan.json"

func (l Loan) file() string { return fmt.Sprintf("%d.%s%s", l.HostNS, l.Card.Name, loanSuffix) }

// save writes the loan down.
func (l Loan) save() error { return l.with(func(d *rundir.Dir) error { return d.Write(l.file(), l) }) }

// forget strikes it out.
func (l Loan) forget() error { return l.with(func(d *rundir.Dir) error { return d.Remove(l.file()) }) }

func (l Loan) with(do func(*rundir.Dir) error) error {
	d, err := rundir.Open(runDir, true)
	if err == nil {
		err = do(d)
		d.Close()
	}
	return explain("note in "+runDir+" the card", l.Card.Name, err)
}

// loans returns those of a host, by the cookie of its namespace.
func loans(k kernel) ([]Loan, error) {
	cookie, err := k.Cookie()
	if errors.Is(err, unix.ENOPROTOOPT) {
		return nil, nil // no card can have been lent: see lend
	}
	if err != nil {
		return nil, explain("read", "the host's namespace", err)
	}
	d, err := rundir.Open(runDir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, explain("open", runDir, err)
	}
	defer d.Close()
	names, err := d.Names(loanSuffix)
	if err != nil {
		return nil, explain("read", runDir, err)
	}
	var all []Loan
	for _, name := range names {
		if !strings.HasPrefix(name, fmt.Sprintf("%d.", cookie)) {
			continue
		}
		var l Loan
		err := d.Read(name, &l)
		switch {
		case errors.Is(err, fs.ErrNotExist): // given back while we looked
		case err != nil:
			return nil, fault.New(fault.Failed, "read", runDir+"/"+name, "%w", err).
				WithHint("it says what a lent network card was like; when the card is as it should be, remove the file")
		default:
			all = append(all, l)
		}
	}
	return all, nil
}
