package lease

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/nsfs"
)

// Links gives the interfaces of a guest.
type Links interface {
	// Link is the interface with the number and wishes of a.
	Link(a Ask) Link
	Close()
}

// OpenLinks opens the Links of a namespace, whose file stays the caller's.
type OpenLinks func(ns *os.File) (Links, error)

// keeper keeps all leases of one guest: in a process of its own, or as one of a [Pool].
type keeper struct {
	id     identity
	store  *store
	lock   *os.File
	ns     *os.File // the guest's
	in     namespace
	watch  *watch
	links  Links
	socket *net.UnixListener
	ending chan struct{} // closed when nothing is left to keep, or stop was asked
	stop   bool          // asked to end with everything as it is
	tell   func(Event)   // of what becomes of a lease; nil: nobody

	commands sync.WaitGroup // that are being carried out
	turn     sync.Mutex     // one command at a time; taken before mu

	mu      sync.Mutex // guards what follows, and the record on disk
	entries []*entry
}

// entry is one interface of a keeper.
type entry struct {
	ask        Ask
	guest      string
	lease      *Lease // as noted last
	trouble    string
	maintainer *maintainer
	cancel     context.CancelFunc
	done       chan struct{}
}

// newKeeper takes the guest's lock, or says errHeld, and goes on with what an
// earlier keeper has left.
func newKeeper(dir string, g Guest, open OpenLinks) (*keeper, error) {
	k, err := prepare(dir, g, open)
	if err == nil {
		err = k.begin()
	}
	if err != nil {
		k.giveUp()
		return nil, err
	}
	return k, nil
}

// prepare opens what a keeper needs, but for the guest's lock: whoever keeps now goes on.
// On an error, too, the caller ends the keeper with giveUp.
func prepare(dir string, g Guest, open OpenLinks) (k *keeper, err error) {
	k = &keeper{ending: make(chan struct{})}
	if k.store, err = openStore(dir); err != nil {
		return k, err
	}
	if k.id, err = g.identity(); err != nil {
		return k, err
	}
	if k.ns, err = nsfs.Reopen(g.Namespace); err != nil {
		return k, err
	}
	g.Namespace = k.ns
	if k.in, err = enterBriefly(g.Namespace); err != nil {
		return k, err
	}
	if k.watch, err = newWatch(k.in, g); err != nil {
		return k, err
	}
	k.links, err = open(g.Namespace)
	return k, err
}

// begin takes the guest's lock, or says errHeld, and goes on with the record.
func (k *keeper) begin() (err error) {
	if k.lock, err = k.store.lock(k.id.Cookie); err != nil {
		return err
	}
	r, err := k.store.load(k.id.Cookie)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.Interfaces = nil // it cannot be read: the leases end when they end
	}
	if k.socket, err = k.store.listen(k.id.Cookie); err != nil {
		return err
	}
	return k.goOn(r.Interfaces)
}

// goOn keeps what an earlier keeper kept, except for interfaces that have gone since.
// Otherwise a record that describes nothing would be taken up for ever.
func (k *keeper) goOn(all []Kept) error {
	k.mu.Lock() // entries that were added may already have something to note
	for _, i := range all {
		if k.in.hasLink(i.Ask.Index) {
			k.add(i)
		}
	}
	dropped := len(k.entries) < len(all)
	k.mu.Unlock()
	if dropped {
		return k.settle()
	}
	return nil
}

// giveUp ends a keeper that could not begin. If there is a record, it stays for the
// next keeper.
func (k *keeper) giveUp() {
	if k.lock != nil && !k.recorded() {
		k.store.remove(k.id.Cookie)
	}
	k.close()
}

// recorded reports whether there is a record.
func (k *keeper) recorded() bool {
	_, err := k.store.load(k.id.Cookie)
	return !errors.Is(err, os.ErrNotExist)
}

// close closes everything that was opened.
func (k *keeper) close() {
	k.mu.Lock()
	entries := slices.Clone(k.entries)
	k.mu.Unlock()
	quiet := endAll(entries) && k.hangUp()
	if k.links != nil && quiet {
		k.links.Close()
	}
	if k.watch != nil {
		k.watch.close()
	}
	if k.in.Thread != nil && quiet {
		k.in.End()
	}
	if k.ns != nil {
		k.ns.Close()
	}
	if k.lock != nil {
		k.lock.Close()
	}
	if k.store != nil {
		k.store.Close()
	}
}

