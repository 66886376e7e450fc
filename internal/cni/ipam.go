package cni

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
)

// IPAM is a plugin that gives out the addresses of a network, such as host-local. It reads
// the same environment and the same configuration.
type IPAM struct {
	Type    string `json:"type"`
	hasKeys bool   // the configuration says something about it
	config  []byte
}

// NeedsInterface reports whether the plugin asks for addresses by the interface that is to
// have them, and releases them by it.
func (i IPAM) NeedsInterface() bool { return i.Type == "dhcp" }

// Add has the plugin give out addresses, and returns them with their gateways and routes. With an
// error, done says that the plugin itself reports success: there may be addresses to release.
// What the plugin says besides goes to stderr.
func (i IPAM) Add(ctx context.Context, stderr io.Writer) (given *Result, done bool, err error) {
	run := &noting{Exec: &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: stderr}}}
	r, err := invoke.DelegateAdd(ctx, i.Type, i.config, run)
	switch {
	case err != nil && !run.done:
		return nil, false, i.explain(ctx, "get addresses from", err)
	case err == nil:
		given, err = read(r)
	}
	if err != nil {
		return nil, true, fault.New(fault.Failed, "read addresses of", i.Type, "%w", err)
	}
	return given, true, nil
}

// noting runs a plugin, and notes whether it has done what it was run for.
type noting struct {
	invoke.Exec
	done bool
}

func (n *noting) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	out, err := n.Exec.ExecPlugin(ctx, path, stdin, environ)
	n.done = err == nil
	return out, err
}

// read returns the addresses that a plugin has given.
func read(r types.Result) (*Result, error) {
	text, err := json.Marshal(r)
	if err == nil {
		err = checkNull(text)
	}
	if err != nil {
		return nil, err
	}
	given, err := types100.NewResultFromResult(r)
	if err == nil && len(given.IPs) == 0 {
		err = errors.New("it gives none")
	}
	return given, err
}

// Release releases what Add has returned. It succeeds if there is nothing.
func (i IPAM) Release(ctx context.Context) error {
	return i.explain(ctx, "release addresses by", invoke.DelegateDel(ctx, i.Type, i.config, nil))
}

// Check fails if the addresses are not those of the guest any more.
func (i IPAM) Check(ctx context.Context) error {
	return i.explain(ctx, "check addresses by", invoke.DelegateCheck(ctx, i.Type, i.config, nil))
}

// GC releases the addresses of guests that the caller does not name.
func (i IPAM) GC(ctx context.Context) error {
	return i.explain(ctx, "release addresses by", invoke.DelegateGC(ctx, i.Type, i.config, nil))
}

// Status fails if the plugin cannot give out addresses now.
func (i IPAM) Status(ctx context.Context) error {
	return i.explain(ctx, "get addresses from", invoke.DelegateStatus(ctx, i.Type, i.config, nil))
}

// explain returns the error of a plugin. Its code is passed on if CNI says what it means.
func (i IPAM) explain(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	e := fault.New(fault.CodeOfCause(err), op, i.Type, "%w", err)
	var its *types.Error
	if errors.As(err, &its) && its.Code < ownCodes {
		return &coded{e, its.Code}
	}
	return e
}

// words returns what a plugin has given, in the words of the command line: addresses and
// gateways, and routes. A route without a gateway goes by that of an address of its family.
func words(given *Result) (address string, routes []string) {
	var addrs []netip.Prefix
	var gateways []netip.Addr
	for _, ip := range given.IPs {
		addrs = append(addrs, prefixOf(ip.Address))
	}
	for _, route := range given.Routes {
		dst, via := prefixOf(route.Dst), addrOf(route.GW)
		for _, ip := range given.IPs {
			if gw := addrOf(ip.Gateway); !via.IsValid() && gw.Is4() == dst.Addr().Is4() {
				via = gw
			}
		}
		r := spec.Route{Dst: dst, Via: via, Metric: route.Priority}
		if route.Table != nil {
			r.Table = *route.Table
		}
		switch {
		case !r.Default():
			routes = append(routes, r.String())
		case via.IsValid() && !slices.Contains(gateways, via):
			gateways = append(gateways, via)
		}
	}
	address = spec.Join(addrs)
	if len(gateways) > 0 {
		address += "@" + spec.Join(gateways)
	}
	return address, routes
}
