package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/topology"
	"github.com/santhosh-tekuri/jsonschema/v6"
	yaml "go.yaml.in/yaml/v3"
)

// TestSchema: what the schema accepts and refuses is what the reader does, as far as
// lines are not concerned.
func TestSchema(t *testing.T) {
	var stdout, stderr strings.Builder
	if code := run([]string{"apply", "--schema"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(stdout.String()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	entry := func(more string) string {
		return "attachments: [{to: br1, guest: web, address: 10.0.0.2/24" + more + "}]\n"
	}
	_, readme, _ := strings.Cut(readFile(t, "docs/topology.md"), "```yaml\nname: lab")
	readme, _, ok := strings.Cut(readme, "```")
	if !ok {
		t.Fatal("docs/topology.md has no topology file")
	}
	for text, good := range map[string]bool{
		"name: lab" + readme: true, wholeFile: true, "": true, "attachments:\nlinks:\nbridges: {br1: }\n": true,
		entry(", vlan: 10, mtu: 1400, verify: true, route: [10.0.5.0/24]"): true,
		"attachmets: []\n": false, "name: [a]\n": false, "name: a/b\n": false, "[]": false,
		"bridges: [a]\n": false, "bridges: {br1: {adress: 10.0.0.1/24}}\n": false, "bridges: {br1: {vlan-filtering: 1}}\n": false,
		"bridges: {br1: {mtu: 10}}\n": false, "bridges: {this-name-is-too-long: {}}\n": false,
		"attachments: br1\n": false, "attachments: [[br1, web]]\n": false, "attachments: [1]\n": false,
		entry(", rate-Out: 1mbit"): false, entry(", as: true"): false, entry(", mtu: [1, 2]"): false, entry(", verify: 1"): false, entry(", as: "): false,
		"attachments: [{to: br1, guest: web}]\n": false, "links: [{mtu: 1400}]\n": false, "links: [{ends: [web 10.8.0.1/30]}]\n": false,
		"links: [{ends: [a 10.8.0.1/30, b 10.8.0.2/30], mtu: 1400}]\n": true,
	} {
		var v any
		if err := yaml.NewDecoder(bytes.NewReader([]byte(text))).Decode(&v); err != nil && text != "" {
			t.Fatal(err)
		}
		if err := schema.Validate(v); (err == nil) != good {
			t.Errorf("%q: the schema says %v", text, err)
		}
		if _, err := topology.Parse("f", []byte(text), grammar()); (err == nil) != good {
			t.Errorf("%q: the reader says %v", text, err)
		}
	}
}

// TestSchemaKeys: every flag that a map may have as a key is in the schema, described.
func TestSchemaKeys(t *testing.T) {
	text := string(topology.Schema(grammar()))
	for _, f := range append(grammar().AttachFlags, grammar().LinkFlags...) {
		if !strings.Contains(text, `"`+f.Name+`": {`) || f.Usage == "" {
			t.Errorf("%s is not described", f.Name)
		}
	}
}
