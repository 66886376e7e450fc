package graph

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// formats draw a graph.
var formats = map[string]func(Graph) string{
	"tree": Tree, "svg": SVG, "dot": DOT, "mermaid": Mermaid,
	"json": func(g Graph) string {
		text, _ := json.MarshalIndent(g, "", " ")
		return string(text) + "\n"
	},
}

func TestFormats(t *testing.T) {
	for name, format := range formats {
		t.Run(name, func(t *testing.T) {
			g := lab()
			got, path := format(g), filepath.Join("testdata", "lab."+name)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if again := format(lab()); again != got {
				t.Error("the same graph is drawn in another way the next time")
			}
		})
	}
}

// hostile is what a name can be that somebody chose who means harm.
var hostile = []string{
	`"><script>alert(1)</script>`, "a]]>b", "x\"]; evil [label=\"y", `back\slash\N\"`, "n1\n  n2 --> n3", "\x1b[31mred\x1b[0m", "\u202eevil", "bad\xff\x00byte",
	"#quot;#59;", "`**markdown**`", "&lt;b&gt;", "end", "<img src=x onerror=alert(1)>", "--> |x|", "1. list", "%%{init: {}}%%", "click n0 \"javascript:alert(1)\"",
}

// hostileGraph has each of these in every place that takes a text.
func hostileGraph() (g Graph) {
	for _, h := range hostile {
		id := "guest/" + h
		g.Nodes = append(g.Nodes,
			Node{ID: "host/" + h, Kind: Bridge, Name: h, Type: h, State: State(h), VLAN: h, Mode: h, MAC: h},
			Node{ID: "port/" + h, Kind: Port, Name: h, Type: h, VLAN: h, State: Up},
			Node{ID: id, Kind: Guest, Name: h, Word: h, Also: []string{h}},
			Node{ID: id + "/" + h, Kind: Interface, Parent: id, Name: h, Type: h, VLAN: h, State: State(h)},
			Node{ID: id + "/2", Kind: Interface, Parent: id, Name: "wire" + h, Type: "veth", State: Up},
			Node{ID: "lone/" + h, Kind: Guest, Name: h, Word: "pid:" + h})
		g.Links = append(g.Links,
			Link{From: "port/" + h, To: "host/" + h, Kind: Member, VLAN: h},
			Link{From: id + "/" + h, To: "port/" + h, Kind: LinkKind(h), VLAN: h},
			Link{From: id + "/2", To: "guest/" + hostile[0] + "/2", Kind: Wire, VLAN: h})
	}
	return g
}

// Nothing in a name becomes a part of the format, and no format contains what could control
// a terminal.
func TestHostileNames(t *testing.T) {
	for name, format := range formats {
		if name == "json" {
			continue // its library escapes
		}
		for _, r := range format(hostileGraph()) {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) || r == unicode.ReplacementChar {
				t.Errorf("%s contains %U", name, r)
				break
			}
		}
	}
}

func TestHostileSVG(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(SVG(hostileGraph())))
	var texts []string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			if !slices.Contains([]string{"svg", "title", "style", "rect", "path", "text", "g", "circle"}, x.Name.Local) {
				t.Errorf("element %s", x.Name.Local)
			}
			for _, a := range x.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "href" {
					t.Errorf("attribute %s", a.Name.Local)
				}
			}
		case xml.CharData:
			texts = append(texts, string(x))
		}
	}
	for _, h := range hostile {
		if want := short(h); !slices.Contains(texts, want) {
			t.Errorf("%q is not shown as %q", h, want)
		}
	}
}

// Each line is of a form that the drawing itself writes, with quoted strings that end where
// they should.
func TestHostileLines(t *testing.T) {
	const dotString, mermaidString = `"([^"\\]|\\.)*"`, `"[\pL\pN\pM .:/,()@+#;\-…<>br]*"`
	for name, c := range map[string]struct {
		text string
		line *regexp.Regexp
	}{
		"dot": {DOT(hostileGraph()), regexp.MustCompile(`^(graph host \{|\t*(rankdir=LR;|node \[shape.*\];|edge \[font.*\];|\}|subgraph cluster_n\d+ \{|label=` + dotString +
			`;|n\d+( -- n\d+)? \[((label=` + dotString + `|style="?[a-z,]+"?|penwidth=2|color=gray50|fontcolor=firebrick|constraint=false)(, )?)+\];)|\})$`)},
		"mermaid": {Mermaid(hostileGraph()), regexp.MustCompile(`^(flowchart LR| *(subgraph )?n\d+\[` + mermaidString + `\]| *end|  n\d+ (---|-\.-)(\|` + mermaidString + `\|)? n\d+|  classDef .*|  class [n0-9,]+ \w+)$`)},
	} {
		for line := range strings.Lines(c.text) {
			if line = strings.TrimSuffix(line, "\n"); !c.line.MatchString(line) {
				t.Errorf("%s: %q", name, line)
			}
		}
	}
	for _, s := range regexp.MustCompile(mermaidString).FindAllString(Mermaid(hostileGraph()), -1) {
		if rest := strings.ReplaceAll(s, "<br/>", ""); strings.ContainsAny(rest, "<>`") {
			t.Errorf("mermaid: %s", s)
		}
	}
}

// What leads from one guest to nowhere, to itself or in a circle is drawn too, and ends.
func TestOddGraphs(t *testing.T) {
	a := Node{ID: "host/a", Kind: Bridge, Name: "a"}
	b := Node{ID: "host/b", Kind: VLAN, Name: "b"}
	guest := Node{ID: "guest/g", Kind: Guest, Name: "g"}
	x := Node{ID: "guest/g/x", Kind: Interface, Parent: "guest/g", Name: "x", Addresses: make([]netip.Prefix, 9)}
	y := Node{ID: "guest/g/y", Kind: Interface, Parent: "guest/g", Name: "y"}
	for name, g := range map[string]Graph{
		"empty":       {},
		"circle":      {Nodes: []Node{a, b}, Links: []Link{{From: "host/a", To: "host/b", Kind: On}, {From: "host/b", To: "host/a", Kind: On}}},
		"itself":      {Nodes: []Node{a}, Links: []Link{{From: "host/a", To: "host/a", Kind: Member}}},
		"no such end": {Nodes: []Node{a}, Links: []Link{{From: "host/a", To: "host/z", Kind: Member}}},
		"no parent":   {Nodes: []Node{x}},
		"in a guest":  {Nodes: []Node{guest, x, y}, Links: []Link{{From: x.ID, To: y.ID, Kind: Member}, {From: y.ID, To: x.ID, Kind: On}}},
		"own wire":    {Nodes: []Node{guest, x, y}, Links: []Link{{From: x.ID, To: y.ID, Kind: Wire}}},
	} {
		for format, draw := range formats {
			if text := draw(g); text == "" && format != "tree" {
				t.Errorf("%s as %s: nothing", name, format)
			} else if format == "tree" && len(g.Nodes) > 0 && !strings.Contains(text, g.Nodes[len(g.Nodes)-1].Name) {
				t.Errorf("%s: not everything is in the tree:\n%s", name, text)
			}
		}
	}
}
