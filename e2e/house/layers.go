package main

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

// layers are the packages of the program, from the top down. A package imports
// only what stands below it, and nothing of its own layer.
var layers = [][]string{
	{"cmd/gopipework"},
	{"internal/labels"},
	{"internal/watch"},
	{"internal/cni", "internal/convert", "internal/graphpage", "internal/reconcile"},
	{"attach", "dockerutil", "internal/policy", "internal/survey"},
	{"internal/doctor", "internal/hostbridge"},
	{"internal/kind"},
	{"internal/source"},
	{"internal/hostaccess"},
	{"internal/guestnet", "internal/passage"},
	{"internal/intent"},
	{"internal/build", "internal/kept"},
	{"internal/ours"},
	{"internal/finding"},
	{"internal/plan", "internal/topology"},
	{"internal/oci", "internal/spec"},
	{"bridge", "internal/guests", "internal/hostclient"},
	{"bridge/firewall", "internal/tidy"},
	{"internal/bundle", "internal/lease", "internal/rtnl", "internal/yamlfile"},
	{"internal/report"},
	{"internal/acd", "internal/capture", "internal/dropreason", "internal/evpn", "internal/graph", "internal/hosttool", "internal/rundir", "internal/spawn", "internal/tcplisten", "internal/typo", "internal/wireguard", "internal/witness"},
	{"internal/fault", "internal/hostaddr", "internal/lazyregexp", "internal/nlsocket", "internal/notify", "internal/nsfs", "internal/plainfile", "internal/plainname", "internal/rawsocket", "internal/shell"},
}

// imports hold who may import what, and say why.
var imports = []struct {
	path    string // packages whose path begins with it
	allowed []string
	why     string
}{
	{"github.com/vishvananda/", []string{"internal/rtnl", "bridge", "bridge/firewall", "e2e/bench"}, "one door to the kernel's links, addresses and routes, and one to its packet filter"},
	{module + "internal/rtnl", []string{"attach", "internal/hostbridge", "internal/kind", "internal/source", "internal/hostaccess", "internal/guestnet", "internal/passage", "internal/doctor", "internal/build", "internal/ours", "internal/plan", "internal/survey", "internal/tidy", "bridge"}, "only the product and its switch change the network"},
	{"github.com/google/nftables", []string{"bridge/firewall"}, "one package reads the packet filter"},
	{"github.com/moby/", []string{"dockerutil", "e2e/bench/start/client"}, "one place speaks to Docker"},
	{"google.golang.org/protobuf/encoding/protowire", []string{"dockerutil", "e2e/host"}, "only containerd and the CRI speak gRPC"},
	{"google.golang.org/protobuf/proto", nil, "its registry of types would be filled at the start of every run"},
	{"google.golang.org/protobuf/reflect", nil, "its registry of types would be filled at the start of every run"},
	{"google.golang.org/grpc", nil, "it would be set up at the start of every run"},
	{"github.com/containernetworking/", []string{"internal/cni"}, "one package speaks CNI"},
	{"github.com/coreos/go-systemd/", []string{"internal/report"}, "one place tells systemd how watch is"},
	{"github.com/prometheus/", nil, "only its tests read metrics; the program writes them itself"},
	{"github.com/urfave/cli", []string{"cmd/gopipework"}, "the flag library stays at the edge"},
	{module + "dockerutil", []string{"cmd/gopipework"}, "finding a guest and changing it meet in the command, or in a program that imports both"},
	{"go.yaml.in/yaml", []string{"internal/topology", "internal/yamlfile"}, "one package reads a file of YAML, and one edits it"},
	{module + "attach", []string{"cmd/gopipework", "internal/reconcile", "internal/watch"}, "the command is the only caller, by itself or for a list of entries"},
	{"golang.org/x/tools/", []string{"e2e/house"}, "reading Go is for the tests of the code"},
}

// layer returns how far from the top a package stands, or an error that says what
// to do.
func layer(path string) (int, error) {
	i := slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, short(path)) })
	if i < 0 {
		return 0, fmt.Errorf("package %s has no place: put it into a layer in e2e/house/layers.go", short(path))
	}
	return i, nil
}

// own are the imports of a package that are of this repository.
func own(p *packages.Package) (all []string) {
	for path := range p.Imports {
		if strings.HasPrefix(path, module) {
			all = append(all, short(path))
		}
	}
	slices.Sort(all)
	return all
}

// wrongArrow says what is wrong with an import; "": nothing.
func wrongArrow(from, path string) string {
	for _, rule := range imports {
		if strings.HasPrefix(path, rule.path) && !slices.Contains(rule.allowed, short(from)) {
			return rule.why
		}
	}
	if !product(from) || !strings.HasPrefix(path, module) {
		return ""
	}
	if !product(path) {
		return "the program does not need its tests"
	}
	above, err := layer(from)
	below, err2 := layer(path)
	switch {
	case err != nil:
		return err.Error()
	case err2 != nil:
		return err2.Error()
	case below <= above:
		return "it is not in a layer below"
	}
	return ""
}

// packages draws the packages in their layers: what each is, and what it imports.
func (c *code) packages() (string, error) {
	at := map[string]*packages.Package{}
	for _, p := range c.all {
		at[short(p.PkgPath)] = p
		if _, err := layer(p.PkgPath); err != nil && product(p.PkgPath) {
			return "", err
		}
	}
	var drawn []string
	for _, l := range layers {
		var b strings.Builder
		for _, name := range l {
			p, ok := at[name]
			if !ok {
				continue
			}
			const column = 21
			row(&b, name, column, synopsis(p))
			if below := own(p); len(below) > 0 {
				row(&b, "", column, "-> "+strings.ReplaceAll(strings.Join(below, " "), "internal/", ""))
			}
		}
		if b.Len() > 0 {
			drawn = append(drawn, b.String())
		}
	}
	return strings.Join(drawn, "\n"), nil
}

// row writes two columns, the second, which begins at indent, in as many lines as it
// needs.
func row(b *strings.Builder, left string, indent int, right string) {
	const width = 92
	line := fmt.Sprintf("%-*s", indent, left)
	if len(left) >= indent {
		line = left + " "
	}
	start := len(line)
	for _, word := range strings.Fields(right) {
		if len(line)+1+len(word) > width {
			fmt.Fprintln(b, line)
			line = strings.Repeat(" ", indent)
			start = indent
		}
		if len(line) > start {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(b, strings.TrimRight(line, " "))
}
