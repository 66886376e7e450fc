package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/doctor"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/typo"
	"github.com/urfave/cli/v2"
)

func (o *output) doctorEntry() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "tell why packets of a guest do or do not flow, and what mends it",
		ArgsUsage: "GUEST [IFNAME]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "walk to `ADDRESS|GUEST[:IFNAME]`, and look at both directions", DefaultText: "the gateway, and every other guest on the same switch"},
			&cli.BoolFlag{Name: "fix", Usage: "mend what is gopipework's own, and look again"},
			&cli.BoolFlag{Name: "passive", Usage: "send no packet"},
			&cli.StringFlag{Name: "bundle", Usage: "write the answer, and all that is known of the network, to the archive `FILE` (.tar.gz)"},
			&cli.BoolFlag{Name: "mask", Usage: "with other addresses and names in the archive than the real ones"},
			&cli.StringFlag{Name: "explain", Usage: "explain the finding `NAME`, such as forward-drop or GP107, or all"},
			jsonFlag,
			timeoutFlag("give up after `DURATION`"),
		},
		Action: o.doctorCommand,
	}
}

// errBroken is what doctor exits with if packets do not flow. It has been printed.
var errBroken = fault.New(fault.Failed, "walk", "the way", "packets do not flow")

// errUnseen is the same if this kernel shows too little to tell.
var errUnseen = fault.New(fault.Unsupported, "walk", "the way", "too little can be seen to tell whether packets flow")

func (o *output) doctorCommand(c *cli.Context) error {
	if slices.Contains(given(c), "explain") {
		if _, err := words(c, 0, 0); err != nil {
			return err
		}
		return o.explain(c.String("explain"))
	}
	w, err := words(c, 1, 2)
	if err != nil {
		return err
	}
	if err := noneEmpty(c, "to"); err != nil {
		return err
	}
	archive, err := bundlePath(c)
	if err != nil {
		return err
	}
	to := c.String("to")
	way, guests, err := wayOf(w, to)
	if err != nil {
		return err
	}
	way.Passive = c.Bool("passive")
	return o.withGuests(c, guests, func(ctx context.Context, g []*attach.Guest, opt attach.Options) error {
		ctx, cancel := context.WithTimeout(ctx, cmp.Or(opt.Timeout, attach.DefaultTimeout))
		defer cancel()
		way.Guest, way.Program = g[0], opt.Keeper
		if len(g) > 1 {
			if way.To.Guest = g[1]; g[1].NetNS == g[0].NetNS {
				return fault.BadWord("walk to", to, "it is %s itself", w[0]).WithHint("name another guest, or an address: --to 192.168.1.3")
			}
		}
		d, err := doctor.Run(ctx, opt.HostNS, way)
		if err == nil && c.Bool("fix") {
			d, err = o.mend(ctx, way, d, opt)
		}
		if err != nil {
			return err
		}
		lines := linesOf(ctx, d, way.Guest, opt, true)
		report := func(o *output) error {
			return o.diagnosis(d, lines, "gopipework doctor "+shell.Line(w)+toWords(to)+" --fix")
		}
		if archive != "" {
			if err := o.bundle(ctx, archive, c.Bool("mask"), way, report, opt); err != nil {
				return err
			}
		}
		return report(o)
	})
}

// wayOf reads which way is to be walked, and the words for the guests at its ends.
func wayOf(w []string, to string) (way doctor.Ask, guests []string, err error) {
	guests = w[:1:1]
	if len(w) > 1 {
		way.IfName = w[1]
	}
	if to == "" {
		return way, guests, nil
	}
	if addr, err := netip.ParseAddr(to); err == nil {
		way.To.Addr = addr.Unmap()
		return way, guests, checkTarget(way.To.Addr)
	}
	word, ifName := dockerutil.Cut(to)
	way.To.IfName = ifName
	return way, append(guests, word), nil
}

