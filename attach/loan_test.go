package attach

import (
	"encoding/json"
	"testing"

	"github.com/gopipework/gopipework/internal/ours"
)

// TestLoanOfBefore: a card that an earlier version has lent becomes a port of its
// bridge again.
func TestLoanOfBefore(t *testing.T) {
	for text, want := range map[string]string{
		`{"ifname":"eth1","card":{"name":"nic0"},"master":"br0"}`: "br0",
		`{"ifname":"eth1","card":{"name":"nic0","master":"br1"}}`: "br1",
		`{"ifname":"eth1","card":{"name":"nic0"}}`:                "",
	} {
		var l ours.Loan
		if err := json.Unmarshal([]byte(text), &l); err != nil || l.Card.Master != want || l.IfName != "eth1" || l.Card.Name != "nic0" {
			t.Errorf("%s: %+v, %v", text, l, err)
		}
	}
}
