package firewall

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/gopipework/gopipework/internal/hosttool"
	"golang.org/x/sys/unix"
)

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
	text, err := saveLegacy(ctx, family)
	if missing := (*missingToolError)(nil); errors.As(err, &missing) {
		return nil, missing.Error(), nil
	}
	if err != nil || text == "" {
		return nil, "", err
	}
	return parseTables(text), "", nil
}

// saveLegacy returns what iptables-legacy-save writes, "" where no legacy table is in use.
func saveLegacy(ctx context.Context, family Family, args ...string) (string, error) {
	names := "/proc/thread-self/net/ip_tables_names"
	if family == IPv6 {
		names = "/proc/thread-self/net/ip6_tables_names"
	}
	b, err := readNames(names)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.TrimSpace(b)) == 0 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	bin, err := findTool(family, Legacy)
	if err != nil {
		return "", err
	}
	text, err := hosttool.Run(ctx, bin+"-save", args...)
	if err != nil {
		return "", toolFault("list rules with", filepath.Base(bin)+"-save", err)
	}
	return text, nil
}

// readNames reads one of those files, whose few names one read returns. It is no os.File:
// Go's poller would be asked to watch it, for each of many guests.
func readNames(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	b := make([]byte, 512)
	n, err := unix.Read(fd, b)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return b[:n], nil
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
			if _, ok := t.policies[chain]; !ok || !s.filtered || !s.asked {
				continue
			}
			found, err := s.legacyBlocks(t, at, chain, &changed)
			if err != nil {
				return err
			}
			blocks = append(blocks, found...)
		}
	}
	if !s.filtered || !s.asked {
		p.Blocks = nil
	}
	p.Blocks = append(p.Blocks, blocks...)
	fw.Paths = append(fw.Paths, p)
	return nil
}

// legacyBlocks returns what in a base chain of a legacy table, other than FORWARD of
// filter, may stop frames.
func (s subject) legacyBlocks(t *savedTable, at hook, chain string, changed *written) ([]Block, error) {
	frames := changed.in(s.frames(at, false))
	for i := range frames {
		frames[i].early = at == preRouting && t.name == "raw"
	}
	if t.name == "nat" {
		frames = begin(frames)
	}
	j, err := judge(chain, t.policies[chain], walker{rules: t.in, withOurs: true}, frames)
	if err != nil {
		return nil, err
	}
	remedy := func(rule string) string {
		if asksWayBack(rule) && s.route() != "" {
			return s.route()
		}
		return s.remedy(toolOr(s.family, Legacy), t.name, at)
	}
	return s.judged(j, t.name == "nat").block(chainName(s.family, Legacy, t.name, chain), remedy), nil
}

// unseen names filters of bridged frames whose rules nothing here can read, if
// they are in use: the kernel's older ones, arptables and ebtables.
func unseen() (names []string) {
	b, err := os.ReadFile("/proc/thread-self/net/arp_tables_names")
	if err == nil && len(bytes.TrimSpace(b)) > 0 {
		calls, _ := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-arptables")
		if strings.TrimSpace(string(calls)) == "1" {
			names = append(names, "arptables-legacy")
		}
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
