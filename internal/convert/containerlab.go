package convert

import (
	"regexp"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/yamlfile"
)

// lab is a topology of containerlab (containerlab.dev/manual/topo-def-file).
type lab struct {
	*converter
	prefix     string // of the containers' names
	mgmtBridge string
	nodes      *thing
	kinds      map[string]string   // of the nodes
	plainMTU   bool                // a link without an MTU has been told of
	typed      map[string][]string // addresses that commands set, by the interface as in an endpoint
}

// noAddress is the word of a line for no address at all.
const noAddress = "0/0"

func (c *converter) containerlab(docs []*yamlfile.Node) {
	root := c.thing(docs[0], "a lab")
	topo := root.in("topology")
	if topo.node == nil {
		c.Wrong(c.At(docs[0]), fault.New(fault.Invalid, "read", "a lab", "it has no key \"topology\"").WithHint("a file NAME.clab.yml has one"))
		return
	}
	name := root.text("name")
	c.name(root.value["name"], name)
	l := &lab{converter: c, nodes: topo.in("nodes"), kinds: map[string]string{}, typed: map[string][]string{}, mgmtBridge: root.in("mgmt").text("bridge")}
	switch prefix, said := root.text("prefix"), root.value["prefix"] != nil; {
	case !said:
		l.prefix = "clab-" + name + "-"
	case prefix == "__lab-name":
		l.prefix = name + "-"
	case prefix != "":
		l.prefix = prefix + "-" + name + "-"
	}
	usual := topo.in("defaults").text("kind")
	for _, node := range l.nodes.names() {
		n := l.nodes.in(node)
		l.kinds[node] = n.text("kind")
		if l.kinds[node] == "" {
			l.kinds[node] = usual
		}
		l.exec(node, n.list("exec"))
	}
	for _, n := range topo.list("links") {
		l.linkOf(n)
	}
}

// end is one end of a link.
type end struct {
	node   *yamlfile.Node
	name   string // of the node, or what stands in its place
	ifName string
	mac    string
	addrs  []string
}

func (l *lab) address(e end) string {
	all := e.addrs
	for _, a := range l.typed[e.name+":"+e.ifName] {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		return noAddress
	}
	return strings.Join(all, ",")
}

// exec reads the commands that containerlab executes in a node: most labs set the
// addresses by one.
func (l *lab) exec(node string, commands []*yamlfile.Node) {
	address := regexp.MustCompile(`^\s*ip (?:-[46] )?a(?:ddr|ddress)? a(?:dd)? (\S+) dev (\S+)\s*$`)
	for _, n := range commands {
		if m := address.FindStringSubmatch(l.text(n, "a command")); m != nil {
			at := node + ":" + m[2]
			l.typed[at] = append(l.typed[at], m[1])
		} else {
			l.warn(n, "nothing is executed: a route that is set here belongs into the entry of its link")
		}
	}
}

// linkOf converts a link, in the brief or the extended format.
func (l *lab) linkOf(n *yamlfile.Node) {
	t := l.thing(n, "a link")
	kind := t.text("type")
	mtu := t.text("mtu")
	if mtu == "" && !l.plainMTU {
		l.plainMTU = true
		l.warn(n, "links without an mtu have one of 9500 in containerlab, and 1500 or the bridge's here")
	}
	hostIF := t.text("host-interface")
	special := end{node: n, name: kind, ifName: hostIF}
	switch kind {
	case "", "veth":
		ends := l.ends(t)
		if len(ends) != 2 {
			l.warn(n, "left out: a link has two endpoints")
			return
		}
		if isSpecial(ends[0].name) || l.bridge(ends[0].name) != "" {
			ends[0], ends[1] = ends[1], ends[0]
		}
		l.between(t, ends[0], ends[1], mtu)
	case "host", "mgmt-net", "macvlan", "dummy":
		if t.get("endpoint") == nil {
			l.warn(n, "left out: it has no endpoint")
			return
		}
		l.between(t, l.endpoint(t.get("endpoint")), special, mtu)
	default:
		l.warn(n, "left out: a link of type %s has no counterpart", kind)
		return
	}
	t.ignore("labels", "vars", "ipv4", "ipv6", "deploymentstate")
	t.rest("a link")
}

