package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/graph"
	"github.com/gopipework/gopipework/internal/graphpage"
	"github.com/gopipework/gopipework/internal/survey"
	"github.com/gopipework/gopipework/internal/tcplisten"
	"github.com/urfave/cli/v2"
)

const serveHint = "--serve :8080, or to let others read it --serve 0.0.0.0:8080"

// serveGraph serves a page that follows what guests are connected to, or for nil what is
// connected on the host, until the command is interrupted.
func (o *output) serveGraph(c *cli.Context, of []*attach.Guest) error {
	if slices.Contains(given(c), "format") {
		return fault.BadWord("read flags of", graphName, "--serve and --format ask for different things").WithHint("leave one of them out")
	}
	addr := c.String("serve")
	l, err := tcplisten.Listen("--serve", addr, serveHint)
	if err != nil {
		return err
	}
	at := l.Addr().(*net.TCPAddr)
	if !at.IP.IsLoopback() {
		o.say("warning: everybody who can reach %s can see what is connected on this host, and there is no password", at)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	o.caught()
	if err := o.serving("http://" + reachedBy(at, host) + "/"); err != nil {
		l.Close()
		return err
	}
	debug.SetGCPercent(watchGarbage)
	live := liveGraph{of: of}
	p := graphpage.Page{
		Host: host, Version: version, Look: live.look,
		Traffic: func(ctx context.Context, g graph.Graph) (map[string]graph.Counters, error) {
			return survey.Traffic(ctx, g, nil)
		},
		Follow: []func(context.Context, func()) error{
			func(ctx context.Context, told func()) error { return survey.Follow(ctx, nil, told) },
			live.follow,
		},
	}
	return p.Serve(c.Context, l)
}

// serving prints where the page is.
func (o *output) serving(url string) error {
	if o.json {
		return o.document(map[string]string{"url": url})
	}
	if _, err := fmt.Fprintln(o.stdout, url); err != nil {
		return unwritten(err)
	}
	return nil
}

// reachedBy returns HOST:PORT for a browser. Where all addresses are listened at, the host's
// name leads to one of them.
func reachedBy(at *net.TCPAddr, host string) string {
	if !at.IP.IsUnspecified() {
		return at.String()
	}
	_, port, _ := net.SplitHostPort(at.String())
	return net.JoinHostPort(host, port)
}

// liveGraph reads the graph again and again. Engines take longer to answer than the kernel,
// so they are asked beside that, and only when there is a reason to.
type liveGraph struct {
	of []*attach.Guest // whose connections are shown; nil: all

	mu       sync.Mutex // for what is below
	told     func()     // has the graph read again
	asked    time.Time  // when the engines were asked last; zero: they are to be asked
	asking   bool
	known    []attach.GuestInfo
	warnings []string // of the engines
}

// engines is how long what the engines have answered is believed, though they tell nothing.
const engines = 30 * time.Second

// follow has the engines asked again when one of them tells that a guest has come or gone.
func (l *liveGraph) follow(ctx context.Context, told func()) error {
	l.told = told
	return dockerutil.Follow(ctx, func(dockerutil.Event) {
		l.mu.Lock()
		l.asked = time.Time{}
		l.mu.Unlock()
		told()
	})
}

// look reads the graph, and what has cut attachments off.
func (l *liveGraph) look(ctx context.Context) (graphpage.Seen, error) {
	known, warnings := l.guests(ctx)
	g, err := graphFrom(ctx, known, l.of)
	if err != nil {
		return graphpage.Seen{}, err
	}
	r, err := attach.List(ctx, nil, attach.Options{})
	if err != nil {
		return graphpage.Seen{}, err
	}
	g.Warnings = slices.Concat(warnings, g.Warnings)
	return graphpage.Seen{Graph: g, Findings: cutOff(g, r.Attachments)}, nil
}

// guests returns the guests that the engines know. The first time it waits for them.
func (l *liveGraph) guests(ctx context.Context) ([]attach.GuestInfo, []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.known == nil:
		l.asked = time.Now()
		known, warnings := runningGuests(ctx, l.of)
		l.known, l.warnings = orEmpty(known), warnings
	case !l.asking && time.Since(l.asked) > engines:
		l.asked, l.asking = time.Now(), true
		go func() {
			known, warnings := runningGuests(ctx, l.of)
			l.mu.Lock()
			l.asking, l.known, l.warnings = false, orEmpty(known), warnings
			l.mu.Unlock()
			l.told()
		}()
	}
	return l.known, l.warnings
}

// cutOff returns what has cut attachments off, by the IDs of their interfaces.
func cutOff(g graph.Graph, all []attach.Attachment) map[string][]string {
	netns := map[string]uint64{} // of guests, by their IDs
	for _, n := range g.Nodes {
		if n.Kind == graph.Guest {
			netns[n.ID] = n.NetNS
		}
	}
	cut := map[string][]string{}
	for _, a := range all {
		is := func(n graph.Node) bool {
			return n.Name == a.Interface.Name && n.Parent != "" && netns[n.Parent] == a.Guest.NetNS
		}
		if at := slices.IndexFunc(g.Nodes, is); at >= 0 && len(a.Cut) > 0 && a.Guest.NetNS != 0 {
			cut[g.Nodes[at].ID] = a.Cut
		}
	}
	return cut
}
