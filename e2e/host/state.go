//go:build linux

package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// State is what a network namespace looks like: links, queues, addresses, routes,
// rules, bridge ports, firewall, named namespaces, files of gopipework's own
// and sysctls as sorted lines of text, without what changes by itself
// (counters, timers, learned neighbours).
type State string

// State looks at the host.
func (h *Host) State() (State, error) { return read(h.Run) }

// State looks at a guest.
func (g *Guest) State() (State, error) { return read(g.Run) }

// Settled reports whether the kernel has told of each link that is up whether it
// has a carrier: it does so up to a second late (linkwatch), and until then a
// link has neither sign, or both. And each IPv6 address is free, or is not: until
// then, a route or two are missing.
func (s State) Settled() bool {
	var links []Link
	told := map[string]bool{} // bridges of which the kernel tells: those with a port
	for line := range strings.Lines(string(s)) {
		if strings.HasPrefix(line, "settling ") {
			return false
		}
		text, ok := strings.CutPrefix(line, "link ")
		var l Link
		if ok && json.Unmarshal([]byte(text), &l) == nil {
			links = append(links, l)
			told[l.Master] = true
		}
	}
	for _, l := range links {
		if !slices.Contains(l.Flags, "UP") {
			continue
		}
		carrier := slices.Contains(l.Flags, "LOWER_UP")
		if slices.Contains(l.Flags, "NO-CARRIER") == carrier {
			return false
		}
		// Of these the kernel always tells in the end.
		tells := l.Info.Kind == "veth" || l.Info.Kind == "macvlan" || l.Info.Kind == "bridge" && told[l.Name]
		if carrier && l.State == "UNKNOWN" && tells {
			return false
		}
	}
	return true
}

// Settle looks until what it sees has settled, and returns that.
func Settle(look func() (State, error)) (s State, err error) {
	if !Poll(Patience, func() bool {
		s, err = look() // a link that comes or goes meanwhile may spoil a look
		return err == nil && s.Settled()
	}) && err == nil {
		err = fmt.Errorf("a link, or an address, does not settle:\n%s", s)
	}
	return s, err
}

// One shell reads everything; a line "== NAME" starts each part.
const readScript = `
	part() { echo "== $1"; }
	part link;   ip -d -j link show
	part qdisc;  tc -j qdisc show
	part addr;   ip -j addr show
	part route;  ip -4 -j route show table all
	part route6; ip -6 -j route show table all
	part rule;   ip -4 -j rule show
	part rule6;  ip -6 -j rule show
	part vlan;   bridge -j vlan show
	part fdb;    bridge -j fdb show
	part firewall;  iptables-save 2>/dev/null
	part firewall6; ip6tables-save 2>/dev/null
	part file;   find /run/gopipework /var/lib/gopipework /run/netns 2>/dev/null || true
	part sysctl;
	cd /proc/sys/net
	grep -rs "" ipv4/conf ipv6/conf ipv4/ip_forward bridge || true
`

func read(run func(string, ...string) Result) (State, error) {
	r := run("sh", "-ec", readScript)
	if err := r.Err(); err != nil {
		return "", err
	}
	var lines []string
	bridges := map[string]bool{}
	for part := range strings.SplitSeq("\n"+r.Stdout, "\n== ") {
		name, text, _ := strings.Cut(part, "\n")
		switch name {
		case "":
			continue
		case "firewall", "firewall6":
			// Rules keep their order, it means something.
			for l := range strings.Lines(text) {
				l = counters.ReplaceAllString(strings.TrimSpace(l), "")
				if l != "" && !strings.HasPrefix(l, "#") {
					lines = append(lines, name+" "+l)
				}
			}
			continue
		case "sysctl", "file":
			var all []string
			for l := range strings.Lines(text) {
				all = append(all, name+" "+strings.TrimSpace(l))
			}
			slices.Sort(all)
			lines = append(lines, all...)
			continue
		}
		var objects []map[string]any
		if len(bytes.TrimSpace([]byte(text))) > 0 {
			if err := json.Unmarshal([]byte(text), &objects); err != nil {
				return "", fmt.Errorf("read %s: %w in %q", name, err, text)
			}
		}
		var all []string
		for _, o := range objects {
			if name == "link" {
				if i, _ := o["linkinfo"].(map[string]any); i["info_kind"] == "bridge" {
					bridges[o["ifname"].(string)] = true
				}
			}
			if name == "addr" && settling(o) {
				all = append(all, fmt.Sprintf("settling %v", o["ifname"]))
			}
			if byItself(name, o, bridges) {
				continue
			}
			prune(o)
			b, err := json.Marshal(o) // sorts the keys
			if err != nil {
				return "", err
			}
			all = append(all, name+" "+string(b))
		}
		slices.Sort(all)
		lines = append(lines, all...)
	}
	return State(strings.Join(lines, "\n") + "\n"), nil
}

