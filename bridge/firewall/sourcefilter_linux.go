package firewall

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Set puts the filter on its port, in place of any other there, in the network namespace of
// the calling thread. At no time does a frame pass that neither of the two lets pass.
func (f SourceFilter) Set() error {
	index := bridgeIndex(f.Port)
	if index == 0 {
		return filterFault("add", f.Port, unix.ENODEV)
	}
	return filterFault("add", f.Port, withNFT(func(c *nftConn) error {
		there, err := c.filterChain(f.Port)
		if err == nil {
			err = c.wakeFilters()
		}
		if err != nil {
			return err
		}
		var batch []nftMessage
		if there != nil {
			batch = append(batch, filterMessage(unix.NFT_MSG_DELCHAIN, 0, chainAttrs(f.Port)...))
		}
		return c.batch(append(batch, f.messages(index)...))
	}))
}

// CheckSourceFilters returns an error with the code unsupported if this kernel has not what
// a source filter takes. It changes nothing: the kernel looks at changes that are sent
// without an end, and forgets them.
func CheckSourceFilters() error {
	lo := SourceFilter{Port: "lo", MAC: make(net.HardwareAddr, 6), Addrs: []netip.Addr{netip.IPv4Unspecified()}}
	return filterFault("try", "a source filter", withNFT(func(c *nftConn) error { return c.tryBatch(lo.messages(1)) }))
}

// DeleteSourceFilter deletes the filter of a port, which may be gone, and our table with the
// last one. That it is not there is no error.
func DeleteSourceFilter(port string) error {
	return filterFault("delete", port, withNFT(func(c *nftConn) error {
		err := c.batch([]nftMessage{filterMessage(unix.NFT_MSG_DELCHAIN, 0, chainAttrs(port)...)})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		err = c.batch([]nftMessage{filterMessage(unix.NFT_MSG_DELTABLE, nlmNonrec, tableAttr())})
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOENT) {
			return nil // others are in it, or nobody was
		}
		return err
	}))
}

// nlmNonrec is NLM_F_NONREC: delete only what nothing is in.
const nlmNonrec = 0x100

// ReadSourceFilter returns the filter of a port; nil if there is none, or if somebody has
// changed it.
func ReadSourceFilter(port string) (*SourceFilter, error) {
	var found *SourceFilter
	err := withNFT(func(c *nftConn) error {
		chain, err := c.filterChain(port)
		if err != nil || chain == nil {
			return err
		}
		if asleep, err := c.filtersAsleep(); err != nil || asleep {
			return err
		}
		replies, err := c.request(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, unix.NFPROTO_NETDEV,
			nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(filterTableName)), nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated(port)))
		if err != nil {
			return err
		}
		var rules [][]expr.Any
		for _, reply := range replies {
			rules = append(rules, filterExprs(attributes(reply.attrs)[unix.NFTA_RULE_EXPRESSIONS]))
		}
		f := filterFrom(port, rules)
		if asAdded(chain, port) && reflect.DeepEqual(rules, f.asRead(bridgeIndex(port))) {
			found = &f
		}
		return nil
	})
	return found, filterFault("read", port, err)
}

// SourceFilters returns the ports that filters are for, whether or not they are there.
func SourceFilters() (ports []string, err error) {
	err = withNFT(func(c *nftConn) error {
		if _, present, err := c.generation(); err != nil || !present {
			return err
		}
		chains, err := c.chains()
		for _, b := range chains {
			if b.isFilter() {
				ports = append(ports, b.name)
			}
		}
		return err
	})
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, nil // this kernel has no netfilter
	}
	return ports, filterFault("list", "all ports", err)
}

// isFilter reports whether a chain is a source filter of ours.
func (b nftBase) isFilter() bool {
	return b.family == unix.NFPROTO_NETDEV && b.table == filterTableName
}

// withNFT calls f with a socket.
func withNFT(f func(*nftConn) error) error {
	c, err := dialNFT()
	if err != nil {
		return err
	}
	defer c.close()
	return f(c)
}

func filterFault(op, object string, err error) error {
	if err == nil {
		return nil
	}
	out := &fault.Error{Code: fault.CodeOfCause(err), Op: op + " source filter", Object: object, Err: err}
	for _, no := range []error{unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.ENOENT} {
		if errors.Is(err, no) {
			out.Code = fault.Unsupported
			out.Err = fmt.Errorf("this kernel cannot: %w", err)
			return out.WithHint("--antispoof needs nf_tables for devices: CONFIG_NF_TABLES_NETDEV and CONFIG_NETFILTER_INGRESS")
		}
	}
	return out
}

// filterChain returns the attributes of the chain of a port; nil: there is none.
func (c *nftConn) filterChain(port string) (*[16][]byte, error) {
	replies, err := c.request(unix.NFT_MSG_GETCHAIN, 0, unix.NFPROTO_NETDEV, chainAttrs(port)...)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, nil
	case errors.Is(err, unix.EINVAL):
		return nil, unix.EOPNOTSUPP // as (*nftConn).generation says
	case err != nil:
		return nil, err
	case len(replies) != 1:
		return nil, fmt.Errorf("%d replies to a request for one chain", len(replies))
	}
	attrs := attributes(replies[0].attrs)
	return &attrs, nil
}