// checkTarget refuses an address that no way leads to.
func checkTarget(a netip.Addr) error {
	switch {
	case a.IsLinkLocalUnicast():
		return fault.BadWord("walk to", a.String(), "a link-local address does not say on which link").WithHint("name the guest: --to GUEST:IFNAME")
	case a.IsLoopback(), a.IsMulticast(), a.IsUnspecified(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fault.BadWord("walk to", a.String(), "no other host has it").WithHint("name a guest, or the address of a host: --to 192.168.1.3")
	}
	return nil
}

// linesOf returns the attach lines that mend what was found, by the interfaces; with flags
// also those that mend it only with more flags.
func linesOf(ctx context.Context, d doctor.Report, g *attach.Guest, opt attach.Options, flags bool) (lines map[string][]string) {
	wanted := map[string]bool{} // false: the line of a lease does not mend it
	for _, h := range d.Hops {
		for _, f := range h.Findings {
			if more := flags && len(f.With) > 0; more || f.Again {
				wanted[h.Interface] = wanted[h.Interface] || more
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	r, err := attach.List(ctx, g, opt)
	if err != nil {
		return nil
	}
	lines = map[string][]string{}
	for _, a := range r.Attachments {
		leased, is := wanted[a.Interface.Name]
		if is && a.State == attach.Complete && a.Host.Name != "" && (leased || a.Lease == nil) {
			line := importedLine(a, func(string, ...any) {})
			// Whatever it has is right, so the line need not say it.
			lines[a.Interface.Name] = slices.DeleteFunc(line, func(word string) bool { return word == a.Interface.MAC })
		}
	}
	return lines
}

func toWords(to string) string {
	if to == "" {
		return ""
	}
	return " --to " + shell.Quote(to)
}

// mend mends what is ours, and looks again.
func (o *output) mend(ctx context.Context, way doctor.Ask, d doctor.Report, opt attach.Options) (doctor.Report, error) {
	steps, again := d.Fix()
	if len(steps) == 0 && !again {
		if d.Verdict() == doctor.Broken {
			o.warn([]string{"--fix changes nothing: what was found is not gopipework's own, or it is not certain which step mends it"})
		}
		return d, nil
	}
	o.caught()
	opt.Step = func(step string) {
		o.caught()
		o.stands = "what was mended before stands, and what was running was undone"
		o.step(step)
	}
	if err := doctor.Mend(ctx, opt.HostNS, d, way.Guest, opt.Step); err != nil {
		return d, err
	}
	for _, line := range linesOf(ctx, d, way.Guest, opt, false) {
		o.step("gopipework " + shell.Line(line))
		s, err := grammar().Attach(line)
		if err != nil {
			return d, err
		}
		r, err := attach.Attach(ctx, s, way.Guest, opt)
		if err != nil {
			return d, err
		}
		o.warn(r.Warnings)
	}
	return doctor.Run(ctx, opt.HostNS, way)
}

// diagnosis prints what was found.
func (o *output) diagnosis(d doctor.Report, lines map[string][]string, fix string) error {
	if o.json {
		if err := o.document(diagnosisDocument(d, lines)); err != nil {
			return err
		}
	} else {
		o.chain(d)
		o.mends(d, lines, fix)
	}
	switch d.Verdict() {
	case doctor.Broken:
		return errBroken
	case doctor.Unseen:
		return errUnseen
	}
	return nil
}

// sign is what stands at the end of a hop's line.
func sign(v doctor.Verdict) string {
	switch v {
	case doctor.OK:
		return "ok"
	case doctor.Doubt:
		return "doubtful"
	case doctor.Broken:
		return "BROKEN"
	case doctor.Skipped:
		return "not reached"
	}
	return "not seen"
}

// chain prints a line for each hop, and below it what is wrong.
func (o *output) chain(d doctor.Report) {
	out := bufio.NewWriter(o.stdout)
	defer out.Flush()
	rows := make([][2]string, len(d.Hops))
	var width [2]int
	for n, h := range d.Hops {
		rows[n] = [2]string{clean(h.Name), clean(strings.Join(h.Facts, ", "))}
		for i, cell := range rows[n] {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for n, h := range d.Hops {
		fmt.Fprintf(out, "  %-*s  %-*s  %s\n", width[0], rows[n][0], width[1], rows[n][1], sign(h.Verdict))
		for _, f := range h.Findings {
			fmt.Fprintf(out, "    %s: %s\n", f.Kind, clean(f.Reason))
			for _, e := range f.Evidence {
				fmt.Fprintf(out, "      %s\n", clean(e))
			}
		}
	}
}

// mends prints the commands that mend the findings, and without any what a person has to do.
func (o *output) mends(d doctor.Report, lines map[string][]string, fix string) {
	ours := false
	var commands, advice []string
	for _, h := range d.Hops {
		for _, f := range h.Findings {
			line := lines[h.Interface]
			ours = ours || len(f.Fix) > 0 || f.Again && line != nil
			mend := mendOf(f, line)
			commands = append(commands, mend...)
			if len(mend) == 0 && f.Sure {
				advice = append(advice, f.Kind.Mend)
			}
		}
	}
	commands, advice = unique(commands), unique(advice)
	for _, c := range commands {
		o.print("mend: " + c)
	}
	if len(commands) > 1 {
		o.print("      all of these, in this order")
	}
	for _, a := range advice {
		o.print("hint: " + a)
	}
	if ours {
		o.print("  or: " + fix)
	}
}

// unique returns the texts, each where it is first.
func unique(all []string) (out []string) {
	for _, s := range all {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// mendOf returns the commands that mend a finding; line is the attach line of its interface,
// if that is among them.
func mendOf(f finding.Finding, line []string) []string {
	if line != nil && (f.Again || len(f.With) > 0) {
		return []string{"gopipework " + shell.Line(append(slices.Clip(line), f.With...))}
	}
	return f.Commands()
}

// hopDocument is a hop in JSON. Its field names are a promise to users.
type hopDocument struct {
	Interface string            `json:"interface"`
	Name      string            `json:"name"`
	Kind      string            `json:"kind"`
	Facts     []string          `json:"facts"`
	Verdict   doctor.Verdict    `json:"verdict"`
	ID        string            `json:"id,omitempty"`
	Finding   string            `json:"finding,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	Evidence  []string          `json:"evidence,omitempty"`
	Mend      []string          `json:"mend,omitempty"`
	More      []findingDocument `json:"more,omitempty"` // findings after the first
}

type findingDocument struct {
	ID       string   `json:"id"`
	Finding  string   `json:"finding"`
	Reason   string   `json:"reason"`
	Evidence []string `json:"evidence,omitempty"`
	Mend     []string `json:"mend,omitempty"`
}

func diagnosisDocument(d doctor.Report, lines map[string][]string) map[string]any {
	hops := []hopDocument{}
	for _, h := range d.Hops {
		one := hopDocument{Interface: h.Interface, Name: h.Name, Kind: h.Kind, Facts: orEmpty(h.Facts), Verdict: h.Verdict}
		for n, f := range h.Findings {
			if n == 0 {
				one.ID, one.Finding, one.Reason, one.Evidence, one.Mend = f.Code(), f.Name, f.Reason, f.Evidence, mendOf(f, lines[h.Interface])
				continue
			}
			one.More = append(one.More, findingDocument{f.Code(), f.Name, f.Reason, f.Evidence, mendOf(f, lines[h.Interface])})
		}
		hops = append(hops, one)
	}
	return map[string]any{"guest": d.Guest, "verdict": d.Verdict(), "hops": hops}
}

// explain prints what is known of a kind of finding, or of all.
func (o *output) explain(word string) error {
	kinds := finding.All
	if word != "all" {
		k := finding.Named(word)
		if k == nil {
			e := fault.BadWord("explain", word, "there is no such finding")
			if meant := typo.Nearest(word, findingNames()); meant != "" {
				return e.WithHint("gopipework doctor --explain %s", meant)
			}
			return e.WithHint("gopipework doctor --explain all")
		}
		kinds = []*finding.Kind{k}
	}
	if o.json {
		all := []map[string]string{}
		for _, k := range kinds {
			all = append(all, map[string]string{"id": k.Code(), "finding": k.Name, "seen": k.Seen, "why": k.Why, "mend": k.Mend})
		}
		return o.document(map[string]any{"findings": all})
	}
	for n, k := range kinds {
		if n > 0 {
			o.print("")
		}
		o.print(k.String())
		for _, line := range []string{k.Seen, k.Why, k.Mend} {
			o.print("  " + line)
		}
	}
	return nil
}

func findingNames() (names []string) {
	for _, k := range finding.All {
		names = append(names, k.Name)
	}
	return names
}
