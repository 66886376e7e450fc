package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
	"github.com/urfave/cli/v2"
)

func (o *output) importEntry() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "print a topology file for what is attached now, on this host or to one guest",
		ArgsUsage: "[GUEST]",
		Action:    o.importCommand,
	}
}

func (o *output) importCommand(c *cli.Context) error {
	w, err := words(c, 0, 1)
	if err != nil {
		return err
	}
	if len(w) == 0 {
		return o.importOf(c.Context, nil)
	}
	return o.withGuest(c, w[0], func(ctx context.Context, g *attach.Guest, _ attach.Options) error { return o.importOf(ctx, g) })
}

// importOf prints a file for the attachments of a guest, or for nil for those of all.
func (o *output) importOf(ctx context.Context, g *attach.Guest) error {
	r, err := attach.List(ctx, nil, attach.Options{}) // of a link, the other end too
	if err = stopped(ctx, err); err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	o.warn(r.Warnings)
	file := topology.Draft{Comments: importHead}
	for _, e := range importedEntries(r.Attachments, func(a attach.Attachment) bool { return g == nil || a.Guest.NetNS == g.NetNS }) {
		for _, note := range e.Comments {
			o.say("warning: %s", note)
		}
		file.Entries = append(file.Entries, e)
	}
	if g == nil {
		file.Bridges = importedBridges(r.Bridges)
	}
	text := file.Text()
	if _, err := o.stdout.Write(text); err != nil {
		return unwritten(err)
	}
	return nil
}

// importHead says on top of the file what no list of attachments can tell.
var importHead = []string{
	`Made by "gopipework import". It does not have what cannot be told from what is there: the`,
	"flags --acd, --verify, --nodad, --no-firewall and --vlan-filtering, --default, --metric and",
	"--sysctl, and the options of dhcp and slaac. Interfaces have the MAC addresses that they have",
	"now.",
}

// importedBridges returns what the host has on bridges.
func importedBridges(all []attach.Bridge) (bridges []topology.DraftBridge) {
	for _, b := range all {
		d := topology.DraftBridge{Bridge: topology.Bridge{Name: b.Name, Address: b.Own, Uplink: b.Uplink}}
		if b.Made && b.MTU != usualMTU && b.Kind == attach.KindBridge {
			d.MTU = b.MTU
		}
		d.Comments = append(d.Comments, fmt.Sprintf("%s belongs to %s: destroy that before you apply this for another file", b.Name, b.Origin))
		bridges = append(bridges, d)
	}
	return bridges
}

// importedEntries returns an entry for each attachment that of says is wanted; both ends
// of a link have one entry.
func importedEntries(all []attach.Attachment, of func(attach.Attachment) bool) (entries []topology.DraftEntry) {
	g := grammar()
	done := map[int]bool{}
	for n, a := range all {
		if done[n] || !of(a) {
			continue
		}
		e, other := importedEntry(g, all, n)
		done[other] = true
		entries = append(entries, e)
	}
	return entries
}

// importedEntry returns the entry for an attachment, and the number of the other end of its
// link, or -1. Where a line cannot say all of it, the comments of the entry say what is
// missing.
func importedEntry(g topology.Grammar, all []attach.Attachment, n int) (e topology.DraftEntry, other int) {
	a := all[n]
	note := func(format string, args ...any) {
		e.Comments = append(e.Comments, a.Interface.Name+" of "+a.Guest.Word()+" "+fmt.Sprintf(format, args...))
	}
	switch {
	case a.State == attach.Complete && a.Host.Name == "" && a.Host.Kind == string(attach.KindBridge):
		note("is left out: its port %s is in no bridge now", a.Host.Port)
		return e, -1
	case a.State != attach.Complete || a.Hidden:
		note("is left out: it is half made, or its guest cannot be seen (gopipework list)")
		return e, -1
	}
	other = slices.IndexFunc(all, func(b attach.Attachment) bool { return reconcile.Joined(a, b) })
	switch e.Link = a.Host.Kind == string(attach.KindVeth); {
	case !e.Link:
		e.Words = importedLine(a, note)
	case other < 0:
		note("is left out: the other end of its link, in %s, cannot be seen", a.Host.Name)
		return topology.DraftEntry{Comments: e.Comments}, other
	default:
		e.Words = importedLink(a, all[other], note)
	}
	alone := topology.Draft{Entries: []topology.DraftEntry{{Words: e.Words, Link: e.Link}}}
	if _, err := topology.Parse("import", alone.Text(), g); err != nil {
		note("is left out, as no line says the same: %s: %v", shell.Line(e.Words), err)
		e.Words = nil
	}
	noteOf(a, note)
	return e, other
}

// noteOf notes what holds for a line and for a link.
func noteOf(a attach.Attachment, note func(string, ...any)) {
	if a.Guest.Runtime == "pid" {
		note("is known by the number of a process, which is another's once that has ended")
	}
	if file := attach.Origin("file"); a.Origin.Claims() && !file.Takes(a.Origin) {
		note("belongs to %s: detach it before you apply this line for another file", a.Origin)
	}
}

const usualMTU = 1500

// importedLine returns the line for an attachment: the same kind on a host where the
// bridge is not there yet, without what is as usual.
func importedLine(a attach.Attachment, note func(string, ...any)) []string {
	s, rest := reconcile.Asked(a)
	for _, more := range rest {
		note("has %s, which are not in the line", more)
	}
	switch kind, name := s.HostIF.Kind, s.HostIF.Name; {
	case kind == attach.KindDummy, kind == attach.KindBridge && strings.HasPrefix(name, "br"), kind == attach.KindOVS && strings.HasPrefix(name, "ovs"):
		s.HostIF.Kind = attach.KindAny // which the name tells
	case kind == attach.KindPhys:
		s.MTU = 0 // the card's
	case kind == attach.KindVLAN:
		s.MAC = nil // the card's
	}
	if s.IfName == spec.UsualIfName {
		s.IfName = ""
	}
	if usualPort(a.Interface.Name, s.HostName) {
		s.HostName = ""
	}
	if s.MTU == usualMTU {
		s.MTU = 0
	}
	return attachLine(s)
}

// usualPort reports whether a port has the name that it gets without -l: of the interface,
// with the guest's PID, or with a hash.
func usualPort(ifName, port string) bool {
	const hash, most = 7, 15
	head := "v" + ifName
	if pid, ok := strings.CutPrefix(port, head+"pl"); ok && pid != "" && strings.Trim(pid, "0123456789") == "" {
		return true
	}
	tail, ok := strings.CutPrefix(port, head[:min(len(head), most-hash)])
	return ok && len(tail) == hash && strings.Trim(tail, "0123456789abcdef") == ""
}

// importedLink returns the line for a link, from both of its ends.
func importedLink(a, b attach.Attachment, note func(string, ...any)) (line []string) {
	var flags [2][]string
	for n, end := range []attach.Attachment{a, b} {
		s, rest := reconcile.Asked(end)
		line = append(line, s.Guest+":"+s.IfName, s.AddressWord())
		for _, more := range rest {
			note("and its other end: %s has %s, which are not in the line", s.Guest, more)
		}
		both := attach.Spec{Shape: s.Shape}
		if s.MTU != usualMTU {
			both.MTU = s.MTU
		}
		flags[n] = longFlags(both.Words())
	}
	if !slices.Equal(flags[0], flags[1]) {
		note("and its other end differ in MTU or shaping, which a line gives to both: %s and %s", shell.Line(flags[0]), shell.Line(flags[1]))
		return line
	}
	return append(line, flags[0]...)
}