const nfAccept = 1 // NF_ACCEPT of linux/netfilter.h

// filtersAsleep reports whether somebody has told the kernel not to ask our table (nft(8),
// "flags dormant").
func (c *nftConn) filtersAsleep() (bool, error) {
	replies, err := c.request(unix.NFT_MSG_GETTABLE, 0, unix.NFPROTO_NETDEV, tableAttr())
	if errors.Is(err, unix.ENOENT) || err == nil && len(replies) == 0 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return attrUint32(attributes(replies[0].attrs)[unix.NFTA_TABLE_FLAGS])&unix.NFT_TABLE_F_DORMANT != 0, nil
}

// wakeFilters has the kernel ask our table again. It does not take chains in the same batch.
func (c *nftConn) wakeFilters() error {
	asleep, err := c.filtersAsleep()
	if err != nil || !asleep {
		return err
	}
	return c.batch([]nftMessage{filterMessage(unix.NFT_MSG_NEWTABLE, 0, tableAttr(), nl.NewRtAttr(unix.NFTA_TABLE_FLAGS, bigEndian32(0)))})
}

// asAdded reports whether a chain is asked where Set has put it.
func asAdded(chain *[16][]byte, port string) bool {
	hook := attributes(chain[unix.NFTA_CHAIN_HOOK])
	devices := hookDevices(hook)
	others := slices.ContainsFunc(devices, func(name string) bool { return name != port }) // the kernel names one twice
	return len(devices) > 0 && !others && attrString(chain[unix.NFTA_CHAIN_TYPE]) == "filter" &&
		attrUint32(chain[unix.NFTA_CHAIN_POLICY]) == nfAccept && attrUint32(hook[unix.NFTA_HOOK_HOOKNUM]) == netdevIngress &&
		attrUint32(hook[unix.NFTA_HOOK_PRIORITY]) == 0
}

// messages make the filter, where there is none.
func (f SourceFilter) messages(index int) []nftMessage {
	all := []nftMessage{
		filterMessage(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, tableAttr()),
		newChain(unix.NFPROTO_NETDEV, filterTableName, f.Port, netdevIngress, 0, f.Port),
	}
	for _, r := range f.rules(index) {
		all = append(all, newRule(unix.NFPROTO_NETDEV, filterTableName, f.Port, r.exprs))
	}
	return all
}

func filterMessage(kind, flags int, attrs ...*nl.RtAttr) nftMessage {
	return nftMessage{kind, flags, unix.NFPROTO_NETDEV, attrs}
}

func tableAttr() *nl.RtAttr {
	return nl.NewRtAttr(unix.NFTA_TABLE_NAME, nl.ZeroTerminated(filterTableName))
}

func chainAttrs(name string) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(unix.NFTA_CHAIN_TABLE, nl.ZeroTerminated(filterTableName)), nl.NewRtAttr(unix.NFTA_CHAIN_NAME, nl.ZeroTerminated(name))}
}

// asRead are the filter's rules as they are read from the kernel.
func (f SourceFilter) asRead(index int) (rules [][]expr.Any) {
	for _, r := range f.rules(index) {
		rules = append(rules, filterExprs(exprList(unix.NFPROTO_NETDEV, r.exprs).Serialize()[unix.SizeofNlAttr:]))
	}
	return rules
}

// filterExprs takes a list of expressions apart. One that no filter has is nil.
func filterExprs(list []byte) (all []expr.Any) {
	for _, elem := range eachAttribute(list) {
		attrs := attributes(elem)
		name, data := attrString(attrs[unix.NFTA_EXPR_NAME]), attrs[unix.NFTA_EXPR_DATA]
		e := emptyExpr(name)
		if name == "exthdr" {
			e = &expr.Exthdr{}
		}
		if e == nil || expr.Unmarshal(unix.NFPROTO_NETDEV, data, e) != nil {
			e = nil
		}
		all = append(all, e)
	}
	return all
}

// filterFrom returns the filter whose rules these most likely are.
func filterFrom(port string, rules [][]expr.Any) SourceFilter {
	f := SourceFilter{Port: port}
	for _, r := range rules {
		for i := 1; i < len(r); i++ {
			test, ok := r[i].(*expr.Cmp)
			if !ok || test.Op != expr.CmpOpNeq {
				continue
			}
			switch {
			case reflect.DeepEqual(r[i-1], frameSource.load()):
				f.MAC = net.HardwareAddr(bytes.Clone(test.Data))
			case reflect.DeepEqual(r[i-1], ipSource.load()), reflect.DeepEqual(r[i-1], ip6Source.load()):
				if a, ok := netip.AddrFromSlice(test.Data); ok {
					f.Addrs = append(f.Addrs, a)
				}
			}
		}
	}
	return f
}
