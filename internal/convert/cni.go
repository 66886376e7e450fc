package convert

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/yamlfile"
)

// placeholder stands for the container: a CNI configuration is for any.
const placeholder = "GUEST"

// cni converts network configurations (the CNI specification, section 1): plain ones,
// lists, and those in a NetworkAttachmentDefinition.
func (c *converter) cni(docs []*yamlfile.Node) {
	n := 0
	for _, doc := range docs {
		if yamlfile.IsNull(doc) {
			continue
		}
		root := c.thing(doc, "a network configuration")
		kind := root.value["kind"]
		switch {
		case kind != nil && c.text(kind, "kind") != "NetworkAttachmentDefinition":
			c.warn(kind, "left out: a %s has no counterpart", c.text(kind, "kind"))
			continue
		case kind != nil:
			name := root.in("metadata").value["name"]
			config := root.in("spec").get("config")
			if config == nil {
				c.warn(doc, "left out: it has no configuration, and its file is on the nodes")
				continue
			}
			inner := c.embedded(config)
			if inner == nil {
				continue
			}
			root = c.thing(inner, "a network configuration")
			if name != nil && root.value["name"] == nil {
				root.value["name"] = name
			}
		}
		if root.value["plugins"] == nil && root.value["type"] == nil {
			c.Wrong(c.At(doc), fault.New(fault.Invalid, "read", "a network configuration", "it has neither \"type\" nor \"plugins\""))
			return
		}
		n++
		c.network(root, n)
	}
	if n > 0 && len(c.draft.Entries) > 0 {
		c.draft.Entries[0].Comments = append(c.draft.Entries[0].Comments, "put the container's name in the place of "+placeholder)
		c.warn(docs[0], "a network configuration names no container: put its name in the place of %s", placeholder)
	}
}

// embedded reads the configuration that is a text in another file.
func (c *converter) embedded(n *yamlfile.Node) *yamlfile.Node {
	is := yamlfile.Behind(n)
	if is == nil || !yamlfile.IsWord(is) {
		c.warn(n, "left out: config is to be a text")
		return nil
	}
	inner := yamlfile.Reader{Path: c.Path}
	docs := inner.Foreign([]byte(is.Value))
	if len(inner.Found) > 0 || len(docs) != 1 {
		c.Wrong(c.At(n), fault.New(fault.Invalid, "read", "config", "it is no JSON"))
		return nil
	}
	move(docs[0], is, 0)
	return docs[0]
}

// move gives the nodes of an embedded text their places in the file: the lines of a
// literal text are its own, and any other text is where it begins.
func move(n, in *yamlfile.Node, depth int) {
	const deepest = 100
	if n == nil || depth > deepest {
		return
	}
	if yamlfile.IsLiteral(in) {
		n.Line, n.Column = n.Line+in.Line, 1
	} else {
		n.Line, n.Column = in.Line, in.Column
	}
	for _, child := range n.Content {
		move(child, in, depth+1)
	}
}

// request is the line that a network's plugins add up to.
type request struct {
	*converter
	hostIF    string
	vlan      string
	mac       string
	addrs     []string
	gateways  []string
	routes    []string
	flags     []string
	hostAddr  string
	addresses []netip.Addr // the gateways that the addresses have
}

// network converts one network, the number-th of the file.
func (c *converter) network(root *thing, number int) {
	name := root.text("name")
	if number == 1 {
		c.name(root.value["name"], name)
	}
	root.ignore("cniVersion", "cniVersions", "disableCheck", "disableGC", "loadOnlyInlinedPlugins")
	plugins := []*thing{root}
	if root.value["plugins"] != nil {
		plugins = nil
		for _, n := range root.list("plugins") {
			plugins = append(plugins, c.thing(n, "a plugin"))
		}
		root.rest("a list of plugins")
	}
	if len(plugins) == 0 {
		c.warn(root.node, "left out: it has no plugins")
		return
	}
	r := &request{converter: c}
	if !r.device(plugins[0], name) {
		return
	}
	for _, p := range plugins[1:] {
		r.chained(p)
	}
	for _, p := range plugins {
		p.ignore("type", "name", "capabilities", "cniVersion")
		p.rest("plugin " + p.text("type"))
	}
	words := []string{r.hostIF}
	if number > 1 {
		words = append(words, "-i", fmt.Sprintf("eth%d", number))
	}
	address := strings.Join(r.addrs, ",")
	if address == "" {
		address = noAddress
	}
	if len(r.gateways) > 0 && len(r.addrs) == 0 {
		c.warn(root.node, "the default route by %s needs an address: write ADDRESS@%s", r.gateways[0], strings.Join(r.gateways, ","))
	} else if len(r.gateways) > 0 {
		address += "@" + strings.Join(r.gateways, ",")
	}
	words = append(words, placeholder, address)
	if last := r.mac + r.vlan; last != "" {
		words = append(words, last)
	}
	words = flag(append(words, r.flags...), "--host-addr", r.hostAddr)
	for _, route := range r.routes {
		words = append(words, "--route", route)
	}
	c.attach(root.node, words...)
}

