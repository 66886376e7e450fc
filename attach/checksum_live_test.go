package attach

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/kind"
)

// TestLosesChecksums: on a bridge of ovs-vswitchd's, an interface that leaves checksums to
// a card can ping, and TCP from it is thrown away; an attach turns that off.
func TestLosesChecksums(t *testing.T) {
	needRoot(t)
	hostNS := newHostFor(t, "ovs")
	in(t, hostNS, "sh", "-ec", "ovs-vsctl --timeout=60 add-br ovs-f -- set bridge ovs-f datapath_type=netdev")
	var guests []*os.File
	for _, n := range []string{"1", "2"} {
		g := docker(newNamespace(t), 0)
		g.Name, g.ID = "g"+n, "00000000000"+n
		if _, err := runAttach(context.Background(), parsed(t, "ovs-f -i o0 web 10.7.0."+n+"/24"), g, hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
		guests = append(guests, g.Namespace)
	}
	var ovs bridge.OVS
	if err := kernelOf(t, hostNS).Run(func() (err error) { ovs, err = bridge.ObserveOVS(context.Background()); return err }); err != nil {
		t.Fatal(err)
	}
	br, _ := ovs.Bridge("ovs-f")
	guest := kernelOf(t, guests[0])
	own, err := guest.LinkByName("o0")
	if err != nil {
		t.Fatal(err)
	}
	check := func(want bool) {
		t.Helper()
		if got, err := kind.LosesChecksums(ovs, br, guest, own.Index); err != nil || got != want {
			t.Errorf("checksums are lost: %v, %v, want %v", got, err, want)
		}
		if !hears(guests[0], "10.7.0.2") {
			t.Error("ping gets no answer")
		}
		before := badChecksums(t, guests[1])
		if err := sendTCP(t, guests[0], guests[1], "10.7.0.2"); (err != nil) != want {
			t.Errorf("TCP: %v", err)
		}
		if after := badChecksums(t, guests[1]); (after != before) != want {
			t.Errorf("InCsumErrors of the receiver: %s, then %s", before, after)
		}
	}
	check(false)
	if err := guest.SetTxChecksum(own.Index, true); err != nil {
		t.Fatal(err)
	}
	check(true)
	if got, err := kind.LosesChecksums(ovs, bridge.OVSBridge{Datapath: bridge.KernelDatapath}, guest, own.Index); got || err != nil {
		t.Errorf("the kernel's datapath: %v, %v", got, err)
	}
	if _, err := kind.LosesChecksums(ovs, br, guest, 9999); err == nil {
		t.Error("a link that is not there has checksums")
	}
	ovs.Segments = true
	if got, err := kind.LosesChecksums(ovs, br, guest, own.Index); got || err != nil {
		t.Errorf("completed by ovs-vswitchd: %v, %v", got, err)
	}
}

// sendTCP sends a word from one guest to another.
func sendTCP(t *testing.T, from, to *os.File, address string) error {
	t.Helper()
	var l net.Listener
	err := kernelOf(t, to).Run(func() (err error) { l, err = net.Listen("tcp4", net.JoinHostPort(address, "0")); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		text, _ := io.ReadAll(c)
		heard <- string(text)
	}()
	const patience = 5 * time.Second
	err = kernelOf(t, from).Run(func() error {
		c, err := net.DialTimeout("tcp4", l.Addr().String(), patience)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("word"))
		return err
	})
	if err != nil {
		return err
	}
	select {
	case text := <-heard:
		if text != "word" {
			return errors.New("another word: " + text)
		}
		return nil
	case <-time.After(patience):
		return errors.New("nothing is heard")
	}
}

// badChecksums returns how many TCP segments with a wrong checksum a namespace has got.
func badChecksums(t *testing.T, ns *os.File) (count string) {
	t.Helper()
	for line := range strings.Lines(in(t, ns, "cat", "/proc/net/snmp")) {
		if words := strings.Fields(line); len(words) > 0 && words[0] == "Tcp:" {
			count = words[len(words)-1] // InCsumErrors is the last; its line is the second
		}
	}
	return count
}
