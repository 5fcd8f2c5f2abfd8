package kinesis

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis/kpl"
	"github.com/millstream-go/millstream/sink"
)

// writer writes one stream. Records wait in a queue; some goroutines (Write.Calls) fill requests from it (pick.go), send
// them, and put back what was refused, at the place that it had. A key whose record is under way is passed over, so that
// a retry cannot overtake what was written before it, nor be overtaken.
type writer struct {
	c      *Streams
	name   string
	max    int  // bytes of a record, its key included
	apart  bool // the service distributes records itself, so no shard can be predicted
	fail   func(error)
	salt   uint64
	reload sync.Mutex

	mu       sync.Mutex
	queue    []*entry // in the order of their numbers
	busy     map[string]bool
	taken    map[string]bool   // shards to which a record is under way, if Write.Strict
	last     map[string]string // by shard, the sequence number of what was written last, if Write.Strict
	sent     sent
	next     uint64
	waiting  int // records that are not acknowledged
	bytes    int // of those
	flushing int
	mark     uint64    // the last record that the flush under way waits for
	before   int       // of those, how many are not acknowledged
	paused   time.Time // after a failed call
	tries    int       // failed calls in a row
	err      error
	shardMap shardMap
	ranges   map[string]kpl.Range // what each shard owns or, if it is closed, has owned
	changed  chan struct{}        // closed and made anew with each change
}

// entry is a record that is to be written.
type entry struct {
	kpl.Record
	hash  kpl.Hash
	n     uint64 // its place in the order of all
	since time.Time
}

func (e *entry) size() int { return len(e.Key) + len(e.Data) }

const (
	maxRequest = 10 << 20
	maxRecords = 500
	maxKey     = 256 // characters
)

func newWriter(ctx context.Context, c *Streams, name string, fail func(error)) (*writer, error) {
	w := &writer{c: c, name: name, fail: fail, salt: rand.Uint64(), busy: map[string]bool{}, taken: map[string]bool{}, last: map[string]string{}, sent: sent{to: map[string]acknowledged{}}, changed: make(chan struct{})}
	d, err := c.describe(ctx, name)
	if err != nil {
		return nil, err
	}
	if w.max, w.apart = d.maxRecord, d.scattered; !d.scattered {
		return w, w.refresh(ctx)
	}
	if !c.Write.Unordered || c.Write.Aggregate {
		c.log.Warn("the service distributes the stream's records over its shards whatever their keys (RecordDistributionStrategy AUTO): records of a key have no order there, and none are packed. "+
			"Write.Unordered is quicker and loses nothing", "stream", name)
	}
	return w, nil
}

func (w *writer) start(ctx context.Context, running *sync.WaitGroup) {
	for range w.c.Write.Calls {
		running.Go(func() { w.run(ctx) })
	}
}

// maxValue leaves room for what becomes of a key.
func (w *writer) maxValue() int { return w.max - maxKey }

func (w *writer) shards() int32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int32(max(len(w.shardMap), 1))
}

// refresh lists the shards, unless all of these are known.
func (w *writer) refresh(ctx context.Context, shards ...string) error {
	w.reload.Lock()
	defer w.reload.Unlock()
	w.mu.Lock()
	known := len(shards) > 0 && !slices.ContainsFunc(shards, func(id string) bool { return w.shardMap.find(id) == nil })
	w.mu.Unlock()
	if known {
		return nil
	}
	list, err := w.c.list(ctx, w.name)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shardMap, w.ranges = newShardMap(list, w.shardMap), map[string]kpl.Range{}
	for _, sh := range list {
		w.ranges[sh.Shard] = sh.Hashes
	}
	for id := range w.last {
		if w.shardMap.find(id) == nil {
			delete(w.last, id)
		}
	}
	for id := range w.sent.to {
		if w.shardMap.find(id) == nil {
			delete(w.sent.to, id)
		}
	}
	w.signal()
	return nil
}

