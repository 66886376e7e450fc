package firewall

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"syscall"
	"time"

	"github.com/gopipework/gopipework/internal/nlsocket"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Questions to nf_tables, by netlink. The requests of google/nftables are not used: they
// keep back the generation number, the error number, and each expression that the
// library does not know, and take several times as long. The library only takes the
// expressions apart (expressions_linux.go).

// patience bounds how long the rules are read again because another program keeps
// changing them. After that the last reading counts, with a warning.
const patience = 3 * time.Second

// firstGeneration is that of a namespace in which nobody has ever written a rule
// (nf_tables_api.c, nf_tables_init_net): there are no tables.
const firstGeneration = 1

// Reading is what looks through it have read of the rules of nf_tables. As long as nobody
// has written any since, the next look reads only what no look before it has needed: so
// most of a reading can be done before it is known what is to be looked at. The zero
// Reading has read nothing.
//
// It is of the network namespace of the thread that looked first, and is used by one
// goroutine at a time. Close it when done.
type Reading struct {
	conn       *nftConn
	rules      *nftReader // nil: nothing of use has been read
	generation uint32     // that of the rules
}

// Close closes its socket.
func (g *Reading) Close() {
	if g.conn != nil {
		g.conn.close()
	}
	*g = Reading{}
}

// readNFT calls read with a Reading of its own.
func readNFT(ctx context.Context, read func(*nftReader) error) (present, still bool, err error) {
	var g Reading
	defer g.Close()
	return g.look(ctx, read)
}

// begin forgets the rules if somebody has written since they were read. It reports whether
// there is nf_tables.
func (g *Reading) begin(ctx context.Context) (present bool, err error) {
	if g.conn == nil {
		conn, err := dialNFT()
		if errors.Is(err, unix.EPROTONOSUPPORT) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		g.conn = conn
	}
	now, present, err := g.conn.generation()
	if err != nil || !present {
		return false, err
	}
	if g.rules != nil && g.generation == now && g.rules.lasts() {
		g.rules.sets.forget()
	} else {
		g.rules = &nftReader{conn: g.conn, rules: map[nftChain][]chainRule{}, untouched: now == firstGeneration}
		g.generation = now
	}
	g.rules.ctx = ctx
	return true, nil
}

// read calls read with the rules. It reports whether read has asked the kernel anything.
func (g *Reading) read(read func(*nftReader) error) (asked bool, err error) {
	before := g.conn.seq
	if err = read(g.rules); err != nil {
		g.rules = nil
	}
	return g.conn.seq != before, err
}

// look calls read until nobody wrote meanwhile: rules come chain by chain,
// and a long chain in several messages, so that a commit in between shows a set
// of rules that never was. Each commit has a new generation number. It reports
// whether there is nf_tables, and whether what was read was still.
func (g *Reading) look(ctx context.Context, read func(*nftReader) error) (present, still bool, err error) {
	end := time.Now().Add(patience)
	for pause := time.Duration(0); ; pause = min(2*pause+time.Millisecond, 50*time.Millisecond) {
		if err := waitForQuiet(ctx, pause); err != nil {
			return true, false, err
		}
		if present, err := g.begin(ctx); err != nil || !present {
			return false, true, err
		}
		asked, readErr := g.read(read)
		if !asked {
			return true, true, readErr
		}
		after, _, err := g.conn.generation()
		if err != nil {
			return true, false, err
		}
		if g.generation == after && !errors.Is(readErr, unix.ENOENT) {
			return true, true, readErr
		}
		// A chain that was deleted in between is an error of that moment alone. A table that
		// goes with the program that owns it goes without a new generation.
		if readErr == nil && time.Now().After(end) {
			return true, false, nil
		}
		if time.Now().After(end.Add(patience)) {
			return true, false, fmt.Errorf("another program keeps changing them: %w", readErr)
		}
	}
}

// waitForQuiet sleeps, or returns why ctx has ended.
func waitForQuiet(ctx context.Context, d time.Duration) error {
	if ctx.Err() == nil {
		time.Sleep(d)
	}
	return ctx.Err()
}

// nftConn is a netlink socket to nf_tables in the network namespace that its
// thread was in.
type nftConn struct {
	fd  int
	seq uint32
}

