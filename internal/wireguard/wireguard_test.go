package wireguard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopipework/gopipework/internal/fault"
)

// The keys are of 32 bytes of one letter each, and so is what they must not be found as.
const (
	keyA = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
	keyB = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
	keyC = "Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0M="
)

func key(letter byte) (k Key) {
	for i := range k {
		k[i] = letter
	}
	return k
}

func TestParse(t *testing.T) {
	got, err := Parse("wg0.conf", []byte(`# a comment
[interface]
privatekey = `+keyA+` # another
Address = 10.8.0.2/24, fd08::2
Address = 10.9.0.2/24
ListenPort=51820
FwMark = 0x51
MTU = 1380
DNS = 10.8.0.1, example.org
Table = off

[Peer]
PublicKey = `+keyB+`
PresharedKey = `+keyC+`
AllowedIPs = 10.8.0.0/24,10.8.0.1/24, fd08::/64
AllowedIPs = 192.0.2.7
Endpoint = [2001:db8::1]:51820
PersistentKeepalive = 25
[Peer]
PublicKey = `+keyC+`
AllowedIPs =
Endpoint = vpn.example.org:1
PersistentKeepalive = off
`))
	if err != nil {
		t.Fatal(err)
	}
	private := key('A')
	private.clamp()
	want := Config{
		Device: Device{PrivateKey: private, Port: 51820, Mark: 0x51, Peers: []Peer{
			{PublicKey: key('B'), PresharedKey: key('C'), Endpoint: netip.MustParseAddrPort("[2001:db8::1]:51820"), Keepalive: 25,
				AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24"), netip.MustParsePrefix("fd08::/64"), netip.MustParsePrefix("192.0.2.7/32")}},
			{PublicKey: key('C'), Named: true},
		}},
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.2/24"), netip.MustParsePrefix("fd08::2/128"), netip.MustParsePrefix("10.9.0.2/24")},
		DNS:   []netip.Addr{netip.MustParseAddr("10.8.0.1")}, MTU: 1380, NoRoutes: true,
		Warnings: []string{"read wg0.conf: line 9: DNS has a search domain, which is left out"},
		names:    []named{{peer: 1, line: 22, host: "vpn.example.org", port: 1}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Config{}, named{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("it reads as (-want +got):\n%s", diff)
	}
	if said := fmt.Sprintf("%v %+v %#v %s %x", got, got, got, got.PrivateKey, got.PrivateKey); strings.Contains(said, "4141") || strings.Contains(said, "AAAA") || strings.Contains(said, "65 65") || !strings.Contains(said, "(key)") {
		t.Errorf("a key is printed: %s", said)
	}
}

// TestParseRefuses: an error names the line and what it is about, and repeats nothing.
func TestParseRefuses(t *testing.T) {
	const begins, peer = "[Interface]\nPrivateKey = " + keyA + "\n", "[Peer]\nPublicKey = " + keyB + "\n"
	for text, says := range map[string]string{
		"":                                           "no PrivateKey",
		"[Interface]\n":                              "no PrivateKey",
		"secret\n":                                   "line 1: it is neither a section",
		"secret = secret\n":                          "line 1: it stands before the first section",
		"[secret]\n":                                 "line 1: a file begins with one [Interface]",
		peer + begins:                                "line 1: a file begins with one [Interface]",
		begins + begins:                              "line 3: a file begins with one [Interface]",
		begins + "secret = secret\n":                 "line 3: there is no such setting in [Interface]",
		begins + peer + "secret = 1\n":               "line 5: there is no such setting in [Peer]",
		begins + "PrivateKey = secret\n":             "line 3: the section has that setting already",
		"[Interface]\nPrivateKey = " + keyA[1:]:      "line 2: PrivateKey is not 32 bytes",
		begins + "ListenPort = secret\n":             "line 3: ListenPort is not a number",
		begins + "FwMark = secret\n":                 "line 3: FwMark is not a number",
		begins + "MTU = 60\n":                        "line 3: MTU is not a number",
		begins + "Table = secret\n":                  "line 3: Table is neither auto nor off",
		begins + "PostUp = secret\n":                 "line 3: it has a command",
		begins + "SaveConfig = true\n":               "line 3: it has SaveConfig",
		begins + "Address = secret/24\n":             "line 3: Address is not a list",
		begins + "Address = 10.8.0.0/24\n":           "line 3: Address is that of a network",
		begins + "Address = 10.8.0.2/24, 10.8.0.2\n": "line 3: the Address is given twice",
		begins + "DNS = 1.1.1.1, 1.1.1.1\n":          "line 3: DNS has an address that cannot be",
		begins + "DNS = 10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4\n": "line 3: a resolver asks 3 name servers",
		begins + "[Peer]\nEndpoint = 192.0.2.1:1\n[Peer]\n":    "line 3: the peer has no PublicKey",
		begins + peer + peer:                                "line 5: an earlier peer has the same PublicKey",
		begins + peer + "AllowedIPs = secret\n":             "line 5: AllowedIPs is not a list",
		begins + peer + "Endpoint = secret\n":               "line 5: Endpoint is not HOST:PORT",
		begins + peer + "Endpoint = [fe80::1%eth0]:51820\n": "line 5: Endpoint is a link-local address",
		strings.Repeat("a", most):                           "line 1: it is neither",
		begins + peer + "Endpoint = 0.0.0.0:51820\n":        "line 5: Endpoint is nowhere",
		begins + peer + "PersistentKeepalive = secret\n":    "line 5: PersistentKeepalive is not a number",
		begins + peer + "AllowedIPs = 10.0.0.0/8\n[Peer]\nPublicKey = " + keyC + "\nAllowedIPs = 10.0.0.0/8\n": "line 8: AllowedIPs has a network that an earlier peer has",
	} {
		_, err := Parse("wg0.conf", []byte(text))
		if err == nil || !strings.Contains(err.Error(), says) || fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%q: %v, want %s", text, err, says)
			continue
		}
		if e := (*fault.Error)(nil); errors.As(err, &e) && (strings.Contains(e.Error()+e.Hint, "secret") || strings.Contains(e.Error(), keyA[1:])) {
			t.Errorf("%q: the error repeats it: %v", text, e)
		}
	}
}

func TestReadFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wg0.conf")
	text := "[Interface]\nPrivateKey = " + keyA + "\n[Peer]\nPublicKey = " + keyB + "\nEndpoint = localhost:51820\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := ReadFile(context.Background(), file)
	if err != nil || !c.Peers[0].Endpoint.Addr().IsLoopback() || c.Peers[0].Endpoint.Port() != 51820 || len(c.Warnings) > 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := os.Chmod(file, 0o604); err != nil {
		t.Fatal(err)
	}
	if c, err = ReadFile(context.Background(), file); err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "chmod 600") {
		t.Errorf("a file that others can read: %+v, %v", c, err)
	}
	if _, err := ReadFile(context.Background(), file+"x"); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("no file: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(context.DeadlineExceeded)
	if _, err := ReadFile(ctx, file); fault.CodeOf(err) != fault.Timeout {
		t.Errorf("the time is over: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[Interface]\nPrivateKey = " + keyA + "\nAddress = 10.8.0.2/24\n[Peer]\nPublicKey = " + keyB + "\nEndpoint = a:1\nAllowedIPs = ::/0\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("f", []byte(text))
		if err == nil && c.PrivateKey == (Key{}) {
			t.Error("a file without a private key was taken")
		}
	})
}
