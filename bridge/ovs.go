package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plainname"
	"github.com/gopipework/gopipework/internal/shell"
)

// Open vSwitch as data: what it has, what of it is ours, and the ovs-vsctl
// commands that change it. ovs_linux.go runs them.
//
// It is spoken to through ovs-vsctl, not in its database's own protocol: what
// --dry-run prints and what is done are then the same words, and waiting for
// ovs-vswitchd is the program's business.

// OVS is the Open vSwitch of this host.
type OVS struct {
	Running bool   // its database answers, and there is an ovs-vsctl to speak to it
	Missing string // where it does not: why
	Kernel  bool   // this kernel has the datapath of Open vSwitch
	Bridges []OVSBridge

	// Segments is other_config:userspace-tso-enable: the datapath of ovs-vswitchd completes
	// a checksum that was left to a card. It holds from the next start of ovs-vswitchd.
	Segments bool
}

// OVSBridge is an Open vSwitch bridge.
type OVSBridge struct {
	Name     string
	Datapath string // datapath_type: "" or "system" is the kernel's, "netdev" that of ovs-vswitchd itself
	Ours     bool
	Origin   string // external_ids:gopipework.origin: who asks for it, whether or not it is ours; "": nobody
	Made     bool   // ovs-vswitchd could make it
	Error    string // what it said, where it could not and said anything

	Secure       bool            // fail_mode: without a controller nothing but its flows passes frames on
	Controllers  []OVSController // who writes its flows; an empty list: nobody but ovs-ofctl
	STP, RSTP    bool            // it runs a spanning tree protocol
	ForwardDelay time.Duration   // of that: listening, and again learning

	Ports   []OVSPort   // without the one that has the bridge's name
	Mirrors []OVSMirror // of ours
}

// OVSController is a program that writes the flows of a bridge.
type OVSController struct {
	Target    string // where it is, for example "tcp:192.0.2.1:6653"
	Connected bool   // ovs-vswitchd speaks to it now
	Error     string // why the last try failed, if any has
}

// OVSPort is a link that is a port of an Open vSwitch bridge, and what its
// record says. Of a bond, each link is one.
type OVSPort struct {
	Bridge string
	Name   string // of the link
	VLAN   VLAN
	Mode   string            // vlan_mode, as it stands
	Mark   string            // external_ids:gopipework; "" is not ours
	IDs    map[string]string // the other external_ids of the Interface record
	Number int               // OpenFlow port number; below 1 ovs-vswitchd has not got the link
	Error  string            // why it has not
	State  string            // of the spanning tree protocol that its bridge runs, for example "listening"

	// Type is "" for a link of the kernel's, "internal" for one that ovs-vswitchd makes. A
	// "patch" port, or a tunnel such as "vxlan", has none.
	Type      string
	Index     int    // of the link that ovs-vswitchd has, in its own network namespace; 0: it has none
	Peer      string // the port of another bridge that a patch port leads to
	Remote    string // the address that a tunnel leads to, or "flow"
	Bond      string // the port that this link and others make up; "": it is a port alone
	Protected bool   // it exchanges no frames with other protected ports
}

// LinkGone reports whether ovs-vswitchd has no link for a port that needs one, as after the
// link has been deleted. The port stays, may keep its Number, and has no Error: frames
// for it are sent nowhere.
func (p OVSPort) LinkGone() bool {
	return (p.Type == "" || p.Type == "system") && p.Index == 0
}

// The types of datapath that a bridge of ours can have.
const (
	KernelDatapath    = ""
	UserspaceDatapath = "netdev"
)

const (
	ovsMarkKey    = "gopipework" // in external_ids: the mark
	ovsBridgeMark = "bridge"
	ovsOriginKey  = "gopipework.origin" // in a bridge's: who asks for it
	ovsPackage    = "openvswitch-switch"
	kernelModule  = "openvswitch"
)

// Datapath is the type of datapath for a bridge that we make.
func (o OVS) Datapath() string {
	if o.Kernel {
		return KernelDatapath
	}
	return UserspaceDatapath
}

