package survey

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// Follow calls told until ctx is done when any link or address may have changed, on the
// host or in a namespace that a link of the host leads to, or a rule of the host's
// nf_tables. What happens after it has returned is told, so read then. told has to return
// soon. hostNS is as for Read.
//
//	ip monitor all-nsid link address nsid; nft monitor
func Follow(ctx context.Context, hostNS *os.File, told func()) error {
	return onHost(hostNS, func(k *rtnl.Conn) error {
		err := k.Run(func() error { return firewall.Follow(ctx, told) })
		if err != nil && !errors.Is(err, unix.EPROTONOSUPPORT) { // a kernel without nf_tables
			return fault.Explain("watch", "the host's firewall", err)
		}
		changes, err := k.Changes()
		if err != nil {
			return fault.Explain("watch", "links of the host", err)
		}
		go follow(ctx, changes, told)
		return nil
	})
}

// follow calls told after changes, until ctx is done.
func follow(ctx context.Context, changes *rtnl.Changes, told func()) {
	defer changes.Close()
	const patience = time.Second // how late the end of ctx may be seen
	for ctx.Err() == nil && changes.Wait(patience) == nil {
		if all, lost := changes.Next(); lost || len(all) > 0 {
			told()
		}
	}
}

// onHost calls f with a connection in the host's namespace.
func onHost(hostNS *os.File, f func(*rtnl.Conn) error) error {
	if hostNS == nil {
		var err error
		if hostNS, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return fault.New(fault.Failed, "open", "this process's network namespace", "%w", err)
		}
		defer hostNS.Close()
	}
	k, err := rtnl.Open(hostNS)
	if err != nil {
		return fault.Explain("enter", "host", err)
	}
	defer k.Close()
	return f(k)
}
