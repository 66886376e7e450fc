// Package plainname knows which names need no quoting anywhere: on a command line, in a
// rule of iptables, to ovs-vsctl, in a path. Any other text it makes fit to be shown.
package plainname

// Is reports whether s is made of ASCII letters, digits, "_", "." and "-", and
// begins with a letter, a digit or "_".
//
// It is a loop because every run asks it, and compiling the expression of the same
// meaning takes longer than all the questions of a run.
func Is(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case (c == '.' || c == '-') && i > 0:
		default:
			return false
		}
	}
	return s != ""
}
