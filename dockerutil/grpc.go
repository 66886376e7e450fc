package dockerutil

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// containerd and the CRI speak gRPC. What is asked of them here is a handful of
// questions of one or two words, and net/http, which the Docker client brings,
// speaks HTTP/2 without TLS: a call is a POST of one framed message. The gRPC
// library and the generated types would be two dependencies more, whose
// registration every run would pay for at its start.

// caller makes calls on one unix socket.
type caller struct {
	http   *http.Client
	dialer *dialer
}

// newCaller prepares to make calls until ctx is done.
func newCaller(ctx context.Context, socket string) *caller {
	c := &caller{dialer: &dialer{ctx: ctx, proto: "unix", addr: socket}}
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	c.http = &http.Client{Transport: &http.Transport{Protocols: &h2c, DialContext: c.dialer.dial}}
	return c
}

func (c *caller) close() { c.http.CloseIdleConnections() }

// The status codes of gRPC that mean something here.
const (
	rpcNotFound      = 5
	rpcUnimplemented = 12
)

// rpcError is the server's refusal.
type rpcError struct {
	code int
	text string
}

func (e *rpcError) Error() string { return fmt.Sprintf("%s (gRPC status %d)", e.text, e.code) }

// refusedWith says whether the server refused a call with that status.
func refusedWith(err error, code int) bool {
	var e *rpcError
	return errors.As(err, &e) && e.code == code
}

// call calls METHOD ("package.Service/Method") with one message, and returns
// the one in answer. namespace is containerd's; "" sends none.
func (c *caller) call(ctx context.Context, namespace, method string, request []byte) (protobuf, error) {
	body, writer := io.Pipe() // of unknown length, as a gRPC stream is
	go func() {
		frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request)))
		writer.Write(append(frame, request...))
		writer.Close()
	}()
	defer body.Close()
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/"+method, body)
	if err != nil {
		return nil, err
	}
	post.Header.Set("Content-Type", "application/grpc")
	post.Header.Set("Te", "trailers")
	if namespace != "" {
		post.Header.Set("Containerd-Namespace", namespace)
	}
	answer, err := c.http.Do(post)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers a call with %q", answer.Status)
	}
	framed, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(framed) > maxAnswer:
		return nil, errTooLong
	}
	if err := statusOf(answer); err != nil {
		return nil, err
	}
	// One frame: not compressed (0), the length, the message.
	if len(framed) < 5 || framed[0] != 0 || int(binary.BigEndian.Uint32(framed[1:])) != len(framed)-5 {
		return nil, errNotProtobuf
	}
	return parseProtobuf(framed[5:])
}

// statusOf reads how a call ended: in the trailers, or where there is no message
// in the headers.
func statusOf(answer *http.Response) error {
	from := answer.Trailer
	if from.Get("Grpc-Status") == "" {
		from = answer.Header
	}
	code, err := strconv.Atoi(from.Get("Grpc-Status"))
	if err != nil {
		return errors.New("it answers a call without a status")
	}
	if code == 0 {
		return nil
	}
	text := from.Get("Grpc-Message")
	if plain, err := url.PathUnescape(text); err == nil {
		text = plain
	}
	return &rpcError{code, text}
}

var errNotProtobuf = errors.New("the answer is no message")

// field is one field of a protobuf message.
type field struct {
	id     int
	number uint64 // if it is one
	bytes  []byte // a string, or a message in the message; nil if it is neither
}

// protobuf is a message, of the wire format only.
type protobuf []field

// parseProtobuf reads the wire format (protobuf.dev/programming-guides/encoding).
func parseProtobuf(b []byte) (protobuf, error) {
	var m protobuf
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return nil, errNotProtobuf
		}
		b = b[n:]
		f := field{id: int(tag >> 3)}
		size := 0
		switch tag & 7 {
		case 0:
			if f.number, size = binary.Uvarint(b); size <= 0 {
				return nil, errNotProtobuf
			}
		case 1:
			size = 8
		case 2:
			length, n := binary.Uvarint(b)
			if n <= 0 || length > uint64(len(b)-n) {
				return nil, errNotProtobuf
			}
			size = n + int(length)
			f.bytes = b[n:size:size]
		case 5:
			size = 4
		default: // groups are long gone
			return nil, errNotProtobuf
		}
		if size > len(b) {
			return nil, errNotProtobuf
		}
		b = b[size:]
		m = append(m, f)
	}
	return m, nil
}

// last returns a field that is there once. The last one counts, and one that is
// not there is zero.
func (m protobuf) last(id int) (f field) {
	for _, g := range m {
		if g.id == id {
			f = g
		}
	}
	return f
}

func (m protobuf) text(id int) string { return string(m.last(id).bytes) }

func (m protobuf) number(id int) uint64 { return m.last(id).number }

// in returns the message in a field, empty if it is none.
func (m protobuf) in(id int) protobuf {
	inner, _ := parseProtobuf(m.last(id).bytes)
	return inner
}

// all returns the messages in a repeated field.
func (m protobuf) all(id int) []protobuf {
	var list []protobuf
	for _, f := range m {
		if f.id != id {
			continue
		}
		if inner, err := parseProtobuf(f.bytes); err == nil {
			list = append(list, inner)
		}
	}
	return list
}

// entry returns what a map<string, string> has under key.
func (m protobuf) entry(id int, key string) string {
	for _, e := range m.all(id) {
		if e.text(1) == key {
			return e.text(2)
		}
	}
	return ""
}

// appendText appends a string, or a message, as field id.
func appendText(b []byte, id int, text string) []byte {
	b = binary.AppendUvarint(b, uint64(id)<<3|2)
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

// appendNumber appends an integer or a bool as field id.
func appendNumber(b []byte, id int, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(id)<<3), n)
}

// peerOf returns who listens at the other end of a unix socket (unix(7)).
func peerOf(conn net.Conn) (*unix.Ucred, error) {
	if bounded, is := conn.(*boundedConn); is {
		conn = bounded.Conn
	}
	socket, is := conn.(*net.UnixConn)
	if !is {
		return nil, errElsewhere
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return peer, errors.Join(err, peerErr)
}

// sameProcesses says whether the process that listens is in our PID namespace,
// so that the numbers it gives are ours. The kernel gives 0 for one that cannot
// be seen from here; one in a namespace below ours can be.
func sameProcesses(peer int) bool {
	if peer <= 0 {
		return false
	}
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/ns/pid", peer))
	if err != nil {
		return false
	}
	own, err := os.Stat("/proc/self/ns/pid")
	return err == nil && os.SameFile(own, theirs)
}
