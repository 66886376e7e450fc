package dockerutil

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// caller makes gRPC calls on one unix socket. That is what containerd and the CRI
// speak. The Docker client brings net/http, which speaks HTTP/2 without TLS, and there
// a call is a POST of one framed message. The gRPC library would do the same, but every
// run, whoever its guest is, would wait for it to set itself up.
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

// The status codes of gRPC that are handled here.
const (
	rpcNotFound      = 5
	rpcUnimplemented = 12
)

// rpcError is a call that the server refused.
type rpcError struct {
	code int
	text string
}

func (e *rpcError) Error() string { return fmt.Sprintf("%s (gRPC status %d)", e.text, e.code) }

// refusedWith reports whether the server refused a call with that status.
func refusedWith(err error, code int) bool {
	var e *rpcError
	return errors.As(err, &e) && e.code == code
}

// call calls a method ("package.Service/Method") with one message, and returns the
// message that it answers. namespace is one of containerd, or "".
func (c *caller) call(ctx context.Context, namespace, method string, request []byte) (protobuf, error) {
	body, writer := io.Pipe() // without a length, as gRPC has it
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

// statusOf reads the status of a call from the trailers, or from the headers if the
// answer has no message.
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
