package rtnl

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Sysctl reads net/PATH of the namespace, for example
// "ipv6/conf/eth1/disable_ipv6". /proc/sys/net shows the namespace of the
// thread that opens the file, whatever /proc is mounted.
func (c *Conn) Sysctl(path string) (value string, err error) {
	page := pages.Get().(*[]byte)
	defer pages.Put(page)
	err = c.Run(func() error {
		value, err = readSysctl(path, *page)
		return err
	})
	return value, err
}

// Sysctls reads many of them in one visit to the namespace. Those that there are not
// are left out.
func (c *Conn) Sysctls(paths ...string) (map[string]string, error) {
	values := make(map[string]string, len(paths))
	err := c.Run(func() error {
		page := pages.Get().(*[]byte)
		defer pages.Put(page)
		for _, path := range paths {
			value, err := readSysctl(path, *page)
			switch {
			case err == nil:
				values[path] = value
			case !errors.Is(err, os.ErrNotExist):
				return err
			}
		}
		return nil
	})
	return values, err
}

var pages = sync.Pool{New: func() any { b := make([]byte, os.Getpagesize()); return &b }}

// readSysctl reads one where the thread is. One read into a page gives all of it
// (proc_dointvec).
func readSysctl(path string, page []byte) (string, error) {
	n, err := atSysctl(path, unix.O_RDONLY, "read", func(fd int) (int, error) { return unix.Read(fd, page) })
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(page[:n])), nil
}

// SetSysctl writes it.
//
//	sysctl -w net/PATH=VALUE
func (c *Conn) SetSysctl(path, value string) error {
	return c.Run(func() error {
		// No O_CREAT: that would make a file where there is no such sysctl.
		_, err := atSysctl(path, unix.O_WRONLY, "write", func(fd int) (int, error) { return unix.Write(fd, []byte(value)) })
		return err
	})
}

// atSysctl opens the file of a sysctl and does one thing with it. It is no os.File:
// Go's poller can watch these files, and would be asked to.
func atSysctl(path string, flags int, op string, do func(fd int) (int, error)) (n int, err error) {
	name := filepath.Join("/proc/sys/net", path)
	var fd int
	err = again(func() (err error) { fd, err = unix.Open(name, flags|unix.O_CLOEXEC, 0); return err })
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	err = again(func() (err error) { n, err = do(fd); return err })
	if err != nil {
		return 0, &os.PathError{Op: op, Path: name, Err: err}
	}
	return n, nil
}

// again calls do until a signal does not interrupt it.
func again(do func() error) error {
	for {
		if err := do(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
