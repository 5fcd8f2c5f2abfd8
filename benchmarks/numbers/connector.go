// Package numbers is a connector within the process, for measurements without a broker: its source hands out the numbers
// of events, from which an application makes them, and its sink counts rows.
package numbers

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millstream-go/millstream/benchmarks/measure"
	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// The names in the topologies.
const (
	system = "numbers"
	input  = "events"
	output = "rows"
)

// End is the number of the record that comes last in each partition, behind all events.
const End = ^uint64(0)

// Source reads the numbers of events, eight bytes, big endian, as the codec says.
func Source[V any](c codec.Codec[V]) source.Source[V] {
	return source.Source[V]{Spec: spec(), Value: c}
}

// KeyedSource reads what Connector.Key gives as the key, in the same way.
func KeyedSource[K comparable, V any](key codec.Codec[K], value codec.Codec[V]) source.KeyedSource[K, V] {
	return source.KeyedSource[K, V]{Spec: spec(), Key: key, Value: value}
}

func spec() source.Spec {
	return source.Spec{System: system, Name: input, MaxAhead: -1, Range: source.Range{End: source.EndNow}}
}

// Sink counts rows, and adds them up. The codec writes eight bytes, big endian.
func Sink[V any](c codec.Codec[V]) sink.Sink[V] {
	return sink.Sink[V]{Spec: sink.Spec{System: system, Name: output}, Value: c}
}

// Connector hands out the numbers of events, and counts the rows that come out.
//
// With P partitions, partition i has the events i, i+P, i+2P... There is no broker: the state store is what lasts, and
// the commit point of an epoch is its synced batch. What the engine writes to changelogs, from which other machines
// would restore, is dropped.
type Connector struct {
	Events     uint64
	Partitions int
	Key        func(event uint64) uint64 // nil: records without keys
	Every      uint64                    // events of an epoch; 0: the epochs end by the clock alone
	// Before is how many events come first, and are committed before what is measured begins: a multiple of Partitions.
	Before uint64

	rows, sum atomic.Uint64
	epochs    int
	// first and last are what was measured when the first events were handed out, and at the last commit.
	first, last measure.Reading
}

// Rows are how many came out, and their sum.
func (c *Connector) Rows() (count, sum uint64) { return c.rows.Load(), c.sum.Load() }

// Measured is what it took from the first events (that are not Before) to the commit of the last one. It is there when the
// application has ended.
func (c *Connector) Measured() (wall, cpu time.Duration, epochs int) {
	return c.last.Wall.Sub(c.first.Wall), c.last.CPU - c.first.CPU, c.epochs
}

var _ connect.Connector = (*Connector)(nil)

func (c *Connector) System() string { return system }

func (c *Connector) Check() []error { return nil }

func (c *Connector) Open(_ context.Context, app connect.App) (connect.Session, error) {
	if app.Guarantee != connect.ExactlyOnce {
		return nil, fmt.Errorf("open %s: only exactly-once is measured: %w", system, connect.ErrStop)
	}
	s := &session{c: c, counts: map[string]int32{input: int32(c.Partitions), output: 1}, changelogs: map[source.Partition]int64{}, committed: map[source.Partition]connect.Committed{},
		free: make(chan *block, c.Partitions*blocksPerPartition), cut: make(chan struct{}, 1), filled: make(chan struct{}), begin: make(chan struct{})}
	for _, t := range app.Internal {
		if t.Purpose == connect.Changelog {
			s.counts[t.Name] = int32(c.Partitions)
		}
	}
	return s, nil
}

// length is the number of a partition's records: its events, and the end.
func (c *Connector) length(partition int32) uint64 {
	p := uint64(c.Partitions)
	return (c.Events+p-1-uint64(partition))/p + 1
}

const (
	// mostRecords and allRecords are those of a block and of all blocks: with many partitions each has small ones, as
	// answers of a broker are.
	mostRecords, allRecords = 1024, 1 << 18
	// blocksPerPartition are what a task has before it: one that it reads, and some so that it need not wait.
	blocksPerPartition = 4
)

func blockRecords(partitions int) uint64 {
	return uint64(min(mostRecords, max(allRecords/blocksPerPartition/partitions, 1)))
}

