package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/cni"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/spec"
)

// isPlugin reports whether the program was run as a plugin of CNI: without words, and with
// the verb in the environment.
func isPlugin(args []string) bool { return len(args) == 0 && os.Getenv(cni.Command) != "" }

// plugin answers one call of a container engine.
type plugin struct {
	*output
	call   cni.Call
	config cni.Config
	origin attach.Origin
	prev   *cni.Result // for ADD that of the plugin before this one, for CHECK that of ADD; nil: there is none
	hostNS *os.File    // nil: this process's own namespace is the host's
}

// answerEngine answers a container engine that runs the program as a plugin of CNI. stdout
// carries the answer, or the error, and nothing else.
func (o *output) answerEngine(ctx context.Context) error {
	ctx, o.caught = withSignals(ctx)
	p := &plugin{output: o}
	err := stopped(ctx, p.answer(ctx))
	if err != nil {
		o.document(cni.Explain(err, p.config.CNIVersion, exitCode(err)))
	}
	return err
}

func (p *plugin) answer(ctx context.Context) (err error) {
	if p.call, err = cni.ReadCall(os.Getenv); err != nil {
		return err
	}
	if p.call.Verb == cni.Version {
		return cni.Plugin().Encode(p.stdout)
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return fault.New(fault.Failed, "read", "the network configuration", "%w", err)
	}
	if p.config, err = cni.Read(p.call.Verb, text); err != nil {
		return err
	}
	if p.origin, err = p.config.Origin(); err != nil {
		return err
	}
	if p.call.Verb == cni.Add || p.call.Verb == cni.Check {
		if p.prev, err = p.config.PrevResult(); err != nil {
			return err
		}
	}
	if p.config.Extra() {
		return p.answerExtra(ctx)
	}
	if err := p.findCard(); err != nil {
		return err
	}
	switch p.call.Verb {
	case cni.Add:
		return p.add(ctx)
	case cni.Check:
		return p.check(ctx)
	case cni.Del:
		return p.del(ctx)
	case cni.Status:
		return p.status(ctx)
	}
	return p.gc(ctx)
}

// options are those of every run for the caller.
func (p *plugin) options() attach.Options {
	return attach.Options{Origin: p.origin, HostNS: p.hostNS, Keeper: "/proc/self/exe", Step: func(string) { p.caught() }}
}

// findCard has the card that the caller chose by its PCI address be the host interface.
// After ADD it is not on the host.
func (p *plugin) findCard() error {
	device := p.config.Runtime.Device
	if p.call.Verb != cni.Add || device == "" {
		return nil
	}
	cards, _ := os.ReadDir(filepath.Join("/sys/bus/pci/devices", filepath.Base(device), "net"))
	if len(cards) != 1 {
		return cni.NoDevice(fault.New(fault.NotFound, "find card", device, "the host has no network card with this PCI address"))
	}
	p.config.HostIF = "phys:" + cards[0].Name()
	return nil
}

// guest opens the guest that the caller names.
func (p *plugin) guest() (*attach.Guest, error) {
	g, err := attach.OpenGuest(p.call.NetNS)
	if err != nil {
		return nil, cni.BadVariable(err)
	}
	if nsfs.Is(g.Namespace, "/proc/self/ns/net") {
		if err := p.elsewhere(); err != nil {
			g.Close()
			return nil, cni.BadVariable(err)
		}
	}
	g.Runtime, g.ID = guests.RuntimeCNI, cni.ID(p.config.Name, p.call.ContainerID, p.call.IfName)
	return g, nil
}

// elsewhere has the host be that of process 1, for a caller that runs a plugin in the
// guest's namespace and says so.
func (p *plugin) elsewhere() (err error) {
	if !p.call.Override {
		return fault.New(fault.Conflict, "read CNI_NETNS", p.call.NetNS, "it is the network namespace that gopipework itself runs in").
			WithHint("CNI_NETNS_OVERRIDE=1 if process 1 is in the host's")
	}
	p.hostNS, err = nsfs.Open(nsfs.OfProcess(1), 0)
	return fault.Explain("open", "the namespace of process 1", err)
}

// asked reads what the caller asks for. given is what the plugin that gives out the
// addresses has given; nil: nothing yet.
func (p *plugin) asked(given *cni.Result) (attach.Spec, error) {
	w, err := p.config.Words(p.call, given)
	if err != nil {
		return attach.Spec{}, err
	}
	return attach.Parse(w)
}

// attach attaches the guest as the caller asks.
func (p *plugin) attach(ctx context.Context, g *attach.Guest, given *cni.Result, opt attach.Options) (attach.Result, error) {
	s, err := p.asked(given)
	if err != nil {
		return attach.Result{}, err
	}
	return attach.Attach(ctx, s, g, opt)
}

// detach detaches what the caller's container has got in a guest or, with "" for its ID, what any
// container has: in main mode the interface of the name that the caller asks for, in extra mode
// all. complete: what was found had all that belongs to it.
func (p *plugin) detach(ctx context.Context, g *attach.Guest, id string) (found, complete bool, err error) {
	sel := attach.Selection{IfName: p.config.NameIn(p.call), Origin: p.origin, Guest: id}
	if p.config.Extra() {
		sel.IfName, sel.All = "", true
	}
	r, err := attach.Detach(ctx, sel, g, p.options())
	p.warn(r.Warnings)
	found = len(r.Attachments) > 0
	return found, found && !slices.ContainsFunc(r.Attachments, func(a attach.Attachment) bool { return a.State != attach.Complete }), err
}

