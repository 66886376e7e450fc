package rtnl

import (
	"errors"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const sysctls = "/proc/sys/net/"

// hostSysctls is where a container whose /proc/sys is read-only can have the host's
// /proc/sys/net mounted, which can be written. It too shows each thread the sysctls of the
// network namespace that the thread is in.
const hostSysctls = "/host" + sysctls

// sysctlDirs are the directories in /proc/sys/net of a namespace, each opened when it is
// first used. Every namespace has an "ipv4" there, and the kernel goes through those of
// all, also of ended ones, to find that of the thread that asks. What is looked for in
// the open directory is found at once, and from any thread.
type sysctlDirs struct {
	mu   sync.Mutex // held as long as a directory is in use
	open map[string]int
}

func (d *sysctlDirs) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, fd := range d.open {
		unix.Close(fd)
	}
	d.open = nil
}

// Sysctl reads net/PATH of the namespace, for example
// "ipv6/conf/eth1/disable_ipv6". One read into a page gives all of it (proc_dointvec).
func (c *Conn) Sysctl(path string) (string, error) {
	page := pages.Get().(*[]byte)
	defer pages.Put(page)
	n, err := c.atSysctl(path, unix.O_RDONLY, "read", func(fd int) (int, error) { return unix.Read(fd, *page) })
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string((*page)[:n])), nil
}

var pages = sync.Pool{New: func() any { b := make([]byte, os.Getpagesize()); return &b }}

// Sysctls reads many of them. Those that there are not are left out.
func (c *Conn) Sysctls(paths ...string) (map[string]string, error) {
	values := make(map[string]string, len(paths))
	for _, path := range paths {
		value, err := c.Sysctl(path)
		switch {
		case err == nil:
			values[path] = value
		case !errors.Is(err, os.ErrNotExist):
			return values, err
		}
	}
	return values, nil
}

// SetSysctl writes it.
//
//	sysctl -w net/PATH=VALUE
func (c *Conn) SetSysctl(path, value string) error {
	// No O_CREAT: that would make a file where there is no such sysctl.
	_, err := c.atSysctl(path, unix.O_WRONLY, "write", func(fd int) (int, error) { return unix.Write(fd, []byte(value)) })
	return err
}

// atSysctl opens the file of a sysctl and does one thing with it. It is no os.File:
// Go's poller can watch these files, and would be asked to.
func (c *Conn) atSysctl(path string, flags int, op string, do func(fd int) (int, error)) (n int, err error) {
	failed := func(op string, err error) (int, error) {
		return 0, &os.PathError{Op: op, Path: sysctls + path, Err: err}
	}
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	family, rest, _ := strings.Cut(path, "/")
	dir, err := c.sysctlDir(family)
	if err != nil {
		return failed("open", err)
	}
	fd, err := openAgain(dir, rest, flags)
	if errors.Is(err, unix.EROFS) && c.openSysctls(hostSysctls, family) == nil {
		fd, err = openAgain(c.net.open[family], rest, flags)
	}
	if err != nil {
		return failed("open", err)
	}
	defer unix.Close(fd)
	err = again(func() (err error) { n, err = do(fd); return err })
	if err != nil {
		return failed(op, err)
	}
	return n, nil
}

// sysctlDir returns the directory of a family. The caller must hold c.net.mu.
func (c *Conn) sysctlDir(family string) (dir int, err error) {
	if _, ok := c.net.open[family]; !ok {
		err = c.openSysctls(sysctls, family)
	}
	return c.net.open[family], err
}

// openSysctls opens the directory of a family below root, and closes the one that was open.
// The caller must hold c.net.mu.
func (c *Conn) openSysctls(root, family string) error {
	var dir int
	err := c.Run(func() (err error) {
		dir, err = openAgain(unix.AT_FDCWD, root+family, unix.O_PATH|unix.O_DIRECTORY)
		return err
	})
	if err != nil {
		return err
	}
	if before, ok := c.net.open[family]; ok {
		unix.Close(before)
	}
	if c.net.open == nil {
		c.net.open = map[string]int{}
	}
	c.net.open[family] = dir
	return nil
}

func openAgain(dir int, name string, flags int) (fd int, err error) {
	err = again(func() (err error) { fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0); return err })
	return fd, err
}

// again calls do until a signal does not interrupt it.
func again(do func() error) error {
	for {
		if err := do(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