// block is the memory of a batch. It is used again once the task has processed it.
type block struct {
	partition int32
	records   []source.Record
	numbers   []byte
}

// newBlock makes a block whose records have their values, and with keys those too, in one piece of memory.
func newBlock(partition int32, records uint64, keys bool) *block {
	b := &block{partition: partition, records: make([]source.Record, records), numbers: make([]byte, 16*records)}
	for i := range b.records {
		b.records[i].Value = b.numbers[16*i : 16*i+8 : 16*i+8]
		if keys {
			b.records[i].Key = b.numbers[16*i+8 : 16*i+16 : 16*i+16]
		}
	}
	return b
}

// put makes record k of the block the one at a position, of an event.
func (b *block) put(k, at, event uint64, key func(event uint64) uint64) {
	r := &b.records[k]
	binary.BigEndian.PutUint64(r.Value, event)
	if key != nil && event != End {
		binary.BigEndian.PutUint64(r.Key, key(event))
	}
	r.Position = source.At(int64(at))
}

// session is the one that runs. It does not come again: a failure ends the program.
type session struct {
	c      *Connector
	counts map[string]int32 // of topics
	free   chan *block
	cut    chan struct{} // an epoch has been cut
	filled chan struct{} // Connector.Before is committed
	begin  chan struct{} // every partition has been started

	mu         sync.Mutex
	started    int
	full       bool                       // filled is closed
	changelogs map[source.Partition]int64 // records written
	committed  map[source.Partition]connect.Committed
}

func (s *session) Partitions() map[string]int32 {
	counts := map[string]int32{}
	for name, n := range s.counts {
		counts[name] = n
	}
	return counts
}

func (s *session) Limits(string) connect.Limits { return connect.Limits{} }

// Run hands out events, block by block, to whichever partition has processed one.
func (s *session) Run(ctx context.Context, h connect.Handler) error {
	var parts []source.Partition
	for i := range s.c.Partitions {
		parts = append(parts, source.Partition{Stream: input, Index: int32(i)})
	}
	h.Assigned(ctx, parts)
	select {
	case <-s.begin:
	case <-ctx.Done():
		return nil
	}
	s.c.first = measure.Read()
	f := &feed{session: s, h: h, next: make([]uint64, s.c.Partitions), quota: make([]uint64, s.c.Partitions)}
	for i := range parts {
		for range blocksPerPartition {
			f.waiting = append(f.waiting, newBlock(int32(i), blockRecords(s.c.Partitions), s.c.Key != nil))
		}
	}
	return f.run(ctx)
}

// feed is the progress of Run.
type feed struct {
	*session
	h       connect.Handler
	next    []uint64 // by partition, the next record
	quota   []uint64 // by partition, the events that it may still have in this epoch
	out     int      // blocks that are being processed
	waiting []*block // that have nothing to bring in this epoch
}

func (f *feed) run(ctx context.Context) error {
	for before := f.c.Before; ; before = 0 {
		for i := range f.quota {
			f.quota[i] = f.c.Events
			if n := cmp.Or(before, f.c.Every); n > 0 {
				f.quota[i] = max(n/uint64(f.c.Partitions), 1)
			}
		}
		blocks := f.waiting
		f.waiting = nil
		for _, b := range blocks {
			f.give(b)
		}
		for f.out > 0 {
			select {
			case b := <-f.free:
				f.out--
				f.give(b)
			case <-f.cut: // by the clock
			case <-ctx.Done():
				return nil
			}
		}
		// All of the epoch is processed: end it. The next one begins with the cut, while this one is being committed.
		f.h.(connect.EpochEnder).EndEpoch()
		select {
		case <-f.cut:
		case <-ctx.Done():
			return nil
		}
		if before > 0 {
			select {
			case <-f.filled:
			case <-ctx.Done():
				return nil
			}
			f.c.first = measure.Read()
		}
		if f.done() {
			<-ctx.Done()
			return nil
		}
	}
}

// done says that everything was handed out.
func (f *feed) done() bool {
	for i, n := range f.next {
		if n < f.c.length(int32(i)) {
			return false
		}
	}
	return true
}