// device reads the plugin that makes the interface; false: it has no counterpart.
func (r *request) device(p *thing, network string) bool {
	kind := p.text("type")
	if kind == "gopipework" {
		return r.own(p)
	}
	if !r.onHost(p, kind, network) {
		return false
	}
	if mtu := p.text("mtu"); mtu != "0" {
		r.flags = flag(r.flags, "--mtu", mtu)
	}
	r.mac = p.text("mac")
	r.ipam(p.in("ipam"))
	switch gateway := len(r.addresses) > 0; {
	case kind == "ptp" && gateway:
		r.hostAddr = netip.PrefixFrom(r.addresses[0], r.addresses[0].BitLen()).String()
	case kind == "bridge" && p.is("isDefaultGateway") && len(r.gateways) == 0 && gateway:
		r.gateways = append(r.gateways, r.addresses[0].String())
	}
	if kind == "bridge" && (p.is("isGateway") || p.is("isDefaultGateway")) {
		r.warn(p.node, "the bridge does not get the gateway's address: set it under bridges, or with ip")
	}
	p.ignore("isGateway", "isDefaultGateway", "forceAddress")
	checks := kind == "bridge" && p.is("macspoofchk") && r.antispoof(p)
	for _, key := range []string{"ipMasq", "hairpinMode", "promiscMode", "macspoofchk", "linkInContainer"} { // false is as here
		if !p.is(key) || key == "macspoofchk" && checks {
			p.ignore(key)
		} else {
			delete(p.read, key)
		}
	}
	return true
}

// own reads gopipework's own plugin, whose keys are words of the command line.
func (r *request) own(p *thing) bool {
	r.hostIF, r.mac = p.text("hostif"), p.text("mac")
	mode, address := p.text("mode"), p.text("address")
	if mode == "extra" || r.hostIF == "" {
		r.warn(p.node, "left out: the containers say what they ask for, and not this file")
		p.ignore(p.names()...)
		return false
	}
	if address != "" {
		r.addrs = []string{address}
	}
	if v := p.text("vlan"); v != "" {
		r.vlan = "@" + v
	}
	r.flags = flag(flag(r.flags, "--mtu", p.text("mtu")), "--mode", mode)
	for _, n := range p.list("routes") {
		r.routes = append(r.routes, r.text(n, "a route"))
	}
	r.ipam(p.in("ipam"))
	p.ignore("ifname")
	return true
}

// antispoof converts macspoofchk; false: --antispoof cannot be asked for with such addresses
// or VLANs.
func (r *request) antispoof(p *thing) bool {
	if len(r.addrs) == 0 || r.addrs[0] == "dhcp" || strings.ContainsAny(r.vlan, ",t-") {
		return false
	}
	r.warn(p.node, "macspoofchk looks at MAC addresses, and --antispoof also at the guest's IP addresses")
	r.flags = append(r.flags, "--antispoof")
	return true
}

// onHost reads what of the host the interface is on; false: it has no counterpart.
func (r *request) onHost(p *thing, kind, network string) bool {
	master := p.text("master")
	needs := func(word, key string) bool {
		if word == "" {
			r.warn(p.node, "left out: %s without %q takes the interface of the default route: name it", kind, key)
		}
		return word != ""
	}
	switch kind {
	case "bridge":
		name := p.text("bridge")
		if name == "" {
			name = "cni0"
		}
		r.hostIF = "bridge:" + name
		r.vlanOf(p)
		if p.is("portIsolation") {
			r.flags = append(r.flags, "--isolated")
		}
	case "macvlan", "ipvlan":
		if !needs(master, "master") {
			return false
		}
		r.hostIF = kind + ":" + master
		r.flags = flag(r.flags, "--mode", p.text("mode"))
	case "vlan":
		if !needs(master, "master") {
			return false
		}
		r.hostIF, r.vlan = "vlan:"+master, "@"+p.text("vlanId")
	case "host-device":
		switch device, mac := p.text("device"), p.text("hwaddr"); {
		case device != "":
			r.hostIF = "phys:" + device
		case mac != "":
			r.hostIF = "phys:mac:" + mac
		default:
			r.warn(p.node, "left out: the device is to be given by its name (device) or its MAC address (hwaddr)")
			return false
		}
	case "ptp":
		const longest = 15
		end := "ptp-" + network
		r.hostIF = "host:" + end[:min(len(end), longest)]
	default:
		r.warn(p.node, "left out: the plugin %q has no counterpart", kind)
		return false
	}
	return true
}

