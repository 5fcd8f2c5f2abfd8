package store

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// compactions says when Pebble may compact: not before it is open. Open waits for a compaction that is under way when it looks
// for files that are of no use any more, and one that was left over by the last process may take a second, or many.
//
// Otherwise it does what Pebble's own scheduler does: it lets as many run as Pebble says, and asks for one that waits when
// one has ended, and every now and then.
type compactions struct {
	db   pebble.DBForCompaction
	poke chan struct{} // of capacity 1: something may be granted
	stop chan struct{}
	done chan struct{} // the granter has ended

	// mu is taken while Pebble's own lock is held, so none of db's methods that take that one are called under it.
	mu      sync.Mutex
	running int
	fills   int  // under way, see Fill
	open    bool // the database is
	depth   func() int32
	gone    bool
}

var _ pebble.CompactionScheduler = (*compactions)(nil)
var _ pebble.CompactionGrantHandle = (*compactions)(nil)

const lookForCompactions = 100 * time.Millisecond

// While the store is being filled compactions wait until so many tables lie above one another, and writers until there are stopWrites.
const (
	urgent     = 16
	stopWrites = 20
)

// Fill says that much will be put into the store, and nothing read, until done is called. Compactions wait meanwhile, unless
// they have become urgent: what is moved down early is moved again with each further part of what comes.
func (s *Store) Fill() (done func()) {
	c := s.compactions
	c.mu.Lock()
	c.fills++
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		c.fills--
		c.mu.Unlock()
		c.look()
	}
}

func newCompactions() *compactions {
	return &compactions{poke: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
}

// begin lets compactions run. depth is how many tables lie above one another, before the levels in which none do.
func (c *compactions) begin(depth func() int32) {
	c.mu.Lock()
	c.open, c.depth = true, depth
	c.mu.Unlock()
	c.look()
}

func (c *compactions) look() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// Register implements pebble.CompactionScheduler.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) {
	c.db = db
	go c.grant()
}

// Unregister implements pebble.CompactionScheduler: nothing is scheduled any more when it returns.
func (c *compactions) Unregister() {
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	close(c.stop)
	<-c.done
}

// TrySchedule implements pebble.CompactionScheduler. It is not told how urgent the compaction is; grant finds out.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if c.filling() || !c.take() {
		return false, nil
	}
	return true, c
}

func (c *compactions) filling() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fills > 0
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler.
func (c *compactions) UpdateGetAllowedWithoutPermission() { c.look() }

func (c *compactions) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open || c.gone || c.running >= c.db.GetAllowedWithoutPermission() {
		return false
	}
	c.running++
	return true
}

func (c *compactions) giveBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
}

// grant is the goroutine that schedules what waits.
func (c *compactions) grant() {
	defer close(c.done)
	tick := time.NewTicker(lookForCompactions)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.poke:
		case <-c.stop:
			return
		}
		for c.take() {
			if waiting, _ := c.db.GetWaitingCompaction(); !waiting || c.filling() && c.depth() < urgent || !c.db.Schedule(c) {
				c.giveBack()
				break
			}
		}
	}
}

// Started implements pebble.CompactionGrantHandle.
func (c *compactions) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (c *compactions) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (c *compactions) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements pebble.CompactionGrantHandle.
func (c *compactions) Done() {
	c.giveBack()
	c.look()
}
