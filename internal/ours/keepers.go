package ours

import (
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/plan"
)

// KeeperWord is what starts a process that keeps leases, as the first argument of
// Options.Keeper.
const KeeperWord = "--keep-leases"

// Keeper is what keeps leases and the like when a run has ended.
type Keeper struct {
	Program string      // Options.Keeper; "": none
	Leases  *lease.Pool // Options.Leases; nil: processes of the program keep them
}

// KeeperKey is that of the Keeper, which the machine remembers.
type KeeperKey struct{}

func KeeperOf(m *plan.Machine) Keeper {
	k, _ := m.Remembered(KeeperKey{}).(Keeper)
	return k
}

// Keepers read what is kept on this machine, and start nothing.
func Keepers() lease.Keepers { return lease.Keepers{Dir: RunDir} }

// Keepers are those of this machine, which k starts.
func (k Keeper) Keepers() lease.Keepers {
	all := Keepers()
	all.Pool = k.Leases
	if k.Program != "" {
		all.Command = []string{k.Program, KeeperWord}
	}
	return all
}
