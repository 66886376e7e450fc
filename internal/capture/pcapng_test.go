package capture

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

// TestWriter: a section, an interface and a frame, byte for byte.
func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w, err := newWriter(&out, "eth1", ethernet)
	if err == nil {
		err = w.frame([]byte{1, 2, 3, 4, 5}, time.Unix(1, 2))
	}
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`
		0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000
		01000000 28000000 0100 0000 00000000 0200 0400 65746831 0900 0100 09000000 0000 0000 28000000
		06000000 28000000 00000000 00000000 02ca9a3b 05000000 05000000 0102030405 000000 28000000`, "\t", "")
	if got, want := hex.EncodeToString(out.Bytes()), strings.NewReplacer(" ", "", "\n", "").Replace(want); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}
