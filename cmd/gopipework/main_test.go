package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/topology"
	"golang.org/x/sys/unix"
)

// TestWithoutRoot runs lines that are answered before anything of the machine
// is looked at.
func TestWithoutRoot(t *testing.T) {
	tests := []struct {
		line   string
		code   int
		stdout string // must be in it; "" for nothing on it
		stderr string // must be in it
	}{
		{"", 2, "", "usage: gopipework"},
		{"help", 0, "Commands:", ""},
		{"--help", 0, "Commands:", ""},
		{"-h", 0, "Commands:", ""},
		{"help words", 0, "GATEWAY  The new default route", ""},
		{"help WORDS", 0, "Exit codes: 0 done", ""},
		{"help attach", 0, "--mtu BYTES", ""},
		{"attach --help", 0, "--mtu BYTES", ""},
		{"br1 web 10.0.0.2/8 --help", 0, "--mtu BYTES", ""},
		{"detach -h", 0, "--all", ""},
		{"help --wait", 0, "gopipework [flags] --wait", ""},
		{"help exec", 0, "gopipework exec GUEST", ""},
		{"help detahc", 2, "", "hint: gopipework help detach"},
		{"version", 0, "gopipework devel", ""},
		{"--version", 0, "gopipework devel", ""},
		{"version now", 2, "", "version takes"},
		{"lst", 2, "", "hint: gopipework list"},
		{"detahc web", 2, "", "hint: gopipework detach web"},
		{"detahc web eth1", 2, "", "hint: gopipework detach web eth1"},
		{"ls a b", 2, "", "list takes [GUEST]"},
		{"rm", 2, "", "detach takes GUEST [IFNAME]"},
		{"help ls", 0, "ls is the same command", ""},
		{"delete web", 2, "", "hint: gopipework detach web"},
		{"remove web eth1", 2, "", "hint: gopipework detach web eth1"},
		{"add br1 web 192.168.1.2/24", 2, "", "hint: gopipework br1 web 192.168.1.2/24"},
		{"add br1 netns:web 192.168.1.2/24@192.168.1.1 02:00:00:00:00:01", 2, "", "hint: gopipework br1 netns:web 192.168.1.2/24@192.168.1.1 02:00:00:00:00:01"},
		{"br1 -i web 192.168.1.2/24", 2, "", "hint: -i took web for a name of an interface: gopipework br1 -i eth1 web 192.168.1.2/24"},
		{"br1 web 192.168.1.2/24 --mac 02:00:00:00:00:01 -i eth2", 2, "", "hint: gopipework -i eth2 br1 web 192.168.1.2/24 02:00:00:00:00:01"},
		{"br1 web 192.168.1.2/24 02:00:00:00:00:01 --vlan=10", 2, "", "hint: gopipework br1 web 192.168.1.2/24 02:00:00:00:00:01@10"},
		{"br1 web --ip 192.168.1.2/24", 2, "", "hint: gopipework br1 web 192.168.1.2/24"},
		{"br1 web 192.168.1.2/24 --gw 192.168.1.1", 2, "", "hint: gopipework br1 web 192.168.1.2/24@192.168.1.1"},
		{"web 192.168.1.2/24 --bridge br1", 2, "", "hint: gopipework br1 web 192.168.1.2/24"},
		{"br1 192.168.1.2/24 --container web --name eth2", 2, "", "hint: gopipework"},
		{"br1 web 192.168.1.2/24 192.168.1.1", 2, "", "hint: if it is the gateway, write it without a space: 192.168.1.2/24@192.168.1.1"},
		{"br1 web 192.168.1.2/24 10", 2, "", "hint: if it is the VLAN, write it as @10"},
		{"br1 web 192.168.1.2/255.255.255.0", 2, "", "hint: 192.168.1.2/24"},
		{"br1 web 192.168.1.2/255.0.255.0", 2, "", "hint: 192.168.1.2/24 or 2001:db8::2/64"},
		{"br1 web dhcpp:hostname=x", 2, "", "hint: gopipework br1 web dhcp:hostname=x"},
		{"netns:web br1 192.168.1.2/24", 2, "", "hint: gopipework br1 netns:web 192.168.1.2/24"},
		{"bridge web 192.168.1.2/24", 2, "", "hint: gopipework docker0 web 192.168.1.2/24, for Docker's bridge"},
		{"br1 web 192.168.1.2/24 --timeout 5", 2, "", "hint: --timeout 5s, for seconds"},
		{"help status", 2, "", "hint: gopipework help list"},
		{"status", 2, "", "hint: gopipework list"},
		{"-i br1 web 192.168.1.2/24", 2, "", "hint: -i took br1 for a name of an interface: gopipework br1 -i eth1 web 192.168.1.2/24"},
		{"br1 web 192.168.1.2/24 --route 10.0.5.0/24 via 192.168.1.3", 2, "", "--route '10.0.5.0/24,via 192.168.1.3'"},
		{"route -6 web show", 2, "", "after the guest: gopipework route GUEST ARGS..."},
		{"exec web -v -- ip address", 2, "", "hint: gopipework exec web -- ip address"},
		{"lnk web 192.168.1.2 db", 2, "", "hint: 192.168.1.2/24"},
		{"br1 web", 2, "", "hint: gopipework br1 web 192.168.1.2/24"},
		{"br1 web 192.168.1.2/24 02:00:00:00:00:01 more", 2, "", "an attach takes"},
		{"br1 web 192.168.1.2", 2, "", "hint: 192.168.1.2/24"},
		{"br1 192.168.1.2/24 web", 2, "", "hint: gopipework br1 web 192.168.1.2/24"},
		{"br1 web 192.168.1.2/24 --mut 1400", 2, "", "hint: gopipework br1 web 192.168.1.2/24 --mtu 1400"},
		{"br1 web 192.168.1.2/24 --all", 2, "", "it belongs to gopipework detach"},
		{"list --mtu 1400", 2, "", "it belongs to gopipework attach"},
		{"list -o wider", 2, "", "the formats are wide, json, name"},
		{"list -o name --json", 2, `"code":"usage"`, "--json asks for another format"},
		{"list -o json a b", 2, `"code":"usage"`, "list takes [GUEST]"},
		{"list -v", 2, "", "gopipework list -o wide has more columns"},
		{"import --dry-run", 2, "", "leave it out: import changes nothing"},
		{"diff --dry-run -f x", 2, "", "leave it out: diff changes nothing"},
		{"br1 web 192.168.1.2/24 -i", 2, "", "it needs a value"},
		{"br1 web 192.168.1.2/24 --mtu=", 2, "", "its value is empty"},
		{"br1 web 192.168.1.2/24 --timeout soon", 2, "", `read flag "--timeout": "soon" is not a duration`},
		{"br1 web 192.168.1.2/24 --timeout=-1s", 2, "", "longer than 0s"},
		{"detach --all web eth1", 2, "", "--all means every interface"},
		{"detach web a/b", 2, "", "letters, digits"},
		{"br1 -i a -i b web 10.0.0.2/8", 2, "", "given twice"},
		{"detach", 2, "", "detach takes GUEST [IFNAME]"},
		{"list a b", 2, "", "list takes [GUEST]"},
		{"graph --format png", 2, "", "the formats are tree, svg, dot, mermaid, json"},
		{"graph --format tre", 2, "", "hint: --format tree"},
		{"graph --format svg --json", 2, `"code":"usage"`, "ask for different documents"},
		{"graph web --keep", 2, "", "it belongs to gopipework attach"},
		{"graph pid:x", 2, "", "pid:x"},
		{"link web 10.0.0.1/30 db", 2, "", "hint: gopipework link web 10.0.0.1/30 db 10.0.0.2/30"},
		{"link web 10.0.0.1/30 db 10.0.0.1/30", 2, "", "it is given for both ends"},
		{"link web: 10.0.0.1/30 db 10.0.0.2/30", 2, "", "no interface name after the colon"},
		{"link web:a:b 10.0.0.1/30 db 10.0.0.2/30", 2, "", "is no runtime"},
		{"link --help", 0, "GUEST[:IFNAME] ADDRESS", ""},
		{"exec web", 2, "", "hint: gopipework exec web -- ip address"},
		{"exec -x web", 2, "", "no such flag"},
		{"exec --help", 0, "GUEST -- COMMAND...", ""},
		{"capture web", 2, "", "capture takes GUEST IFNAME [FILTER...]"},
		{"capture web eth1 -w", 2, "", "it needs a value"},
		{"tc", 2, "", "tc takes GUEST ARGS..."},
		{"hook web", 2, "", "hook takes no words"},
		{"help hook", 0, "--dry-run", ""},
		{"runtime --help", 0, "--runc PATH", ""},
		{"runtime --runc= create", 2, "", "its value is empty"},
		{"runtime --runc nosuch --version", 127, "", "run nosuch: executable file not found"},
		{"exec web -- no-such-program", 127, "", "run no-such-program"},
		{"completion", 2, "", "completion takes bash|zsh|fish"},
		{"completion csh", 2, "", "the shells are bash, zsh, fish"},
		{"--addr --wait -i a/b", 2, "", "letters, digits"},
		{"--wait -i", 2, "", "it needs a value"},
		{"--wait --timeout 0s", 2, "", "longer than 0s"},
		{"--wait eth2", 3, "", "hint: use -i to name the interface"},
		{"--wait --mtu 1400", 2, "", "it belongs to gopipework attach"},
		{"--wait --help", 0, "[-- COMMAND...]", ""},
		{"wait", 2, "", "wait takes GUEST [IFNAME]"},
		{"wait web a/b", 2, "", "letters, digits"},
		{"wait web -i eth2", 2, "", "it belongs to gopipework attach; here, write gopipework wait GUEST [IFNAME]"},
		{"list --json=true", 2, "", "takes no value"},
		{"br1 web dhcp6:hostname=x", 2, "", "dhcp6:timeout=10s, or dhcp6 alone"},
		{"br1 web dhcp:colour=blue", 2, "", "there is no such option"},
		{"br1 rkt:web 10.0.0.2/8", 2, "", "rkt"},
		{"br1 pid:x 10.0.0.2/8", 2, "", "pid:x"},
		{"-- -x web 10.0.0.2/8", 2, "", `read host interface "-x"`},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(strings.Fields(tt.line), &stdout, &stderr)
			if code != tt.code {
				t.Errorf("exit code %d, want %d; stderr:\n%s", code, tt.code, &stderr)
			}
			if !strings.Contains(stdout.String(), tt.stdout) || tt.stdout == "" && stdout.Len() > 0 {
				t.Errorf("stdout %q, want %q in it", &stdout, tt.stdout)
			}
			if !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("stderr %q, want %q in it", &stderr, tt.stderr)
			}
		})
	}
}

