package reconcile

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/shell"
)

// Reversal is how a set is undone later, perhaps by another process. It is about the very
// interface that was set, whatever that is called by then, and undoes only what nobody has
// changed meanwhile.
type Reversal struct {
	Guest  guests.GuestInfo `json:"guest"`
	Index  int              `json:"index"` // of the interface, in the guest
	Before attach.SetWords  `json:"before"`
	After  attach.SetWords  `json:"after"`
}

// PlanReversal returns how a set is undone that has not been made yet.
func PlanReversal(ctx context.Context, s attach.SetSpec, g *attach.Guest, opt attach.Options) (Reversal, error) {
	opt.DryRun, opt.Step = true, nil
	r, err := attach.Set(ctx, s, g, opt)
	if err != nil {
		return Reversal{}, err
	}
	after := r.Attachments[0]
	before, err := attachmentOf(ctx, g, after.Interface.Name)
	if err != nil {
		return Reversal{}, err
	}
	index, err := ours.IndexIn(g.Namespace, after.Interface.Name)
	if err != nil {
		return Reversal{}, fault.Explain("find", after.Interface.Name, err)
	}
	return Reversal{Guest: g.GuestInfo, Index: index, Before: SetBack(s, before), After: SetBack(s, after)}, nil
}

// attachmentOf returns the attachment that is an interface of a guest.
func attachmentOf(ctx context.Context, g *attach.Guest, ifName string) (attach.Attachment, error) {
	r, err := attach.List(ctx, g, attach.Options{})
	for _, a := range r.Attachments {
		if a.Interface.Name == ifName {
			return a, nil
		}
	}
	if err == nil {
		if a, isForeign := foreignOf(ctx, g, ifName); isForeign {
			return a, nil
		}
	}
	return attach.Attachment{}, cmp.Or(err, error(fault.New(fault.Gone, "find", ifName+" of "+g.Name, "it is no attachment any more")))
}

// foreignOf returns an interface that gopipework did not create, if its carrier can be set.
// Its cable is pulled if there would be something to do to plug it in.
func foreignOf(ctx context.Context, g *attach.Guest, ifName string) (a attach.Attachment, ok bool) {
	on := true
	r, err := attach.Set(ctx, attach.SetSpec{Guest: g.Word(), IfName: ifName, Carrier: &on}, g, attach.Options{DryRun: true})
	if err != nil {
		return a, false
	}
	a = r.Attachments[0]
	a.Interface.Pulled = r.Changed
	return a, true
}

// Do undoes the set. left are the flags of what stays, because somebody has changed it
// meanwhile. The error has the code Gone if the guest has ended or the interface is not
// there any more.
func (r Reversal) Do(ctx context.Context, opt attach.Options) (left []string, err error) {
	g, err := ours.Reopen(r.Guest)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	back, left, err := r.words(ctx, g)
	if err != nil || !slices.ContainsFunc(fields(&back), field.said) {
		return left, err
	}
	s, err := attach.ParseSet(g.Word(), back)
	if err == nil {
		_, err = attach.Set(ctx, s, g, opt)
	}
	return left, err
}

// words returns what is to be set now.
func (r Reversal) words(ctx context.Context, g *attach.Guest) (back attach.SetWords, left []string, err error) {
	ifName, err := ours.NameIn(g.Namespace, r.Index)
	if err != nil {
		return back, nil, fault.New(fault.Gone, "find", r.After.IfName+" of "+g.Name, "it was detached meanwhile")
	}
	a, err := attachmentOf(ctx, g, ifName)
	if err != nil {
		return back, nil, err
	}
	asked, err := attach.ParseSet(g.Word(), r.After)
	if err != nil {
		return back, nil, err
	}
	back, now := r.Before, SetBack(asked, a)
	back.IfName = ifName
	is, was := fields(&now), fields(&r.After)
	for n, f := range fields(&back) {
		if f.said() && !ours.SameSet(is[n].words(), was[n].words()) {
			left = append(left, f.flag)
			f.clear()
		}
	}
	if back.To == "" {
		back.ToUplink = ""
	}
	return back, left, nil
}

// Command is the line that undoes the set.
func (r Reversal) Command() string {
	line := []string{"gopipework", "set", r.Guest.Word(), r.Before.IfName}
	for _, f := range fields(&r.Before) {
		switch {
		case f.list != nil:
			for _, word := range *f.list {
				line = append(line, f.flag, word)
			}
		case f.said():
			line = append(line, f.flag, *f.word)
		}
	}
	return shell.Line(line)
}

// field is one thing that set sets, by one word or by a flag that is repeated.
type field struct {
	flag string
	word *string
	list *[]string // nil: it is one word
}

func fields(w *attach.SetWords) []field {
	return []field{
		{"--rate-in", &w.Shape.RateIn, nil}, {"--rate-out", &w.Shape.RateOut, nil}, {"--loss", &w.Shape.Loss, nil},
		{"--delay", &w.Shape.Delay, nil}, {"--jitter", &w.Shape.Jitter, nil}, {"--mtu", &w.MTU, nil},
		{"--vlan", &w.VLAN, nil}, {"--addr", &w.Address, nil}, {"--isolated", &w.Isolated, nil}, {"--to", &w.To, nil},
		{"--antispoof", &w.Antispoof, nil}, {"--carrier", &w.Carrier, nil},
		{"--route", nil, &w.Routes}, {"--dns", &w.DNS, nil}, {"--source-routing", &w.SourceRouting, nil},
		{"--host-access", &w.HostAccess, nil},
	}
}

// words are those that a list of them consists of; none: nothing is said.
func (f field) words() []string {
	switch {
	case f.list != nil:
		return *f.list
	case *f.word == "":
		return nil
	}
	return strings.Split(*f.word, ",")
}

func (f field) said() bool { return len(f.words()) > 0 }

func (f field) clear() {
	if f.list != nil {
		*f.list = nil
		return
	}
	*f.word = ""
}
