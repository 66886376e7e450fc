//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"

	"github.com/gopipework/gopipework/e2e/host"
)

// A cniNetwork is a network whose plugin is gopipework, called as an engine calls it.
type cniNetwork struct {
	*machine
	name    string
	version string
	keys    string // of the configuration, as JSON
	env     []string
}

func (m *machine) cniNetwork(keys string) cniNetwork {
	return cniNetwork{m, "lab", "1.1.0", keys, nil}
}

// with returns the network as a call with more keys sees it.
func (n cniNetwork) with(keys string) cniNetwork {
	n.keys += ", " + keys
	return n
}

// in returns the network as a call with other variables of the environment sees it.
func (n cniNetwork) in(env ...string) cniNetwork {
	n.env = env
	return n
}

// command prepares a call for the container c1 in a guest.
func (n cniNetwork) command(verb string, g *host.Guest) *exec.Cmd {
	cmd := n.Command(context.Background(), "gopipework")
	cmd.Env = append(cmd.Env, "CNI_COMMAND="+verb, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin", "CNI_NETNS="+g.Path())
	cmd.Env = append(cmd.Env, n.env...)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"cniVersion": %q, "name": %q, "type": "gopipework", "capabilities": {"ips": true}, %s}`, n.version, n.name, n.keys))
	return cmd
}

func (n cniNetwork) call(verb string, g *host.Guest) host.Result {
	return host.Finish(n.command(verb, g), []string{"gopipework", verb, n.keys})
}

// ok calls a verb that has to succeed; all but ADD and VERSION say nothing.
func (n cniNetwork) ok(verb string, g *host.Guest) cniResult {
	n.t.Helper()
	r := n.call(verb, g)
	if r.Code != 0 || verb != "ADD" && r.Stdout != "" {
		n.t.Fatal(r)
	}
	var result cniResult
	if verb == "ADD" {
		n.check(json.Unmarshal([]byte(r.Stdout), &result))
	}
	return result
}

// fails calls a verb that has to fail with a code of CNI, and returns the message.
func (n cniNetwork) fails(code int, verb string, g *host.Guest) string {
	n.t.Helper()
	r := n.call(verb, g)
	var f struct {
		CNIVersion   string
		Code         int
		Msg, Details string
	}
	if err := json.Unmarshal([]byte(r.Stdout), &f); err != nil || r.Code == 0 || f.Code != code || f.Msg == "" || f.CNIVersion == "" {
		n.t.Errorf("%v: should fail with %d:\n%v", err, code, r)
	}
	return f.Msg + " " + f.Details
}

// cniResult is what ADD prints.
type cniResult struct {
	CNIVersion string
	Interfaces []struct {
		Name, Mac, Sandbox string
		Mtu                int
	}
	IPs []struct {
		Version, Address, Gateway string
		Interface                 int
	}
	Routes []struct{ Dst, GW string }
	DNS    struct{ Nameservers []string }
}

const cniKeys = `"hostif": "brtest", "address": "10.1.0.2/24@10.1.0.1", "routes": ["10.9.0.0/16,via 10.1.0.9"], "mtu": 1400`