// TestJSONError: with --json a failure is one document, whatever failed.
func TestJSONError(t *testing.T) {
	for _, line := range []string{"--json", "br1 web --json", "--json detach", "br1 web 1.2.3.4 --json", "--json doctor"} {
		var stdout, stderr bytes.Buffer
		code := run(strings.Fields(line), &stdout, &stderr)
		var doc struct{ Error map[string]any }
		d := json.NewDecoder(&stdout)
		d.DisallowUnknownFields()
		if err := d.Decode(&doc); err != nil || d.More() || code == 0 {
			t.Errorf("%s: exit %d, %v, more = %v", line, code, err, d.More())
		}
		for _, field := range []string{"code", "op", "object", "message", "hint", "residue"} {
			if _, ok := doc.Error[field]; !ok {
				t.Errorf("%s: no field %s in %v", line, field, doc.Error)
			}
		}
	}
}

// TestFullDisk: a result that could not be written is not a success.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, line := range []string{"version", "help", "help attach"} {
		var stderr bytes.Buffer
		if code := run(strings.Fields(line), full, &stderr); code != 1 || !strings.Contains(stderr.String(), "gopipework: write the result: ") || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%s: exit %d: %s", line, code, &stderr)
		}
	}
	var stderr bytes.Buffer
	out := &output{stdout: full, stderr: &stderr, json: true}
	done := attach.Result{Changed: true, Steps: []string{"ip link add br0 type bridge"}, Attachments: make([]attach.Attachment, 1)}
	if err := out.result(done, false, true); fault.CodeOf(err) != fault.Residue {
		t.Errorf("of a change that was made: %v", err)
	}
	if err := out.result(done, true, true); fault.CodeOf(err) == fault.Residue {
		t.Errorf("of a change that was only planned: %v", err)
	}
	if err := out.list(make([]listed, 1), nil, nil); err == nil || !strings.HasPrefix(err.Error(), "write the result: ") {
		t.Errorf("of a list in JSON: %v", err)
	}
	results := &keenWriter{Writer: full}
	out = &output{stdout: results, stderr: &stderr}
	if err := out.list(make([]listed, 1), nil, nil); err != nil || !errors.Is(results.err, unix.ENOSPC) {
		t.Errorf("of a table: %v, and %v is kept", err, results.err)
	}
}

