package attach

import (
	"testing"

	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// afterLinks runs then after the first list of links.
type afterLinks struct {
	plan.Kernel
	then func()
}

func (k *afterLinks) Links() ([]*rtnl.Link, error) {
	all, err := k.Kernel.Links()
	if then := k.then; then != nil {
		k.then = nil
		then()
	}
	return all, err
}

// TestGCSparesWhatIsComplete: gc leaves alone a pair that was half made when it looked, and
// whose attach came to its end before gc had the lock of the guest.
func TestGCSparesWhatIsComplete(t *testing.T) {
	needRoot(t)
	for name, ends := range map[string]bool{"attach ends": true, "attach was killed": false} {
		t.Run(name, func(t *testing.T) {
			hostNS, guestNS := newNamespace(t), newNamespace(t)
			inhabit(t, guestNS) // gc finds the guest by its process
			r, err := runAttach(t.Context(), parsed(t, "brtest web 10.0.0.2/24"), docker(guestNS, 0), hostNS, Options{})
			if err != nil {
				t.Fatal(err)
			}
			m, err := plan.Open(t.Context(), hostNS)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			port, err := m.Host().LinkByName(r.Attachments[0].Host.Port)
			if err != nil {
				t.Fatal(err)
			}
			in(t, hostNS, "ip", "link", "set", "dev", port.Name, "alias", "")
			m.Wrap(func(_ plan.Side, k plan.Kernel) plan.Kernel {
				return &afterLinks{k, func() {
					if ends {
						in(t, hostNS, "ip", "link", "set", "dev", port.Name, "alias", port.Alias)
					}
				}}
			})
			o := gcObserver{ctx: t.Context(), host: m.Host()}
			defer o.release()
			f, err := o.observe(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			if _, goes := f.Abandoned[port.Index]; goes == ends {
				t.Errorf("it is to be deleted: %v", goes)
			}
		})
	}
}
