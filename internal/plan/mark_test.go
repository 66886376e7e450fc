package plan

import (
	"testing"
)

// FuzzParseMark: a guest cannot write it, but an administrator can.
func FuzzParseMark(f *testing.F) {
	f.Add("gopipework docker:0123456789ab eth1 web")
	f.Fuzz(func(t *testing.T, alias string) {
		m, ok := ParseMark(alias)
		if !ok || len(alias) > maxAlias {
			return
		}
		if again, ok := ParseMark(m.String()); !ok || again != m {
			t.Errorf("%q parses to %+v, which prints to %q", alias, m, m)
		}
	})
}
