package cni

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
)

// TestWords: what the caller asks for by capabilities goes before the keys, and these go
// before CNI_ARGS.
func TestWords(t *testing.T) {
	for _, c := range []struct{ keys, args, address, mac string }{
		{`"address": "10.1.0.2/24@10.1.0.1"`, "", "10.1.0.2/24@10.1.0.1", ""},
		{`"address": "10.1.0.2/24", "mac": "U:x", "vlan": 10`, "IP=10.1.0.9/24;MAC=02:00:00:00:00:01", "10.1.0.2/24", "U:x@10"},
		{`"vlan": "10,20-30"`, "IgnoreUnknown=1;IP=10.1.0.9/24;GATEWAY=10.1.0.1;MAC=02:00:00:00:00:01", "10.1.0.9/24@10.1.0.1", "02:00:00:00:00:01@10,20-30"},
		{`"address": "10.1.0.2/24@10.1.0.1", "mac": "U:x", "runtimeConfig": {"ips": ["10.1.0.7"], "mac": "02:00:00:00:00:02"}`, "", "10.1.0.7/24@10.1.0.1", "02:00:00:00:00:02"},
		{`"address": "dhcp", "runtimeConfig": {"ips": ["10.1.0.7/16", "2001:db8::7/64"]}`, "", "10.1.0.7/16,2001:db8::7/64", ""},
	} {
		call, err := ReadCall(func(name string) string {
			return map[string]string{Command: Add, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/web", "CNI_IFNAME": "eth0", "CNI_ARGS": c.args}[name]
		})
		if err != nil {
			t.Fatal(err)
		}
		config, err := Read(Add, []byte(`{"cniVersion": "1.1.0", "name": "lab", "hostif": "brtest", "mtu": 1400, `+c.keys+`}`))
		if err != nil {
			t.Fatal(err)
		}
		got, err := config.Words(call, nil)
		want := spec.Words{HostIF: "brtest", Guest: "/run/netns/web", IfName: "eth0", Address: c.address, MAC: c.mac, MTU: "1400"}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s %s: %v\n%s", c.keys, c.args, err, diff)
		}
	}
}

// TestRefusals: what is missing is said, and not that it is wrong.
func TestRefusals(t *testing.T) {
	for keys, want := range map[string]string{
		`"address": ""`:                     "the configuration has none, and the caller asks for none",
		`"ipam": {}`:                        "the configuration has none, and the caller asks for none",
		`"ipam": {"subnet": "10.7.0.0/24"}`: "it has no type",
	} {
		config, err := Read(Add, []byte(`{"cniVersion": "1.1.0", "name": "lab", "hostif": "brtest", `+keys+`}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := config.Words(Call{Verb: Add, IfName: "eth0"}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
	for keys, want := range map[string]string{
		`"adress": "dhcp"`: `did you mean "address", and not "adress"? "address": `,
		`"address": ""`:    `"address": `,
	} {
		config, err := Read(Add, []byte(`{"cniVersion": "1.1.0", "name": "lab", "hostif": "brtest", `+keys+`}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := config.Words(Call{Verb: Add, IfName: "eth0"}, nil); !strings.HasPrefix(fault.HintOf(err), want) {
			t.Errorf("%s: the hint is %q, want %q", keys, fault.HintOf(err), want)
		}
	}
	for _, missing := range []string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"} {
		_, err := ReadCall(func(name string) string {
			env := map[string]string{Command: Add, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/web", "CNI_IFNAME": "eth0"}
			delete(env, missing)
			return env[name]
		})
		if err == nil || !strings.Contains(err.Error(), "it is not set") {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}