// hangUp stops listening, and waits a little for the answers to commands that
// are being carried out. It says whether all of them are done.
func (k *keeper) hangUp() bool {
	if k.socket == nil {
		return true
	}
	k.socket.Close()
	done := make(chan struct{})
	go func() { k.commands.Wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(patience):
		return false
	}
}

// patience is how long the end of a keeper waits for what hangs. Its lock goes in any case:
// another keeper is to go on.
const patience = 2 * time.Second

// grace is how long a keeper without a lease waits for its first one while the process
// that started it is alive, though perhaps stopped.
const grace = 30 * time.Second

// run serves until there is nothing to keep, the guest has ended, or ctx ends.
func (k *keeper) run(ctx context.Context) error {
	k.commands.Add(1)
	go k.accept()
	idle := time.AfterFunc(grace, k.endIfIdle)
	defer idle.Stop()
	k.finish(k.wait(ctx))
	return nil
}

// wait returns when the keeper has to end, and whether its files go with it.
func (k *keeper) wait(ctx context.Context) (remove bool) {
	for {
		select {
		case <-k.watch.gone:
			return true
		case <-k.watch.links:
			k.dropMissing()
		case <-k.ending:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

func (k *keeper) finish(remove bool) {
	k.mu.Lock()
	k.end()
	if remove && !k.stop || !k.recorded() {
		k.store.remove(k.id.Cookie)
	}
	k.mu.Unlock()
	k.close()
}

func (k *keeper) accept() {
	defer k.commands.Done()
	for {
		c, err := k.socket.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(calm) // no descriptors left, for one
			continue
		}
		k.commands.Go(func() {
			serve(c, func(cmd command) (found bool, err error) {
				broke := guard(func() error { found, err = k.do(cmd); return nil })
				return found, errors.Join(err, broke)
			})
		})
	}
}

// do carries out a command.
func (k *keeper) do(c command) (found bool, err error) {
	k.turn.Lock()
	defer k.turn.Unlock()
	k.mu.Lock()
	ended := k.ended()
	k.mu.Unlock()
	switch {
	case ended:
		return false, errEnding
	case c.Do == "keep" && c.Keep != nil && c.Keep.Lease != nil:
		return true, k.keep(*c.Keep)
	case c.Do == "change" && c.Keep != nil:
		return k.change(c.Keep.Ask)
	case c.Do == "release":
		return k.release(c.Index)
	case c.Do == "stop":
		k.mu.Lock()
		k.stop = true
		k.end()
		k.mu.Unlock()
		return true, nil
	case c.Do == "look":
		return true, nil
	}
	return false, errors.New("the keeper is of another version, and does not know " + strconv.Quote(c.Do))
}

// ended and end: the caller must hold k.mu.
func (k *keeper) ended() bool {
	select {
	case <-k.ending:
		return true
	default:
		return false
	}
}

func (k *keeper) end() {
	if !k.ended() {
		close(k.ending)
	}
}

func (k *keeper) endIfIdle() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.entries) == 0 {
		k.end()
	}
}

// keep begins to keep a lease of an interface, in place of one that was kept before.
func (k *keeper) keep(i Kept) error {
	if old := k.takeOut(i.Ask.Index); old != nil {
		old.end()
		if l := old.maintainer.lease; l != nil && l.Address != i.Lease.Address {
			if err := l.Withdraw(old.maintainer.link); err != nil {
				return err
			}
		}
	}
	n, err := k.begun(i)
	if err == nil {
		k.announce(n, Event{What: Acquired, Lease: i.Lease})
	}
	return err
}

// change keeps the lease of an interface as another Ask says.
func (k *keeper) change(a Ask) (found bool, err error) {
	old := k.takeOut(a.Index)
	if old == nil {
		return false, nil
	}
	old.end()
	l := old.maintainer.lease
	if l != nil {
		now := a.Of(*l)
		l = &now
	}
	_, err = k.begun(Kept{Guest: old.guest, Ask: a, Lease: l})
	return true, err
}

// begun adds the lease of an interface, and records it.
func (k *keeper) begun(i Kept) (*entry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended() {
		return nil, errEnding
	}
	return k.add(i), k.save()
}

// announce tells what became of the lease of an interface. The caller must not hold k.mu.
func (k *keeper) announce(n *entry, e Event) {
	if k.tell != nil && e.What != "" {
		e.Guest, e.IfName = cmp.Or(n.guest, k.id.word()), n.ask.IfName
		k.tell(e)
	}
}