// Bridge returns the bridge of that name.
func (o OVS) Bridge(name string) (OVSBridge, bool) {
	for _, b := range o.Bridges {
		if b.Name == name {
			return b, true
		}
	}
	return OVSBridge{}, false
}

// Port returns the port that the link of that name is, of whatever bridge.
func (o OVS) Port(link string) (OVSPort, bool) {
	for _, b := range o.Bridges {
		for _, p := range b.Ports {
			if p.Name == link {
				return p, true
			}
		}
	}
	return OVSPort{}, false
}

// Mirrors returns those of ours, of all bridges.
func (o OVS) Mirrors() (all []OVSMirror) {
	for _, b := range o.Bridges {
		all = append(all, b.Mirrors...)
	}
	return all
}

// OurPorts returns the ports that carry our mark, of all bridges.
func (o OVS) OurPorts() []OVSPort {
	var ours []OVSPort
	for _, b := range o.Bridges {
		for _, p := range b.Ports {
			if p.Mark != "" {
				ours = append(ours, p)
			}
		}
	}
	return ours
}

// Require returns an unsupported error where there is no Open vSwitch here.
func (o OVS) Require(op, object string) error {
	if o.Running {
		return nil
	}
	return noOVS(op, object, o.Missing)
}

// ErrNoOVS is in the error for an Open vSwitch that is not installed, or does not run.
var ErrNoOVS = errors.New("there is no Open vSwitch here")

func noOVS(op, object, why string) error {
	return fault.New(fault.Unsupported, op, object, "%w: %s", ErrNoOVS, why).
		WithHint("install the package %s, and start it", ovsPackage)
}

// Userspace reports whether the bridge's frames are moved by ovs-vswitchd,
// which takes a packet's checksum for done that the kernel leaves to a card.
func (b OVSBridge) Userspace() bool { return b.Datapath == UserspaceDatapath }

func (b OVSBridge) inKernel() bool { return b.Datapath == KernelDatapath || b.Datapath == "system" }

// Forwards reports whether the spanning tree protocol of a bridge, if it runs
// one, lets frames of the port through.
func (b OVSBridge) Forwards(p OVSPort) bool {
	return !b.STP && !b.RSTP || strings.EqualFold(p.State, "forwarding")
}

// AddCommand is the same as a person would type it.
func (b OVSBridge) AddCommand() string { return ovsCommand(b.addArgs()) }

// DeleteCommand is the same as a person would type it.
func (b OVSBridge) DeleteCommand() string { return ovsCommand(b.deleteArgs()) }

func (b OVSBridge) addArgs() []string {
	args := []string{"add-br", b.Name, "--", "set", "Bridge", b.Name}
	if b.Datapath != KernelDatapath {
		args = append(args, "datapath_type="+b.Datapath)
	}
	return append(args, ovsID(ovsMarkKey, ovsBridgeMark))
}

func (b OVSBridge) deleteArgs() []string { return []string{"del-br", b.Name} }

// SetOriginCommand is the same as a person would type it.
func (b OVSBridge) SetOriginCommand(origin string) string { return ovsCommand(b.setOriginArgs(origin)) }

func (b OVSBridge) setOriginArgs(origin string) []string {
	if origin == "" {
		return []string{"remove", "Bridge", b.Name, "external_ids", ovsOriginKey}
	}
	return []string{"set", "Bridge", b.Name, ovsID(ovsOriginKey, origin)}
}

// AddCommand is the same as a person would type it.
func (p OVSPort) AddCommand() string { return ovsCommand(p.addArgs()) }

// DeleteCommand is the same as a person would type it.
func (p OVSPort) DeleteCommand() string { return ovsCommand(p.deleteArgs()) }

func (p OVSPort) addArgs() []string {
	args := append([]string{"add-port", p.Bridge, p.Name}, p.VLAN.ovsColumns()...)
	if p.Protected {
		args = append(args, "protected=true")
	}
	return append(append(args, "--"), p.setIDsArgs()...)
}