var counters = regexp.MustCompile(`\[\d+:\d+\]`)

// settling says whether an address of a link is being tried.
func settling(o map[string]any) bool {
	flags, _ := o["flags"].([]any)
	addrs, _ := o["addr_info"].([]any)
	return slices.Contains(flags, any("LOWER_UP")) && slices.ContainsFunc(addrs, func(a any) bool {
		addr, _ := a.(map[string]any)
		return addr["tentative"] == true && addr["dadfailed"] != true
	})
}

// byItself says whether the kernel makes such an object without being asked.
func byItself(part string, o map[string]any, bridges map[string]bool) bool {
	switch part {
	case "addr":
		// A bridge gets a link-local address when it first has carrier, and keeps it.
		if infos, ok := o["addr_info"].([]any); ok && bridges[o["ifname"].(string)] {
			o["addr_info"] = slices.DeleteFunc(infos, func(i any) bool {
				a := i.(map[string]any)
				return a["family"] == "inet6" && a["scope"] == "link"
			})
		}
		for _, k := range []string{"flags", "operstate", "qdisc", "mtu"} {
			delete(o, k) // told by the link
		}
	case "route6":
		dev, _ := o["dev"].(string)
		dst, _ := o["dst"].(string)
		if o["type"] == "local" || o["type"] == "anycast" {
			return strings.HasPrefix(dst, "fe80:") // comes when the kernel is sure of the address
		}
		return bridges[dev] && (strings.HasPrefix(dst, "fe80:") || strings.HasPrefix(dst, "ff00:"))
	case "fdb":
		// Learned ones, and the multicast groups a bridge itself listens to.
		m, _ := o["mac"].(string)
		dev, _ := o["ifname"].(string)
		return o["state"] != "permanent" || bridges[dev] && (strings.HasPrefix(m, "33:33:") || strings.HasPrefix(m, "01:00:5e:"))
	case "link":
		if bridges[o["ifname"].(string)] {
			// A bridge's offloads are what its ports have in common.
			for k := range o {
				if strings.HasPrefix(k, "gso_") || strings.HasPrefix(k, "tso_") || strings.HasPrefix(k, "gro_") {
					delete(o, k)
				}
			}
		}
	}
	return false
}

// prune removes what changes by itself.
func prune(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			switch {
			case strings.HasSuffix(k, "_timer"), strings.HasPrefix(k, "topology_change"),
				k == "fdb_n_learned", k == "seed", k == "valid_life_time", k == "preferred_life_time", k == "tentative", k == "config_pending":
				delete(v, k)
			default:
				prune(x)
			}
		}
	case []any:
		for _, x := range v {
			prune(x)
		}
	}
}

// Shape is the state without what is different each time the same thing is
// made: interface numbers, random MACs and what the kernel derives from them.
// MACs in keep were asked for.
func (s State) Shape(keep ...string) State {
	var lines []string
	for l := range strings.Lines(string(s)) {
		l = strings.TrimSpace(l)
		if strings.Contains(l, `"fe80::`) && strings.HasPrefix(l, "route6 ") {
			continue
		}
		l = number.ReplaceAllString(l, `"$1":0`)
		l = linkLocal.ReplaceAllString(l, "LINKLOCAL")
		l = mac.ReplaceAllStringFunc(l, func(m string) string {
			if slices.Contains(keep, m) {
				return m
			}
			return "MAC"
		})
		lines = append(lines, l)
	}
	slices.Sort(lines)
	return State(strings.Join(lines, "\n") + "\n")
}

var (
	number    = regexp.MustCompile(`"(ifindex|link_index|link_netnsid)":\d+`)
	linkLocal = regexp.MustCompile(`fe80::[0-9a-f:]+`)
	mac       = regexp.MustCompile(`([0-9a-f]{1,2}:){5}[0-9a-f]{1,2}`) // a bridge ID has no leading zeros
)

