package spec

import "github.com/gopipework/gopipework/internal/fault"

// LinkWords are the words of a link line, each as it was typed.
type LinkWords struct {
	Ends  [2]EndWords
	MTU   string     // --mtu
	NoDAD bool       // --nodad
	Shape ShapeWords // of what either end sends
}

// EndWords are those of one end.
type EndWords struct {
	Guest, IfName string // GUEST[:IFNAME]
	Address       string // 192.168.1.2/24@192.168.1.1
}

// LinkSpec is one link between two guests as the user asked for it.
type LinkSpec struct{ Ends [2]Spec }

// ParseLink turns the words into a LinkSpec, as Parse does.
func ParseLink(w LinkWords) (LinkSpec, error) {
	var s LinkSpec
	var err error
	if w.Shape.RateIn != "" {
		return s, fault.BadWord("read flag", "--rate-in", "what one end of a link gets is what the other sends").
			WithHint("use --rate-out on either end")
	}
	for i, e := range w.Ends {
		end := &s.Ends[i]
		*end = Spec{HostIF: HostIF{Kind: KindVeth}, Guest: e.Guest, NoDAD: w.NoDAD}
		if e.Guest == "" {
			return s, fault.BadWord("read guest", "", "it is empty")
		}
		if end.IfName, err = parseIfName("interface name", e.IfName); err != nil {
			return s, err
		}
		if _, isSource, _ := parseSource(e.Address); isSource {
			return s, fault.BadWord("read address", e.Address, "only the two guests are on a link, and neither of them assigns addresses")
		}
		if end.Addrs, end.Gateways, err = parseAddress(e.Address); err != nil {
			return s, err
		}
		if end.MTU, err = ParseMTU(w.MTU, end.Has(true)); err != nil {
			return s, err
		}
		if end.Shape, err = w.Shape.Parse(); err != nil {
			return s, err
		}
	}
	for _, p := range s.Ends[0].Addrs {
		for _, q := range s.Ends[1].Addrs {
			if p.Addr() == q.Addr() {
				return s, fault.BadWord("read address", p.Addr().String(), "it is given for both ends")
			}
		}
	}
	return s, nil
}
