package main

import (
	"cmp"
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/nsfs"
)

// What completion looks up on this host. Whatever cannot be read is left out.

// hostKinds are the kinds that can be written in front of a host interface.
var hostKinds = []candidate{
	{"bridge:", "a Linux bridge, created if it does not exist"},
	{"ovs:", "an Open vSwitch bridge"},
	{"macvlan:", "a macvlan on a network card"},
	{"macvtap:", "a macvtap on a network card, for a virtual machine"},
	{"ipvlan:", "an ipvlan on a network card"},
	{"vlan:", "a VLAN of a network card"},
	{"ipoib:", "a partition of an IPoIB device"},
	{"phys:", "the network card itself"},
	{"host:", "a pair whose other end stays on the host"},
	{"wireguard:", "a tunnel, as a file of wg-quick's describes it"},
	{"mac:", "the network card with this MAC address"},
	{"dummy", "an interface that leads nowhere"},
}

// hostInterfaces are the interfaces that a guest can be plugged into, bridges first, and the
// kinds that can be written in front of them.
func hostInterfaces(written string) (all []candidate) {
	links, _ := net.Interfaces()
	var cards []candidate
	for _, l := range links {
		sys := filepath.Join("/sys/class/net", l.Name)
		switch {
		case l.Flags&net.FlagLoopback != 0:
		case isThere(sys + "/bridge"):
			all = append(all, candidate{l.Name, "bridge"})
		case isThere(sys + "/master"), isThere(sys + "/brport"):
		default:
			cards = append(cards, candidate{l.Name, "network interface"})
		}
	}
	kind, _, has := strings.Cut(written, ":")
	switch kind {
	case "bridge", "ovs":
	case "macvlan", "macvtap", "ipvlan", "vlan", "ipoib", "phys":
		all = cards
	case "wireguard":
		return tunnelFiles()
	default:
		if has {
			return nil
		}
		return slices.Concat(all, cards, hostKinds)
	}
	for i := range all {
		all[i].word = kind + ":" + all[i].word
	}
	return all
}

// tunnelFiles are the files of wg-quick's.
func tunnelFiles() (all []candidate) {
	files, _ := filepath.Glob("/etc/wireguard/*.conf")
	for _, f := range files {
		all = append(all, candidate{"wireguard:" + f, "tunnel"})
	}
	return all
}

// bridgeWords are the bridges of the host, and the kinds that can be written in front of them.
func bridgeWords(written string) (all []candidate) {
	for _, c := range hostInterfaces(written) {
		name := c.word[strings.LastIndexByte(c.word, ':')+1:]
		if c.about == "bridge" || strings.HasPrefix(name, "ovs") || c.word == "bridge:" || c.word == "ovs:" {
			all = append(all, c)
		}
	}
	return all
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// guestWords are the guests that run on this machine. withInterface: an interface of theirs
// can follow a colon.
func guestWords(ctx context.Context, written string, withInterface bool) []candidate {
	if colon := strings.LastIndexByte(written, ':'); withInterface && colon > 0 && !dockerutil.IsRuntime(written[:colon]) {
		all := interfacesOf(ctx, written[:colon])
		for i := range all {
			all[i].word = written[:colon+1] + all[i].word
		}
		return all
	}
	return within(ctx, func(ctx context.Context) (all []candidate) {
		running, _ := dockerutil.Running(ctx)
		for _, g := range running {
			word := g.Word()
			if g.Runtime == dockerutil.RuntimeDocker && !strings.HasPrefix(written, dockerutil.RuntimeDocker) {
				word = g.Name
			}
			all = append(all, candidate{word, g.Runtime})
		}
		slices.SortFunc(all, func(a, b candidate) int { return cmp.Compare(a.word, b.word) })
		return all
	})
}

// interfacesOf are those of a guest.
func interfacesOf(ctx context.Context, guest string) []candidate {
	return within(ctx, func(ctx context.Context) (all []candidate) {
		g, err := dockerutil.Find(ctx, guest)
		if err != nil {
			return nil
		}
		defer g.Close()
		in, err := nsfs.EnterBriefly(g.Namespace)
		if err != nil {
			return nil
		}
		defer in.End()
		_ = in.Run(func() error {
			links, _ := net.Interfaces()
			for _, l := range links {
				if l.Flags&net.FlagLoopback == 0 {
					all = append(all, candidate{word: l.Name})
				}
			}
			return nil
		})
		return all
	})
}
