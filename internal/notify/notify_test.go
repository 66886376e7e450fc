package notify

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestAppearance: a file is told of, however its directories come to be, and only it.
func TestAppearance(t *testing.T) {
	top := t.TempDir()
	at := func(path string) string { return filepath.Join(top, path) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	a, err := NewAppearance(at("run/engine/sock"))
	must(err)
	ctx, cancel := context.WithCancel(t.Context())
	woken := make(chan struct{}, 1)
	var all sync.WaitGroup
	all.Go(func() {
		a.Follow(ctx, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	})
	defer all.Wait()
	defer cancel()
	rings := func(after string) {
		t.Helper()
		select {
		case <-woken:
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing is told after %s", after)
		}
	}
	// Until the file is there; the last event of several may come when it is.
	until := func(after string) {
		t.Helper()
		for rings(after); ; rings(after) {
			if _, err := os.Stat(a.path); err == nil {
				return
			}
		}
	}
	must(os.WriteFile(at("other"), nil, 0o600))
	must(os.Mkdir(at("run"), 0o700))
	rings("the first directory")
	must(os.WriteFile(at("run/sock"), nil, 0o600))
	must(os.Mkdir(at("run/engine"), 0o700))
	rings("the second directory")
	must(os.WriteFile(a.path, nil, 0o600))
	until("the file")
	must(os.Chmod(a.path, 0o660))
	rings("another mode")
	must(os.RemoveAll(at("run")))
	// All at once, by a rename, and behind a symbolic link.
	must(os.MkdirAll(at("new/engine"), 0o700))
	must(os.WriteFile(at("new/engine/sock"), nil, 0o600))
	must(os.Rename(at("new"), at("run")))
	until("a directory that had it")
	must(os.RemoveAll(at("run")))
	must(os.MkdirAll(at("else/engine"), 0o700))
	must(os.Symlink("else", at("run")))
	must(os.WriteFile(a.path, nil, 0o600))
	until("a symbolic link")
	for quiet := false; !quiet; { // what belongs to the last
		select {
		case <-woken:
		case <-time.After(time.Second):
			quiet = true
		}
	}
	must(os.WriteFile(at("else/engine/sock2"), nil, 0o600))
	must(os.WriteFile(at("else/sock"), nil, 0o600))
	must(os.WriteFile(a.path, []byte("written"), 0o600))
	select {
	case <-woken:
		t.Error("what does not matter is told")
	case <-time.After(time.Second):
	}
}