// announceAll tells the same about all interfaces.
func (k *keeper) announceAll(w What) {
	k.mu.Lock()
	entries := slices.Clone(k.entries)
	k.mu.Unlock()
	for _, n := range entries {
		k.announce(n, Event{What: w, Lease: k.leaseOf(n)})
	}
}

func (k *keeper) leaseOf(n *entry) *Lease {
	k.mu.Lock()
	defer k.mu.Unlock()
	return n.lease
}

// leases counts them.
func (k *keeper) leases() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.entries {
		if e.lease != nil {
			n++
		}
	}
	return n
}

// add starts to keep the lease of an interface. The caller must hold k.mu.
func (k *keeper) add(i Kept) *entry {
	ctx, cancel := context.WithCancel(context.Background())
	n := &entry{ask: i.Ask, guest: i.Guest, lease: i.Lease, cancel: cancel, done: make(chan struct{})}
	link := k.links.Link(i.Ask)
	n.maintainer = &maintainer{asker: newAsker(k.in, i.Ask, link, bootClock{}), link: link, clock: bootClock{}, lease: i.Lease,
		note: func(l *Lease, err error) { k.note(n, l, err) }}
	k.entries = append(k.entries, n)
	go func() {
		defer close(n.done)
		n.run(ctx)
	}()
	return n
}

// run keeps the lease until ctx ends. A fault of ours costs it a pause, and no other lease
// anything.
func (n *entry) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := guard(func() error { n.maintainer.run(ctx); return nil })
		if err == nil {
			return
		}
		_ = guard(func() error { n.maintainer.note(n.maintainer.lease, err); return nil })
		_ = (bootClock{}).Sleep(ctx, vary(firstPause))
	}
}

// end stops keeping and waits for it.
func (n *entry) end() {
	n.cancel()
	<-n.done
}

// endAll stops keeping all of them, and waits a little. It says whether all have ended.
func endAll(all []*entry) bool {
	for _, n := range all {
		n.cancel()
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for _, n := range all {
		select {
		case <-n.done:
		case <-late.C:
			return false
		}
	}
	return true
}

// note records what became of a lease, and tells it.
func (k *keeper) note(n *entry, l *Lease, err error) {
	k.mu.Lock()
	was := *n
	n.lease, n.trouble = l, ""
	if err != nil {
		n.trouble = err.Error()
	}
	told := Event{What: change(was.lease, l, was.trouble, n.trouble), Lease: l, Err: err}
	if l == nil {
		told.Lease = was.lease
	}
	if slices.Contains(k.entries, n) && !k.ended() {
		_ = k.save() // a lease is good without its record: a full disk does not end it
	}
	k.mu.Unlock()
	k.announce(n, told)
}

// save writes the record. The caller must hold k.mu.
func (k *keeper) save() error {
	r := record{Guest: k.id}
	for _, n := range k.entries {
		r.Interfaces = append(r.Interfaces, Kept{Guest: n.guest, Ask: n.ask, Lease: n.lease, Trouble: n.trouble})
	}
	return k.store.save(r)
}

// takeOut removes the interface from the entries and returns its entry; nil if it has none.
func (k *keeper) takeOut(index int) *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.entries, func(n *entry) bool { return n.ask.Index == index })
	if i < 0 {
		return nil
	}
	n := k.entries[i]
	k.entries = slices.Delete(k.entries, i, i+1)
	return n
}

// release gives the lease of an interface back.
func (k *keeper) release(index int) (found bool, err error) {
	n := k.takeOut(index)
	if n == nil {
		return false, nil
	}
	n.end()
	err = n.maintainer.release()
	k.announce(n, Event{What: Released, Lease: k.leaseOf(n), Err: err})
	return true, errors.Join(err, k.settle())
}

// settle records the entries that are left, or ends the keeper if there are none.
func (k *keeper) settle() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.entries) == 0 {
		k.end()
		return nil
	}
	return k.save()
}

// dropMissing forgets the leases of interfaces that are gone. Nobody can be
// told: there is no address to tell it from.
func (k *keeper) dropMissing() {
	k.mu.Lock()
	var missing []int
	for _, n := range k.entries {
		if !k.in.hasLink(n.ask.Index) {
			missing = append(missing, n.ask.Index)
		}
	}
	k.mu.Unlock()
	for _, index := range missing {
		if n := k.takeOut(index); n != nil {
			n.end()
			k.announce(n, Event{What: Ended, Lease: k.leaseOf(n)})
		}
	}
	if len(missing) > 0 {
		_ = k.settle()
	}
}