// add attaches the guest, and answers with what it got. Unlike a line, it does not succeed
// twice.
func (p *plugin) add(ctx context.Context) error {
	g, err := p.guest()
	if err != nil {
		return err
	}
	defer g.Close()
	opt := p.options()
	opt.Fresh = true
	var r attach.Result
	var given *cni.Result
	switch ipam := p.config.IPAM; {
	case ipam.Type == "":
		r, err = p.attach(ctx, g, nil, opt)
	case ipam.NeedsInterface():
		r, given, err = p.attachFirst(ctx, g, opt)
	default:
		r, given, err = p.attachThen(ctx, g, opt)
	}
	if err != nil {
		return err
	}
	p.warn(r.Warnings)
	if err := p.config.Write(p.stdout, cni.Credit(cni.AddTo(p.prev, r.Attachments[0], p.call.NetNS), given)); err != nil {
		return p.undo(ctx, fault.New(fault.Failed, "answer", "the caller", "%w", err)) // nobody knows of it
	}
	return nil
}

// undo returns err after a DEL for an ADD of which everything was done.
func (p *plugin) undo(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attach.DefaultTimeout)
	defer cancel()
	if undone := p.del(ctx); undone != nil {
		return notUndone(err, undone, p.config.NameIn(p.call)+" of "+p.call.NetNS)
	}
	return err
}

// check fails if what ADD has made is not there, or not as it was made: ADD would change
// something now.
func (p *plugin) check(ctx context.Context) error {
	g, err := p.guest()
	if err != nil {
		return err
	}
	defer g.Close()
	if err := p.checkOne(ctx, g, p.config.NameIn(p.call), p.asked); err != nil {
		return err
	}
	if p.config.IPAM.Type != "" {
		return p.config.IPAM.Check(ctx)
	}
	return nil
}

// checkOne fails if one interface is not there, or not as ADD has made it and has answered.
// asked reads what ADD was asked for, with the addresses that the interface has.
func (p *plugin) checkOne(ctx context.Context, g *attach.Guest, name string, asked func(*cni.Result) (attach.Spec, error)) error {
	a, err := p.attached(ctx, g, name)
	if err == nil && a == nil {
		err = p.differs(name, "it is not there")
	}
	if err != nil {
		return err
	}
	there := cni.AddTo(nil, *a, p.call.NetNS)
	if p.config.Runtime.Device != "" {
		p.config.HostIF = "phys:" + a.Host.Name
	}
	if err := p.asAnswered(*a); err != nil {
		return err
	}
	s, err := asked(there)
	if err != nil {
		return err
	}
	opt := p.options()
	opt.DryRun = true
	r, err := attach.Attach(ctx, s, g, opt)
	if err == nil && r.Changed {
		err = p.differs(name, "it is not as ADD has made it; this is missing: %s", strings.Join(r.Steps, "; "))
	}
	return err
}

// attached returns an attachment of this network's in a guest; nil: there is none, or it is not
// complete.
func (p *plugin) attached(ctx context.Context, g *attach.Guest, name string) (*attach.Attachment, error) {
	list, err := attach.List(ctx, g, p.options())
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list.Attachments, func(a attach.Attachment) bool {
		return a.Interface.Name == name && a.Origin == p.origin && a.State == attach.Complete
	})
	if i < 0 {
		return nil, nil
	}
	return &list.Attachments[i], nil
}

// asAnswered fails if an attachment lacks something that ADD has answered with. What a lease gives
// may have changed since.
func (p *plugin) asAnswered(a attach.Attachment) error {
	if p.prev == nil || a.Lease != nil {
		return nil
	}
	name := a.Interface.Name
	if lacks := cni.Lacks(cni.AddTo(nil, a, p.call.NetNS), p.prev, name); lacks != "" {
		return p.differs(name, "%s that ADD has answered with is not there", lacks)
	}
	return nil
}

// differs is the error of CHECK about an interface.
func (p *plugin) differs(name, format string, args ...any) error {
	return fault.New(fault.Conflict, "check", name+" of "+p.call.NetNS, format, args...)
}

// status fails if nothing can be attached now. With STATUS the caller does not say what it will
// ask for itself: a card, or addresses.
func (p *plugin) status(ctx context.Context) error {
	if p.config.HostIF != "" {
		if err := p.plan(ctx); err != nil {
			return p.notReady(ctx, err)
		}
	}
	if p.config.IPAM.Type != "" {
		return p.config.IPAM.Status(ctx)
	}
	return nil
}

// plan plans what ADD would do for a guest that has nothing.
func (p *plugin) plan(ctx context.Context) error {
	p.call.IfName, p.call.NetNS = spec.UsualIfName, "a new guest"
	if p.config.IPAM.Type == "" {
		p.config.Address = cmp.Or(p.config.Address, "0/0")
	}
	ns, err := nsfs.New()
	if err != nil {
		return fault.Explain("make", "a network namespace", err)
	}
	g := guests.New(attach.GuestInfo{Runtime: guests.RuntimeCNI, Name: p.call.NetNS}, ns, nil)
	defer g.Close()
	opt := p.options()
	opt.DryRun = true
	_, err = p.attach(ctx, g, nil, opt)
	return err
}

// notReady tells whether what is attached already may be cut off, too, by what keeps more
// from being attached.
func (p *plugin) notReady(ctx context.Context, err error) error {
	list, _ := attach.List(ctx, nil, p.options())
	if fault.CodeOf(err) != fault.Usage && slices.ContainsFunc(list.Attachments, func(a attach.Attachment) bool { return a.Origin == p.origin }) {
		return cni.Limited(err)
	}
	return cni.NotReady(err)
}
