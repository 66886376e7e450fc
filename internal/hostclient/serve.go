package hostclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/spawn"
	"golang.org/x/sys/unix"
)

// Serve is the process that looks after one client: what [Start] starts. args
// are those after [Word]; ready is its standard output.
func Serve(ctx context.Context, args []string, ready *os.File, open lease.OpenLinks) error {
	ns, starter, err := spawn.Begin(ready)
	if err != nil {
		return err
	}
	defer ns.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := starter.WhenGone(func() { cancel(errStarterGone) })
	defer stop()
	err = serve(ctx, args, ns, func(warning string) error {
		defer starter.Close()
		stop()
		if starter.Ready(warning) != nil {
			return errStarterGone
		}
		return nil
	}, open)
	if err != nil {
		starter.Refuse(err)
	}
	starter.Close()
	return err
}

var errStarterGone = errors.New("the process that started it has ended")

func serve(ctx context.Context, args []string, ns *os.File, ready func(warning string) error, open lease.OpenLinks) error {
	var r Run
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &r) != nil || clients[r.Ask.Client].command == nil {
		return errors.New("it is started by gopipework itself")
	}
	links, err := open(ns)
	if err != nil {
		return err
	}
	defer links.Close()
	m := &minder{Run: r, client: clients[r.Ask.Client], ns: ns, ended: make(chan struct{}), first: make(chan struct{}),
		link: links.Link(lease.Ask{IfName: r.IfName, Index: r.Index})}
	return m.run(ctx, ready)
}

// minder looks after one client.
type minder struct {
	Run
	client
	ns     *os.File
	link   lease.Link
	pid    *os.File // the pid file; nil: it does not stay
	cmd    *exec.Cmd
	output tail
	thread *nsfs.Thread  // whose files and network are the client's
	ended  chan struct{} // closed when the client has ended
	first  chan struct{} // closed when there is a lease

	unlink sync.Once // of the pid file
	mu     sync.Mutex
	got    *lease.Lease // that the interface has
	bad    error        // why a lease was not taken
}

