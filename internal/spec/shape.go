package spec

import (
	"cmp"
	"encoding"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/lazyregexp"
)

// The words for rates, losses and delays are those of tc(8).

// Rate is in bits per second, whole bytes of them; 0 is no limit.
type Rate uint64

// Loss is the share of packets that are lost, in millionths.
type Loss uint32

// Delay is in whole microseconds.
type Delay time.Duration

// Shaping is by how much a link is slower and worse than it could be. "In" is
// what comes in by the guest's interface. Its JSON names are part of the
// command's contract; "" is none.
type Shaping struct {
	RateIn  Rate  `json:"rate_in"`
	RateOut Rate  `json:"rate_out"`
	Loss    Loss  `json:"loss"`  // of what goes out
	Delay   Delay `json:"delay"` // of what goes out
	Jitter  Delay `json:"jitter"`
}

// ShapeWords are the words of the flags, each as it was typed; "" where there
// was none.
type ShapeWords struct{ RateIn, RateOut, Loss, Delay, Jitter string }

// Reshape is what is asked of a link's Shaping. Where nothing is said, nil, it
// stays as it is.
type Reshape struct {
	RateIn, RateOut *Rate
	Loss            *Loss
	Delay, Jitter   *Delay
}

// Parse turns the words into a Reshape.
func (w ShapeWords) Parse() (r Reshape, err error) {
	if r.RateIn, err = parseWord(w.RateIn, parseRate); err != nil {
		return Reshape{}, err
	}
	if r.RateOut, err = parseWord(w.RateOut, parseRate); err != nil {
		return Reshape{}, err
	}
	if r.Loss, err = parseWord(w.Loss, parseLoss); err != nil {
		return Reshape{}, err
	}
	if r.Delay, err = parseWord(w.Delay, parseDelay); err != nil {
		return Reshape{}, err
	}
	r.Jitter, err = parseWord(w.Jitter, parseDelay)
	return r, err
}

// Words returns the words that parse to r.
func (r Reshape) Words() ShapeWords {
	return ShapeWords{
		RateIn: said(r.RateIn), RateOut: said(r.RateOut), Loss: said(r.Loss), Delay: said(r.Delay), Jitter: said(r.Jitter),
	}
}

// Apply returns what becomes of a shaping.
func (r Reshape) Apply(s Shaping) Shaping {
	take(&s.RateIn, r.RateIn)
	take(&s.RateOut, r.RateOut)
	take(&s.Loss, r.Loss)
	take(&s.Delay, r.Delay)
	take(&s.Jitter, r.Jitter)
	return s
}

