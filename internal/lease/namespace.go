package lease

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/gopipework/gopipework/internal/nsfs"
	"golang.org/x/sys/unix"
)

// namespace is a thread in a guest's network namespace, and what is asked there.
type namespace struct{ *nsfs.Thread }

// enter starts the thread. The file stays the caller's.
func enter(ns *os.File) (namespace, error) {
	t, err := nsfs.Enter(ns)
	return namespace{t}, err
}

// enterBriefly is enter for a namespace that is seldom needed: no thread waits in it.
func enterBriefly(ns *os.File) (namespace, error) {
	t, err := nsfs.EnterBriefly(ns)
	return namespace{t}, err
}

// Run calls f on the thread. A panic of f is its error.
func (n namespace) Run(f func() error) error {
	return n.Thread.Run(func() error { return guard(f) })
}

// link finds an interface by its index.
func (n namespace) link(index int) (link *net.Interface, err error) {
	err = n.Run(func() error {
		link, err = net.InterfaceByIndex(index)
		return err
	})
	return link, err
}

// hasLink reports whether there is an interface with the index. If that cannot be
// found out, it says that there is one.
//
//	ip link show
func (n namespace) hasLink(index int) (yes bool) {
	yes = true
	_ = n.Run(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		r, err := unix.NewIfreq("")
		if err != nil {
			return err
		}
		r.SetUint32(uint32(index)) // ifr_ifindex, netdevice(7)
		yes = !errors.Is(unix.IoctlIfreq(fd, unix.SIOCGIFNAME, r), unix.ENODEV)
		return nil
	})
	return yes
}

// cookie is the number by which the kernel knows the namespace (see [nsfs.Cookie]).
func (n namespace) cookie() (c uint64, err error) {
	err = n.Run(func() error {
		c, err = nsfs.Cookie()
		return err
	})
	if errors.Is(err, unix.ENOPROTOOPT) {
		return 0, fmt.Errorf("this kernel does not number its namespaces, which needs Linux 5.14 (SO_NETNS_COOKIE): %w", errors.ErrUnsupported)
	}
	return c, err
}
