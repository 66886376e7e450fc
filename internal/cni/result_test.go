package cni

import (
	"encoding/json"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// TestLacks: of what ADD has answered with, CHECK misses what is the interface's, and no route
// that may be another interface's.
func TestLacks(t *testing.T) {
	read := func(text string) *Result {
		var r types100.Result
		if err := json.Unmarshal([]byte(`{"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "x"}, {"name": "net1", "sandbox": "x"}], `+text+`}`), &r); err != nil {
			t.Fatal(err)
		}
		return &r
	}
	there := read(`"ips": [{"address": "10.1.0.9/24", "interface": 1}]`)
	for text, want := range map[string]string{
		`"ips": [{"address": "10.1.0.9/24", "interface": 1}]`:                                                                                                 "",
		`"ips": [{"address": "10.1.0.8/24", "interface": 1}]`:                                                                                                 "the address 10.1.0.8/24",
		`"ips": [{"address": "10.1.0.9/24", "interface": 1}], "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]`:                                             "the route to 0.0.0.0/0",
		`"ips": [{"address": "10.1.0.9/24", "interface": 1}, {"address": "10.1.0.2/24", "interface": 0}], "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]`: "",
	} {
		if got := Lacks(there, read(text), "net1"); got != want {
			t.Errorf("%s: there is missing %q, want %q", text, got, want)
		}
	}
}