func isSpecial(name string) bool { return name == "host" || name == "mgmt-net" || name == "macvlan" }

// ends reads the endpoints: words, or maps.
func (l *lab) ends(t *thing) (ends []end) {
	v4, v6 := t.list("ipv4"), t.list("ipv6")
	for i, n := range t.list("endpoints") {
		e := l.endpoint(n)
		for _, list := range [][]*yamlfile.Node{v4, v6} {
			if i < len(list) {
				if word := l.text(list[i], "an address"); word != "" {
					e.addrs = append(e.addrs, word)
				}
			}
		}
		ends = append(ends, e)
	}
	return ends
}

func (l *lab) endpoint(n *yamlfile.Node) end {
	e := end{node: n}
	if is := yamlfile.Behind(n); is != nil && is.Value != "" {
		e.name, e.ifName, _ = strings.Cut(l.text(n, "an endpoint"), ":")
		return e
	}
	t := l.thing(n, "an endpoint")
	e.name, e.ifName, e.mac = t.text("node"), t.text("interface"), t.text("mac")
	for _, key := range []string{"ipv4", "ipv6"} {
		if a := t.text(key); a != "" {
			e.addrs = append(e.addrs, a)
		}
	}
	t.ignore("vars")
	t.rest("an endpoint")
	return e
}

// bridge returns the word for the bridge that a node is, or "".
func (l *lab) bridge(node string) string {
	switch l.kinds[node] {
	case "bridge":
		return "bridge:" + node
	case "ovs-bridge":
		return "ovs:" + node
	}
	return ""
}

// guest is the container's name of a node.
func (l *lab) guest(e end) string {
	if _, is := l.nodes.value[e.name]; !is {
		l.warn(e.node, "the lab has no node %q", e.name)
	}
	if l.kinds[e.name] == "ext-container" {
		return e.name
	}
	return l.prefix + e.name
}

// between converts the link of a node to another, or to something of the host.
func (l *lab) between(t *thing, a, b end, mtu string) {
	bridge := l.bridge(b.name)
	onHost := bridge != "" || isSpecial(b.name) || b.name == "dummy" && b.ifName == ""
	switch {
	case isSpecial(a.name) || l.bridge(a.name) != "":
		l.warn(t.node, "left out: neither end is a container")
		return
	case l.kinds[a.name] == "host" || l.kinds[b.name] == "host" && !onHost:
		l.warn(t.node, "left out: a node of kind host has no counterpart here; a link of type host has")
		return
	case !onHost:
		for _, e := range []end{a, b} {
			if e.mac != "" {
				l.warn(e.node, "the MAC address of an end of a link has no counterpart")
			}
		}
		words := []string{l.guest(a) + ":" + a.ifName, l.address(a), l.guest(b) + ":" + b.ifName, l.address(b)}
		l.link(t.node, flag(words, "--mtu", mtu)...)
		return
	}
	var head, tail []string
	switch {
	case bridge != "":
		head = []string{bridge, "-l", b.ifName}
	case b.name == "mgmt-net" && l.mgmtBridge == "":
		l.warn(t.node, "left out: Docker names the bridge of the management network: give mgmt a bridge, or write the line")
		return
	case b.name == "mgmt-net":
		head = []string{"bridge:" + l.mgmtBridge, "-l", b.ifName}
	case b.name == "host":
		head = []string{"host:" + b.ifName}
		if len(b.addrs) > 0 {
			tail = []string{"--host-addr", b.addrs[0]}
		}
	case b.name == "macvlan":
		head = []string{"macvlan:" + b.ifName}
		tail = flag(nil, "--mode", t.text("mode"))
	case b.name == "dummy":
		head = []string{"dummy"}
	}
	if len(b.addrs) > 0 && b.name != "host" {
		l.warn(b.node, "the address of the host's end has no counterpart")
	}
	words := append(head, "-i", a.ifName, l.guest(a), l.address(a))
	if a.mac != "" {
		words = append(words, a.mac)
	}
	l.attach(t.node, append(flag(words, "--mtu", mtu), tail...)...)
}
