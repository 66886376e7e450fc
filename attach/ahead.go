package attach

import (
	"context"
	"os"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
)

// Ahead reads the host for an attach while its guest is still looked for. What it has
// read counts only if nothing has changed by the time that the host is locked; else the
// attach reads it again.
type Ahead struct {
	hostNS *os.File
	cancel context.CancelFunc
	done   chan struct{} // closed when the rest may be used
	memory *ours.Memory  // nil: there is none
	rules  firewall.Reading
}

// ReadAhead begins to read what [Attach] will look at on the host. Hand it over as
// Options.Ahead, and close it when done. It returns no error: what fails here fails in the
// attach as well, which says so.
func ReadAhead(ctx context.Context, s Spec, opt Options) *Ahead {
	ctx, cancel := context.WithCancel(ctx)
	a := &Ahead{cancel: cancel, done: make(chan struct{})}
	if _, err := opt.in(func(hostNS *os.File) (_ Result, err error) {
		a.hostNS, err = nsfs.Reopen(hostNS)
		return Result{}, err
	}); err != nil {
		close(a.done)
		return a
	}
	go func() {
		defer close(a.done)
		a.read(ctx, s)
	}()
	return a
}

func (a *Ahead) read(ctx context.Context, s Spec) {
	var err error
	if a.memory, err = ours.Remember(a.hostNS); err != nil {
		return
	}
	o := &build.Observer{Host: a.memory.Own(), Rules: &a.rules}
	base := base(o, s.HostIF)
	if o.Err == nil {
		kind.LookAhead(ctx, o, s, base)
	}
}

// Remember returns an Ahead for many attaches to one host. Each begins with what those
// before it have read, as far as it has not changed since.
func Remember(opt Options) *Ahead {
	a := &Ahead{cancel: func() {}, done: make(chan struct{})}
	close(a.done)
	_, _ = opt.in(func(hostNS *os.File) (_ Result, err error) {
		if a.hostNS, err = nsfs.Reopen(hostNS); err == nil {
			a.memory, err = ours.Remember(a.hostNS)
		}
		return Result{}, err
	})
	return a
}

// Close ends the reading, without waiting for it.
func (a *Ahead) Close() {
	a.cancel()
	select {
	case <-a.done:
		a.close()
	default:
		go func() {
			<-a.done
			a.close()
		}()
	}
}

func (a *Ahead) close() {
	a.rules.Close()
	if a.memory != nil {
		a.memory.Close()
	}
	if a.hostNS != nil {
		a.hostNS.Close()
	}
}

// observer returns an Observer for an attach that has locked the host. It uses what was
// read ahead, if anything was.
func (a *Ahead) observer(ctx context.Context, m *plan.Machine) (o *build.Observer, done func()) {
	o = &build.Observer{Host: m.Host(), Guest: m.In(plan.InGuest)}
	if a != nil {
		select {
		case <-a.done:
			if same, err := sameFile(a.hostNS, m.HostNS); same && err == nil && a.memory != nil {
				o.Host, o.Rules = a.memory.Before(m.Host()), &a.rules
				return o, func() {}
			}
		case <-ctx.Done():
		}
	}
	o.Rules = &firewall.Reading{}
	return o, o.Rules.Close
}
