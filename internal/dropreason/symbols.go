package dropreason

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strconv"
)

// symbols returns the names of the functions that addresses are in. There are none where
// the kernel hides them (proc_sys_kernel(5), kptr_restrict).
func symbols(addresses []uint64) (map[uint64]string, error) {
	if len(addresses) == 0 {
		return nil, nil
	}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return findSymbols(f, addresses)
}

// findSymbols reads lines such as "ffffffff81000000 T _stext", or with "[module]" behind,
// in no order. A function reaches to where the next one begins.
func findSymbols(list io.Reader, addresses []uint64) (map[uint64]string, error) {
	names := map[uint64]string{}
	start := map[uint64]uint64{}
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		hex, rest, _ := bytes.Cut(lines.Bytes(), []byte(" "))
		kind, name, ok := bytes.Cut(rest, []byte(" "))
		if !ok || len(kind) != 1 || !bytes.ContainsAny(kind, "tTwW") {
			continue
		}
		from, err := strconv.ParseUint(string(hex), 16, 64)
		if err != nil || from == 0 {
			continue
		}
		for _, a := range addresses {
			if from <= a && from > start[a] {
				name, _, _ := bytes.Cut(name, []byte("\t"))
				start[a], names[a] = from, string(name)
			}
		}
	}
	return names, lines.Err()
}
