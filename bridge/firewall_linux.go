package bridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/internal/fault"
)

// ObserveFirewall returns what netfilter does to frames bridged within the
// Linux bridge of that name, in the network namespace of the calling thread.
// The bridge need not be there yet. It writes nothing, and starts a process
// only where a legacy iptables table is in use, which no other interface
// shows.
func ObserveFirewall(ctx context.Context, bridge string) (Firewall, error) {
	f := bridgedFrame{bridge: bridge, index: bridgeIndex(bridge)}
	fw, err := observeNFT(ctx, f)
	if err != nil {
		return Firewall{}, readFault(bridge, err)
	}
	for _, family := range []Family{IPv4, IPv6} {
		f.family = family
		p, docker, err := observeLegacy(ctx, f)
		if err != nil {
			return Firewall{}, readFault(bridge, err)
		}
		if p != nil {
			fw.Paths = append(fw.Paths, *p)
			fw.DockerOwned = fw.DockerOwned || docker
		}
	}
	for i := range fw.Paths {
		p := &fw.Paths[i]
		if p.Filtered, err = bridgeNFCall(p.Family); err != nil {
			return Firewall{}, readFault(bridge, err)
		}
		p.Tool = toolName(p.Family, p.Backend)
		for i := range p.Ours {
			p.Ours[i].Tool = p.Tool
		}
		p.Elsewhere = slices.DeleteFunc(p.Elsewhere, func(chain string) bool {
			return !p.Filtered && !strings.HasPrefix(chain, "nft bridge ")
		})
	}
	return fw, nil
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

// observeLegacy returns nil where no legacy table is in use. The names of
// those that are stand in a file of the thread's namespace (/proc/net would be
// the main thread's); a kernel without x_tables has no such file. The rules
// themselves have a binary form only iptables-legacy knows.
func observeLegacy(ctx context.Context, f bridgedFrame) (*Path, bool, error) {
	names := "/proc/thread-self/net/ip_tables_names"
	if f.family == IPv6 {
		names = "/proc/thread-self/net/ip6_tables_names"
	}
	b, err := os.ReadFile(names)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !slices.Contains(strings.Fields(string(b)), "filter") {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	bin, err := findTool(f.family, Legacy)
	if err != nil {
		return &Path{Family: f.family, Backend: Legacy, Chain: forwardChain, Unread: err.Error()}, false, nil
	}
	text, err := runTool(ctx, bin, "-w", "-t", "filter", "-S")
	if err != nil {
		return nil, false, toolFault("list rules with", filepath.Base(bin), err)
	}
	p, docker, err := parseSave(text).path(f)
	return &p, docker, err
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
	fw, err := ObserveFirewall(ctx, r.Bridge)
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

// check refuses names that iptables would read as more than one interface, or
// as an option.
func (r Rule) check() error {
	for _, name := range []string{r.Bridge, r.Port} {
		if name != "" && !ruleName.MatchString(name) {
			return fault.New(fault.Unsupported, "write firewall rule", r.String(),
				"iptables cannot name interface %q", name)
		}
	}
	return nil
}

func (r Rule) run(ctx context.Context, op string, args []string) error {
	bin, err := findTool(r.Family, r.Backend)
	if err == nil {
		_, err = runTool(ctx, bin, args...)
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
	if t := (*toolError)(nil); errors.As(err, &t) {
		switch {
		// Nothing but text tells these from other refusals.
		case strings.Contains(t.text, "Permission denied"), strings.Contains(t.text, "Operation not permitted"):
			out.Code = fault.Permission
		case strings.Contains(t.text, "physdev"), !strings.Contains(t.text, "Bad rule") && lacksPhysdev():
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
