package lease

import (
	"testing"
	"time"
)

// What is told of a change: trouble once, and nothing that has not changed.
func TestChange(t *testing.T) {
	first := &Lease{Address: prefix("10.0.0.9/24"), At: time.Hour}
	renewed, other := *first, *first
	renewed.At += time.Minute
	other.Address = prefix("10.0.0.10/24")
	for _, tt := range []struct {
		name          string
		was, now      *Lease
		told, trouble string
		want          What
	}{
		{"the first lease", nil, first, "", "", Acquired},
		{"after a time without", nil, first, "no answer", "", Acquired},
		{"more time", first, &renewed, "", "", Renewed},
		{"more time, and a route that cannot be set", first, &renewed, "", "network is down", Renewed},
		{"another address", first, &other, "", "", Acquired},
		{"its end", first, nil, "", "it ended", Lost},
		{"none still", nil, nil, "it ended", "no answer", Trouble},
		{"the same trouble", nil, nil, "no answer", "no answer", ""},
		{"no renewal", first, first, "", "operation not permitted", Trouble},
		{"a keeper goes on with it", first, first, "", "", ""},
	} {
		if got := change(tt.was, tt.now, tt.told, tt.trouble); got != tt.want {
			t.Errorf("%s: told is %q, want %q", tt.name, got, tt.want)
		}
	}
}
