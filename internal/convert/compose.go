package convert

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/intent"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/yamlfile"
)

// labelPrefix is what the labels of ours begin with; the rest is an interface's name.
const labelPrefix = "gopipework."

// compose converts the labels, and the providers, of a Compose file's services.
func (c *converter) compose(docs []*yamlfile.Node) {
	root := c.thing(docs[0], "a Compose file")
	services := root.in("services")
	if services.node == nil {
		c.Wrong(c.At(docs[0]), fault.New(fault.Invalid, "read", "a Compose file", "it has no key \"services\""))
		return
	}
	project := root.text("name")
	if project == "" {
		project = c.directory()
		c.warn(docs[0], "the project's name is not in the file, and is taken for %q, that of the directory", project)
	}
	c.name(root.value["name"], project)
	for _, name := range services.names() {
		c.service(project, name, services.in(name))
	}
}

// directory is the name that Compose gives a project without one.
func (c *converter) directory() string {
	path, err := filepath.Abs(c.Path)
	if err != nil || c.Path == "-" {
		return "default"
	}
	name := regexp.MustCompile("[^a-z0-9_-]").ReplaceAllString(strings.ToLower(filepath.Base(filepath.Dir(path))), "")
	return strings.TrimLeft(name, "_-")
}

func (c *converter) service(project, name string, s *thing) {
	guest := s.text("container_name")
	if guest == "" {
		guest = "compose:" + project + "/" + name
	}
	replicas := s.text("scale")
	if n := s.in("deploy").text("replicas"); n != "" {
		replicas = n
	}
	several, _ := strconv.Atoi(replicas)
	if several > 1 {
		guest += "/1" // the service alone names none of them
	}
	labels := c.labels(s.get("labels"))
	for _, l := range labels {
		ifName, ours := strings.CutPrefix(l.key, labelPrefix)
		if !ours {
			continue
		}
		if c.TooMany() {
			return
		}
		value, whole := interpolated(l.value)
		if !whole {
			c.warn(l.node, "left out: Compose puts the value of a variable into %s", l.key)
			continue
		}
		words, err := c.labelled(guest, ifName, value)
		if err != nil {
			c.warn(l.node, "left out: %s: %v", l.key, err)
			continue
		}
		if several > 1 {
			c.warn(l.node, "service %s has %d containers, and this is for the first alone", name, several)
		}
		c.attach(l.node, words...)
	}
	provider := s.in("provider")
	if provider.node == nil || provider.text("type") != "gopipework" {
		return
	}
	options := provider.in("options")
	for _, n := range options.list("line") {
		words, _, err := intent.Service{Project: project, Name: name}.Line(c.grammar, c.text(n, "a line"))
		if err != nil {
			c.warn(n, "left out: %v", err)
			continue
		}
		c.attach(n, words...)
	}
}

// label is one of a service.
type label struct {
	node       *yamlfile.Node
	key, value string
}

// labels reads labels: a map, or a list of words KEY=VALUE.
func (c *converter) labels(n *yamlfile.Node) (all []label) {
	is := yamlfile.Behind(n)
	if is == nil || yamlfile.IsNull(is) {
		return nil
	}
	if yamlfile.IsList(is) {
		for _, n := range is.Content {
			key, value, _ := strings.Cut(c.text(n, "a label"), "=")
			all = append(all, label{n, key, value})
		}
		return all
	}
	t := c.thing(n, "labels")
	for _, key := range t.keys {
		if strings.HasPrefix(key.Value, labelPrefix) {
			all = append(all, label{key, key.Value, t.text(key.Value)})
		}
	}
	return all
}

// interpolated returns a text as Compose passes it on; false: it has a variable in it.
func interpolated(text string) (string, bool) {
	const dollar = "\x00"
	text = strings.ReplaceAll(text, "$$", dollar)
	return strings.ReplaceAll(text, dollar, "$"), !strings.Contains(text, "$")
}

// labelled returns the line that a label asks for: its words, with the guest behind the
// host's interface, and the interface that the key names.
func (c *converter) labelled(guest, ifName, value string) ([]string, error) {
	words, err := shell.Words(value)
	if err != nil {
		return nil, err
	}
	takesValue := map[string]bool{}
	for _, f := range c.grammar.AttachFlags {
		takesValue[f.Typed] = !f.Bool
	}
	for i := 0; i < len(words); i++ {
		if strings.HasPrefix(words[i], "-") {
			if takesValue[words[i]] {
				i++
			}
			continue
		}
		line := append(append([]string{}, words[:i+1]...), "-i", ifName, guest)
		return append(line, words[i+1:]...), nil
	}
	return nil, fault.New(fault.Invalid, "read", "a label", "it names no interface of the host")
}
