package firewall

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// Query says which frames a look at the firewall is about: those that a guest sends and
// receives through its port of a bridge.
type Query struct {
	Bridge    string         // a Linux bridge; it need not exist yet
	Port      string         // the guest's port, or "" if it has no name yet
	Addresses []netip.Prefix // the guest's addresses, as far as they are known
	Families  []Family       // those that the guest uses; nil for both

	// CallsIPv4 and CallsIPv6 are the bridge's own nf_call_iptables and
	// nf_call_ip6tables, which apply even if the sysctl is 0.
	CallsIPv4, CallsIPv6 bool
}

// Observe returns what netfilter does to the frames, in the network
// namespace of the calling thread. It writes nothing, and starts a process only
// where a legacy iptables table is in use, which no other interface shows.
func Observe(ctx context.Context, q Query) (Firewall, error) {
	var g Reading
	defer g.Close()
	return g.Observe(ctx, q)
}

// Observe is [Observe] with what earlier looks have read.
func (g *Reading) Observe(ctx context.Context, q Query) (Firewall, error) {
	all, err := g.observeAll(ctx, []Query{q})
	if err != nil {
		return Firewall{}, err
	}
	return all[0], nil
}

// ObserveAll answers several queries with one reading of the rules.
func ObserveAll(ctx context.Context, queries []Query) ([]Firewall, error) {
	var g Reading
	defer g.Close()
	return g.observeAll(ctx, queries)
}

func (g *Reading) observeAll(ctx context.Context, queries []Query) ([]Firewall, error) {
	all := make([]Firewall, len(queries))
	if err := g.answer(ctx, queries, all); err != nil {
		return nil, readFault(queries[0].Bridge, err)
	}
	return all, nil
}

// answer fills in all, whose indexes are those of the queries.
func (g *Reading) answer(ctx context.Context, queries []Query, all []Firewall) error {
	subjects, err := subjectsOf(queries)
	if err != nil {
		return err
	}
	present, still, err := g.look(ctx, answers(subjects, all))
	if err != nil {
		return err
	}
	var legacy legacyReader
	named := tools{}
	others := unseen()
	for i := range queries {
		fw := &all[i]
		fw.Restless = !still
		for _, s := range subjects[i] {
			if !present {
				fw.Paths = append(fw.Paths, Path{Family: s.family, Backend: NFT, Chain: forwardChain, Filtered: s.filtered, Asked: s.asked})
			}
		}
		for _, s := range subjects[i] {
			if err := legacy.observe(ctx, s, fw); err != nil {
				return err
			}
		}
		named.name(fw)
		fw.Unseen = others
	}
	return nil
}

// answers returns a function that fills in what nf_tables does.
func answers(subjects [][]subject, all []Firewall) func(*nftReader) error {
	return func(r *nftReader) error {
		if err := r.open(); err != nil {
			return err
		}
		for i := range all {
			all[i] = Firewall{}
			for _, s := range subjects[i] {
				if err := r.observe(s, &all[i]); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// Prepare reads the rules of nf_tables that Observe will need for a query much like this
// one.
func (g *Reading) Prepare(ctx context.Context, q Query) error {
	subjects, err := subjectsOf([]Query{q})
	if err != nil {
		return readFault(q.Bridge, err)
	}
	present, err := g.begin(ctx)
	if err == nil && present {
		_, err = g.read(answers(subjects, make([]Firewall, 1)))
	}
	if err != nil {
		return readFault(q.Bridge, err)
	}
	return nil
}

// subjectsOf returns for each query a subject of each family.
func subjectsOf(queries []Query) ([][]subject, error) {
	calls := map[Family]bool{}
	for _, family := range families {
		var err error
		if calls[family], err = bridgeNFCall(family); err != nil {
			return nil, err
		}
	}
	subjects := make([][]subject, len(queries))
	indexes := map[string]int{}
	for i, q := range queries {
		if _, ok := indexes[q.Bridge]; !ok {
			indexes[q.Bridge] = bridgeIndex(q.Bridge)
		}
		for _, family := range families {
			subjects[i] = append(subjects[i], newSubject(q, family, indexes[q.Bridge], calls[family]))
		}
	}
	return subjects, nil
}

// ObserveRules returns our rules, and looks at nothing else.
func ObserveRules(ctx context.Context) (Firewall, error) {
	var fw Firewall
	_, _, err := readNFT(ctx, func(r *nftReader) (err error) {
		fw = Firewall{}
		if err := r.open(); err != nil {
			return err
		}
		for _, family := range families {
			p := Path{Family: family, Backend: NFT}
			if p.Ours, err = r.filter(family).ours(family); err != nil {
				return err
			}
			fw.Paths = append(fw.Paths, p)
		}
		return nil
	})
	var legacy legacyReader
	for _, family := range families {
		if err != nil {
			break
		}
		var tables []*savedTable
		p := Path{Family: family, Backend: Legacy}
		if tables, p.Unread, err = legacy.tables(ctx, family); err != nil || tables == nil && p.Unread == "" {
			continue
		}
		for _, t := range tables {
			if t.name == "filter" {
				p.Ours, err = t.filter().ours(family)
			}
		}
		fw.Paths = append(fw.Paths, p)
	}
	if err != nil {
		return Firewall{}, readFault("the host", err)
	}
	tools{}.name(&fw)
	return fw, nil
}

var families = []Family{IPv4, IPv6}

// observe adds what nf_tables does.
func (r *nftReader) observe(s subject, fw *Firewall) error {
	var changed written
	var blocks []Block
	if s.asked {
		var err error
		if blocks, err = r.elsewhere(s, &changed); err != nil {
			return err
		}
	}
	p, docker, err := r.filter(s.family).path(changed.in(s.frames(forwarding, false))...)
	if errors.Is(err, errTooMany) {
		p.Blocks, err = []Block{{Chain: chainName(s.family, NFT, "filter", forwardChain), Rule: err.Error()}}, nil
	}
	if err != nil {
		return err
	}
	p.Filtered, p.Asked = s.filtered, s.asked
	if !s.filtered || !s.asked {
		p.Blocks = nil
	}
	p.Blocks = append(p.Blocks, blocks...)
	fw.Paths = append(fw.Paths, p)
	fw.DockerOwned = fw.DockerOwned || docker
	return nil
}

func readFault(bridge string, err error) error {
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return err
	}
	return &fault.Error{Code: fault.CodeOfCause(err), Op: "read firewall rules for", Object: bridge, Err: err}
}

// bridgeNFCall tells whether bridged frames of a family go through iptables. The
// switch is there only with br_netfilter, and each namespace has its own
// (Documentation/networking/ip-sysctl.rst, /proc/sys/net/bridge).
func bridgeNFCall(family Family) (bool, error) {
	b, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-" + family.Tool())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return strings.TrimSpace(string(b)) != "0", err
}

// bridgeIndex returns a link's index, or 0.
func bridgeIndex(name string) int {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0
	}
	return int(ifr.Uint32())
}
