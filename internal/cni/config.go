package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/gopipework/gopipework/internal/plainname"
	"github.com/gopipework/gopipework/internal/spec"
)

// Plugin says which versions of CNI are spoken.
func Plugin() version.PluginInfo {
	return version.PluginSupports("0.3.1", "0.4.0", "1.0.0", "1.1.0")
}

// ModeExtra is the Mode of a plugin in a chain that leaves the interface of the one before
// it alone. Any other Mode is that of a macvlan or ipvlan, as with --mode.
const ModeExtra = "extra"

// Config is the configuration of a network. Keys that are not known are ignored, as callers
// expect.
type Config struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`

	HostIF  string   `json:"hostif"`
	Address string   `json:"address"`
	MAC     string   `json:"mac"`
	VLAN    word     `json:"vlan"`
	MTU     word     `json:"mtu"`
	Mode    string   `json:"mode"`
	Routes  []string `json:"routes"` // each as with --route
	IfName  string   `json:"ifname"` // in place of the name that the caller asks for
	Policy  string   `json:"policy"` // the file that says what guests may ask for
	IPs     *bool    `json:"ips"`    // see AddsIPs

	IPAM    IPAM      `json:"ipam"` // where the addresses come from in place of Address; no Type: nowhere
	DNS     types.DNS `json:"dns"`
	Runtime Runtime   `json:"runtimeConfig"`

	keys []string // all, also those that are not known

	Prev  json.RawMessage `json:"prevResult"`                // see PrevResult
	Valid json.RawMessage `json:"cni.dev/valid-attachments"` // see Keeps
	Older json.RawMessage `json:"cni.dev/attachments"`       // the same, as older callers call it
}

// Runtime is what the caller asks for by capabilities.
type Runtime struct {
	IPs    []string `json:"ips"`
	MAC    string   `json:"mac"`
	Device string   `json:"deviceID"` // the PCI address of a card

	Annotations map[string]string `json:"io.kubernetes.cri.pod-annotations"` // of the pod
}

// Extra reports whether the plugin leaves the interface of the one before it alone.
func (c Config) Extra() bool { return c.Mode == ModeExtra }

// Keeps returns what a GC is to keep: the IDs of the guests, as ID makes them. all: the caller
// does not say what there is to be.
func (c Config) Keeps() (ids map[string]bool, all bool, err error) {
	if c.Valid == nil {
		return nil, true, nil
	}
	var list []types.GCAttachment
	if err := json.Unmarshal(c.Valid, &list); err != nil {
		return nil, false, undecoded(keyValid, err)
	}
	ids = map[string]bool{}
	for _, a := range list {
		if a.ContainerID == "" || a.IfName == "" { // it would keep nothing, and everything would go
			return nil, false, undecoded(keyValid, errors.New("one of them has no containerID or no ifname"))
		}
		ids[ID(c.Name, a.ContainerID, a.IfName)] = true
	}
	return ids, false, nil
}

// keyValid is the key for the list of what a GC is to keep.
const keyValid = "cni.dev/valid-attachments"

// withKey adds a key to a configuration, which is known to be an object.
func withKey(config []byte, key string, value json.RawMessage) []byte {
	keys := map[string]json.RawMessage{}
	_ = json.Unmarshal(config, &keys)
	keys[key] = value
	text, _ := json.Marshal(keys)
	return text
}

// word is a word of the command line, which may be written as a number.
type word string

func (w *word) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] != '"' {
		var n json.Number
		err := json.Unmarshal(text, &n)
		*w = word(n)
		return err
	}
	return json.Unmarshal(text, (*string)(w))
}

// Read reads the configuration that the caller writes to stdin.
func Read(verb string, stdin []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(stdin, &c); err != nil {
		return c, undecoded("the network configuration", err)
	}
	var keys, ipam map[string]json.RawMessage
	_ = json.Unmarshal(stdin, &keys) // they are known to be objects
	_ = json.Unmarshal(keys["ipam"], &ipam)
	c.IPAM.config, c.IPAM.hasKeys = stdin, len(ipam) > 0
	c.keys = slices.Sorted(maps.Keys(keys))
	if c.Valid == nil && c.Older != nil {
		c.Valid = c.Older
		c.IPAM.config = withKey(stdin, keyValid, c.Older) // a plugin that misses the list may release all
	}
	if versions := Plugin().SupportedVersions(); !slices.Contains(versions, c.CNIVersion) {
		return c, refuse(types.ErrIncompatibleCNIVersion, "read cniVersion", c.CNIVersion, "gopipework does not speak this version").
			withHint("%s", strings.Join(versions, ", "))
	}
	if since := sinceVersion(verb); since != "" {
		if ok, err := version.GreaterThanOrEqualTo(c.CNIVersion, since); err != nil || !ok {
			return c, refuse(types.ErrIncompatibleCNIVersion, "read cniVersion", c.CNIVersion, "this version has no %s", verb).
				withHint("%s, or a later version", since)
		}
	}
	if !plainname.Is(c.Name) {
		return c, refuse(types.ErrInvalidNetworkConfig, "read name", c.Name, "it is not made of letters, digits, \"_\", \".\" and \"-\"")
	}
	if _, err := c.Origin(); err != nil {
		return c, refuse(types.ErrInvalidNetworkConfig, "read name", c.Name, "it is longer than %d bytes", spec.MaxOriginName)
	}
	return c, nil
}

// sinceVersion returns the version of CNI that a verb came with; "": the first.
func sinceVersion(verb string) string {
	switch verb {
	case Check:
		return "0.4.0"
	case GC, Status:
		return "1.1.0"
	}
	return ""
}

// Origin is who asks for what is attached in the network.
func (c Config) Origin() (spec.Origin, error) { return spec.OriginOfNetwork(c.Name) }

// PrevResult returns what the plugin before this one or, for CHECK and DEL, an earlier ADD
// has answered; nil if the caller sends nothing.
func (c Config) PrevResult() (*Result, error) {
	text := bytes.TrimSpace(c.Prev)
	if len(text) == 0 || bytes.Equal(text, []byte("null")) {
		return nil, nil
	}
	if err := checkNull(text); err != nil {
		return nil, undecoded("prevResult", err)
	}
	r, err := version.NewResult(c.CNIVersion, text)
	if err != nil {
		return nil, undecoded("prevResult", err)
	}
	return types100.NewResultFromResult(r)
}

// checkNull refuses a result with a null in a list, which the packages of CNI let pass.
func checkNull(result []byte) error {
	var lists struct{ Interfaces, IPs, Routes []*json.RawMessage }
	if err := json.Unmarshal(result, &lists); err != nil {
		return err
	}
	if slices.Contains(slices.Concat(lists.Interfaces, lists.IPs, lists.Routes), nil) {
		return errors.New("one of its interfaces, ips or routes is null")
	}
	return nil
}
