package spec

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostaddr"
)

// parseAddress reads ADDRESS[,ADDRESS...][@GATEWAY[,GATEWAY]], or a word for none.
func parseAddress(word string) ([]netip.Prefix, []netip.Addr, error) {
	addrWords, gatewayWords, hasGateway := strings.Cut(word, "@")
	if isNoAddress(addrWords) {
		if hasGateway {
			return nil, nil, fault.BadWord("read address", word, "a gateway needs an address to reach it from").
				WithHint("ADDRESS/PREFIX@GATEWAY")
		}
		return nil, nil, nil
	}
	var addrs []netip.Prefix
	for _, a := range strings.Split(addrWords, ",") {
		if a == "" && addrWords != "" {
			return nil, nil, fault.BadWord("read address", word, "it is not ADDRESS/PREFIX on either side of each comma").
				WithHint("several addresses are one word, without spaces: 192.168.1.2/24,2001:db8::2/64")
		}
		if _, isSource, _ := parseSource(a); isSource {
			return nil, nil, fault.BadWord("read address", word, "%s must be the only word: a server or router gives the addresses and the gateway", a).
				WithHint("for addresses of your own as well, attach a second interface with -i")
		}
		p, err := ParsePrefix(a)
		if err != nil {
			return nil, nil, err
		}
		if i := slices.IndexFunc(addrs, func(q netip.Prefix) bool { return q.Addr() == p.Addr() }); i >= 0 {
			return nil, nil, fault.BadWord("read address", word, "%s is given twice", p.Addr())
		}
		addrs = append(addrs, p)
	}
	if !hasGateway {
		return addrs, nil, nil
	}
	gateways, err := parseGateways(gatewayWords, addrs)
	return addrs, gateways, err
}

// isNoAddress reports whether the word asks for an interface without an address:
// 0/0, and what else pipework's users write for it, 0.0.0.0/24 or ::/0.
func isNoAddress(word string) bool {
	if bits, ok := strings.CutPrefix(word, "0/"); ok {
		word = "0.0.0.0/" + bits
	}
	p, err := netip.ParsePrefix(word)
	return err == nil && p.Addr().IsUnspecified()
}

// ParsePrefix reads one ADDRESS/PREFIX and refuses those that the kernel takes
// but that no host can use. netip already refuses leading zeros, which "ip"
// reads as octal.
func ParsePrefix(word string) (netip.Prefix, error) {
	const op = "read address"
	p, err := netip.ParsePrefix(word)
	if err != nil {
		if a, err := netip.ParseAddr(word); err == nil && a.Zone() == "" {
			hint := word + "/24"
			switch {
			case a.IsUnspecified():
				hint = "0/0 for an interface without an address"
			case a.Is6():
				hint = word + "/64"
			}
			return netip.Prefix{}, fault.BadWord(op, word, "it has no prefix length").WithHint("%s", hint)
		}
		e := fault.BadWord(op, word, "it is not ADDRESS/PREFIX%s", notPrefix(word))
		if p, ok := withMask(word); ok {
			return netip.Prefix{}, e.WithHint("%s", p)
		}
		return netip.Prefix{}, e.WithHint("192.168.1.2/24 or 2001:db8::2/64, several with commas; 0/0 for none")
	}
	if why := hostaddr.Unusable(p.Addr()); why != "" {
		return netip.Prefix{}, fault.BadWord(op, word, "%s", why)
	}
	if p.Bits() == 0 {
		return netip.Prefix{}, fault.BadWord(op, word, "a prefix length of 0 puts every address on this link").
			WithHint("0/0 for an interface without an address")
	}
	if why := hostaddr.NotHost(p, p.Addr()); why != "" {
		e := fault.BadWord(op, word, "it is %s, not a host's", why)
		if next := p.Addr().Next(); next.IsValid() && p.Contains(next) && hostaddr.NotHost(p, next) == "" {
			e.WithHint("%s/%d", next, p.Bits())
		}
		return netip.Prefix{}, e
	}
	if subnet := p.Masked(); p.Bits() < p.Addr().BitLen() && hostaddr.ThisNetwork.Contains(subnet.Addr()) { // fib_add_ifaddr
		return netip.Prefix{}, fault.BadWord(op, word, "the kernel makes no route to a subnet that begins in %s, as %s does", hostaddr.ThisNetwork, subnet).
			WithHint("a longer prefix: %s/24", p.Addr())
	}
	return p, nil
}

// withMask reads an address with a network mask in place of a prefix length, as in
// 192.168.1.2/255.255.255.0.
func withMask(word string) (p netip.Prefix, ok bool) {
	addr, mask, _ := strings.Cut(word, "/")
	a, err := netip.ParseAddr(addr)
	m := net.ParseIP(mask).To4()
	if err != nil || !a.Is4() || m == nil {
		return p, false
	}
	bits, of := net.IPMask(m).Size()
	return netip.PrefixFrom(a, bits), of != 0 // 0: its ones are not all at the beginning
}

// notPrefix returns the reason why a word is no ADDRESS/PREFIX although it looks
// like one, to go behind that; "" for a word that does not.
func notPrefix(word string) string {
	addr, _, ok := strings.Cut(word, "/")
	a, err := netip.ParseAddr(addr)
	switch {
	case word == "":
		return ": it is empty"
	case !ok || addr == "0":
		return ""
	case err != nil:
		return ": " + strconv.Quote(addr) + " is no IP address"
	case a.Zone() != "":
		return ": it has a zone"
	}
	return ": its prefix length is no number from 0 to " + strconv.Itoa(a.BitLen())
}

func parseGateways(words string, addrs []netip.Prefix) ([]netip.Addr, error) {
	var gateways []netip.Addr
	for _, word := range strings.Split(words, ",") {
		gw, err := parseGateway(word, addrs)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(gateways, func(g netip.Addr) bool { return g.Is6() == gw.Is6() }) {
			return nil, fault.BadWord("read gateway", word, "there is one of its family already").
				WithHint("one gateway of each family: @192.168.1.1,2001:db8::1")
		}
		gateways = append(gateways, gw)
	}
	return gateways, nil
}

func parseGateway(word string, addrs []netip.Prefix) (netip.Addr, error) {
	const op = "read gateway"
	gw, err := netip.ParseAddr(word)
	if err != nil {
		return gw, fault.BadWord(op, word, "it is not an IP address").WithHint("ADDRESS/PREFIX@192.168.1.1")
	}
	if gw.Zone() != "" {
		return gw, fault.BadWord(op, word, "it takes no zone: the interface is known").WithHint("%s", gw.WithZone(""))
	}
	if why := hostaddr.Unusable(gw); why != "" {
		return gw, fault.BadWord(op, word, "%s", why)
	}
	sameFamily := false
	for _, p := range addrs {
		if p.Addr().Is6() != gw.Is6() {
			continue
		}
		sameFamily = true
		if p.Addr() == gw {
			return gw, fault.BadWord(op, word, "it is the guest's own address")
		}
		// The router anycast address is a router's, so a good IPv6 gateway.
		if why := hostaddr.NotHost(p, gw); p.Contains(gw) && gw.Is4() && why != "" {
			return gw, fault.BadWord(op, word, "it is %s, not a router's", why)
		}
	}
	if !sameFamily {
		return gw, fault.BadWord(op, word, "there is no address of its family to reach it from").
			WithHint("add one with a comma: 192.168.1.2/24,2001:db8::2/64@%s", word)
	}
	return gw, nil
}
