package firewall

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hosttool"
	"github.com/gopipework/gopipework/internal/plainname"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Query says which frames a firewall is asked about: those that a guest sends
// and gets by its port of a bridge.
type Query struct {
	Bridge    string         // that of the kernel's; it need not be there yet
	Port      string         // the guest's; "": it has no name yet
	Addresses []netip.Prefix // the guest's, as far as they are known
	Families  []Family       // those that matter; nil: both

	// CallsIPv4 and CallsIPv6 are the bridge's own nf_call_iptables and
	// nf_call_ip6tables, either of which does where the sysctl is 0.
	CallsIPv4, CallsIPv6 bool
}

// Observe returns what netfilter does to the frames, in the network
// namespace of the calling thread. It writes nothing, and starts a process only
// where a legacy iptables table is in use, which no other interface shows.
func Observe(ctx context.Context, q Query) (Firewall, error) {
	all, err := ObserveAll(ctx, []Query{q})
	if err != nil {
		return Firewall{}, err
	}
	return all[0], nil
}

// ObserveAll answers several queries by one look.
func ObserveAll(ctx context.Context, queries []Query) ([]Firewall, error) {
	all := make([]Firewall, len(queries))
	if err := observeAll(ctx, queries, all); err != nil {
		return nil, readFault(queries[0].Bridge, err)
	}
	return all, nil
}

