package rtnl

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// families are those that have net/FAMILY/conf/NAME, and of those sysctls the
// ones that are said by other means.
var families = map[string][]string{
	"ipv4": nil,
	"ipv6": {"addr_gen_mode", "mtu"},
}

// stableSecret cannot be read where it was never set. It goes with the mode of
// making addresses, and so before the others.
const stableSecret = "ipv6/stable_secret"

// keepSysctls returns the sysctls of the link that are not what a new link
// gets, which is what this one will have when it is returned.
func (c *Conn) keepSysctls(name string) (map[string]string, error) {
	own, err := c.sysctls(name)
	if err != nil {
		return nil, err
	}
	fresh, err := c.sysctls("default")
	maps.DeleteFunc(own, func(key, value string) bool { return value == fresh[key] })
	return own, err
}

// sysctls returns those of a link, or of "default", as "ipv6/accept_ra".
func (c *Conn) sysctls(name string) (map[string]string, error) {
	values := map[string]string{}
	err := c.Run(func() error {
		for family, skip := range families {
			err := readAll(values, family, name, skip)
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
				return err
			}
		}
		return nil
	})
	return values, err
}

func readAll(values map[string]string, family, name string, skip []string) error {
	dir := "/proc/sys/net/" + family + "/conf/" + name
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if slices.Contains(skip, f.Name()) {
			continue
		}
		b, err := os.ReadFile(dir + "/" + f.Name())
		if family+"/"+f.Name() == stableSecret && errors.Is(err, unix.EIO) {
			continue
		}
		if err != nil {
			return err
		}
		values[family+"/"+f.Name()] = strings.TrimSpace(string(b))
	}
	return nil
}

// sysctlPath is where the kept sysctl is, for [Conn.SetSysctl]. The key comes
// from a file, and must not lead elsewhere.
func sysctlPath(name, key string) (string, error) {
	family, leaf, _ := strings.Cut(key, "/")
	if _, ok := families[family]; !ok || leaf == "" || leaf == "." || leaf == ".." || strings.Contains(leaf, "/") {
		return "", fmt.Errorf("sysctl %q: %w", key, fs.ErrInvalid)
	}
	return family + "/conf/" + name + "/" + leaf, nil
}

// sysctlParts returns those that were kept and are not so, and the others that are
// not what a new link gets: the kernel turns accept_dad off for one that is returned
// with "arp off".
func (c *Conn) sysctlParts(k Kept) (parts []Part, err error) {
	now, err := c.sysctls(k.Name)
	if err != nil {
		return nil, failed("read the sysctls of "+k.Name, err)
	}
	want, err := c.sysctls("default")
	if err != nil {
		return nil, failed("read the sysctls of a new link", err)
	}
	maps.Copy(want, k.Sysctls)
	for _, key := range slices.Sorted(maps.Keys(want)) {
		_, has := now[key]
		_, had := k.Sysctls[key]
		if want[key] == now[key] || !has && !had || key == stableSecret {
			continue // a link whose MTU is below 1280 has none of IPv6, nor has one of CAN
		}
		p := Part{Kind: partSysctl, Key: key, Value: want[key]}
		if path, err := sysctlPath(k.Name, key); err == nil {
			p.Command = sysctlCommand(path, want[key])
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func sysctlCommand(path, value string) string {
	return "sysctl -w " + shell.Quote("net/"+path+"="+value)
}

func (k Kept) sysctlCommands() (lines []string) {
	for _, key := range slices.Sorted(maps.Keys(k.Sysctls)) {
		if key == stableSecret {
			continue
		}
		if path, err := sysctlPath(k.Name, key); err == nil {
			lines = append(lines, sysctlCommand(path, k.Sysctls[key]))
		}
	}
	return lines
}

// sysctlKind is a sysctl of the link.
type sysctlKind struct{ plainKind }

func (sysctlKind) countIn(k *Kept, p Part) {
	k.Sysctls = over(k.Sysctls, map[string]string{p.Key: p.Value})
}

func (sysctlKind) restore(r *restorer, p Part) error {
	return r.onSysctl(p, func(path string) error { return r.SetSysctl(path, p.Value) })
}

func (sysctlKind) look(r *restorer, p Part) (there bool, found string, err error) {
	err = r.onSysctl(p, func(path string) (err error) { found, err = r.Sysctl(path); return err })
	return found == p.Value, found, err
}

// onSysctl does something with the sysctl, under the name that the link has now.
func (r *restorer) onSysctl(p Part, do func(path string) error) error {
	name, err := r.linkName(r.index)
	if err != nil {
		return err
	}
	path, err := sysctlPath(name, p.Key)
	if err != nil {
		return err
	}
	return do(path)
}
