package rundir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteReadRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	if _, err := Open(path, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open what is not there: %v", err)
	}
	d, err := Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, want := range []string{"one", "two"} {
		var got string
		if err := errors.Join(d.Write("a.json", want), d.Read("a.json", &got)); err != nil || got != want {
			t.Errorf("read %q, %v; want %q", got, err, want)
		}
	}
	if names, err := d.Names(".json"); err != nil || len(names) != 1 || names[0] != "a.json" {
		t.Errorf("names %q, %v", names, err)
	}
	if err := errors.Join(d.Remove("a.json"), d.Remove("a.json")); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(path)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestOthers: what others could have put there is not believed.
func TestOthers(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o755)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	target := filepath.Join(dir, "target")
	if err := errors.Join(os.Mkdir(target, 0o700), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{open, link} {
		if d, err := Open(path, true); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v; want it refused", path, err)
			d.Close()
		}
	}
	d, err := Open(target, true)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	secret := filepath.Join(dir, "secret")
	if err := errors.Join(os.WriteFile(secret, []byte(`"x"`), 0o600), os.Symlink(secret, filepath.Join(target, "a.json"))); err != nil {
		t.Fatal(err)
	}
	var v string
	if err := d.Read("a.json", &v); err == nil {
		t.Errorf("a link was followed: %q", v)
	}
	if err := d.Write("a.json", "y"); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(secret); string(b) != `"x"` {
		t.Errorf("a link was written through: %q", b)
	}
}

// TestEmpty: an empty directory goes, and is there again for a process that still has it open.
func TestEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	first, err := Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty directory: %v; want it gone", err)
	}
	if err := first.Write("a.json", 1); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(path, "a.json")); err != nil {
		t.Error(err)
	}
	first.Close()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// TestInTheirPlace: what stands in the place of the directory or of a file in it
// is not waited for, and not believed.
func TestInTheirPlace(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, make := range []bool{false, true} {
		if d, err := Open(fifo, make); !errors.Is(err, ErrForeign) {
			t.Errorf("a FIFO in place of the directory: %v; want it refused", err)
			d.Close()
		}
	}
	for name, put := range map[string]func(path string) error{
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.MkdirAll(path+"/sub", 0o700) },
		"link":      func(path string) error { return os.Symlink("/dev/zero", path) },
		"large":     func(path string) error { return os.WriteFile(path, make([]byte, maxFile+1), 0o600) },
		"rubbish":   func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
	} {
		path := filepath.Join(t.TempDir(), "run")
		d, err := Open(path, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(put(filepath.Join(path, "a.json")), put(filepath.Join(path, ".a.json"))); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := d.Read("a.json", &got); err == nil || got != "" {
			t.Errorf("%s: read %q", name, got)
		}
		err = errors.Join(d.Write("a.json", "x"), d.Read("a.json", &got))
		if name == "directory" { // it is somebody's, with what is in it
			if err == nil {
				t.Error("a directory was replaced")
			}
			continue
		}
		if err != nil || got != "x" {
			t.Errorf("%s: read %q, %v after it was written", name, got, err)
		}
		if err := d.Remove("a.json"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		d.Close()
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: something is left: %v", name, err)
		}
	}
}

// TestKilledWrite: what a killed Write has left goes with the file.
func TestKilledWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	d, err := Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Write("a.json", 1), os.WriteFile(filepath.Join(path, ".a.json"), []byte("{"), 0o600), d.Remove("a.json")); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
}

// A directory that another process removes, empty as it is, under one who has it
// open has no files: that is no error about anything that is looked for there.
func TestRemovedMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	d, err := Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if names, err := d.Names(""); err != nil || len(names) != 0 {
		t.Errorf("names %q, %v", names, err)
	}
	if torn, err := d.Torn(); err != nil || len(torn) != 0 {
		t.Errorf("torn %q, %v", torn, err)
	}
}
