package spec

// Ready is an interface that somebody waits for, and what it has to have
// beyond being up with a carrier.
type Ready struct {
	IfName string
	Addr   bool // a usable address of its own
	Route  bool // a route by it that leads beyond the link
}

// ParseReady checks the interface's name; "" is UsualIfName, as in an attach.
func ParseReady(ifName string, addr, route bool) (Ready, error) {
	name, err := parseIfName("interface name", ifName)
	if name == "" {
		name = UsualIfName
	}
	return Ready{IfName: name, Addr: addr, Route: route}, err
}