// writes counts the calls of Write.
type writes int

func (n *writes) Write(b []byte) (int, error) { *n++; return len(b), nil }

// TestTableInOneWrite: a table is not written cell by cell.
func TestTableInOneWrite(t *testing.T) {
	var n writes
	out := &output{stdout: &n, stderr: io.Discard}
	if err := out.list(make([]listed, 20), nil, nil); err != nil || n != 1 {
		t.Errorf("20 attachments: %v, in %d writes", err, n)
	}
}

func TestExitCode(t *testing.T) {
	interruptedBy := func(s syscall.Signal) error {
		return &fault.Error{Code: fault.Interrupted, Err: interrupted{s}}
	}
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("any"), 1},
		{fault.New(fault.Conflict, "", "", ""), 1},
		{fault.New(fault.Limit, "", "", ""), 1},
		{fault.New(fault.Usage, "", "", ""), 2},
		{fault.New(fault.NotFound, "", "", ""), 3},
		{fault.New(fault.Gone, "", "", ""), 3},
		{fault.New(fault.Permission, "", "", ""), 4},
		{fault.New(fault.Residue, "", "", ""), 5},
		{fault.New(fault.Unsupported, "", "", ""), 6},
		{interruptedBy(syscall.SIGINT), 130},
		{interruptedBy(syscall.SIGTERM), 143},
		{fault.New(fault.Residue, "", "", "%w", interruptedBy(syscall.SIGINT)), 5},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("exitCode(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

// TestClean: nothing that a guest or an engine says steers a terminal or
// begins a line.
func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"web":                   "web",
		"w\x1b[2Jeb":            `w\u001b[2Jeb`,
		"a\nb\tc":               `a\u000ab\u0009c`,
		"\u202eevil":            `\u202eevil`,
		"bad\xffbyte":           `bad\xffbyte`,
		"Käse":                  "Käse",
		"a\u0085b\u2028c\u200d": `a\u0085b\u2028c\u200d`,
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestManual: every command and flag of the table is in the man page.
func TestManual(t *testing.T) {
	b, err := os.ReadFile("gopipework.8")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.NewReplacer(`\-`, "-", `\fB`, "", `\fI`, "", `\fR`, "").Replace(string(b))
	for _, c := range commands(nil) {
		if !strings.Contains(page, "\n"+c.Name+"\n") {
			t.Errorf("the man page has no entry for the command %s", c.Name)
		}
		for _, f := range c.VisibleFlags() {
			if name := dashed(f.Names()[0]); !strings.Contains(page, "\n.TP\n"+name) {
				t.Errorf("the man page has no entry for the flag %s of %s", name, c.Name)
			}
		}
	}
}

// TestManualOfTopology: the example of the man page is a topology file.
func TestManualOfTopology(t *testing.T) {
	b, err := os.ReadFile("gopipework-topology.5")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(b), ".SH EXAMPLES\n.nf\n")
	example, _, found := strings.Cut(example, ".fi\n")
	f, err := topology.Parse("lab.yaml", []byte(strings.ReplaceAll(example, `\-`, "-")), grammar())
	if !found || err != nil || f.Name != "lab" || len(f.Bridges) != 1 || len(f.Entries) != 4 {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestSignalsCaught: from the moment that caught returns, a signal cancels the context
// and does not end the process.
func TestSignalsCaught(t *testing.T) {
	ctx, caught := withSignals(context.Background())
	caught()
	defer signal.Reset(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Minute):
		t.Fatal("the signal was lost")
	}
	if code := exitCode(context.Cause(ctx)); code != 143 {
		t.Errorf("exit code %d, want 143", code)
	}
}