// give fills a block and delivers it, if its partition has something left in this epoch.
func (f *feed) give(b *block) {
	from, last := f.next[b.partition], f.c.length(b.partition)-1
	events := min(last-min(from, last), f.quota[b.partition], uint64(len(b.records)))
	n := events
	for k := range events {
		b.put(k, from+k, (from+k)*uint64(f.c.Partitions)+uint64(b.partition), f.c.Key)
	}
	if from+events == last && n < uint64(len(b.records)) {
		b.put(n, last, End, nil)
		n++
	}
	if n == 0 || from > last {
		f.waiting = append(f.waiting, b)
		return
	}
	f.next[b.partition] = from + n
	f.quota[b.partition] -= events
	f.out++
	f.h.Deliver(source.Batch{Partition: source.Partition{Stream: input, Index: b.partition}, Records: b.records[:n], Next: source.At(int64(from + n)),
		CaughtUp: from+n > last, End: source.At(int64(last + 1)), FetchedAt: time.Now(), Bytes: 8 * len(b.records), Release: func() { f.free <- b }})
}

func (s *session) Committed(_ context.Context, parts []source.Partition) (map[source.Partition]connect.Committed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[source.Partition]connect.Committed{}
	for _, p := range parts {
		if c, ok := s.committed[p]; ok {
			found[p] = c
		}
	}
	return found, nil
}

// ReadChangelog has nothing to read: the program begins on an empty state directory.
func (s *session) ReadChangelog(_ context.Context, _ source.Partition, from source.Position, _ func([]source.Record) error) (source.Position, error) {
	return from, nil
}

func (s *session) Start(_ context.Context, at map[source.Partition]*source.Position) ([]source.Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for part := range at {
		first := source.At(0)
		at[part] = &first
		if s.started++; s.started == s.c.Partitions {
			close(s.begin)
		}
	}
	return nil, nil
}

// Pause, Resume and Wake are not needed: the blocks are few.
func (s *session) Pause([]source.Partition)  {}
func (s *session) Resume([]source.Partition) {}
func (s *session) Wake()                     {}

func (s *session) Begin() error { return nil }

func (s *session) Produce(_ context.Context, recs []sink.Record) error {
	var rows, sum uint64
	for i := range recs {
		r := &recs[i]
		if r.Stream == output {
			rows, sum = rows+1, sum+binary.BigEndian.Uint64(r.Value)
			continue
		}
		s.mu.Lock()
		s.changelogs[source.Partition{Stream: r.Stream, Index: r.Partition}]++
		s.mu.Unlock()
	}
	s.c.rows.Add(rows)
	s.c.sum.Add(sum)
	return nil
}

// Flush is called when the tasks have been cut: what they read from now on belongs to the next epoch.
func (s *session) Flush(context.Context) (map[source.Partition]source.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ends := map[source.Partition]source.Position{}
	for part, n := range s.changelogs {
		ends[part] = source.At(n)
	}
	select {
	case s.cut <- struct{}{}:
	default:
	}
	return ends, nil
}

// Commit comes after the store's synced batch, which is the commit point.
func (s *session) Commit(_ context.Context, at []connect.PositionCommit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range at {
		s.committed[p.Partition] = connect.Committed{Position: p.Next, Metadata: p.Metadata}
	}
	s.c.epochs++
	s.c.last = measure.Read()
	if s.committedEvents() >= s.c.Before && !s.full {
		s.full = true
		close(s.filled)
	}
	return nil
}

func (s *session) committedEvents() (n uint64) {
	for _, at := range s.committed {
		n += uint64(at.Position.Offset())
	}
	return n
}

func (s *session) Transactional() bool { return false }

func (s *session) Ends(_ context.Context, parts []source.Partition) (map[source.Partition]source.Position, error) {
	ends := map[source.Partition]source.Position{}
	for _, p := range parts {
		ends[p] = source.At(int64(s.c.length(p.Index)))
	}
	return ends, nil
}

func (s *session) Purge(context.Context, map[source.Partition]source.Position) error { return nil }
func (s *session) Abort(context.Context)                                             {}
func (s *session) Leave(context.Context) error                                       { return nil }
func (s *session) Close(context.Context)                                             {}
