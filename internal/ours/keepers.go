package ours

import (
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/plan"
)

// KeeperWord is what starts a process that keeps leases, as the first argument of
// Options.Keeper.
const KeeperWord = "--keep-leases"

// KeeperKey is that of Options.Keeper, which the machine remembers.
type KeeperKey struct{}

func KeeperOf(m *plan.Machine) string {
	program, _ := m.Remembered(KeeperKey{}).(string)
	return program
}

// Keepers read what is kept on this machine, and start nothing.
func Keepers() lease.Keepers { return lease.Keepers{Dir: RunDir} }

// KeepersBy are those of this machine, which a program runs.
func KeepersBy(program string) lease.Keepers {
	k := Keepers()
	if program != "" {
		k.Command = []string{program, KeeperWord}
	}
	return k
}
