package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestImports holds who may import what, and says why.
func TestImports(t *testing.T) {
	const self = "github.com/gopipework/gopipework/"
	rules := []struct {
		path    string // imports that begin with it
		allowed []string
		why     string
	}{
		{"github.com/vishvananda/", []string{"internal/rtnl", "bridge", "e2e/bench"}, "one door to the kernel's links, addresses and routes, and one to its packet filter"},
		{self + "internal/rtnl", []string{"attach", "bridge"}, "only the product and its switch change the network"},
		{"github.com/google/nftables", []string{"bridge"}, "the firewall path belongs to the switch"},
		{"github.com/moby/", []string{"dockerutil"}, "one place speaks to Docker"},
		{"google.golang.org/protobuf/encoding/protowire", []string{"dockerutil"}, "only containerd and the CRI speak gRPC"},
		{"google.golang.org/protobuf/proto", nil, "its registry of types would be filled at the start of every run"},
		{"google.golang.org/protobuf/reflect", nil, "its registry of types would be filled at the start of every run"},
		{"google.golang.org/grpc", nil, "it would be set up at the start of every run"},
		{"github.com/urfave/cli", []string{"cmd/gopipework"}, "the flag library stays at the edge"},
		{self + "dockerutil", []string{"cmd/gopipework"}, "whose namespace it is, and what is done in it, meet in the command only"},
		{self + "attach", []string{"cmd/gopipework"}, "the command is the only caller"},
	}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, _ := filepath.Rel(root, filepath.Dir(file))
		for _, i := range f.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			for _, r := range rules {
				if strings.HasPrefix(path, r.path) && !slices.Contains(r.allowed, dir) {
					t.Errorf("%s imports %s: %s", file, path, r.why)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
