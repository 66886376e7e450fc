package lease

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/notify"
	"github.com/gopipework/gopipework/internal/nsfs"
)

// Pool keeps the leases of all guests of this machine in this process, instead of a
// process for each guest. What there is of each guest stays the same: its lock, its record
// and its socket, by which others release and look as before. A pool begins by ending the
// keeper that runs, which leaves the record, and goes on with that.
//
// A keeper that another process starts meanwhile is taken over once it has a lease.
type Pool struct {
	PoolOptions
	cookie uint64 // of the host's namespace
	store  *store
	lock   *os.File

	ctx  context.Context // of all that is kept here
	end  context.CancelFunc
	jobs sync.WaitGroup // that take over, and that keep

	mu     sync.Mutex // guards what follows
	here   map[uint64]*keeper
	taking map[uint64]bool // being taken over, or tried again later
	closed bool
}

// PoolOptions are what a pool needs.
type PoolOptions struct {
	After Keepers  // keep after the pool; without a Command, addresses stay only until their leases end
	Host  *os.File // the host's network namespace, which stays the caller's
	Open  OpenLinks
	Tell  func(Event) // what becomes of a lease; it must return soon; nil: nobody is told
}

// poolLock is held by the process that has the pool. No guest's files are called so.
const poolLock = "keepers.lock"

// lookers is how often the lock is tried.
const lookers = 50

// NewPool begins to keep all leases here, and returns at once: what others keep is taken
// over meanwhile. The error has the code conflict if another process has a pool.
func NewPool(o PoolOptions) (*Pool, error) {
	p := &Pool{PoolOptions: o, here: map[uint64]*keeper{}, taking: map[uint64]bool{}}
	p.After.Pool = nil
	p.ctx, p.end = context.WithCancel(context.Background())
	err := p.begin()
	if err == nil {
		return p, nil
	}
	p.letGo()
	if errors.Is(err, errHeld) {
		return nil, fault.New(fault.Conflict, "keep leases in", "this process", "another process keeps those of all guests")
	}
	return nil, explain("keep leases in", "this process", err)
}

func (p *Pool) begin() error {
	host, err := enterBriefly(p.Host)
	if err != nil {
		return err
	}
	defer host.End()
	if p.cookie, err = host.cookie(); err != nil {
		return err
	}
	if p.store, err = openStore(p.After.Dir); err != nil {
		return err
	}
	// By it the directory is never empty. Others may hold it while they look whether it is held.
	for range lookers {
		if p.lock, err = p.store.lockFile(poolLock); !errors.Is(err, errHeld) {
			break
		}
		time.Sleep(again)
	}
	if err != nil {
		return err
	}
	records, err := notify.NewDirectory(p.After.Dir)
	if err != nil {
		return err
	}
	p.follow(records)
	return nil
}

func (p *Pool) letGo() {
	p.end()
	if p.lock != nil {
		_ = p.store.Remove(poolLock)
		p.lock.Close()
	}
	if p.store != nil {
		p.store.Close()
	}
}

// follow takes over what is there, and then whatever comes.
func (p *Pool) follow(records *notify.Path) {
	look := make(chan struct{}, 1)
	look <- struct{}{}
	p.jobs.Go(func() {
		records.Follow(p.ctx, func() {
			select {
			case look <- struct{}{}:
			default:
			}
		})
	})
	p.jobs.Go(func() {
		for {
			select {
			case <-p.ctx.Done():
				return
			case <-look:
			}
			for _, c := range p.recorded() {
				p.takeOver(c)
			}
			_ = (bootClock{}).Sleep(p.ctx, calm) // one look for many records
		}
	})
}

// recorded lists the guests that have a file.
func (p *Pool) recorded() []uint64 {
	s, err := lookStore(p.After.Dir)
	if err != nil {
		return nil
	}
	defer s.Leave()
	cookies, _ := s.cookies()
	return cookies
}

// takeOver begins to take over a guest, unless that goes on, or is done.
func (p *Pool) takeOver(cookie uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.taking[cookie] || p.here[cookie] != nil {
		return
	}
	p.taking[cookie] = true
	p.jobs.Go(func() {
		p.insist(cookie)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.taking, cookie)
	})
}

const (
	firstTry   = time.Second // after a failure
	longestTry = time.Minute
)

// insist takes over a guest. While that fails, its own keeper goes on; each reason is told
// once.
func (p *Pool) insist(cookie uint64) {
	told := ""
	for pause := firstTry; ; pause = min(2*pause, longestTry) {
		err := guard(func() error { return p.take(cookie) })
		if err == nil || p.ctx.Err() != nil {
			return
		}
		if told != err.Error() && p.Tell != nil {
			told = err.Error()
			p.Tell(Event{What: Trouble, Err: err})
		}
		if (bootClock{}).Sleep(p.ctx, pause) != nil {
			return
		}
	}
}

