package plainfile

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOnlyPlainFiles: whatever stands in the place of a file, opening it ends,
// and is refused unless it is one.
func TestOnlyPlainFiles(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir) // a socket's path is short
	l, err := net.Listen("unix", "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(
		unix.Mkfifo("fifo", 0o600), os.Mkdir("directory", 0o700), os.Symlink("plain", "link"),
		os.Symlink("fifo", "link to a fifo"), os.Symlink("/dev/zero", "link to a device"), os.Symlink("loop", "loop"),
		os.WriteFile("plain", []byte("hello"), 0o600), os.WriteFile("large", []byte(strings.Repeat("a", 11)), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"fifo": ErrNotRegular, "directory": ErrNotRegular, "socket": ErrNotRegular, "link": ErrNotRegular,
		"link to a fifo": ErrNotRegular, "link to a device": ErrNotRegular, "loop": ErrNotRegular,
		"plain": nil, "none": fs.ErrNotExist,
	} {
		for _, flag := range []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR} {
			if err := soon(t, func() error { return tryOpen(name, flag|unix.O_NOFOLLOW) }); !errors.Is(err, want) {
				t.Errorf("%s, flag %d: %v, want %v", name, flag, err, want)
			}
		}
	}
	for name, want := range map[string]error{
		"plain": nil, "link": nil, "large": ErrTooLarge, "link to a fifo": ErrNotRegular,
		"link to a device": ErrNotRegular, "loop": unix.ELOOP, filepath.Join(dir, "plain"): nil,
	} {
		err := soon(t, func() error {
			b, err := ReadFile(name, 10)
			if err == nil && string(b) != "hello" {
				t.Errorf("%s: %q", name, b)
			}
			return err
		})
		if !errors.Is(err, want) {
			t.Errorf("read %s: %v, want %v", name, err, want)
		}
	}
}

func tryOpen(name string, flag int) error {
	f, err := Open(name, flag)
	if err == nil {
		f.Close()
	}
	return err
}

func soon(t *testing.T, do func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(2 * time.Minute):
		t.Fatal("it hangs")
		return nil
	}
}

// TestReadWritten: a file is read when its writer has finished, and not before, whether or
// not it was there.
func TestReadWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	const whole = "one\ntwo\nthree\n"
	for _, before := range []string{"", whole} {
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.Lines(whole) {
			if b, err := ReadWritten(path, 100); !errors.Is(err, ErrUnfinished) {
				t.Errorf("half of it: %q, %v", b, err)
			}
			if _, err := w.WriteString(part); err != nil {
				t.Fatal(err)
			}
		}
		time.AfterFunc(20*time.Millisecond, func() { w.Close() })
		err = ErrUnfinished
		var b []byte
		for end := time.Now().Add(time.Minute); errors.Is(err, ErrUnfinished) && time.Now().Before(end); {
			b, err = ReadWritten(path, 100)
		}
		if string(b) != whole || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	}
	if _, err := ReadWritten(path, 5); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}
