package watch

import (
	"os"
	"syscall"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/report"
	"golang.org/x/sys/unix"
)

// loan is a card that is lent to a guest.
type loan struct{ card, guest, ifName string }

// holding is what a watch holds of a guest that has a card.
type holding struct {
	*attach.Guest
	ended bool // its process has
}

// hold keeps the namespaces of guests that have a card of the host open. When such a guest
// ends, the card is still there for gc to return it with its name and addresses. Otherwise
// the kernel would put it into its first namespace, bare, or delete it if it is a virtual
// one, such as a VLAN's.
func (w *Watcher) hold(there []attach.Attachment) {
	lent, missed := map[loan]bool{}, false
	for _, a := range there {
		if a.Host.Kind != string(attach.KindPhys) {
			continue
		}
		l := loan{a.Host.Name, a.Guest.ID, a.Interface.Name}
		lent[l] = true
		if w.held[l] != nil {
			continue
		}
		g, err := ours.Reopen(a.Guest)
		if missed = missed || err != nil; err == nil { // its attach may be under way
			h := &holding{Guest: g}
			w.held[l] = h
			if g.PID != 0 {
				go func() {
					awaitEnd(g.PID)
					w.turn(func() { h.ended = true; w.clean() })
				}()
			}
		}
	}
	if w.missed++; !missed {
		w.missed = 0
	} else {
		w.after(again(w.missed-1), w.lookAtAll)
	}
	for l, g := range w.held {
		if !lent[l] {
			if g.ended {
				w.tell(report.Event{Kind: report.Detached, Guest: g.Word(), IfName: l.ifName, Reason: "its guest has ended, and " + l.card + " is returned"}, nil)
			}
			g.Close()
			delete(w.held, l)
		}
	}
}

// awaitEnd returns when a process has ended. Not every runtime tells.
func awaitEnd(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err != unix.EINTR {
			return
		}
	}
}

// abandoned returns the cards of namespaces that had only a name, and have lost it: gc cannot
// tell that. They belong to the caller.
func (w *Watcher) abandoned() map[loan]*attach.Guest {
	all := map[loan]*attach.Guest{}
	for l, g := range w.held {
		if g.PID == 0 && ended(g.Guest) {
			all[l] = g.Guest
			delete(w.held, l)
		}
	}
	return all
}

// ended reports whether the name of a guest's namespace leads to it no longer.
func ended(g *attach.Guest) bool {
	st, err := os.Stat(g.Path)
	if err != nil {
		return os.IsNotExist(err)
	}
	is, ok := st.Sys().(*syscall.Stat_t)
	return ok && is.Ino != g.NetNS
}