// Diff says what b has that a has not, and the other way round; it is empty
// if they are the same.
func Diff(a, b State) string {
	gone, come := fold(minus(a, b)), fold(minus(b, a))
	var d strings.Builder
	for _, l := range gone {
		i := slices.IndexFunc(come, func(c string) bool { return sameObject(l, c) })
		if i < 0 {
			d.WriteString("- " + l)
			continue
		}
		d.WriteString("~ " + changes(l, come[i]))
		come = slices.Delete(come, i, i+1)
	}
	for _, l := range come {
		d.WriteString("+ " + l)
	}
	if d.Len() == 0 && a != b {
		return "the same lines in another order\n"
	}
	return d.String()
}

// minus lists the lines of a that b lacks.
func minus(a, b State) (lines []string) {
	left := map[string]int{}
	for l := range strings.Lines(string(b)) {
		left[l]++
	}
	for l := range strings.Lines(string(a)) {
		if left[l]--; left[l] < 0 {
			lines = append(lines, l)
		}
	}
	return lines
}

// fold makes one line of the many sysctls of a link that came or went.
func fold(lines []string) (short []string) {
	count := map[string]int{}
	dir := func(l string) string {
		if i := strings.LastIndex(l, "/"); strings.HasPrefix(l, "sysctl ") && i > 0 {
			return l[:i]
		}
		return ""
	}
	for _, l := range lines {
		count[dir(l)]++
	}
	for _, l := range lines {
		switch d := dir(l); {
		case d == "" || count[d] >= 0 && count[d] <= 10:
			short = append(short, l)
		case count[d] > 10:
			short = append(short, fmt.Sprintf("%s: %d values\n", d, count[d]))
			count[d] = -1
		}
	}
	return short
}

// fields reads a line of a state that is an object with a name.
func fields(line string) (part string, o map[string]any) {
	part, text, _ := strings.Cut(line, " ")
	if part == "link" || part == "addr" {
		_ = json.Unmarshal([]byte(text), &o)
	}
	return part, o
}

func sameObject(a, b string) bool {
	pa, oa := fields(a)
	pb, ob := fields(b)
	return pa == pb && oa != nil && ob != nil && oa["ifname"] == ob["ifname"]
}

// changes tells which fields of one object differ.
func changes(a, b string) string {
	part, oa := fields(a)
	_, ob := fields(b)
	text := fmt.Sprintf("%s %v:", part, oa["ifname"])
	for k := range oa {
		if fmt.Sprint(oa[k]) != fmt.Sprint(ob[k]) {
			text += fmt.Sprintf(" %s was %v, is %v;", k, oa[k], ob[k])
		}
	}
	for k := range ob {
		if _, ok := oa[k]; !ok {
			text += fmt.Sprintf(" %s is %v, was not there;", k, ob[k])
		}
	}
	return text + "\n"
}

// A Link is what "ip -d -j link" says about one.
type Link struct {
	Name     string   `json:"ifname"`
	Index    int      `json:"ifindex"`
	MAC      string   `json:"address"`
	MTU      int      `json:"mtu"`
	Master   string   `json:"master"`
	Group    string   `json:"group"`
	Alias    string   `json:"ifalias"`
	AltNames []string `json:"altnames"`
	Flags    []string `json:"flags"`
	State    string   `json:"operstate"`
	Info     struct {
		Kind string `json:"info_kind"`
	} `json:"linkinfo"`
	Addrs []Addr `json:"addr_info"`
}

// An Addr is what "ip -j addr" says about one.
type Addr struct {
	Family    string `json:"family"`
	Local     string `json:"local"`
	Bits      int    `json:"prefixlen"`
	Broadcast string `json:"broadcast"`
	Scope     string `json:"scope"`
	Tentative bool   `json:"tentative"`
	Failed    bool   `json:"dadfailed"`
}

func (a Addr) String() string { return fmt.Sprintf("%s/%d", a.Local, a.Bits) }

// Links lists the links of the host by name.
func (h *Host) Links() (map[string]Link, error) { return links(h.Run) }

// Links lists the links of a guest by name.
func (g *Guest) Links() (map[string]Link, error) { return links(g.Run) }

func links(run func(string, ...string) Result) (map[string]Link, error) {
	r := run("ip", "-d", "-j", "addr", "show")
	if err := r.Err(); err != nil {
		return nil, err
	}
	var all []Link
	if err := json.Unmarshal([]byte(r.Stdout), &all); err != nil {
		return nil, err
	}
	m := map[string]Link{}
	for _, l := range all {
		m[l.Name] = l
	}
	return m, nil
}
