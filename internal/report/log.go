package report

import (
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Format is how the log is written.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// FormatFor returns the format for a log that nobody has chosen one for: text if a person
// reads it at a terminal, JSON for anything else.
func FormatFor(w io.Writer) Format {
	f, ok := w.(*os.File)
	if !ok {
		return JSON
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return JSON
	}
	return Text
}

// Log returns a log. Both formats quote what could forge a line, and Text also whatever else
// could control a terminal: a label of a container may contain anything.
func Log(w io.Writer, format Format) *slog.Logger {
	if format == Text {
		return slog.New(slog.NewTextHandler(w, nil))
	}
	return slog.New(slog.NewJSONHandler(w, nil))
}

// level is Warn for what somebody should look at, and Debug for what happens all day.
func level(e Event) slog.Level {
	switch {
	case e.Kind == Failed, e.Kind == Refused, e.Kind == Cut, e.Kind == Warning, e.State == Lost, e.State == Down:
		return slog.LevelWarn
	case e.State == Renewed:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// attrs are the fields of an event, without the empty ones.
func attrs(e Event) (all []slog.Attr) {
	for _, f := range []struct{ key, value string }{
		{"guest", e.Guest}, {"interface", e.IfName}, {"origin", e.Origin}, {"line", e.Line},
		{"name", e.Name}, {"state", e.State}, {"address", e.Address}, {"reason", e.Reason}, {"hint", e.Hint},
	} {
		if f.value != "" {
			all = append(all, slog.String(f.key, f.value))
		}
	}
	if e.Failures > 0 {
		all = append(all, slog.Int("failures", e.Failures))
	}
	if !e.Again.IsZero() {
		all = append(all, slog.Time("again", e.Again.Truncate(time.Second)))
	}
	if e.Took > 0 {
		all = append(all, slog.Float64("took", float64(e.Took)))
	}
	return all
}