// SetIDsCommand is the same as a person would type it.
func (p OVSPort) SetIDsCommand() string { return ovsCommand(p.setIDsArgs()) }

func (p OVSPort) setIDsArgs() []string {
	args := []string{"set", "Interface", p.Name, ovsID(ovsMarkKey, p.Mark)}
	for _, key := range slices.Sorted(maps.Keys(p.IDs)) {
		args = append(args, ovsID(key, p.IDs[key]))
	}
	return args
}

func (p OVSPort) deleteArgs() []string { return []string{"del-port", p.Bridge, p.Name} }

// The values of vlan_mode that are written (ovs-vswitchd.conf.db(5), Port).
const (
	modeAccess         = "access"
	modeNativeUntagged = "native-untagged"
	modeTrunk          = "trunk"
)

// Carries reports whether the port is set up for v.
func (p OVSPort) Carries(v VLAN) bool {
	mode := p.Mode
	switch {
	case mode == "" && p.VLAN.PVID != 0:
		mode = modeAccess
	case mode == "":
		mode = modeTrunk
	}
	return mode == v.ovsMode() && p.VLAN.PVID == v.PVID && slices.Equal(p.VLAN.Tagged, v.Tagged)
}

func (v VLAN) ovsMode() string {
	switch {
	case v.PVID == 0:
		return modeTrunk
	case len(v.Tagged) == 0:
		return modeAccess
	}
	return modeNativeUntagged
}

// ovsColumns are the columns of a Port. An access port has its tag alone, as
// pipework writes it.
func (v VLAN) ovsColumns() []string {
	if v.IsZero() {
		return nil
	}
	var columns []string
	if v.PVID != 0 {
		columns = append(columns, "tag="+strconv.Itoa(v.PVID))
	}
	if len(v.Tagged) > 0 {
		columns = append(columns, "trunks="+tagWords(v.Tagged), "vlan_mode="+v.ovsMode())
	}
	return columns
}

// setVLANArgs make the columns those of v, in one transaction.
func (p OVSPort) setVLANArgs(v VLAN) []string {
	args := []string{"clear", "Port", p.Name, "tag", "trunks", "vlan_mode"}
	if columns := v.ovsColumns(); len(columns) > 0 {
		args = append(append(args, "--", "set", "Port", p.Name), columns...)
	}
	if v.IsZero() {
		return append(args, "--", "remove", "Interface", p.Name, "external_ids", ovsVLANKey)
	}
	return append(args, "--", "set", "Interface", p.Name, ovsID(ovsVLANKey, v.String()))
}

// ovsVLANKey is where pipework writes the VLAN down.
const ovsVLANKey = "pipework.vlan"

// SetVLANCommand is the same as a person would type it.
func (p OVSPort) SetVLANCommand(v VLAN) string { return ovsCommand(p.setVLANArgs(v)) }

// ProtectCommand is the same as Protect as a person would type it.
func (p OVSPort) ProtectCommand(on bool) string { return ovsCommand(p.protectArgs(on)) }

func (p OVSPort) protectArgs(on bool) []string {
	return []string{"set", "Port", p.Name, "protected=" + strconv.FormatBool(on)}
}

// SetMarkCommand is the same as a person would type it.
func (p OVSPort) SetMarkCommand(mark string) string { return ovsCommand(p.setMarkArgs(mark)) }

func (p OVSPort) setMarkArgs(mark string) []string {
	return []string{"set", "Interface", p.Name, ovsID(ovsMarkKey, mark)}
}

func ovsCommand(args []string) string { return shell.Line(append([]string{"ovs-vsctl"}, args...)) }

func ovsID(key, value string) string { return "external_ids:" + ovsQuote(key) + "=" + ovsQuote(value) }

// ovsQuote writes a string as ovs-vsctl reads it: as JSON has it, where it is
// not plain (ovs-vsctl(8), "Database Values").
func ovsQuote(s string) string {
	if plainname.Is(s) {
		return s
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(ovsText(s)); err != nil {
		return `""` // no string is an error
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// ovsText is what the database keeps of s: it knows only UTF-8.
func ovsText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