// take goes on with the record of a guest, if there is one, in place of the keeper that
// runs, or of one that was killed. What a dead guest has left is removed.
func (p *Pool) take(cookie uint64) error {
	s, err := openStore(p.After.Dir)
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := s.load(cookie)
	if errors.Is(err, os.ErrNotExist) || err == nil && r.abroad(p.cookie) {
		return nil // it has no lease yet, or is another host's
	}
	if err != nil {
		return err
	}
	g, err := r.Guest.find()
	if errors.Is(err, errGone) {
		_, err := p.After.sweep(p.ctx, s, cookie, false)
		return err
	}
	if err == nil {
		err = p.begins(g, p.relieve)
		g.Namespace.Close()
	}
	if err == nil || errors.Is(err, errGone) || errors.Is(err, errHidden) || errors.Is(err, errPoolClosed) {
		return nil
	}
	return fmt.Errorf("take over the leases of %s: %w", r.Guest.word(), err)
}

var errPoolClosed = errors.New("it is closed")

// begins has a keeper of the guest begin here, in the way that is given.
func (p *Pool) begins(g Guest, begin func(*keeper) error) error {
	k, err := prepare(p.After.Dir, g, p.Open)
	if err == nil {
		k.tell = p.Tell
		err = begin(k)
	}
	if err == nil && !p.keep(k) {
		k.finish(false)
		return errPoolClosed
	}
	if err != nil {
		k.giveUp()
	}
	return err
}

// relieve has the guest's keeper end, and k begin in its place.
func (p *Pool) relieve(k *keeper) error {
	ctx, cancel := context.WithTimeout(p.ctx, commandTime)
	defer cancel()
	for {
		err := k.begin()
		if !errors.Is(err, errHeld) {
			return err
		}
		if _, err := k.store.tell(ctx, k.id.Cookie, command{Do: "stop"}); err != nil && !nobodyListens(err) {
			return err
		}
		if err := (bootClock{}).Sleep(ctx, again); err != nil {
			return err
		}
	}
}

// keep has a keeper that has begun go on until its end. It says no if the pool is closed.
func (p *Pool) keep(k *keeper) bool {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return false
	}
	p.here[k.id.Cookie] = k
	p.jobs.Go(func() { p.serve(k) })
	p.mu.Unlock()
	k.announceAll(TakenOver)
	return true
}

func (p *Pool) serve(k *keeper) {
	if guard(func() error { return k.run(p.ctx) }) != nil {
		_ = guard(func() error { k.close(); return nil })
	}
	p.mu.Lock()
	delete(p.here, k.id.Cookie)
	p.mu.Unlock()
	if p.ctx.Err() == nil {
		k.announceAll(Ended)
	}
	p.takeOver(k.id.Cookie) // somebody may have begun to keep it since
}

// Leases returns how many leases there are.
func (p *Pool) Leases() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.here {
		n += k.leases()
	}
	return n
}

// start is Keepers.start for a keeper in this process.
func (p *Pool) start(g Guest) (starter io.Closer, err error) {
	var k *keeper
	err = p.begins(g, func(new *keeper) error { k = new; return k.begin() })
	if errors.Is(err, errHeld) {
		return io.NopCloser(nil), nil // there is another
	}
	if err != nil {
		return nil, err
	}
	return waiting{k}, nil
}

// waiting is a keeper that ends if it has no lease to keep by then.
type waiting struct{ k *keeper }

func (w waiting) Close() error { w.k.endIfIdle(); return nil }

// keeps reports whether the guest's leases are kept here.
func (p *Pool) keeps(cookie uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.here[cookie] != nil
}

// Close ends the pool, and has a keeper of its own go on with each guest; no server is
// told anything. If that fails for some of them, their addresses stay until their leases
// end, and the next run that looks after keepers takes them up.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.end()
	p.jobs.Wait()
	var errs []error
	if len(p.After.Command) > 0 {
		errs = p.handAll(ctx, p.recorded())
	}
	p.letGo()
	return explain("hand over", "leases", errors.Join(errs...))
}

// handAll starts the keepers, a few at a time.
func (p *Pool) handAll(ctx context.Context, cookies []uint64) []error {
	const atOnce = 8
	turn, errs := make(chan struct{}, atOnce), make([]error, len(cookies))
	var all sync.WaitGroup
	for i, c := range cookies {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			errs[i] = p.handOne(ctx, c)
		})
	}
	all.Wait()
	return errs
}

// handOne starts a keeper of its own for a guest, in the namespace of the host.
func (p *Pool) handOne(ctx context.Context, cookie uint64) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	s, err := openStore(p.After.Dir)
	if err != nil {
		return err
	}
	defer s.Close()
	if r, err := s.load(cookie); err == nil && r.abroad(p.cookie) {
		return nil
	}
	host, err := nsfs.EnterBriefly(p.Host)
	if err != nil {
		return err
	}
	defer host.End()
	for {
		var gone bool
		err := host.Run(func() (err error) { gone, err = p.After.sweep(ctx, s, cookie, false); return err })
		if gone || err != nil || s.listens(cookie) {
			return err
		}
		// A program that is being started may still hold a copy of the lock that we had.
		if err := (bootClock{}).Sleep(ctx, again); err != nil {
			return err
		}
	}
}