func (m *minder) run(ctx context.Context, ready func(warning string) error) (err error) {
	if m.Ask.Stays {
		if m.pid, err = m.claim(); err != nil {
			if errors.Is(err, errTaken) {
				err = fault.New(fault.Conflict, "start", m.Ask.Client, "%w", err)
			}
			return err
		}
		defer m.pid.Close()
		defer m.removePID()
	}
	listener, err := m.start()
	if err != nil {
		return err
	}
	defer listener.Close()
	go m.listen(listener)
	if err := m.awaitFirst(ctx); err != nil {
		m.end()
		return err
	}
	if !m.Ask.Stays {
		m.kill()
	}
	if err := ready(m.warning()); err != nil || !m.Ask.Stays {
		if err != nil {
			m.end()
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { <-m.ended; cancel() }()
	spawn.Rest()
	_ = lease.AwaitEnd(ctx, lease.Guest{Namespace: m.ns, PID: m.PID, Path: m.Path}, m.Index)
	m.end()
	return nil
}

// start starts the client on a thread that is in its namespaces. The client
// dies with that thread, and with it, for it is the first process of its own
// PID namespace, all that it has started.
func (m *minder) start() (net.Listener, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	config := ""
	if m.config != nil {
		config = m.config(m.Run)
	}
	if m.thread, err = nsfs.Enter(m.ns); err != nil {
		return nil, err
	}
	var listener net.Listener
	err = m.thread.Run(func() error {
		if err := hideHost(self, config); err != nil {
			return err
		}
		if listener, err = net.Listen("unix", socketPath); err != nil {
			return err
		}
		m.cmd = m.program(m.command(m.Run))
		m.cmd.Stdout, m.cmd.Stderr = &m.output, &m.output
		if err = m.cmd.Start(); err == nil && m.pid != nil {
			err = writePID(m.pid, m.cmd.Process.Pid)
		}
		return err
	})
	if err != nil {
		m.thread.End()
		return nil, err
	}
	go m.reap()
	return listener, nil
}

func (m *minder) program(words []string) *exec.Cmd {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// reap waits for the client to end. Its pid file goes first: until the client
// is reaped its number is nobody else's.
func (m *minder) reap() {
	var err error = unix.EINTR
	for errors.Is(err, unix.EINTR) {
		err = unix.Waitid(unix.P_PID, m.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
	m.removePID()
	_ = m.cmd.Wait()
	close(m.ended)
}

// removePID removes the pid file, once: by then it may be another's.
func (m *minder) removePID() {
	if m.pid != nil {
		m.unlink.Do(func() { _ = os.Remove(m.pid.Name()) })
	}
}

func (m *minder) awaitFirst(ctx context.Context) error {
	timeout := time.NewTimer(FirstLease)
	defer timeout.Stop()
	select {
	case <-m.first:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timeout.C:
		if bad := m.refused(); bad != nil {
			return bad
		}
		return fault.New(fault.Timeout, "run", m.Ask.Client, "it got no lease within %v%s", FirstLease, m.output.last())
	case <-m.ended:
	}
	select {
	case <-m.first:
		return nil
	default:
	}
	if bad := m.refused(); bad != nil {
		return bad
	}
	return fault.New(fault.Timeout, "run", m.Ask.Client, "it ended without a lease%s", m.output.last())
}

// refused is why the last lease was not taken; nil: there was none.
func (m *minder) refused() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bad == nil {
		return nil
	}
	return fault.New(fault.Failed, "run", m.Ask.Client, "its lease is unusable: %w", m.bad)
}

// listen serves the client's script, one event after the other.
func (m *minder) listen(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.SetDeadline(time.Now().Add(scriptTime))
		var e event
		answer := done
		if err := json.NewDecoder(io.LimitReader(c, maxEvent)).Decode(&e); err != nil {
			answer = "read event: " + err.Error()
		} else if err := m.take(e); err != nil {
			answer = err.Error()
		}
		_, _ = io.WriteString(c, answer)
		c.Close()
	}
}

// take does what an event says. Nobody renews the lease of a client that does
// not stay, and its address stays as one that was given by hand.
func (m *minder) take(e event) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() { m.bad = err }()
	env := map[string]string{}
	for _, kv := range e.Env {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	if len(e.Args) > 0 {
		env["reason"] = e.Args[0]
	}
	s, err := m.read(env)
	if err != nil {
		return err
	}
	if s.lost && m.got != nil {
		old := *m.got
		m.got = nil
		return old.Withdraw(m.link)
	}
	if s.lease == nil {
		return nil
	}
	l, err := s.lease.Lease(lease.Now())
	if err != nil {
		return err
	}
	if !m.Ask.Stays {
		l.Time = lease.Forever
	}
	if err := l.Apply(m.link, m.got, lease.Now()); err != nil {
		return err
	}
	if m.got = &l; !closed(m.first) {
		close(m.first)
	}
	return nil
}

// warning is what of the first lease was not taken.
func (m *minder) warning() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.got == nil {
		return ""
	}
	return m.got.Warning()
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// kill ends the client at once.
func (m *minder) kill() {
	_ = m.cmd.Process.Kill()
	<-m.ended
}

// awaitWritten waits until dhclient has written its lease into the file from which
// another dhclient releases it. It does so some time after its script has run.
func (m *minder) awaitWritten() {
	_ = m.thread.Run(func() error {
		for end := time.Now().Add(endTime); time.Now().Before(end) && !closed(m.ended); time.Sleep(10 * time.Millisecond) {
			if text, _ := os.ReadFile(leasesPath); bytes.HasSuffix(text, []byte("}\n")) {
				break
			}
		}
		return nil
	})
}

// end has the client release its lease, and ends it.
func (m *minder) end() {
	if m.release == nil && !closed(m.ended) {
		signal := syscall.SIGTERM
		if m.ends != 0 {
			signal = m.ends
		}
		_ = m.cmd.Process.Signal(signal)
		select {
		case <-m.ended:
		case <-time.After(endTime):
		}
	}
	if m.release != nil && closed(m.first) {
		m.awaitWritten()
	}
	m.kill()
	if m.release != nil && closed(m.first) {
		_ = m.thread.Run(func() error {
			cmd := m.program(m.release(m.Run))
			if err := cmd.Start(); err != nil {
				return err
			}
			timer := time.AfterFunc(endTime, func() { _ = cmd.Process.Kill() })
			defer timer.Stop()
			return cmd.Wait()
		})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.got != nil {
		_ = m.got.Withdraw(m.link) // it may have gone with the interface
	}
}

// tail keeps the end of what a client prints, which may print on.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const most = 1024
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-most):]
	return len(p), nil
}

// last is the last line, quoted, behind a colon.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := bytes.TrimSpace(t.b)
	if len(b) == 0 {
		return ""
	}
	return fmt.Sprintf(": %q", b[bytes.LastIndexByte(b, '\n')+1:])
}
