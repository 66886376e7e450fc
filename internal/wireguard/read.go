package wireguard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plainfile"
	"golang.org/x/sys/unix"
)

// most is how long a file may be, in bytes.
const most = 1 << 20

// ReadFile reads a file of wg-quick's, and asks this host's resolver for the addresses of
// endpoints that have names. Every error is a [fault.Error].
func ReadFile(ctx context.Context, path string) (Config, error) {
	f, err := plainfile.Open(path, unix.O_RDONLY)
	if err != nil {
		return Config{}, unread(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Config{}, unread(path, err)
	}
	text, err := plainfile.Read(f, most)
	if err != nil {
		return Config{}, unread(path, err)
	}
	c, err := Parse(path, text)
	if err != nil {
		return Config{}, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		c.Warnings = append(c.Warnings, path+" has private keys, and others than its owner and group may use it: chmod 600 "+path)
	}
	return c, c.resolve(ctx, path)
}

func unread(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	e := fault.New(fault.CodeOfCause(err), "read", path, "%w", err)
	if errors.Is(err, fs.ErrNotExist) {
		e.Code = fault.NotFound
	}
	return e
}

// resolve asks for the addresses of endpoints that have names. The tunnel begins on the
// host, so it is the host that asks.
func (c *Config) resolve(ctx context.Context, path string) error {
	for _, n := range c.names {
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", n.host)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err == nil && len(addrs) == 0 {
			err = errors.New("there is no address")
		}
		if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
			err = errors.New(dns.Err) // without the name
		}
		if err != nil {
			return fault.New(fault.CodeOfCause(err), "read", path, "line %d: the name of the endpoint has no address: %w", n.line, err).
				WithHint("the host's resolver was asked: see its /etc/resolv.conf")
		}
		c.Peers[n.peer].Endpoint = netip.AddrPortFrom(addrs[0].Unmap(), n.port)
	}
	return nil
}

// Parse reads the text of a file. path is for errors.
func Parse(path string, text []byte) (Config, error) {
	r := reader{path: path, peers: map[Key]bool{}, allowed: map[netip.Prefix]int{}}
	for line := range strings.Lines(string(text)) {
		r.line++
		if err := r.read(line); err != nil {
			return Config{}, err
		}
	}
	if err := r.ends(); err != nil {
		return Config{}, err
	}
	if r.config.PrivateKey == (Key{}) {
		return Config{}, fault.New(fault.Invalid, "read", path, "there is no PrivateKey in it").WithHint("it is to be a file of wg-quick's: man wg-quick")
	}
	return r.config, nil
}

// reader reads a file, line by line.
type reader struct {
	path    string
	line    int
	section string          // lower case; "": none yet
	begins  int             // its line
	seen    map[string]bool // the settings of the section
	config  Config
	peers   map[Key]bool         // those before this one
	allowed map[netip.Prefix]int // by whom, counted from 1
}

func (r *reader) wrong(format string, args ...any) *fault.Error {
	return r.wrongAt(r.line, format, args...)
}

func (r *reader) wrongAt(line int, format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "read", r.path, "line %d: %s", line, fmt.Sprintf(format, args...))
}

func (r *reader) read(line string) error {
	line, _, _ = strings.Cut(line, "#")
	line = strings.TrimSpace(line)
	if line == "" {
		return nil
	}
	if strings.HasPrefix(line, "[") {
		return r.begin(strings.ToLower(line))
	}
	key, value, ok := strings.Cut(line, "=")
	key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
	switch {
	case !ok:
		return r.wrong("it is neither a section nor KEY = VALUE")
	case r.section == "":
		return r.wrong("it stands before the first section").WithHint("[Interface] begins a file of wg-quick's")
	case r.seen[key] && key != "address" && key != "dns" && key != "allowedips":
		return r.wrong("the section has that setting already")
	}
	r.seen[key] = true
	if r.section == sectionPeer {
		return r.ofPeer(&r.config.Peers[len(r.config.Peers)-1], key, value)
	}
	return r.ofInterface(key, value)
}

const (
	sectionInterface = "[interface]"
	sectionPeer      = "[peer]"
)

func (r *reader) begin(section string) error {
	if err := r.ends(); err != nil {
		return err
	}
	switch {
	case section == sectionPeer && r.section != "":
		r.config.Peers = append(r.config.Peers, Peer{})
	case section == sectionInterface && r.section == "":
	default:
		return r.wrong("a file begins with one [Interface], and nothing but [Peer] follows it")
	}
	r.section, r.begins, r.seen = section, r.line, map[string]bool{}
	return nil
}

// ends checks the section that ends here.
func (r *reader) ends() error {
	if r.section != sectionPeer {
		return nil
	}
	last := r.config.Peers[len(r.config.Peers)-1]
	switch {
	case last.PublicKey == Key{}:
		return r.wrongAt(r.begins, "the peer has no PublicKey")
	case r.peers[last.PublicKey]:
		return r.wrongAt(r.begins, "an earlier peer has the same PublicKey")
	}
	r.peers[last.PublicKey] = true
	return nil
}
