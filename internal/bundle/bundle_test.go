package bundle

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMask: nothing of the real values remains, one value has one mask, and subnets stay.
func TestMask(t *testing.T) {
	text := `web eth1 10.77.3.2/24 02:42:0a:00:03:02, db-1 10.77.3.3, gateway 10.77.3.1, net 10.77.0.0/16
inet6 2001:db8:7:3::2/64 fe80::42:aff:fe00:302/64 bridge_id 8000.2:42:a:0:3:2 brd ff:ff:ff:ff:ff:ff
to eth1:10.77.3.2 "2001:db8:7:3::2" ff02::1:ff00:302 link-netns web mtu 1500 127.0.0.1 0.0.0.0/0 ::1 ::/0
id 4f1c0a9be77d4f1c0a9be77d4f1c0a9be77d4f1c0a9be77d4f1c0a9be77d0000 short 4f1c0a9be77d rx 123456789012345 webpage`
	out := string(Mask([]File{{"a", []byte(text)}}, map[string]string{"web": "guestA", "db-1": "guestB"})[0].Data)
	for _, real := range []string{"10.77.3.2", "10.77.3.3", "10.77.3.1", "10.77.0.0", "02:42:0a", "2:42:a:0", "2001:db8:", "fe00:302", "ff00:302", "db-1", "4f1c0a9be77d", "web "} {
		if strings.Contains(out, real) {
			t.Errorf("%q remains:\n%s", real, out)
		}
	}
	for _, kept := range []string{"guestA eth1", "link-netns guestA", "webpage", "mtu 1500", "127.0.0.1", "0.0.0.0/0", " ::1 ", "::/0", "ff:ff:ff:ff:ff:ff", "123456789012345"} {
		if !strings.Contains(out, kept) {
			t.Errorf("%q is gone:\n%s", kept, out)
		}
	}
	if n := strings.Count(out, "02:00:00:00:00:01"); n != 2 {
		t.Errorf("the MAC address is there %d times:\n%s", n, out)
	}
	words := strings.Fields(out)
	own, net := netip.MustParsePrefix(words[2]), netip.MustParsePrefix(strings.TrimSuffix(words[9], ","))
	for _, i := range []int{5, 7} {
		a := netip.MustParseAddr(strings.TrimSuffix(words[i], ","))
		if !own.Contains(a) || !net.Contains(a) || net.Masked() != net {
			t.Errorf("%v is not in %v and %v", a, own, net)
		}
	}
}

// TestMaskNames: a guest whose name could be a part of an address, or of a number, has no
// influence on these, and its name does not remain.
func TestMaskNames(t *testing.T) {
	names := map[string]string{}
	for i, name := range []string{"db", "10", "beef", "fe80", "01"} {
		names[name] = "guest" + string(rune('A'+i))
	}
	text := "netns:db netns:10 netns:01:eth1 2001:db8:1:2:3:4:5:6/64 0a:db:11:22:33:44 10.0.0.77/24 mtu 1500 qlen 1000 2a01:4f8::dead:beef fe80::8bed:1 33:33:00:00:00:01 33:33:ff:61:8c:25 ff02::1:ff61:8c25"
	out := string(Mask([]File{{"a", []byte(text)}}, names)[0].Data)
	for _, real := range []string{"netns:db", "netns:10", "db8:1:2", "0a:db:11", "10.0.0.77", "4f8::dead", "fe80::8bed", "61:8c:25", "ff61:8c25"} {
		if strings.Contains(out, real) {
			t.Errorf("%q remains:\n%s", real, out)
		}
	}
	for _, kept := range []string{"netns:guestA netns:guestB netns:guestE:eth1", "mtu 1500 qlen 1000", "33:33:00:00:00:01", " fe80::"} {
		if !strings.Contains(out, kept) {
			t.Errorf("%q is gone:\n%s", kept, out)
		}
	}
	words := strings.Fields(out)
	mac, group := words[len(words)-2], netip.MustParseAddr(words[len(words)-1]).As16()
	if want := fmt.Sprintf("33:33:ff:%02x:%02x:%02x", group[13], group[14], group[15]); mac != want {
		t.Errorf("the MAC address of the group is %s, want %s", mac, want)
	}
}

// TestMaskKeepsSubnets: two addresses are in one subnet after it if, and only if, they were.
func TestMaskKeepsSubnets(t *testing.T) {
	m := masker{macs: map[string]string{}, ids: map[string]string{}}
	all := []string{"10.0.0.1", "10.0.0.200", "10.0.1.1", "10.0.16.1", "10.128.0.1", "172.17.0.2", "172.18.0.2"}
	for _, x := range all {
		for _, y := range all {
			a, b := netip.MustParseAddr(x), netip.MustParseAddr(y)
			for bits := 9; bits <= 32; bits++ {
				before := netip.PrefixFrom(a, bits).Masked().Contains(b)
				after := netip.PrefixFrom(m.addr(a, 32), bits).Masked().Contains(m.addr(b, 32))
				if before != after {
					t.Errorf("%v and %v share a /%d: %v, and masked: %v", a, b, bits, before, after)
				}
			}
		}
	}
}

// TestWrite: the archive can be read, by its owner alone, and replaces nothing.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.tar.gz")
	if err := Write(path, []File{{"host/links.txt", []byte("lo\n")}}); err != nil {
		t.Fatal(err)
	}
	if Write(path, nil) == nil || Free(path) == nil {
		t.Error("it is written over")
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if st, _ := f.Stat(); st.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v", st.Mode())
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	h, err := r.Next()
	if err != nil || h.Name != "gopipework-bundle/host/links.txt" {
		t.Fatal(h, err)
	}
	if b, _ := io.ReadAll(r); string(b) != "lo\n" {
		t.Errorf("%q", b)
	}
}
