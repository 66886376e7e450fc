package dockerutil

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
)

// maxAnswer is far above what Docker says about one container (some kilobytes, and
// its labels and environment), and far below what would hurt.
const maxAnswer = 8 << 20

var (
	errTooLong = errors.New("the answer is too long")
	errUpgrade = errors.New("it answers a question by switching to another protocol")
)

// dialer connects to the daemon and keeps what the client's own errors drop:
// the system's reason why a connection failed.
//
// All its connections end with ctx. The context of a request is not enough: the
// HTTP client lets go of it as soon as it has the header of an answer that
// switches protocols, and reads on for ever.
type dialer struct {
	ctx         context.Context
	proto, addr string

	mu    sync.Mutex
	err   error
	conns []net.Conn
	apart bool // the last one that listened has another network than we
	local bool // and numbers processes as we do
}

// dial has the signature of http.Transport.DialContext. The address the
// transport gives is made up for a unix socket, and the real one otherwise. The
// context that it gives is not used: it outlives the request.
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
	d.conns = append(d.conns, conn)
	d.apart = apart(conn)
	peer, err := peerOf(conn)
	d.local = err == nil && sameProcesses(int(peer.Pid))
	return &boundedConn{Conn: conn, left: maxAnswer, done: endWith(d.ctx, conn)}, nil
}

// prepare has encoding/json look at the answer while the daemon thinks: its type has
// hundreds of fields, which takes half a millisecond the first time.
func prepare() { _ = json.Unmarshal([]byte("{}"), new(container.InspectResponse)) }

// endWith makes every read and write of conn fail once ctx is done. The function
// that it returns ends that.
func endWith(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
}

// refuseUpgrade is a client.ResponseHook. No question here asks for another
// protocol, and what follows such an answer is not HTTP and has no end.
func (d *dialer) refuseUpgrade(r *http.Response) {
	if r.StatusCode != http.StatusSwitchingProtocols {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = errUpgrade
	for _, conn := range d.conns {
		conn.Close()
	}
}

// seen says whether the last one that listened numbers processes as we do.
func (d *dialer) seen() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.local
}

// elsewhere returns a warning if the engine called title is in another network
// namespace than we are, else nil.
func (d *dialer) elsewhere(title string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.apart {
		return nil
	}
	return []string{title + " has another network than this process: HOSTIF is looked up and created here, where " +
		title + " cannot see it; run gopipework in the network of " + title + " (docker run --network host)"}
}

// failure returns why there is no connection, nil if the last one was made and
// served.
func (d *dialer) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// boundedConn ends a connection that does not stop talking.
type boundedConn struct {
	net.Conn
	left int
	done func() bool // ends the watch over the context
}

func (c *boundedConn) Close() error {
	c.done()
	return c.Conn.Close()
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooLong
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
