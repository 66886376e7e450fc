//go:build linux

package attach

import (
	"errors"
	"testing"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
)

// TestMirrorUndo: an attach that fails behind the copies ends them, and so does the next one
// if a killed run has left them.
func TestMirrorUndo(t *testing.T) {
	needRoot(t)
	for _, tt := range []struct{ name, needs, bridge, look string }{
		{"a Linux bridge", "matchall", "brtest", "tc qdisc show; tc filter show dev vdb ingress; tc filter show dev vdb egress"},
		{"Open vSwitch", "ovs", "ovsbr0", "ovs-vsctl --columns=name,select_src_port,output_port list Mirror"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hostNS, webNS, dbNS := newHostFor(t, tt.needs), newNamespace(t), newNamespace(t)
			in(t, hostNS, "sh", "-ec", quiet)
			db := docker(dbNS, 0)
			db.ID, db.Name = "fedcba9876543210", "db"
			if _, err := runAttach(t.Context(), parsed(t, tt.bridge+" -l vdb db 0/0"), db, hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			inhabit(t, webNS)
			look := func() string { return in(t, hostNS, "sh", "-ec", tt.look) }
			before, during := look(), ""
			s, web := parsed(t, tt.bridge+" web 0/0 --mirror db:eth1"), docker(webNS, 0)
			fails := func(p *build.Plan) {
				last := len(p.Steps) - 1
				p.Steps = append(p.Steps[:last:last], failStep{})
			}
			err := attempt(t, s, web, hostNS, asItIs, fails, func(what string) {
				if what == "fail" {
					during = look()
				}
			})
			if fault.CodeOf(err) == fault.Unsupported {
				testhost.Lacking(t, tt.needs, err.Error())
			}
			if !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue || during == before {
				t.Fatalf("%v; there was %s", err, during)
			}
			if after := look(); after != before {
				t.Errorf("after the undo: %s\nbefore: %s", after, before)
			}
			for range 2 { // killed before the mark, twice
				if r, err := runAttach(t.Context(), s, web, hostNS, Options{}); err != nil || !r.Changed {
					t.Fatalf("%+v: %v", r, err)
				}
				in(t, hostNS, "sh", "-ec", "ip link set dev $(ip -o link show | sed -n 's/.* \\(veth1[^@]*\\)@.*/\\1/p') alias ''")
			}
			if _, err := GC(t.Context(), Options{HostNS: hostNS}); err != nil {
				t.Fatal(err)
			}
			if after := look(); after != before {
				t.Errorf("after gc: %s\nbefore: %s", after, before)
			}
		})
	}
}
