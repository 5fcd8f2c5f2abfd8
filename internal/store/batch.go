package store

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// MaxBatchBytes is the size that a batch cannot exceed, counted as Len does.
const MaxBatchBytes = 2 << 30

// Batch collects changes that are applied together. Keys are fastest to apply when they were added in order. A batch is
// for one goroutine at a time.
type Batch struct {
	s   *Store
	b   *pebble.Batch
	err error // the first mistake, which Commit returns
}

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch { return &Batch{s: s} }

// Grow makes room for so many bytes at once, if the batch is empty.
func (b *Batch) Grow(n int) {
	if b.b == nil && b.err == nil {
		b.b = b.s.db.NewBatchWithSize(min(n, MaxBatchBytes))
	}
}

// EntryBytes is more than an entry takes in a batch beside key and value: kind, lengths, prefixes.
const EntryBytes = 32

// Set sets the value of a key. Key and value are copied.
func (b *Batch) Set(partition int32, key, value []byte) {
	if !b.room(partition, len(key)+len(value)) {
		return
	}
	op := b.b.SetDeferred(2+len(key), len(value))
	fillKey(op.Key, partition, key)
	copy(op.Value, value)
	b.finish(op)
}

// Delete deletes a key; it may be absent.
func (b *Batch) Delete(partition int32, key []byte) {
	if !b.room(partition, len(key)) {
		return
	}
	op := b.b.DeleteDeferred(2 + len(key))
	fillKey(op.Key, partition, key)
	b.finish(op)
}

// DeleteRange deletes the keys with lo <= key < hi that are in the store, or were added to the batch before. A nil hi
// means to the end of the partition.
func (b *Batch) DeleteRange(partition int32, lo, hi []byte) {
	if !b.room(partition, len(lo)+len(hi)) {
		return
	}
	var r bounds
	r.set(partition, lo, hi)
	if bytes.Compare(r.lo, r.hi) >= 0 {
		return // nothing is between them
	}
	if err := b.b.DeleteRange(r.lo, r.hi, nil); err != nil {
		b.err = err
	}
}

// Clear deletes everything that views show, and what was added to the batch before.
func (b *Batch) Clear() {
	if !b.room(0, 0) {
		return
	}
	if err := b.b.DeleteRange(partitionPrefix(0), partitionPrefix(maxPartition+1), nil); err != nil {
		b.err = err
	}
}

// fillKey writes a key of the database to dst, which has its length.
func fillKey(dst []byte, partition int32, key []byte) {
	copy(dst[len(appendPrefix(dst[:0], partition)):], key)
}

// room makes sure that an entry of so many bytes can be added.
func (b *Batch) room(partition int32, n int) bool {
	if b.err != nil {
		return false
	}
	if b.err = checkPartition(partition); b.err != nil {
		return false
	}
	if n > MaxBatchBytes || b.Len() > MaxBatchBytes-n-EntryBytes {
		b.err = fmt.Errorf("%w: more than %d bytes: commit more often", ErrTooLarge, MaxBatchBytes)
		return false
	}
	b.begin()
	return true
}

func (b *Batch) begin() {
	if b.b == nil {
		b.b = b.s.db.NewBatch()
	}
}

func (b *Batch) finish(op *pebble.DeferredBatchOp) {
	if err := op.Finish(); err != nil {
		b.err = err
	}
}

// Count returns how many changes the batch holds.
func (b *Batch) Count() int {
	if b.b == nil {
		return 0
	}
	return int(b.b.Count())
}

// Len returns the size of the batch in bytes, as it is written to the disk.
func (b *Batch) Len() int {
	if b.b == nil || b.b.Empty() {
		return 0
	}
	return b.b.Len()
}

// Commit applies the batch. When it returns, reads see it. The batch is empty then and can be used again, whether there
// was an error or not; after an error it may be that the next Open finds the batch applied.
//
// With sync, Commit returns when the batch and all before it are on the disk: they survive the loss of power. Without,
// it returns earlier; the batch is written to the operating system at once and synced soon after, on another goroutine.
// What a SIGKILL can take is what was committed in the moment of writing, what a loss of power can take is what was
// committed in the moment of syncing: always whole batches, and the last ones. That is enough where a changelog brings
// back the tail.
//
// While the disk is full Commit may wait. Otherwise it returns even if the disk does not answer with success any more.
func (b *Batch) Commit(sync bool) error {
	batch, err := b.b, b.err
	b.b, b.err = nil, nil
	if err != nil {
		return err
	}
	if err := b.s.enter(); err != nil {
		return err
	}
	defer b.s.leave()
	if batch == nil {
		if !sync {
			return nil
		}
		batch = b.s.db.NewBatch()
	}
	if batch.Empty() {
		if err := batch.LogData(nil, nil); err != nil { // so that there is something to sync
			return err
		}
	}
	return b.s.commit(batch, sync)
}

// commit is a batch on its way into the database.
//
// A goroutine that is parked by the guard never returns, so the caller's goroutine must not be the one that calls
// Pebble. One goroutine applies batches in order; another waits until they are synced. Pebble is always asked to sync:
// a batch that is committed without stays in memory until 32 KiB have come together, and would not survive SIGKILL.
type commit struct {
	batch *pebble.Batch
	sync  bool
	done  chan error // of capacity 1
}

func (s *Store) commit(batch *pebble.Batch, sync bool) error {
	c := commit{batch, sync, make(chan error, 1)}
	select {
	case s.commits <- c:
	case <-s.guard.stalled:
		return s.guard.err()
	}
	select {
	case err := <-c.done:
		return err
	case <-s.guard.stalled:
		return s.guard.err()
	}
}

// apply applies batches until the store is closed.
func (s *Store) apply() {
	defer close(s.syncs)
	for c := range s.commits {
		err := s.applyOne(c.batch)
		if err != nil {
			s.guard.fail(fmt.Errorf("%w: %s: apply a batch: %w", ErrIO, s.opts.Dir, err))
			return
		}
		s.stats.commits.Add(1)
		if !c.sync {
			c.done <- nil
		}
		s.syncs <- c
	}
}

func (s *Store) applyOne(b *pebble.Batch) (err error) {
	defer recovered(&err)
	return s.db.ApplyNoSyncWait(b, pebble.Sync)
}

// awaitSyncs waits until batches are synced, and frees them.
func (s *Store) awaitSyncs() {
	defer close(s.drained)
	for c := range s.syncs {
		err := c.batch.SyncWait()
		if err == nil {
			err = c.batch.Close()
		}
		if err != nil {
			s.guard.fail(fmt.Errorf("%w: %s: sync a batch: %w", ErrIO, s.opts.Dir, err))
			return
		}
		if c.sync {
			c.done <- nil
		}
	}
}
