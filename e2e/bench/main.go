//go:build linux

// Command bench times attach and detach of one container, side by side, on a
// host of its own with a real Docker Engine: gopipework; the same commands
// forked one by one; the same in two ip -batch; docker network connect; and
// the bare kernel, which is the fewest netlink messages for the same end state.
// Then it shows how the cost of an attach grows with the ports of the bridge.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
)

func main() {
	host.Main()
	rounds := flag.Int("rounds", 31, "how often each line is timed")
	ports := flag.Int("ports", 500, "how many namespaces are plugged into one bridge")
	flag.Parse()
	if err := run(*rounds, *ports); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(rounds, ports int) (err error) {
	h, err := host.Start()
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, h.Close()) }()
	bin := h.Dir + "/bin"
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	if _, err := host.Build(bin); err != nil {
		return err
	}
	h.Path = bin
	e, err := h.StartEngine()
	if err != nil {
		return err
	}
	b, err := newBench(e)
	if err != nil {
		return err
	}
	if err := b.sideBySide(rounds); err != nil {
		return err
	}
	return b.growth(ports)
}

// bench runs on one thread, in the host's network namespace: what it starts
// begins there, without the cost of entering it.
type bench struct {
	e      *host.Engine
	env    []string
	kernel *kernel
	pid    int // of the container web
}

func newBench(e *host.Engine) (*bench, error) {
	for _, args := range [][]string{
		{"run", "-d", "--name", "web", host.Image, "sleep", "86400"},
		{"run", "-d", "--name", "keeper", host.Image, "sleep", "86400"},
		{"network", "create", "--subnet", "10.9.0.0/24", "bench"},
	} {
		if _, err := e.Docker(args...); err != nil {
			return nil, err
		}
	}
	pid, err := e.PID("web")
	if err != nil {
		return nil, err
	}
	// The bridge and the rule are there, and stay.
	if err := e.Run("gopipework", "brbench", "keeper", "10.0.0.1/24").Err(); err != nil {
		return nil, err
	}
	b := &bench{e: e, pid: pid, env: e.Command(context.Background(), "true").Env}
	runtime.LockOSThread() // never unlocked: the thread is of the host's namespace now
	ns, err := os.Open(e.Namespace())
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter the host: %w", err)
	}
	b.kernel, err = newKernel(fmt.Sprintf("/proc/%d/ns/net", pid))
	return b, err
}

// command runs one process to its end; it has to succeed.
func (b *bench) command(stdin string, args ...string) error {
	path := args[0]
	for dir := range strings.SplitSeq(strings.TrimPrefix(b.env[0], "PATH="), ":") {
		if _, err := os.Stat(dir + "/" + path); err == nil {
			path = dir + "/" + path
			break
		}
	}
	cmd := program.Command(path, args[1:]...)
	cmd.Env = b.env
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// A contender does the same job in its own way.
type contender struct {
	name           string
	attach, detach func() error
	on, off        []time.Duration
}

func (b *bench) sideBySide(rounds int) error {
	all, err := b.contenders()
	if err != nil {
		return err
	}
	for round := range rounds + 1 {
		for i := range all {
			c := all[(i+round)%len(all)] // nobody is always the first, or after the same one
			began := time.Now()
			if err := c.attach(); err != nil {
				return err
			}
			on := time.Since(began)
			if round == 0 { // warms up, and is looked at
				if err := b.attached(c.name); err != nil {
					return err
				}
			}
			began = time.Now()
			if err := c.detach(); err != nil {
				return err
			}
			off := time.Since(began)
			if round > 0 {
				c.on, c.off = append(c.on, on), append(c.off, off)
			}
		}
	}
	fmt.Printf("attach and detach one running container, median of %d interleaved runs\n\n", rounds)
	base := all[len(all)-1]
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tattach ms\tx kernel\tdetach ms\tx kernel\t")
	for _, c := range all {
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%s\t%.1f\t\n", c.name,
			ms(median(c.on)), ratio(median(c.on), median(base.on)), ms(median(c.off)), ratio(median(c.off), median(base.off)))
	}
	w.Flush()
	fmt.Println()
	row := map[string]time.Duration{}
	for _, c := range all {
		row[c.name] = median(c.on)
	}
	for _, claim := range []struct {
		what, of, to string
		most         float64
	}{
		{"of docker network connect", ours, docker, 1.0 / 4},
		{"of docker network connect, bridge and rule made", oursFirst, docker, 1.0 / 2},
		{"of the fork-by-fork way", ours, forks, 1.0 / 5},
		{"of the fork-by-fork way, bridge and rule made", oursFirst, forksFirst, 1.0 / 5},
	} {
		fmt.Printf("gopipework takes %.2f %s (goal: %.2f)\n", ratio(row[claim.of], row[claim.to]), claim.what, claim.most)
	}
	r, memory, err := b.e.Peak("gopipework", "brfirst", "web", "10.0.0.2/24")
	if err := cmp.Or(err, r.Err()); err != nil {
		return err
	}
	fmt.Printf("peak memory of gopipework: %.1f MB (goal: 40)\n\n", float64(memory)/1024)
	return b.e.Run("gopipework", "detach", "web").Err()
}

const (
	ours       = "gopipework"
	oursVerify = "gopipework --verify"
	oursPID    = "gopipework, guest by pid:"
	oursFirst  = "gopipework, bridge and rule made"
	forks      = "docker inspect, ip, iptables"
	forksFirst = "docker inspect, ip, iptables, bridge and rule made"
	batch      = "docker inspect, ip -batch"
	docker     = "docker network connect"
	bare       = "bare kernel"
)

