package main

import (
	"cmp"
	"context"
	"net"
	"slices"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/cni"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/labels"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/policy"
)

// A plugin in a chain, with "mode": "extra", leaves the interface of the one before it alone,
// and attaches what the guest itself asks for, as far as the policy allows. A guest that asks
// for nothing waits for nothing: neither is the policy read nor the guest entered.

// answerExtra answers as a plugin in a chain. STATUS always succeeds: the guests that ask for
// nothing can come.
func (p *plugin) answerExtra(ctx context.Context) error {
	switch p.call.Verb {
	case cni.Add:
		return p.addExtra(ctx)
	case cni.Check:
		return p.checkExtra(ctx)
	case cni.Del:
		return p.delExtra(ctx)
	case cni.GC:
		return p.gc(ctx)
	}
	return nil
}

// addExtra attaches all that the guest asks for, or nothing, and adds it to what the plugin
// before this one has answered.
func (p *plugin) addExtra(ctx context.Context) error {
	who, annotations := p.config.Asks(p.call)
	if err := misnamed(policy.Guest{Member: who}.String(), annotations); err != nil {
		return err
	}
	asked, err := p.extras()
	if err != nil {
		return err
	}
	result := cmp.Or(p.prev, &cni.Result{})
	if len(asked) == 0 {
		return p.config.Write(p.stdout, result)
	}
	g, err := p.guest()
	if err != nil {
		return err
	}
	defer g.Close()
	opt := p.options()
	opt.Fresh = true
	made, err := attachAll(ctx, asked, g, opt)
	if err != nil {
		return err
	}
	own := len(result.IPs)
	for _, r := range made {
		p.warn(r.Warnings)
		result = cni.AddTo(result, r.Attachments[0], p.call.NetNS)
	}
	if p.prev != nil && !p.config.AddsIPs() {
		result.IPs = result.IPs[:own]
	}
	if err := p.config.Write(p.stdout, result); err != nil { // nobody knows of it
		return undoAll(ctx, made, g, opt, fault.New(fault.Failed, "answer", "the caller", "%w", err))
	}
	return nil
}

// extras reads what the guest asks for; nothing, if it does not.
func (p *plugin) extras() (all []attach.Spec, err error) {
	who, annotations := p.config.Asks(p.call)
	asks := labels.Container{Member: who, Labels: annotations, Annotated: true}
	keys := asks.Keys()
	if len(keys) == 0 {
		return nil, nil
	}
	if who.Group == "" || who.Name == "" {
		return nil, fault.New(fault.Failed, "attach", keys[0], "CNI_ARGS does not say who asks, so nothing is allowed").
			WithHint("Kubernetes sets K8S_POD_NAMESPACE and K8S_POD_NAME there; Nomad sets NOMAD_NAMESPACE and NOMAD_JOB_ID, from 1.9.4 on")
	}
	rules, err := policy.Read(cmp.Or(p.config.Policy, policy.Path))
	if err != nil {
		return nil, err
	}
	return allowed(asks, rules)
}

// checkExtra fails if something that the guest has got beside its own interface is not there,
// or not as ADD has made it. A caller that hands on no annotations still hands on what ADD has
// answered.
func (p *plugin) checkExtra(ctx context.Context) error {
	asked, err := p.extras()
	answered := cni.Beside(p.prev, p.call.IfName)
	if err != nil || len(asked)+len(answered) == 0 {
		return err
	}
	g, err := p.guest()
	if err != nil {
		return err
	}
	defer g.Close()
	for _, s := range asked {
		s.Guest = p.call.NetNS
		as := func(*cni.Result) (attach.Spec, error) { return s, nil }
		if err := p.checkOne(ctx, g, s.IfName, as); err != nil {
			return err
		}
		answered = slices.DeleteFunc(answered, func(name string) bool { return name == s.IfName })
	}
	for _, name := range answered {
		if err := p.checkAnswered(ctx, g, name); err != nil {
			return err
		}
	}
	return nil
}

// checkAnswered fails if an interface that ADD has answered with is not there. It need not be
// ours: the chain may have more plugins.
func (p *plugin) checkAnswered(ctx context.Context, g *attach.Guest, name string) error {
	a, err := p.attached(ctx, g, name)
	if err != nil {
		return err
	}
	if a != nil {
		return p.asAnswered(*a)
	}
	t, err := nsfs.In(g.Namespace)
	if err != nil {
		return fault.Explain("enter", p.call.NetNS, err)
	}
	defer t.End()
	if err := t.Run(func() error { _, err := net.InterfaceByName(name); return err }); err != nil {
		return p.differs(name, "it is not there")
	}
	return nil
}

// delExtra detaches what the guest has got beside its own interface. A caller that hands on
// annotations hands on those that ADD got, so without one of ours there is nothing.
func (p *plugin) delExtra(ctx context.Context) error {
	asked := labels.Container{Labels: p.config.Runtime.Annotations, Annotated: true}
	if asked.Labels != nil && len(asked.Keys()) == 0 {
		return nil
	}
	return p.remove(ctx)
}