func take[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// None is the word that ends a shaping; 0 does too.
const None = "none"

func said[T fmt.Stringer](v *T) string {
	if v == nil {
		return ""
	}
	return OrNone((*v).String())
}

func parseWord[T any](word string, parse func(string) (T, error)) (*T, error) {
	if word == "" {
		return nil, nil
	}
	var v T
	if word == None || word == "0" {
		return &v, nil
	}
	v, err := parse(word)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// measure is a number and its unit.
var measure = lazyregexp.Regexp{Expr: `^([0-9]{1,15}(?:\.[0-9]{1,9})?)([a-z]*|%)$`}

// parseMeasure returns the number in the unit's measure, rounded; ok is false
// for what is none.
func parseMeasure(word string, units map[string]float64) (v float64, ok bool) {
	m := measure.Get().FindStringSubmatch(strings.ToLower(word))
	if m == nil {
		return 0, false
	}
	unit, ok := units[m[2]]
	n, err := strconv.ParseFloat(m[1], 64)
	return math.Round(n * unit), ok && err == nil
}

// rateUnits are in bits per second. tc's "bps" words count bytes, which few
// who write them mean: they are refused.
var rateUnits = map[string]float64{
	"": 1, "bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9, "tbit": 1e12,
	"kibit": 1 << 10, "mibit": 1 << 20, "gibit": 1 << 30, "tibit": 1 << 40,
}

// MinRate and MaxRate bound a rate. At the lowest a frame takes a second and a half.
const (
	MinRate Rate = 8e3
	MaxRate Rate = 1e12
)

func parseRate(word string) (Rate, error) {
	const op, hint = "read rate", "10mbit, 512kbit, 1gbit; none removes the limit"
	if low := strings.ToLower(word); strings.HasSuffix(low, "bps") {
		return 0, fault.BadWord(op, word, "tc reads that as bytes per second").WithHint("give it in bits: 10mbit, 512kbit, 1gbit")
	}
	v, ok := parseMeasure(word, rateUnits)
	r := Rate(v) &^ 7 // the kernel counts bytes
	switch {
	case !ok:
		return 0, fault.BadWord(op, word, "it is not a number and a unit of bits per second").WithHint(hint)
	case v == 0:
		return 0, nil
	case r < MinRate || v > float64(MaxRate):
		return 0, fault.BadWord(op, word, "it is not from %s to %s", MinRate, MaxRate).WithHint(hint)
	}
	return r, nil
}

// String returns the shortest whole number of a decimal unit; "" for no limit.
func (r Rate) String() string {
	if r == 0 {
		return ""
	}
	units := []string{"bit", "kbit", "mbit", "gbit"}
	for len(units) > 1 && r%1000 == 0 {
		r, units = r/1000, units[1:]
	}
	return strconv.FormatUint(uint64(r), 10) + units[0]
}

// AllLost is the Loss of every packet.
const AllLost = 1e6

func parseLoss(word string) (Loss, error) {
	v, ok := parseMeasure(word, map[string]float64{"": AllLost / 100, "%": AllLost / 100})
	switch zero := strings.Trim(word, "0.%") == ""; {
	case !ok || v > AllLost:
		return 0, fault.BadWord("read loss", word, "it is not a percentage").WithHint("1%%, 0.1%%; none removes it")
	case v == 0 && !zero:
		return 0, fault.BadWord("read loss", word, "it is less than 0.0001%%, the minimum")
	}
	return Loss(v), nil
}

// String returns a percentage; "" for none.
func (l Loss) String() string {
	if l == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(l)/(AllLost/100), 'f', -1, 64) + "%"
}

// delayUnits are in microseconds.
var delayUnits = map[string]float64{
	"us": 1, "usec": 1, "usecs": 1, "ms": 1e3, "msec": 1e3, "msecs": 1e3, "s": 1e6, "sec": 1e6, "secs": 1e6,
}

const maxDelay = Delay(time.Minute)

func parseDelay(word string) (Delay, error) {
	const op, hint = "read delay", "100ms, 1.5ms, 200us, 1s; none removes it"
	v, ok := parseMeasure(word, delayUnits)
	switch zero := strings.Trim(word, "0.usmec") == ""; {
	case !ok:
		return 0, fault.BadWord(op, word, "it is not a number and a unit of time").WithHint(hint)
	case v > float64(time.Duration(maxDelay).Microseconds()):
		return 0, fault.BadWord(op, word, "it is more than a minute").WithHint(hint)
	case v == 0 && !zero:
		return 0, fault.BadWord(op, word, "it is less than 1us, the minimum")
	}
	return Delay(v) * Delay(time.Microsecond), nil
}

// String returns it in the largest unit of which it is a whole number; "" for
// none.
func (d Delay) String() string {
	us := time.Duration(d).Microseconds()
	switch {
	case us == 0:
		return ""
	case us%1e6 == 0:
		return strconv.FormatInt(us/1e6, 10) + "s"
	case us%1e3 == 0:
		return strconv.FormatInt(us/1e3, 10) + "ms"
	}
	return strconv.FormatInt(us, 10) + "us"
}

// MarshalText returns the word, for JSON.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// MarshalText returns the word, for JSON.
func (l Loss) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// MarshalText returns the word, for JSON.
func (d Delay) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

var (
	_ encoding.TextMarshaler = Rate(0)
	_ encoding.TextMarshaler = Loss(0)
	_ encoding.TextMarshaler = Delay(0)
)

// String tells what there is, as flags would ask for it: "rate-in 10mbit,
// delay 100ms"; "" for nothing.
func (s Shaping) String() string {
	var list []string
	for _, f := range ShapeFields(s) {
		if f.Word != "" {
			list = append(list, f.Name+" "+f.Word)
		}
	}
	return strings.Join(list, ", ")
}

// ShapeField is one of a Shaping: the name of its flag, and its word.
type ShapeField struct{ Name, Word string }

// ShapeFields returns what there is, in the order of the flags.
func ShapeFields(s Shaping) []ShapeField {
	return []ShapeField{
		{"rate-in", s.RateIn.String()}, {"rate-out", s.RateOut.String()},
		{"loss", s.Loss.String()}, {"delay", s.Delay.String()}, {"jitter", s.Jitter.String()},
	}
}

// WordFields returns the words, in the same order.
func WordFields(w ShapeWords) []ShapeField {
	return []ShapeField{
		{"rate-in", w.RateIn}, {"rate-out", w.RateOut}, {"loss", w.Loss}, {"delay", w.Delay}, {"jitter", w.Jitter},
	}
}

// OrNone returns a word, or None for "".
func OrNone(word string) string { return cmp.Or(word, None) }