// vlanOf reads the VLANs of a bridge's port.
func (r *request) vlanOf(p *thing) {
	var all []string
	if v := p.text("vlan"); v != "" && v != "0" {
		all = append(all, v)
	}
	p.ignore("preserveDefaultVlan")
	for _, n := range p.list("vlanTrunk") {
		t := r.thing(n, "vlanTrunk")
		id := t.text("id")
		if id == "" {
			id = t.text("minID") + "-" + t.text("maxID")
		}
		if len(all) == 0 {
			id += "t"
		}
		all = append(all, id)
	}
	if len(all) > 0 {
		r.vlan = "@" + strings.Join(all, ",")
	}
}

// ipam reads where the addresses come from.
func (r *request) ipam(t *thing) {
	switch kind := t.text("type"); kind {
	case "":
		return
	case "dhcp":
		r.addrs = []string{"dhcp"}
	case "static":
		for _, n := range t.list("addresses") {
			a := r.thing(n, "an address")
			r.addrs = append(r.addrs, a.text("address"))
			if gateway, err := netip.ParseAddr(a.text("gateway")); err == nil {
				r.addresses = append(r.addresses, gateway)
			}
			a.rest("an address")
		}
		if len(r.addrs) == 0 {
			r.warn(t.node, "it has no address: write one in the place of %s", noAddress)
		}
	default:
		r.warn(t.node, "%s gives out addresses, which has no counterpart: write an address in the place of %s", kind, noAddress)
		for _, n := range t.list("routes") { // a line takes none without an address
			to := r.thing(n, "a route")
			r.warn(n, "left out: the route to %s: add it with the address, as --route or @GATEWAY", to.text("dst"))
		}
		r.dns(t.in("dns"))
		t.ignore(t.names()...)
		return
	}
	for _, n := range t.list("routes") {
		r.route(n)
	}
	r.dns(t.in("dns"))
	t.rest("ipam")
}

// dns reads the name servers.
func (r *request) dns(t *thing) {
	var servers []string
	for _, n := range t.list("nameservers") {
		servers = append(servers, r.text(n, "a name server"))
	}
	r.flags = flag(r.flags, "--dns", strings.Join(servers, ","))
	t.rest("dns")
}

// route reads a route; one without a gateway goes by that of its family.
func (r *request) route(n *yamlfile.Node) {
	t := r.thing(n, "a route")
	dst, gw := t.text("dst"), t.text("gw")
	p, err := netip.ParsePrefix(dst)
	if err != nil {
		r.warn(n, "left out: %q is no network", dst)
		return
	}
	for _, a := range r.addresses {
		if gw == "" && a.Is4() == p.Addr().Is4() {
			gw = a.String()
		}
	}
	if p.Bits() == 0 {
		if gw == "" {
			r.warn(n, "left out: a default route without a gateway")
			return
		}
		r.gateways = append(r.gateways, gw)
	} else {
		route := dst
		if gw != "" {
			route += ",via " + gw
		}
		for _, more := range []struct{ key, word string }{{"priority", "metric"}, {"table", "table"}} {
			if v := t.text(more.key); v != "" {
				route += "," + more.word + " " + v
			}
		}
		r.routes = append(r.routes, route)
	}
	t.rest("a route")
}

// chained reads a plugin that changes the interface of the one before it.
func (r *request) chained(p *thing) {
	switch kind := p.text("type"); kind {
	case "tuning":
		if mac := p.text("mac"); mac != "" {
			r.mac = mac
		}
		r.flags = flag(r.flags, "--mtu", p.text("mtu"))
		r.sysctls(p.in("sysctl"))
	case "bandwidth":
		for _, f := range []struct{ key, flag string }{{"ingressRate", "--rate-in"}, {"egressRate", "--rate-out"}} {
			if n, err := strconv.ParseUint(p.text(f.key), 10, 64); err == nil && n > 0 {
				r.flags = append(r.flags, f.flag, fmt.Sprintf("%dbit", n))
			}
		}
		p.ignore("ingressBurst", "egressBurst")
	case "sbr":
		r.flags = append(r.flags, "--source-routing")
	case "vrf":
		word := p.text("vrfname")
		if table := p.text("table"); table != "" {
			word += ",table=" + table
		}
		r.flags = flag(r.flags, "--vrf", word)
	default:
		r.warn(p.node, "the plugin %q has no counterpart", kind)
		p.ignore(p.names()...)
	}
}

// sysctls reads those of the interface; the others are of the whole namespace. CNI, too,
// writes IFNAME for the interface's name.
func (r *request) sysctls(t *thing) {
	for _, key := range t.names() {
		if !spec.IsSysctl(key) {
			r.warn(t.get(key), "%s has no counterpart: it is not written as net.ipv4.conf.IFNAME.KEY, for this interface alone", key)
			continue
		}
		r.flags = flag(r.flags, "--sysctl", key+"="+t.text(key))
	}
}
