package store

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// waitingDB has compactions that wait, of which two may run at a time.
type waitingDB struct {
	mu      sync.Mutex
	waiting int
	runs    chan pebble.CompactionGrantHandle
}

func (d *waitingDB) GetAllowedWithoutPermission() int { return 2 }

func (d *waitingDB) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting > 0, pebble.WaitingCompaction{}
}

func (d *waitingDB) Schedule(h pebble.CompactionGrantHandle) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == 0 {
		return false
	}
	d.waiting--
	d.runs <- h
	return true
}

// Nothing is compacted before the database is open; then what waits is, as much of it as may be, without being asked for again.
func TestCompactionsWaitForOpen(t *testing.T) {
	c, db := newCompactions(), &waitingDB{waiting: 3, runs: make(chan pebble.CompactionGrantHandle, 3)}
	c.Register(2, db)
	ok, _ := c.TrySchedule()
	require.False(t, ok, "it is not open")
	c.UpdateGetAllowedWithoutPermission()
	assert.Empty(t, db.runs)
	c.begin(func() int32 { return 0 })
	first, second := receive(t, "compaction", db.runs), receive(t, "compaction", db.runs)
	ok, _ = c.TrySchedule()
	require.False(t, ok, "two run")
	first.Done()
	third := receive(t, "compaction", db.runs)
	second.Done()
	third.Done()
	ok, h := c.TrySchedule()
	require.True(t, ok, "none runs")
	h.Done()
	c.Unregister()
	ok, _ = c.TrySchedule()
	require.False(t, ok, "it is closed")
}

// While the store is filled compactions wait until they are urgent, or until it is full.
func TestCompactionsWaitForFilling(t *testing.T) {
	c, db := newCompactions(), &waitingDB{waiting: 3, runs: make(chan pebble.CompactionGrantHandle, 3)}
	var depth atomic.Int32
	looked := make(chan struct{}, 1)
	c.Register(2, db)
	first, second := (&Store{compactions: c}).Fill(), (&Store{compactions: c}).Fill()
	c.begin(func() int32 {
		select {
		case looked <- struct{}{}:
		default:
		}
		return depth.Load()
	})
	receive(t, "a look", looked)
	receive(t, "another look, by the clock", looked)
	require.Empty(t, db.runs)
	ok, _ := c.TrySchedule()
	require.False(t, ok, "the store is being filled")
	depth.Store(urgent)
	receive(t, "compaction", db.runs).Done()
	receive(t, "compaction", db.runs).Done()
	receive(t, "compaction", db.runs).Done()
	depth.Store(0)
	first()
	ok, _ = c.TrySchedule()
	require.False(t, ok, "one goes on filling")
	second()
	ok, h := c.TrySchedule()
	require.True(t, ok, "it is full")
	h.Done()
	c.Unregister()
}