func dialNFT() (*nftConn, error) {
	fd, err := nlsocket.Open(unix.NETLINK_NETFILTER, 5*time.Second)
	return &nftConn{fd: fd}, err
}

func (c *nftConn) close() { unix.Close(c.fd) }

// nftReply is one message of an answer.
type nftReply struct {
	family uint8
	attrs  []byte
}

// request sends one request and returns the answer.
func (c *nftConn) request(kind, flags int, family uint8, attrs ...*nl.RtAttr) ([]nftReply, error) {
	return c.requestUpTo(math.MaxInt, kind, flags, family, attrs...)
}

// requestUpTo is request for an answer of some bytes at most. A longer one is
// given up, which is errTooMany: the kernel takes the longer for each part of a
// dump the more it has sent of it.
func (c *nftConn) requestUpTo(most, kind, flags int, family uint8, attrs ...*nl.RtAttr) ([]nftReply, error) {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|kind, flags)
	c.seq++
	req.Seq = c.seq
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	for _, a := range attrs {
		req.AddData(a)
	}
	if err := unix.Sendto(c.fd, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	var out []nftReply
	for {
		msgs, err := c.receive()
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			switch {
			case m.Header.Seq != c.seq:
				continue // the rest of an answer that was given up
			case m.Header.Type == unix.NLMSG_DONE || m.Header.Type == unix.NLMSG_ERROR:
				return out, netlinkError(m.Data)
			case len(m.Data) < nl.SizeofNfgenmsg:
				return nil, errors.New("nf_tables answers with a message that is cut off")
			}
			if most -= len(m.Data); most < 0 {
				return nil, c.giveUp()
			}
			out = append(out, nftReply{family: m.Data[0], attrs: m.Data[nl.SizeofNfgenmsg:]})
			if m.Header.Flags&unix.NLM_F_MULTI == 0 {
				return out, nil
			}
		}
	}
}

// giveUp ends a dump whose rest nobody wants: its socket can be asked for nothing
// else before that.
func (c *nftConn) giveUp() error {
	again, err := dialNFT()
	if err != nil {
		return err
	}
	unix.Close(c.fd)
	c.fd = again.fd
	return errTooMany
}

func (c *nftConn) receive() ([]syscall.NetlinkMessage, error) {
	msgs, err := nlsocket.Receive(c.fd, 0)
	if errors.Is(err, unix.EAGAIN) {
		return nil, fmt.Errorf("nf_tables does not answer: %w", context.DeadlineExceeded)
	}
	return msgs, os.NewSyscallError("recvfrom", err)
}

// netlinkError returns the error number that ends an answer, or nil.
func netlinkError(data []byte) error {
	if len(data) < 4 {
		return nil
	}
	if errno := int32(binary.NativeEndian.Uint32(data)); errno != 0 {
		return unix.Errno(-errno)
	}
	return nil
}

// eachAttribute walks the attributes of a payload.
func eachAttribute(data []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(data) >= unix.SizeofNlAttr {
			size := int(binary.NativeEndian.Uint16(data))
			if size < unix.SizeofNlAttr || size > len(data) {
				return
			}
			kind := binary.NativeEndian.Uint16(data[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, data[unix.SizeofNlAttr:size]) {
				return
			}
			data = data[min((size+3)&^3, len(data)):]
		}
	}
}

// attributes returns the attributes of a payload by type. nf_tables has none
// of 16 or more that is asked for here.
func attributes(data []byte) (out [16][]byte) {
	for kind, value := range eachAttribute(data) {
		if int(kind) < len(out) {
			out[kind] = value
		}
	}
	return out
}

func attrString(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

func attrUint32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// generation returns the number of the last commit to nf_tables, and whether
// the kernel has nf_tables. Without it the request is EINVAL, as nfnetlink then
// does not know the subsystem (nfnetlink.c, nfnetlink_rcv_msg).
func (c *nftConn) generation() (id uint32, present bool, err error) {
	replies, err := c.request(unix.NFT_MSG_GETGEN, 0, unix.AF_UNSPEC)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("ask nf_tables: %w", err)
	}
	if len(replies) != 1 {
		return 0, false, fmt.Errorf("ask nf_tables: %d replies to a request for one", len(replies))
	}
	return attrUint32(attributes(replies[0].attrs)[unix.NFTA_GEN_ID]), true, nil
}
