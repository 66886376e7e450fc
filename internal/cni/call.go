package cni

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/gopipework/gopipework/internal/plainname"
	"github.com/gopipework/gopipework/internal/spec"
)

// Command is the variable that says what a plugin is called for.
const Command = "CNI_COMMAND"

// The verbs: what Command can be.
const (
	Add     = "ADD"
	Del     = "DEL"
	Check   = "CHECK"
	GC      = "GC"
	Status  = "STATUS"
	Version = "VERSION"
)

// Call is what the caller says in the environment.
type Call struct {
	Verb        string
	ContainerID string
	NetNS       string // path of the guest's network namespace; DEL may come without
	IfName      string // that the interface is to have in the guest
	Override    bool   // NetNS may be the namespace that this process runs in

	args []string // CNI_ARGS: each KEY=VALUE
}

// ReadCall reads the environment. Of a VERSION nothing else is read: callers send anything
// with it.
func ReadCall(getenv func(string) string) (Call, error) {
	c := Call{Verb: getenv(Command)}
	switch c.Verb {
	case Version, GC, Status:
		return c, nil
	case Add, Del, Check:
	default:
		return c, refuse(types.ErrInvalidEnvironmentVariables, "read "+Command, c.Verb, "there is no such verb").
			withHint("ADD, DEL, CHECK, GC, STATUS or VERSION")
	}
	c.ContainerID, c.NetNS, c.IfName = getenv("CNI_CONTAINERID"), getenv("CNI_NETNS"), getenv("CNI_IFNAME")
	c.Override = slices.Contains([]string{"1", "true"}, strings.ToLower(getenv("CNI_NETNS_OVERRIDE")))
	if args := getenv("CNI_ARGS"); args != "" {
		c.args = strings.Split(args, ";")
	}
	return c, c.check()
}

// check refuses what no caller means to say. DEL is refused no more than is needed to know
// what to delete.
func (c Call) check() error {
	bad := func(name, value, why string) error {
		if value == "" {
			why = "it is not set"
		}
		return refuse(types.ErrInvalidEnvironmentVariables, "read "+name, value, "%s", why)
	}
	if !plainname.Is(c.ContainerID) {
		return bad("CNI_CONTAINERID", c.ContainerID, "it is not made of letters, digits, \"_\", \".\" and \"-\"")
	}
	if why := spec.CheckName(c.IfName); why != "" {
		return bad("CNI_IFNAME", c.IfName, why)
	}
	if c.Verb == Del {
		return nil
	}
	if !filepath.IsAbs(c.NetNS) {
		return bad("CNI_NETNS", c.NetNS, "it is not the path of a network namespace")
	}
	for _, a := range c.args {
		if !strings.Contains(a, "=") {
			return bad("CNI_ARGS", a, "it is not KEY=VALUE")
		}
	}
	return nil
}

// Arg returns what CNI_ARGS has for a key; "": nothing.
func (c Call) Arg(key string) string {
	for _, a := range c.args {
		if value, ok := strings.CutPrefix(a, key+"="); ok {
			return value
		}
	}
	return ""
}

// ID is the ID of the guest in the marks of what is attached for a container in a network,
// when the caller asked for an interface of this name.
func ID(network, containerID, ifName string) string {
	sum := sha256.Sum256([]byte(network + "\n" + containerID + "\n" + ifName))
	return hex.EncodeToString(sum[:6])
}
