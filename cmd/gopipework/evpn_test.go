package main

import (
	"strings"
	"testing"

	"github.com/gopipework/gopipework/attach"
)

// TestFloods: evpn-config warns of each VXLAN that names its peers, once.
func TestFloods(t *testing.T) {
	var r attach.Result
	for _, uplink := range []string{"", "eth1", "vxlan:100,local=10.9.0.1", "vxlan:200,local=10.9.0.1,peer=10.9.0.2", "vxlan:200,local=10.9.0.1,peer=10.9.0.2"} {
		var a attach.Attachment
		a.Host.Uplink = uplink
		r.Attachments = append(r.Attachments, a)
	}
	if got := floods(uplinks(r)); len(got) != 1 || !strings.HasPrefix(got[0], "vxlan:200,") {
		t.Errorf("%q", got)
	}
}
