//go:build linux

package e2e

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestCompletionInShells: in a shell at a terminal, the tabulator key completes commands,
// guests, their interfaces, flags and their values.
func TestCompletionInShells(t *testing.T) {
	need(t, "shells")
	m := newMachine(t)
	m.named("web")
	dir := t.TempDir()
	rc := map[string]string{
		"bashrc":     "PS1='ready> '; source <(gopipework completion bash)\n",
		".zshrc":     "PROMPT='ready> '; autoload -Uz compinit; compinit -u -D; source <(gopipework completion zsh)\n",
		"config.txt": "function fish_prompt; echo -n 'ready> '; end; gopipework completion fish | source\n",
	}
	for name, text := range rc {
		m.check(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for shell, start := range map[string]string{
		"bash": "exec bash --rcfile " + dir + "/bashrc -i",
		"zsh":  "ZDOTDIR=" + dir + " exec zsh -i",
		"fish": "HOME=" + dir + " exec fish --no-config -i -C 'source " + dir + "/config.txt'",
	} {
		t.Run(shell, func(t *testing.T) {
			m := &machine{m.Host, t}
			m.ok("brtest", "netns:web", "192.168.1.2/24", "-i", "lan7")
			typist := m.atTerminal(start)
			typist.await("ready> ")
			typist.press("gopipework deta\t")
			typist.await("detach")
			typist.press(" netns:w\t")
			typist.await("web")
			typist.press(" la\t")
			typist.await("lan7")
			typist.press(" --dr\t")
			typist.await("--dry-run")
			typist.press("\n")
			typist.await("ip link del") // as a person would type what it would do
			typist.press("gopipework graph --format=me\t\n")
			typist.await("flowchart")
			typist.press("exit\n")
			m.ok("detach", "netns:web")
		})
	}
}

// TestCompletionHarmless: an interface whose name a shell would run is not proposed.
func TestCompletionHarmless(t *testing.T) {
	m := newMachine(t)
	m.named("web")
	m.sh("ip -n web link add 'a$(reboot)' type veth peer name b0")
	if got := m.ok("--complete", "bash", "set", "netns:web", "b0", "--dns", "").Stdout; got != "none\n" {
		t.Errorf("name servers to set: %q", got)
	}
	if got := m.ok("--complete", "bash", "set", "netns:web", "").Stdout; got != "b0\n" {
		t.Errorf("the interfaces are %q", got)
	}
}

// TestCompletionOnHost: after --on-host, with which an image begins, a line is completed as
// without it.
func TestCompletionOnHost(t *testing.T) {
	m := newMachine(t)
	m.named("web")
	for _, line := range [][]string{{""}, {"deta"}, {"detach", "netns:w"}, {"--dr"}} {
		here := m.ok(append([]string{"--complete", "bash"}, line...)...).Stdout
		there := m.ok(append([]string{"--complete", "bash", "--on-host"}, line...)...).Stdout
		if here == "" || here != there {
			t.Errorf("%q: %q; on the host: %q", line, here, there)
		}
	}
}

// typist is somebody at a terminal.
type typist struct {
	t    testing.TB
	keys io.Writer

	mu   sync.Mutex
	seen bytes.Buffer
	read int // how much of it was awaited
}

// atTerminal starts a program at a terminal of its own.
func (m *machine) atTerminal(program string) *typist {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m.t.Cleanup(cancel)
	cmd := m.Command(ctx, "script", "-qec", program, "/dev/null")
	cmd.Env = append(cmd.Environ(), "TERM=xterm", "SHELL=/bin/bash")
	keys, err := cmd.StdinPipe()
	m.check(err)
	p := &typist{t: m.t, keys: keys}
	cmd.Stdout, cmd.Stderr = p, p
	m.check(cmd.Start())
	m.t.Cleanup(func() {
		keys.Close()
		cancel()
		_ = cmd.Wait()
	})
	return p
}

func (p *typist) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen.Write(b)
}

func (p *typist) press(keys string) {
	p.t.Helper()
	if _, err := io.WriteString(p.keys, keys); err != nil {
		p.t.Fatal(err)
	}
}

// await waits until the terminal shows a text, after what was awaited before.
func (p *typist) await(text string) {
	p.t.Helper()
	shown := host.Poll(host.Patience, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		i := strings.Index(p.seen.String()[p.read:], text)
		if i >= 0 {
			p.read += i + len(text)
		}
		return i >= 0
	})
	if !shown {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.t.Fatalf("%q is not shown:\n%q", text, p.seen.String()[p.read:])
	}
	time.Sleep(50 * time.Millisecond) // it may be about to write more of the line
}
