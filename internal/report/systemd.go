package report

import (
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// manager is what systemd knows of watch. All of it is without effect where systemd has not
// asked for it (sd_notify(3)).
type manager struct {
	ready  bool
	status string // as last told
}

// tell tells systemd. If it cannot be told, it finds out by itself: it restarts what does not
// become ready.
func (*manager) tell(state string) { _, _ = daemon.SdNotify(false, state) }

// Settled is called when all is as it should be, or has been tried. The first time, and the
// first time after Reloading, systemd is told that watch is ready; and each time, how many
// attachments are in which state if that has changed.
func (r *Reporter) Settled() {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.states()
	status := fmt.Sprintf("STATUS=%d attached, %d pending, %d failed, %d refused", n[string(Attached)], n[string(Pending)], n[string(Failed)], n[string(Refused)])
	if !r.manager.ready {
		r.manager.tell(daemon.SdNotifyReady + "\n" + status)
	} else if r.manager.status != status {
		r.manager.tell(status)
	}
	r.manager.ready, r.manager.status = true, status
}

// Reloading tells systemd that all sources are read again, until the next Settled.
func (r *Reporter) Reloading() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it does not fail
	r.manager.tell(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
	r.manager.ready = false
}

// Stopping tells systemd that watch is about to end.
func (r *Reporter) Stopping() { r.manager.tell(daemon.SdNotifyStopping) }

// Watchdog ticks twice in the time after which systemd kills a watch that it has not heard
// of; it is nil if systemd kills none. The loop that does the work has to call Alive at each
// tick, and nobody else: a loop that hangs must be found out.
func (r *Reporter) Watchdog() <-chan time.Time {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil || limit <= 0 {
		return nil
	}
	return time.Tick(limit / 2)
}

// Alive tells systemd that the loop runs.
func (r *Reporter) Alive() { r.manager.tell(daemon.SdNotifyWatchdog) }
