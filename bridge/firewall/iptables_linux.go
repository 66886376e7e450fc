package firewall

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hosttool"
)

// The host's iptables: which program writes where, and what its errors mean.

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

// findTool returns the iptables of a family that writes to a backend. Plain
// "iptables" is either, and the name of the program behind its links tells
// which. PATH may lack the sbin directories (cron).
func findTool(family Family, backend Backend) (string, error) {
	names := []string{family.Tool() + "-" + string(backend), family.Tool()}
	for _, name := range names {
		for _, file := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
			if path, ok := lookTool(file, backend); ok {
				return path, nil
			}
		}
	}
	return "", &missingToolError{names[0]}
}

// toolName returns the word that a person types for it: the plain one, where
// that writes to the backend. "" where there is none.
func toolName(family Family, backend Backend) string {
	if _, ok := lookTool(family.Tool(), backend); ok { // the first question: mostly it is all
		return family.Tool()
	}
	path, err := findTool(family, backend)
	if err != nil {
		return ""
	}
	return filepath.Base(path)
}

// lookTool finds a program, if it writes to the backend.
func lookTool(file string, backend Backend) (path string, ok bool) {
	path, err := exec.LookPath(file)
	if err != nil {
		return "", false
	}
	real, err := filepath.EvalSymlinks(path)
	return path, err == nil && servesBackend(filepath.Base(real), backend)
}

// toolOr is toolName, or the name it most often has.
func toolOr(family Family, backend Backend) string {
	if name := toolName(family, backend); name != "" {
		return name
	}
	return family.Tool() + "-" + string(backend)
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
	out := &fault.Error{Code: fault.CodeOfCause(err), Op: op, Object: object, Err: err}
	if t := (*missingToolError)(nil); errors.As(err, &t) {
		out.Code = fault.Unsupported
		return out.WithHint("install the package iptables, or use --no-firewall")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		out.Err = fmt.Errorf("iptables did not answer, perhaps another program holds its lock: %w", err)
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
