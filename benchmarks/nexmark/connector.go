package main

import (
	"context"
	"encoding/binary"
	"errors"
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
	system    = "nexmark"
	eventName = "events"
	rowName   = "rows"
)

// events is the source. Its records hold the number of an event; reading one is making the event.
func events(g *generator) source.Source[Event] {
	return source.Source[Event]{Spec: source.Spec{System: system, Name: eventName, MaxAhead: -1, Range: source.Range{End: source.EndNow}}, Value: decoder{g}}
}

// rows is the sink.
func rows() sink.Sink[Row] {
	return sink.Sink[Row]{Spec: sink.Spec{System: system, Name: rowName}, Value: rowCodec{}}
}

// decoder makes the event whose number was read.
type decoder struct{ g *generator }

var _ codec.Codec[Event] = decoder{}

// endNumber stands for an event of endKind.
const endNumber = ^uint64(0)

func (d decoder) Decode(b []byte) (Event, error) {
	n := binary.BigEndian.Uint64(b)
	if n == endNumber {
		return Event{Kind: endKind, Time: endTime}, nil
	}
	return d.g.event(n), nil
}
func (decoder) Append(dst []byte, _ Event) ([]byte, error) {
	return dst, errors.New("events are made, not written")
}
func (decoder) Name() string { return "mnx1" }

// connector hands out the numbers of events, and counts the rows that come out.
//
// With P partitions, partition i has the events i, i+P, i+2P... There is no broker: the state store is what lasts, and
// the commit point of an epoch is its synced batch. What the engine writes to changelogs, from which other machines
// would restore, is dropped.
type connector struct {
	events     uint64
	partitions int
	every      uint64 // events of an epoch; 0: the epochs end by the clock alone

	rows, sum atomic.Uint64
	epochs    int
	// first and last are what was measured when the first events were handed out, and at the last commit.
	first, last measure.Reading
}

var _ connect.Connector = (*connector)(nil)

func (c *connector) System() string { return system }

func (c *connector) Check() []error { return nil }

func (c *connector) Open(_ context.Context, app connect.App) (connect.Session, error) {
	if app.Guarantee != connect.ExactlyOnce {
		return nil, fmt.Errorf("open %s: only exactly-once is measured: %w", system, connect.ErrStop)
	}
	s := &session{c: c, counts: map[string]int32{eventName: int32(c.partitions), rowName: 1}, changelogs: map[source.Partition]int64{}, committed: map[source.Partition]connect.Committed{},
		free: make(chan *block, c.partitions*blocksPerPartition), cut: make(chan struct{}, 1), begin: make(chan struct{})}
	for _, t := range app.Internal {
		if t.Purpose == connect.Changelog {
			s.counts[t.Name] = int32(c.partitions)
		}
	}
	return s, nil
}

// length is the number of a partition's records: its events, and the end.
func (c *connector) length(partition int32) uint64 {
	p := uint64(c.partitions)
	return (c.events+p-1-uint64(partition))/p + 1
}

const (
	blockRecords = 1024
	// blocksPerPartition are what a task has before it: one that it reads, and some so that it need not wait.
	blocksPerPartition = 4
)

// block is the memory of a batch. It is used again once the task has processed it.
type block struct {
	partition int32
	records   [blockRecords]source.Record
	numbers   [8 * blockRecords]byte
}

func newBlock(partition int32) *block {
	b := &block{partition: partition}
	for i := range b.records {
		b.records[i].Value = b.numbers[8*i : 8*i+8 : 8*i+8]
	}
	return b
}

// put makes record k of the block the one at a position, of an event.
func (b *block) put(k, at, event uint64) {
	binary.BigEndian.PutUint64(b.numbers[8*k:], event)
	b.records[k].Position = source.At(int64(at))
}

// session is the one that runs. It does not come again: a failure ends the program.
type session struct {
	c      *connector
	counts map[string]int32 // of topics
	free   chan *block
	cut    chan struct{} // an epoch has been cut
	begin  chan struct{} // every partition has been started

	mu         sync.Mutex
	started    int
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
	for i := range s.c.partitions {
		parts = append(parts, source.Partition{Stream: eventName, Index: int32(i)})
	}
	h.Assigned(ctx, parts)
	select {
	case <-s.begin:
	case <-ctx.Done():
		return nil
	}
	s.c.first = measure.Read()
	f := &feed{session: s, h: h, next: make([]uint64, s.c.partitions), quota: make([]uint64, s.c.partitions)}
	for i := range parts {
		for range blocksPerPartition {
			f.waiting = append(f.waiting, newBlock(int32(i)))
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
	for {
		for i := range f.quota {
			f.quota[i] = f.c.events
			if f.c.every > 0 {
				f.quota[i] = max(f.c.every/uint64(f.c.partitions), 1)
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
	events := min(last-min(from, last), f.quota[b.partition], blockRecords)
	n := events
	for k := range events {
		b.put(k, from+k, (from+k)*uint64(f.c.partitions)+uint64(b.partition))
	}
	if from+events == last && n < blockRecords {
		b.put(n, last, endNumber)
		n++
	}
	if n == 0 || from > last {
		f.waiting = append(f.waiting, b)
		return
	}
	f.next[b.partition] = from + n
	f.quota[b.partition] -= events
	f.out++
	f.h.Deliver(source.Batch{Partition: source.Partition{Stream: eventName, Index: b.partition}, Records: b.records[:n], Next: source.At(int64(from + n)),
		CaughtUp: from+n > last, End: source.At(int64(last + 1)), FetchedAt: time.Now(), Bytes: len(b.numbers), Release: func() { f.free <- b }})
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
		if s.started++; s.started == s.c.partitions {
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
		if r.Stream == rowName {
			rows, sum = rows+1, sum+binary.LittleEndian.Uint64(r.Value)
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
	return nil
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
