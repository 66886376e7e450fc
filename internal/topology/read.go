package topology

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plainfile"
	"github.com/gopipework/gopipework/internal/plainname"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/yamlfile"
	yaml "go.yaml.in/yaml/v3"
)

// MaxFile bounds a file, in bytes. It is enough for ten thousand entries.
const MaxFile = 1 << 20

// Read reads a file. The error of a file that makes no sense has the code
// fault.Invalid, and *Problems in it.
func Read(path string, g Grammar) (File, error) {
	text, err := plainfile.ReadFile(path, MaxFile)
	if err != nil {
		return File{}, unreadable(path, err)
	}
	return Parse(path, text, g)
}

// ReadWritten is Read for a file that is read again when somebody writes it. One that is
// still being written is an error, and so is one that is empty, as a full disk or a crash
// leaves it: they would ask for less than they did.
func ReadWritten(path string, g Grammar) (File, error) {
	text, err := plainfile.ReadWritten(path, MaxFile)
	switch {
	case err != nil:
		return File{}, unreadable(path, err)
	case len(bytes.TrimSpace(text)) == 0:
		return File{}, fault.New(fault.Invalid, "read", path, "it is empty").WithHint("a file that asks for nothing says so: attachments: []")
	}
	return Parse(path, text, g)
}

func unreadable(path string, err error) error {
	if errors.Is(err, plainfile.ErrTooLarge) {
		return fault.New(fault.Invalid, "read", path, "it has more than %d bytes", MaxFile).WithHint("split it, and give each part a name of its own")
	}
	missing := errors.Is(err, fs.ErrNotExist)
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // path is in it already
	}
	e := fault.New(fault.Invalid, "read", path, "%w", err)
	if missing {
		e.WithHint("gopipework import prints a file for what is attached now")
	}
	return e
}

// Parse reads what a file holds; path is only for its name and the places of errors.
func Parse(path string, text []byte, g Grammar) (File, error) {
	r := reader{Reader: yamlfile.Reader{Path: path}, grammar: g, file: File{Path: path}}
	if len(text) > MaxFile {
		return File{}, unreadable(path, plainfile.ErrTooLarge)
	}
	r.root(r.Syntax(text))
	r.file.Entries = append(r.file.Entries, r.links...) // they may stand in front of the attachments
	if r.file.Name == "" && len(r.Found) == 0 {
		r.file.Name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		r.checkName(Pos{File: path, Line: 1, Column: 1}, r.file.Name)
	}
	c := clashes{r.Wrong, map[any]Pos{}}
	c.file(r.file)
	if err := yamlfile.Invalid(path, r.Found); err != nil {
		return File{}, err
	}
	return r.file, nil
}

// reader reads one file, and collects what is wrong with it.
type reader struct {
	yamlfile.Reader
	grammar Grammar
	file    File
	links   []Entry
}

// The keys of a file.
const (
	keyName        = "name"
	keyBridges     = "bridges"
	keyAttachments = "attachments"
	keyLinks       = "links"
)

var fileKeys = []string{keyName, keyBridges, keyAttachments, keyLinks}

// root reads the whole file.
func (r *reader) root(n *yaml.Node) {
	if n == nil || yamlfile.IsNull(n) {
		return
	}
	for _, p := range r.Pairs(n, "a file", fileKeys) {
		switch p.Key.Value {
		case keyName:
			if name, ok := r.Text(p.Key.Value, p.Value); ok {
				r.file.Name, r.file.NameAt = name, r.At(p.Value)
				r.checkName(r.At(p.Value), name)
			}
		case keyBridges:
			r.bridges(p.Value)
		case keyAttachments:
			r.List(p, func(n *yaml.Node) { r.entry(n, r.attachment, r.attachmentMap) })
		case keyLinks:
			r.List(p, func(n *yaml.Node) { r.entry(n, r.link, r.linkMap) })
		}
	}
}

func (r *reader) checkName(pos Pos, name string) {
	if !plainname.Is(name) || len(name) > spec.MaxOriginName {
		r.Wrong(pos, fault.New(fault.Invalid, "read name", strconv.Quote(name), "a name is made of at most %d letters, digits, '_', '.' and '-', and begins with a letter, a digit or '_'", spec.MaxOriginName).
			WithHint("give the file a name of its own: name: lab"))
	}
}

// The keys of a bridge.
const (
	keyAddress       = "address"
	keyMTU           = "mtu"
	keyUplink        = "uplink"
	keyForce         = "force"
	keyVLANFiltering = "vlan-filtering"
)

var bridgeKeys = []string{keyAddress, keyMTU, keyUplink, keyForce, keyVLANFiltering}

func (r *reader) bridges(n *yaml.Node) {
	if yamlfile.IsNull(n) {
		return
	}
	for _, p := range r.Pairs(n, keyBridges, nil) {
		if why := spec.CheckName(p.Key.Value); why != "" {
			r.Wrong(r.At(p.Key), fault.New(fault.Invalid, "read bridge", strconv.Quote(p.Key.Value), "%s", why))
			continue
		}
		r.file.Bridges = append(r.file.Bridges, r.bridge(p))
	}
}

// uplink reads the name of an interface, or the word for a VXLAN.
func (r *reader) uplink(p yamlfile.Pair) string {
	word, _ := r.Word(p.Key.Value, p.Value)
	if spec.IsVXLAN(word) {
		v, err := spec.ParseVXLAN(word)
		if err != nil {
			r.Wrong(r.At(p.Value), err)
		}
		return v.String()
	}
	if why := spec.CheckName(word); word != "" && why != "" {
		r.Wrong(r.At(p.Value), fault.New(fault.Invalid, "read uplink", strconv.Quote(word), "%s", why))
	}
	return word
}

func (r *reader) bridge(b yamlfile.Pair) Bridge {
	out := Bridge{Pos: r.At(b.Key), Name: b.Key.Value}
	if yamlfile.IsNull(b.Value) {
		return out
	}
	var mtu *yaml.Node
	for _, p := range r.Pairs(b.Value, "a bridge", bridgeKeys) {
		switch key := p.Key.Value; key {
		case keyAddress:
			for _, n := range r.Words(key, p.Value) {
				a, err := spec.ParsePrefix(n.Value)
				if err != nil {
					r.Wrong(r.At(n), err)
					continue
				}
				out.Address = append(out.Address, a)
			}
		case keyMTU:
			mtu = p.Value
		case keyUplink:
			out.Uplink = r.uplink(p)
		case keyForce:
			out.Force = r.Flag(key, p.Value)
		case keyVLANFiltering:
			out.VLANFiltering = r.Flag(key, p.Value)
		}
	}
	if mtu == nil {
		return out
	}
	if word, ok := r.Word(keyMTU, mtu); ok {
		var err error
		if out.MTU, err = spec.ParseMTU(word, spec.HasFamily(out.Address, true)); err != nil {
			r.Wrong(r.At(mtu), err)
		}
	}
	return out
}