// contenders prepares every line of the table; the bare kernel is the last.
func (b *bench) contenders() ([]*contender, error) {
	words := func(bridge string) []string { return []string{bridge, "web", "10.0.0.2/24"} }
	plan, err := b.plan(words("brbench")...)
	if err != nil {
		return nil, err
	}
	planFirst, err := b.plan(words("brfirst")...)
	if err != nil {
		return nil, err
	}
	port := fmt.Sprintf("veth1pl%d", b.pid)
	rule := `-i brbench -o brbench -m physdev --physdev-is-bridged -m comment --comment "gopipework brbench" -j ACCEPT`
	inspect := "docker inspect -f '{{.State.Pid}}' web >/dev/null\n"
	check := "iptables -C DOCKER-USER " + rule + "\n"

	// Two processes of ip for two namespaces; nothing else is forked.
	var hostSide, guestSide []string
	enter := fmt.Sprintf("nsenter -t %d -n ip ", b.pid)
	for _, l := range plan {
		if rest, ok := strings.CutPrefix(l, enter); ok {
			guestSide = append(guestSide, rest)
		} else if rest, ok := strings.CutPrefix(l, "ip "); ok {
			hostSide = append(hostSide, rest)
		}
	}
	batched := inspect + check + "ip -batch - <<'END'\n" + strings.Join(hostSide, "\n") + "\nEND\n" +
		enter + "-batch - <<'END'\n" + strings.Join(guestSide, "\n") + "\nEND\n"

	run := func(args ...string) func() error { return func() error { return b.command("", args...) } }
	shell := func(script string) func() error { return run("sh", "-ec", script) }
	unplug := shell(inspect + "ip link delete " + port + "\n")
	var undoFirst []string
	for _, l := range planFirst {
		if r, ok := strings.CutPrefix(l, "iptables -I DOCKER-USER 1 "); ok {
			undoFirst = append(undoFirst, "iptables -D DOCKER-USER "+r)
		}
		if r, ok := strings.CutPrefix(l, "ip6tables -I DOCKER-USER 1 "); ok {
			undoFirst = append(undoFirst, "ip6tables -D DOCKER-USER "+r)
		}
	}
	byPID := fmt.Sprintf("pid:%d", b.pid)
	return []*contender{
		{name: ours, attach: run(append([]string{"gopipework"}, words("brbench")...)...), detach: run("gopipework", "detach", "web")},
		{name: oursVerify, attach: run(append([]string{"gopipework", "--verify"}, words("brbench")...)...), detach: run("gopipework", "detach", "web")},
		{name: oursPID, attach: run("gopipework", "brbench", byPID, "10.0.0.2/24"), detach: run("gopipework", "detach", byPID)},
		{name: oursFirst, attach: run(append([]string{"gopipework"}, words("brfirst")...)...), detach: run("gopipework", "detach", "web")},
		{name: forks, attach: shell(inspect + check + strings.Join(plan, "\n")), detach: unplug},
		{name: forksFirst, attach: shell(inspect + strings.Join(planFirst, "\n")),
			detach: shell(inspect + "ip link delete " + port + "\n" + strings.Join(undoFirst, "\n") + "\nip link delete brfirst")},
		{name: batch, attach: shell(batched), detach: unplug},
		{name: docker, attach: run("docker", "network", "connect", "bench", "web"), detach: run("docker", "network", "disconnect", "bench", "web")},
		{name: bare, attach: func() error { return b.kernel.attach(port, "brbench", "10.0.0.2") }, detach: b.kernel.detach},
	}, nil
}

// plan is what gopipework itself says a person would type.
func (b *bench) plan(words ...string) (commands []string, err error) {
	r := b.e.Run("gopipework", append([]string{"--dry-run"}, words...)...)
	if err := r.Err(); err != nil {
		return nil, err
	}
	for l := range strings.Lines(r.Stdout) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			commands = append(commands, l)
		}
	}
	return commands, nil
}

// attached looks whether the end state is what was asked for.
func (b *bench) attached(who string) error {
	links, err := b.e.GuestOf(b.pid).Links()
	if err != nil {
		return err
	}
	l := links["eth1"]
	for _, a := range l.Addrs {
		if (strings.HasPrefix(a.Local, "10.0.0.2") || strings.HasPrefix(a.Local, "10.9.0.")) && l.State == "UP" {
			return nil
		}
	}
	return fmt.Errorf("%s did not do the job: %+v", who, links)
}

// growth plugs many namespaces into one bridge, and times an attach where
// the 1st, 10th, 100th and so on comes.
func (b *bench) growth(ports int) error {
	fmt.Printf("attach to one bridge, median of 9 at each size\n\n")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "the nth attach\tms\tx the 1st\tall n, s\t")
	began, paused := time.Now(), time.Duration(0)
	var first time.Duration
	for n := 1; n <= ports; n++ {
		name := fmt.Sprintf("ns%d", n)
		paused -= time.Since(began)
		if _, err := b.e.Named(name); err != nil {
			return err
		}
		paused += time.Since(began)
		line := []string{"brgrow", "netns:" + name, fmt.Sprintf("10.1.%d.%d/16", n/250, n%250+1)}
		if n == 1 || n == 10 || n == 100 || n == ports {
			pause := time.Now()
			var times []time.Duration
			for range 9 {
				r := b.e.Run("gopipework", line...)
				if err := r.Err(); err != nil {
					return err
				}
				times = append(times, r.Time)
				if err := b.e.Run("gopipework", "detach", line[1]).Err(); err != nil {
					return err
				}
			}
			t := median(times)
			first = cmp.Or(first, t)
			paused += time.Since(pause)
			fmt.Fprintf(w, "%d\t%s\t%.2f\t%.2f\t\n", n, ms(t), ratio(t, first), (time.Since(began) - paused).Seconds())
		}
		if err := b.e.Run("gopipework", line...).Err(); err != nil {
			return err
		}
	}
	return w.Flush()
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
