package attach

import (
	"context"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
)

// TestAltNames: an alternative name is a name, on the host and in a guest, and
// twice is once by it too.
func TestAltNames(t *testing.T) {
	needRoot(t)
	long := "enp-" + strings.Repeat("x", spec.MaxAltName-4)
	hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
	inhabit(t, g.Namespace)
	in(t, hostNS, "sh", "-ec", quiet+`ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up
ip link property add dev nic0 altname enp7s6 altname `+long)
	carriers(t, hostNS, "nic0")
	for _, line := range []string{"phys:enp7s6 -i x0", "phys:" + long + " -i x0", "enp7s6 -i x0", long + " -i x0"} {
		for i, changed := range []bool{true, false} {
			r, err := runAttach(context.Background(), parsed(t, line+" web 10.0.0.2/24"), g, hostNS, Options{})
			if err != nil || r.Changed != changed {
				t.Fatalf("%s, %d: changed = %v, %v; want %v", line, i+1, r.Changed, err, changed)
			}
		}
		detachKind(t, g, hostNS)
	}
	for _, line := range []string{"br" + strings.Repeat("x", 20) + " web 10.0.0.2/24", "phys:ens" + strings.Repeat("x", 20) + " web 10.0.0.2/24"} {
		if _, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{}); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("%s: %v; want that it is not there", line, err)
		}
	}

	attached := func(line string) (Result, error) {
		return runAttach(context.Background(), parsed(t, line), g, hostNS, Options{})
	}
	if _, err := attached("brtest -i e1 web 10.0.0.2/24"); err != nil {
		t.Fatal(err)
	}
	in(t, g.Namespace, "ip", "link", "property", "add", "dev", "e1", "altname", "lan9", "altname", long)
	if r, err := attached("brtest -i lan9 web 10.0.0.2/24"); err != nil || r.Changed {
		t.Errorf("the same by an alternative name: changed = %v, %v", r.Changed, err)
	}
	if _, err := attached("brtest -i lan9 web 10.0.0.9/24"); fault.CodeOf(err) != fault.Conflict || !strings.Contains(errorText(err), "detach web e1") {
		t.Errorf("another address by an alternative name: %v; want a hint that names e1", err)
	}
	for _, name := range []string{"lan9", long} {
		s, err := ParseSet("web", SetWords{IfName: name, Address: "10.0.0.9/24"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := runSet(context.Background(), s, g, hostNS, Options{}); err != nil {
			t.Errorf("set %s: %v", name, err)
		}
	}
	sel, err := ParseSelection(long, false)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := runDetach(context.Background(), sel, g, hostNS, Options{}); err != nil || !r.Changed {
		t.Errorf("detach by an alternative name: changed = %v, %v", r.Changed, err)
	}
}
