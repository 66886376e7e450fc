package dockerutil

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"
)

// maxAnswer bounds an answer in bytes. What Docker says about one container takes some
// kilobytes, plus its labels and environment.
const maxAnswer = 8 << 20

var (
	errTooLong = errors.New("the answer is too long")
	errUpgrade = errors.New("it answers a question by switching to another protocol")
)

// dialer connects to a daemon, and keeps the system's reason if a connection failed, which
// the client's errors do not contain.
//
// All its connections end with ctx. The context of a request is not enough: once the HTTP
// client has read the header of an answer that switches protocols, it ignores that
// context and can read for ever.
type dialer struct {
	ctx         context.Context
	proto, addr string

	mu    sync.Mutex
	err   error
	conns []*boundedConn
	apart bool // the last listener is in another network namespace
	local bool // the last listener is in our PID namespace
	far   bool // the last listener cannot be seen from our PID namespace
	heeds bool // it has begun to answer with its events
}

// dial has the signature of http.Transport.DialContext. For a unix socket the transport
// passes a made-up address, otherwise the real one. Its context is not used, because it
// outlives the request.
func (d *dialer) dial(_ context.Context, network, addr string) (net.Conn, error) {
	if d.proto == "unix" {
		network, addr = d.proto, d.addr
	}
	conn, err := (&net.Dialer{}).DialContext(d.ctx, network, addr)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	if err != nil {
		return nil, err
	}
	go prepare()
	bounded := &boundedConn{Conn: conn, done: endWith(d.ctx, conn)}
	bounded.left.Store(maxAnswer)
	d.conns = append(d.conns, bounded)
	d.apart = apart(conn)
	peer, err := peerOf(conn)
	d.local = err == nil && sameProcesses(int(peer.Pid))
	d.far = err == nil && peer.Pid == 0
	return bounded, nil
}

// prepare has encoding/json look at the answer while the daemon thinks: its type has
// hundreds of fields, which takes half a millisecond the first time.
func prepare() { _ = json.Unmarshal([]byte("{}"), new(container.InspectResponse)) }

// endWith makes every read and write of conn fail once ctx is done, until stop is called.
func endWith(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
}

// response is a client.ResponseHook. No request here asks for another protocol, and
// what follows an answer that switches to one is not HTTP and may never end.
func (d *dialer) response(r *http.Response) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.StatusCode != http.StatusSwitchingProtocols {
		d.heeds = r.StatusCode == http.StatusOK && r.Request != nil && strings.HasSuffix(r.Request.URL.Path, "/events")
		return
	}
	d.err = errUpgrade
	for _, conn := range d.conns {
		conn.Conn.Close()
	}
}

// seen reports whether the last listener is in our PID namespace.
func (d *dialer) seen() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.local
}

// hidden reports whether the last listener cannot be seen from our PID namespace: the PIDs
// that it gives are not ours then. Of a command that was run, it is false.
func (d *dialer) hidden() bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.far
}

// elsewhere returns a warning if the engine called title is in another network namespace,
// else nil.
func (d *dialer) elsewhere(title string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.apart {
		return nil
	}
	return []string{title + " has another network than this process: HOSTIF is looked up and created here, where " +
		title + " cannot see it; run gopipework in the network of " + title + " (docker run --network host)"}
}

// follows reports whether the daemon has begun to answer with its events.
func (d *dialer) follows() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.heeds
}

// failure returns why the last connection failed, or nil.
func (d *dialer) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// goOn is called for each part of an answer that never ends: the next part may be as long as
// an answer.
func (d *dialer) goOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.conns {
		conn.left.Store(maxAnswer)
	}
}

// boundedConn is a connection from which only so many bytes can be read.
type boundedConn struct {
	net.Conn
	left atomic.Int64
	done func() bool // stops watching the context
}

func (c *boundedConn) Close() error {
	c.done()
	return c.Conn.Close()
}

func (c *boundedConn) Read(p []byte) (int, error) {
	left := c.left.Load()
	if left <= 0 {
		return 0, errTooLong
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), left)])
	c.left.Add(int64(-n))
	return n, err
}