func observeAll(ctx context.Context, queries []Query, all []Firewall) error {
	calls := map[Family]bool{}
	for _, family := range families {
		var err error
		if calls[family], err = bridgeNFCall(family); err != nil {
			return err
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
	present, still, err := readNFT(ctx, func(r *nftReader) error {
		if err := r.open(); err != nil {
			return err
		}
		for i := range queries {
			all[i] = Firewall{}
			for _, s := range subjects[i] {
				if err := r.observe(s, &all[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var legacy legacyReader
	named := tools{}
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
		fw.Unseen = unseen()
	}
	return nil
}

// ObserveRules returns the rules of ours that stand, and looks at nothing else.
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

// tools says by which programs this host writes. Each is looked for once.
type tools map[Rule]string

func (t tools) name(f *Firewall) {
	for i := range f.Paths {
		p := &f.Paths[i]
		key := Rule{Family: p.Family, Backend: p.Backend}
		if _, ok := t[key]; !ok {
			t[key] = toolName(p.Family, p.Backend)
		}
		p.Tool = t[key]
		for i := range p.Ours {
			p.Ours[i].Tool = p.Tool
		}
		for i := range p.Late {
			p.Late[i].Tool = p.Tool
		}
	}
}

// subject is whom a look at the rules of one family is about.
type subject struct {
	Query
	family   Family
	bridge   string
	index    int
	filtered bool
	asked    bool // the family matters
}

// newSubject returns it. index is that of the bridge; 0: it is not there.
func newSubject(q Query, family Family, index int, called bool) subject {
	return subject{
		Query: q, family: family, bridge: q.Bridge, index: index,
		filtered: called || family == IPv4 && q.CallsIPv4 || family == IPv6 && q.CallsIPv6,
		asked:    q.Families == nil || slices.Contains(q.Families, family),
	}
}

// maxAddresses bounds for how many addresses of a guest rules are asked.
const maxAddresses = 8

// frames returns those to ask a hook about, of either direction.
func (s subject) frames(at hook, ports bool) (out []bridgedFrame) {
	var own []netip.Prefix
	for _, p := range s.Addresses {
		if p.Addr().Is6() == (s.family == IPv6) && len(own) < maxAddresses {
			own = append(own, p)
		}
	}
	if own == nil {
		own = []netip.Prefix{{}}
	}
	kinds := []carried{data, reply}
	if s.family == IPv6 {
		kinds = append(kinds, solicit, advertise)
	} else if ports {
		kinds = append(kinds, arp)
	}
	for _, p := range own {
		for _, what := range kinds {
			for _, to := range []bool{false, true} {
				out = append(out, bridgedFrame{
					family: s.family, bridge: s.bridge, index: s.index, port: s.Port, to: to, what: what, own: p,
					hook: at, ports: ports, isPort: s.isPort, routeTo: s.routeTo,
				})
			}
		}
	}
	return out
}

// through returns those that a chain of single devices sees: what our port takes
// in or gives out.
func (s subject) through(at hook, devices []string) []bridgedFrame {
	covers := func(name string) bool {
		return slices.ContainsFunc(devices, func(d string) bool {
			prefix, many := strings.CutSuffix(d, "*")
			return d == name || many && strings.HasPrefix(name, prefix)
		})
	}
	if s.Port == "" || !covers(s.Port) {
		return nil
	}
	return slices.DeleteFunc(s.frames(at, true), func(f bridgedFrame) bool { return f.to != (at == postRouting) })
}

// isPort tells whether a link is a port of the bridge. What cannot be looked up
// may be one.
func (s subject) isPort(name string) bool {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return !errors.As(err, new(netlink.LinkNotFoundError))
	}
	return s.index != 0 && l.Attrs().MasterIndex == s.index
}

// routeTo returns the index of the interface that packets to an address leave
// by, or 0. For IPv6 the kernel asks for the way by the bridge itself.
func (s subject) routeTo(addr netip.Addr) int {
	var opts netlink.RouteGetOptions
	if addr.Is6() && s.index != 0 {
		opts.OifIndex = s.index
	}
	routes, err := netlink.RouteGetWithOptions(addr.AsSlice(), &opts)
	if (err != nil || len(routes) == 0) && opts.OifIndex != 0 {
		routes, err = netlink.RouteGet(addr.AsSlice())
	}
	if err != nil || len(routes) == 0 {
		return 0
	}
	return routes[0].LinkIndex
}

// subnet returns the guest's of the family, if it is known.
func (s subject) subnet() (netip.Prefix, bool) {
	for _, p := range s.Addresses {
		if p.Addr().Is6() == (s.family == IPv6) {
			return p.Masked(), true
		}
	}
	return netip.Prefix{}, false
}

// route is what a person types to lead the way back to the guests to the bridge.
func (s subject) route() string {
	p, ok := s.subnet()
	switch {
	case !ok:
		return ""
	case s.family == IPv6:
		return fmt.Sprintf("ip -6 route add %s dev %s", p, shell.Quote(s.bridge))
	}
	return fmt.Sprintf("ip route add %s dev %s", p, shell.Quote(s.bridge))
}

// begin returns those frames that begin a connection, the only ones that chains
// of type nat are asked about.
func begin(frames []bridgedFrame) []bridgedFrame {
	return slices.DeleteFunc(frames, func(f bridgedFrame) bool { return f.what != data })
}

// judged returns what is known of a chain that translates addresses. If the host
// is on the guests' subnet too, answers may come back through it. While a guest has
// no address yet, a rule that asks for one is not held against it: Docker has one
// for each of its own networks.
func (s subject) judged(j judgement, translates bool) judgement {
	p, ok := s.subnet()
	if translates && !ok {
		j.doubtful = nil
	}
	if translates && j.drops && j.diverts && (!ok || s.index != 0 && s.routeTo(p.Addr()) == s.index) {
		j.perhaps = true
	}
	return j
}

// in gives frames what earlier rules may have written.
func (w *written) in(frames []bridgedFrame) []bridgedFrame {
	for i := range frames {
		frames[i].written = w
	}
	return frames
}

// remedy is a command of iptables that lets the frames pass a chain.
func (s subject) remedy(tool, table string, at hook) string {
	if table == "nat" {
		if p, ok := s.subnet(); ok {
			return fmt.Sprintf("%s -t nat -I %s 1 -s %s -d %s -j ACCEPT", tool, strings.ToUpper(at.String()), p, p)
		}
		return ""
	}
	in, out := " -i "+shell.Quote(s.bridge), " -o "+shell.Quote(s.bridge)
	words := map[hook]string{preRouting: "PREROUTING 1" + in, forwarding: "FORWARD 1" + in + out, postRouting: "POSTROUTING 1" + out}
	if table == "filter" {
		return tool + " -I " + words[at] + " -j ACCEPT"
	}
	return tool + " -t " + table + " -I " + words[at] + " -j ACCEPT"
}

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
	code := fault.Failed
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		code = fault.Timeout
	case errors.Is(err, context.Canceled):
		code = fault.Interrupted
	case errors.Is(err, fs.ErrPermission):
		code = fault.Permission
	}
	return &fault.Error{Code: code, Op: "read firewall rules for", Object: bridge, Err: err}
}

// bridgeNFCall tells whether bridged frames of a family go through iptables. The
// switch is there only with br_netfilter, and each namespace has its own
// (Documentation/networking/ip-sysctl.rst, /proc/sys/net/bridge).
func bridgeNFCall(family Family) (bool, error) {
	b, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-" + family.tool())
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

// Reading legacy iptables.

// legacyReader reads the legacy tables of each family once.
type legacyReader struct {
	read map[Family]bool
	all  map[Family][]*savedTable
	why  map[Family]string
}

// tables returns nil where no legacy table is in use, or why they could not be
// read. The names of those that are stand in a file of the thread's namespace
// (/proc/net would be the main thread's); a kernel without x_tables has no such
// file. The rules themselves have a binary form only iptables-legacy knows.
func (l *legacyReader) tables(ctx context.Context, family Family) ([]*savedTable, string, error) {
	if l.read == nil {
		*l = legacyReader{map[Family]bool{}, map[Family][]*savedTable{}, map[Family]string{}}
	}
	if l.read[family] {
		return l.all[family], l.why[family], nil
	}
	tables, why, err := readLegacy(ctx, family)
	if err == nil {
		l.read[family], l.all[family], l.why[family] = true, tables, why
	}
	return tables, why, err
}

func readLegacy(ctx context.Context, family Family) ([]*savedTable, string, error) {
	names := "/proc/thread-self/net/ip_tables_names"
	if family == IPv6 {
		names = "/proc/thread-self/net/ip6_tables_names"
	}
	b, err := os.ReadFile(names)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.TrimSpace(b)) == 0 {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	bin, err := findTool(family, Legacy)
	if err != nil {
		return nil, err.Error(), nil
	}
	text, err := hosttool.Run(ctx, bin+"-save")
	if err != nil {
		return nil, "", toolFault("list rules with", filepath.Base(bin)+"-save", err)
	}
	return parseTables(text), "", nil
}

// observe adds what the legacy tables do, if any is in use.
func (l *legacyReader) observe(ctx context.Context, s subject, fw *Firewall) error {
	tables, why, err := l.tables(ctx, s.family)
	if err != nil {
		return err
	}
	p := Path{Family: s.family, Backend: Legacy, Chain: forwardChain, Filtered: s.filtered, Asked: s.asked, Unread: why}
	if tables == nil && why == "" {
		return nil
	}
	var blocks []Block
	var changed written
	for _, at := range []hook{preRouting, forwarding, postRouting} {
		chain := strings.ToUpper(at.String())
		for _, name := range []string{"raw", "mangle", "nat", "filter", "security"} {
			i := slices.IndexFunc(tables, func(t *savedTable) bool { return t.name == name })
			if i < 0 {
				continue
			}
			t := tables[i]
			if name == "filter" && at == forwarding {
				var docker bool
				if p, docker, err = t.filter().path(changed.in(s.frames(at, false))...); err != nil {
					return err
				}
				p.Filtered, p.Asked = s.filtered, s.asked
				fw.DockerOwned = fw.DockerOwned || docker
				continue
			}
			policy, ok := t.policies[chain]
			if !ok || !s.filtered || !s.asked {
				continue
			}
			frames := changed.in(s.frames(at, false))
			for i := range frames {
				frames[i].early = at == preRouting && name == "raw"
			}
			if name == "nat" {
				frames = begin(frames)
			}
			j, err := judge(chain, policy, walker{rules: t.in, withOurs: true}, frames)
			if err != nil {
				return err
			}
			remedy := func(rule string) string {
				if asksWayBack(rule) && s.route() != "" {
					return s.route()
				}
				return s.remedy(toolOr(s.family, Legacy), name, at)
			}
			j = s.judged(j, name == "nat")
			blocks = append(blocks, j.block(chainName(s.family, Legacy, name, chain), remedy)...)
		}
	}
	if !s.filtered || !s.asked {
		p.Blocks = nil
	}
	p.Blocks = append(p.Blocks, blocks...)
	fw.Paths = append(fw.Paths, p)
	return nil
}

// toolOr is toolName, or the name it most often has.
func toolOr(family Family, backend Backend) string {
	if name := toolName(family, backend); name != "" {
		return name
	}
	return family.tool() + "-" + string(backend)
}

// unseen names filters of bridged frames whose rules nothing here can read, if
// they are in use: the kernel's older ones, arptables and ebtables.
func unseen() (names []string) {
	b, err := os.ReadFile("/proc/thread-self/net/arp_tables_names")
	calls, _ := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-arptables")
	if err == nil && len(bytes.TrimSpace(b)) > 0 && strings.TrimSpace(string(calls)) == "1" {
		names = append(names, "arptables-legacy")
	}
	if ebtablesInUse() {
		names = append(names, "ebtables-legacy")
	}
	return names
}

// ebtablesInUse reports whether the kernel's older filter of bridged frames has
// rules in this namespace. It is asked only where its module is loaded: the
// question would load it.
func ebtablesInUse() bool {
	if _, err := os.Stat("/sys/module/ebtable_filter"); err != nil {
		return false
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	// struct ebt_replace of linux/netfilter_bridge/ebtables.h: a table's name, and
	// the kernel's answer to EBT_SO_GET_INFO, the number of entries among it.
	const getInfo, size, entries = 128, 120, 36
	info := make([]byte, size)
	copy(info, "filter")
	length := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, getInfo,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&length)), 0)
	return errno == 0 && binary.NativeEndian.Uint32(info[entries:]) > 0
}

// Writing.

// Insert puts the rule first in its chain, waiting for other users of
// iptables no longer than ctx and five seconds.
//
// It runs iptables itself rather than through coreos/go-iptables, which starts
// the program a second time to ask its version, and cannot be interrupted.
func (r Rule) Insert(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	return r.run(ctx, "add firewall rule", append([]string{"-w", "-I", r.Chain, "1"}, r.match()...))
}

// Delete takes the rule away. That it is not there is no error.
func (r Rule) Delete(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	err := r.run(ctx, "delete firewall rule", append([]string{"-w", "-D", r.Chain}, r.match()...))
	if err == nil || ctx.Err() != nil {
		return err
	}
	// iptables has one exit code for "no such rule" and much else: look.
	if there, lookErr := r.there(ctx); lookErr != nil || there {
		return err
	}
	return nil
}

func (r Rule) there(ctx context.Context) (bool, error) {
	fw, err := ObserveRules(ctx)
	if err != nil {
		return false, err
	}
	for _, p := range fw.Paths {
		if p.Unread != "" && p.Family == r.Family && p.Backend == r.Backend {
			return false, errors.New(p.Unread)
		}
	}
	return slices.Contains(fw.OursFor(r.Bridge, r.Port), r), nil
}

// check refuses names that iptables would read as more than one interface ("+" at
// the end is a wildcard), or as an option.
func (r Rule) check() error {
	for _, name := range []string{r.Bridge, r.Port} {
		if name != "" && !plainname.Is(name) {
			return fault.New(fault.Unsupported, "write firewall rule", r.String(),
				"iptables cannot name interface %q", name)
		}
	}
	return nil
}

func (r Rule) run(ctx context.Context, op string, args []string) error {
	bin, err := findTool(r.Family, r.Backend)
	if err == nil {
		_, err = hosttool.Run(ctx, bin, args...)
	}
	if err != nil {
		return toolFault(op, r.String(), err)
	}
	return nil
}

// findTool returns the iptables of a family that writes to a backend. Plain
// "iptables" is either, and the name of the program behind its links tells
// which. PATH may lack the sbin directories (cron).
func findTool(family Family, backend Backend) (string, error) {
	names := []string{family.tool() + "-" + string(backend), family.tool()}
	for _, name := range names {
		for _, file := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
			path, err := exec.LookPath(file)
			if err != nil {
				continue
			}
			if real, err := filepath.EvalSymlinks(path); err == nil && servesBackend(filepath.Base(real), backend) {
				return path, nil
			}
		}
	}
	return "", &missingToolError{names[0]}
}

// toolName returns the word that a person types for it: the plain one, where
// that writes to the backend. "" where there is none.
func toolName(family Family, backend Backend) string {
	path, err := findTool(family, backend)
	if err != nil {
		return ""
	}
	plain := family.tool()
	if p, err := exec.LookPath(plain); err == nil {
		if real, err := filepath.EvalSymlinks(p); err == nil && servesBackend(filepath.Base(real), backend) {
			return plain
		}
	}
	return filepath.Base(path)
}

// servesBackend tells by the name of the program behind "iptables" whether it
// writes to the backend: xtables-nft-multi, xtables-legacy-multi, or, before
// 1.8, xtables-multi, which knew no nf_tables.
func servesBackend(program string, backend Backend) bool {
	isNFT := strings.Contains(program, "nft")
	isLegacy := strings.Contains(program, "legacy") || program == "xtables-multi"
	if backend == NFT {
		return !isLegacy
	}
	return !isNFT
}

// missingToolError says that the host has no such program.
type missingToolError struct{ name string }

func (e *missingToolError) Error() string { return "no program " + e.name + " on this host" }

// toolFault says what kind of error a run of iptables ended in.
func toolFault(op, object string, err error) error {
	out := &fault.Error{Code: fault.Failed, Op: op, Object: object, Err: err}
	if t := (*missingToolError)(nil); errors.As(err, &t) {
		out.Code = fault.Unsupported
		return out.WithHint("install the package iptables, or use --no-firewall")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		out.Code = fault.Timeout
		out.Err = fmt.Errorf("iptables did not answer, perhaps another program holds its lock: %w", err)
	}
	if errors.Is(err, context.Canceled) {
		out.Code = fault.Interrupted
	}
	if t := (*hosttool.Error)(nil); errors.As(err, &t) {
		switch {
		// Nothing but text tells these from other refusals.
		case strings.Contains(t.Text, "Permission denied"), strings.Contains(t.Text, "Operation not permitted"):
			out.Code = fault.Permission
		case strings.Contains(t.Text, "physdev"), !strings.Contains(t.Text, "Bad rule") && lacksPhysdev():
			out.Code = fault.Unsupported
			out.Err = fmt.Errorf("this kernel has no match physdev (module xt_physdev, option NETFILTER_XT_MATCH_PHYSDEV): %w", err)
		}
	}
	return out
}

// lacksPhysdev tells, after a refusal that does not give its reason, whether
// the kernel lacks the match. The list is there with legacy iptables alone,
// where the reason is kept back.
func lacksPhysdev() bool {
	b, err := os.ReadFile("/proc/thread-self/net/ip_tables_matches")
	return err == nil && len(b) > 0 && !slices.Contains(strings.Fields(string(b)), "physdev")
}
