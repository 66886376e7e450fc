package main

import (
	"context"
	"errors"
	"io"
	"os"
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
	return attach.Options{Origin: p.origin, Keeper: "/proc/self/exe", Step: func(string) { p.caught() }}
}

// guest opens the guest that the caller names.
func (p *plugin) guest() (*attach.Guest, error) {
	g, err := attach.OpenGuest(p.call.NetNS)
	if err != nil {
		return nil, cni.BadVariable(err)
	}
	if nsfs.Is(g.Namespace, "/proc/self/ns/net") {
		g.Close()
		return nil, cni.BadVariable(fault.New(fault.Conflict, "read CNI_NETNS", p.call.NetNS, "it is the network namespace that gopipework itself runs in"))
	}
	g.Runtime, g.ID = guests.RuntimeCNI, cni.ID(p.config.Name, p.call.ContainerID, p.call.IfName)
	return g, nil
}

// asked reads what is asked for.
func (p *plugin) asked() (attach.Spec, error) {
	w, err := p.config.Words(p.call)
	if err != nil {
		return attach.Spec{}, err
	}
	return attach.Parse(w)
}

// add attaches the guest, and answers with what it got. Unlike a line, it does not succeed
// twice.
func (p *plugin) add(ctx context.Context) error {
	prev, err := p.config.PrevResult()
	if err != nil {
		return err
	}
	s, err := p.asked()
	if err != nil {
		return err
	}
	g, err := p.guest()
	if err != nil {
		return err
	}
	defer g.Close()
	opt := p.options()
	opt.Fresh = true
	r, err := attach.Attach(ctx, s, g, opt)
	if err != nil {
		return err
	}
	p.warn(r.Warnings)
	if err := p.config.Write(p.stdout, cni.AddTo(prev, r.Attachments[0], p.call.NetNS)); err != nil { // nobody knows of it
		_, undone := attach.Detach(ctx, attach.Selection{IfName: r.Attachments[0].Interface.Name, Origin: p.origin}, g, p.options())
		return fault.New(fault.Failed, "answer", "the caller", "%w", errors.Join(err, undone))
	}
	return nil
}

// check fails if what ADD has made is not there, or not as it was made: the line of ADD
// would change something now.
func (p *plugin) check(ctx context.Context) error {
	prev, err := p.config.PrevResult()
	if err != nil {
		return err
	}
	s, err := p.asked()
	if err != nil {
		return err
	}
	g, err := p.guest()
	if err != nil {
		return err
	}
	defer g.Close()
	opt := p.options()
	opt.DryRun = true
	r, err := attach.Attach(ctx, s, g, opt)
	if err != nil {
		return err
	}
	in := r.Attachments[0].Interface
	differs := fault.New(fault.Conflict, "check", in.Name+" of "+p.call.NetNS, "it is not there, or not as ADD has made it")
	if r.Changed {
		return differs.WithHint("this would mend it: %s", strings.Join(r.Steps, "; "))
	}
	if prev == nil {
		return nil
	}
	if _, mac := cni.AddressesIn(prev, in.Name); mac != "" && mac != in.MAC {
		return differs.WithHint("its MAC address is %s, and was %s", in.MAC, mac)
	}
	return nil
}

// status fails if nothing can be attached now: it plans what ADD would do for a guest that
// has nothing.
func (p *plugin) status(ctx context.Context) error {
	p.call.IfName, p.call.NetNS = spec.UsualIfName, "a new guest"
	s, err := p.asked()
	if err != nil {
		return err
	}
	ns, err := nsfs.New()
	if err != nil {
		return fault.Explain("make", "a network namespace", err)
	}
	g := guests.New(attach.GuestInfo{Runtime: guests.RuntimeCNI, Name: p.call.NetNS}, ns, nil)
	defer g.Close()
	opt := p.options()
	opt.DryRun = true
	if _, err := attach.Attach(ctx, s, g, opt); err != nil {
		return cni.NotReady(err)
	}
	return nil
}
