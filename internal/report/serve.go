package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rundir"
	"golang.org/x/sys/unix"
)

// socketName is the socket's in the run directory, which only root can enter.
const socketName = "watch.sock"

// The requests: one word, on a line.
const (
	askMissing = "missing" // answered with a JSON array of Events
	askEvents  = "events"  // answered with each Event from now on, on a line
	askAll     = "all"     // the same, and before it what has happened since watch started
)

// How many events are kept.
const (
	queueLength  = 1024 // for a reader that is behind
	recentLength = 512  // for one that follows a watch that was started again
)

// reader is told events.
type reader struct {
	lines chan []byte // closed: there are no more
	last  []byte      // after them
}

// pass gives an event to all readers. Nothing waits for one: if its queue is full, it is told
// so after what is in the queue, and nothing else. The caller must hold r.mu.
func (r *Reporter) pass(e Event) {
	line := e.encode()
	if r.recent = append(r.recent, line); len(r.recent) > recentLength {
		r.recent = r.recent[1:]
	}
	for one := range r.readers {
		select {
		case one.lines <- line:
		default:
			one.last = Event{Time: e.Time, Kind: Dropped, Reason: fmt.Sprintf("it reads too slowly: %d events are waiting already", queueLength)}.encode()
			r.leave(one)
		}
	}
}

// join begins to tell a reader events.
func (r *Reporter) join(all bool) *reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := &reader{lines: make(chan []byte, queueLength)}
	one.lines <- Event{Time: time.Now(), Kind: Watch, State: Up}.encode()
	if all {
		for _, line := range r.recent {
			one.lines <- line
		}
	}
	if r.ended {
		close(one.lines)
		return one
	}
	r.readers[one] = true
	return one
}

// leave ends what a reader is told. The caller must hold r.mu.
func (r *Reporter) leave(one *reader) {
	if r.readers[one] {
		delete(r.readers, one)
		close(one.lines)
	}
}

// Server answers those who ask what happens and what is missing.
type Server struct {
	r       *Reporter
	dir     *rundir.Dir
	l       *net.UnixListener
	serving sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil: it is closed
}

// Serve answers at the socket until Close. The caller is the only watch of the host
// (watch.Alone), so a socket that is there already is that of one that was killed.
func (r *Reporter) Serve() (*Server, error) { return r.serveIn(rundir.Path) }

func (r *Reporter) serveIn(path string) (*Server, error) {
	dir, err := rundir.Open(path, true)
	if err != nil {
		return nil, fault.Explain("open", path, err)
	}
	s := &Server{r: r, dir: dir, conns: map[net.Conn]bool{}}
	if err := s.listen(path); err != nil {
		dir.Close()
		return nil, err
	}
	s.serving.Go(s.accept)
	return s, nil
}

// listen makes the socket.
func (s *Server) listen(path string) error {
	path += "/" + socketName
	if err := s.dir.Remove(socketName); err != nil {
		return fault.Explain("replace", path, err)
	}
	name := s.dir.InProc(socketName)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name})
	if err != nil {
		return fault.Explain("listen at", path, err)
	}
	l.SetUnlinkOnClose(false) // the name leads elsewhere once the directory is closed
	s.l = l
	return fault.Explain("chmod", path, os.Chmod(name, 0o600))
}

// accept serves whoever connects, side by side.
func (s *Server) accept() {
	for {
		c, err := s.l.Accept()
		switch {
		case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE):
			time.Sleep(100 * time.Millisecond) // until somebody closes a descriptor
			continue
		case err != nil:
			return
		}
		s.mu.Lock()
		open := s.conns != nil
		if open {
			s.conns[c] = true
			s.serving.Go(func() { s.serve(c) })
		}
		s.mu.Unlock()
		if !open {
			c.Close()
		}
	}
}

// serve answers one request.
func (s *Server) serve(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	const longest = 64
	line, err := bufio.NewReader(io.LimitReader(c, longest)).ReadString('\n')
	if err != nil {
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	switch ask := strings.TrimSuffix(line, "\n"); ask {
	case askMissing:
		_ = json.NewEncoder(c).Encode(s.r.Missing())
	case askEvents, askAll:
		s.stream(c, ask == askAll)
	}
}

// stream tells a reader events for as long as it is there.
func (s *Server) stream(c net.Conn, all bool) {
	one := s.r.join(all)
	end := func() {
		s.r.mu.Lock()
		defer s.r.mu.Unlock()
		s.r.leave(one)
	}
	defer end()
	go func() { // it says nothing more; the end of what it says is the end of it
		_, _ = io.Copy(io.Discard, c)
		end()
	}()
	for line := range one.lines {
		if _, err := c.Write(line); err != nil {
			return
		}
	}
	_, _ = c.Write(one.last)
}

// Close ends it. Readers are given a second for what they have not read yet.
func (s *Server) Close() {
	s.l.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.SetDeadline(time.Now().Add(time.Second))
	}
	s.conns = nil
	s.mu.Unlock()
	s.r.mu.Lock()
	s.r.ended = true
	for one := range s.r.readers {
		s.r.leave(one)
	}
	s.r.mu.Unlock()
	s.serving.Wait()
	_ = s.dir.Remove(socketName)
	s.dir.Close()
}