func (w *writer) signal() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// write puts a record into the queue, and waits while that is full.
func (w *writer) write(ctx context.Context, r *sink.Record) error {
	e := &entry{since: time.Now()}
	e.Data = data(r)
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Key = w.partitionKey(r.Key)
	if r.Partition >= 0 && len(w.shardMap) > 0 {
		e.HashKey = w.shardMap[int(r.Partition)%len(w.shardMap)].owns.Start.String()
	}
	var err error
	if e.hash, err = kpl.HashOf(e.Record); err != nil {
		return fmt.Errorf("write to stream %s: %w", w.name, err)
	}
	if e.size() > w.max {
		return fmt.Errorf("write to stream %s: a record of %d bytes, its key included, is larger than the stream accepts (%d): %w", w.name, e.size(), w.max, connect.ErrStop)
	}
	for w.err == nil && w.waiting > 0 && w.bytes+e.size() > w.c.Write.MaxBuffered {
		if err := w.await(ctx); err != nil {
			return fmt.Errorf("write to stream %s: %w", w.name, err)
		}
	}
	if w.err != nil {
		return w.err
	}
	w.next++
	e.n = w.next
	w.queue = append(w.queue, e)
	w.waiting++
	w.bytes += e.size()
	if len(w.queue) == 1 || len(w.queue)%w.c.Write.most() == 0 {
		w.signal()
	}
	return nil
}

// await waits for a change. The writer is locked before and after.
func (w *writer) await(ctx context.Context) error {
	changed := w.changed
	w.mu.Unlock()
	defer w.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flush waits until everything is acknowledged that was written before it. There is one at a time.
func (w *writer) flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushing++
	defer func() { w.flushing-- }()
	w.mark, w.before = w.next, w.waiting
	w.signal()
	for w.before > 0 && w.err == nil {
		if err := w.await(ctx); err != nil {
			return err
		}
	}
	return w.err
}

// partitionKey is what becomes of a record's key.
func (w *writer) partitionKey(key []byte) string {
	switch n := utf8.RuneCount(key); {
	case len(key) == 0:
		return strconv.FormatUint(w.next*0x9e3779b97f4a7c15^w.salt, 36)
	case n <= maxKey && utf8.Valid(key):
		return string(key)
	case len(key) <= maxKey/2:
		return hex.EncodeToString(key)
	}
	sum := md5.Sum(key)
	return hex.EncodeToString(sum[:])
}

// run fills and sends requests until ctx ends or the stream cannot be written.
func (w *writer) run(ctx context.Context) {
	for ctx.Err() == nil {
		req, pause, changed := w.take()
		if req == nil {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-changed:
			case <-ctx.Done():
			}
			timer.Stop()
			continue
		}
		if err := w.send(ctx, req); err != nil && ctx.Err() == nil {
			err = fmt.Errorf("write to stream %s: %w", w.name, err)
			w.mu.Lock()
			w.err = err
			w.signal()
			w.mu.Unlock()
			w.fail(err)
			return
		}
	}
}

// take picks a request, or says how long there is nothing to be done unless something changes.
func (w *writer) take() (*request, time.Duration, chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if wait := w.paused.Sub(now); wait > 0 {
		return nil, wait, nil
	}
	if len(w.queue) == 0 || w.err != nil {
		return nil, time.Hour, w.changed
	}
	if age := now.Sub(w.queue[0].since); w.flushing == 0 && len(w.queue) < w.c.Write.most() && w.bytes < w.c.Write.RequestBytes && age < w.c.Write.Linger {
		return nil, w.c.Write.Linger - age, w.changed
	}
	req, wait := w.pick(now)
	return req, wait, w.changed
}

// settle takes a request's outcome: what was written, and what is to be written again.
func (w *writer) settle(written, again []*entry) {
	for _, e := range written {
		delete(w.busy, e.Key)
		w.waiting--
		if e.n <= w.mark {
			w.before--
		}
		w.bytes -= e.size()
	}
	for _, e := range again {
		delete(w.busy, e.Key)
	}
	if len(again) > 0 {
		w.queue = append(again, w.queue...)
		slices.SortFunc(w.queue, func(a, b *entry) int { return cmp.Compare(a.n, b.n) })
	}
	w.signal()
}
