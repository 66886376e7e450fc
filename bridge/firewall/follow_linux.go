package firewall

import (
	"context"
	"errors"
	"time"

	"github.com/gopipework/gopipework/internal/nlsocket"
	"golang.org/x/sys/unix"
)

// Follow calls told after each change of nf_tables in the network namespace of the calling
// thread, until ctx is done. What happens after it has returned is told. Of
// iptables-legacy the kernel tells nobody anything.
//
//	nft monitor
func Follow(ctx context.Context, told func()) error {
	const patience = time.Second // how late the end of ctx may be seen
	fd, err := nlsocket.Open(unix.NETLINK_NETFILTER, patience)
	if err != nil {
		return err
	}
	const group = 1 << (unix.NFNLGRP_NFTABLES - 1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: group}); err != nil {
		unix.Close(fd)
		return err
	}
	go func() {
		defer unix.Close(fd)
		for ctx.Err() == nil {
			_, err := nlsocket.Receive(fd, 0)
			switch {
			case err == nil, errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EINVAL): // more than there was room for
				told()
			case !errors.Is(err, unix.EAGAIN):
				return
			}
		}
	}()
	return nil
}
