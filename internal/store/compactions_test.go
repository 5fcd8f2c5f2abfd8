package store

import (
	"sync"
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
	c.begin()
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
