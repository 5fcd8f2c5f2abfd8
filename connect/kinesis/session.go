package kinesis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/fault"
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/slab"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// session is one opened connector.
type session struct {
	c     Streams
	app   connect.App
	log   *slog.Logger
	alone bool // the leases are those of the only instance
	specs map[string]connect.SourceSpec

	writers map[string]*writer
	// consumers are the ARNs of the consumers by which streams are pushed. It has none where they are polled.
	consumers map[string]string
	scattered map[string]bool // streams whose records are in any shard, whatever their keys
	out       connect.Outflow // in place of writers, where results go to another system; else nil
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	running   sync.WaitGroup
	counts    *counts

	h       connect.Handler
	batches chan source.Batch
	slabs   slab.List[source.Record] // of batches that were released
	failed  chan error
	look    chan struct{} // it is to be looked whether shards may be left

	finding sync.Mutex // one discovery at a time
	writing sync.Mutex // one checkpoint at a time

	mu       sync.Mutex
	member   Membership
	shards   map[ShardID]Shard // that the streams have now
	opened   map[ShardID]bool  // those of them that there were when the application was new
	passed   map[ShardID]bool  // forgotten by their streams before they were read, where that means to go on at the end
	owned    map[source.Partition]*owned
	pending  map[source.Partition]source.Position // committed, and not in the leases yet
	wrote    time.Time                            // when pending was last written
	aborted  bool
	closed   bool
	reserved int64         // bytes that readers are asking for
	changed  chan struct{} // closed and made anew when a reader that waits is to look again
}

// owned is a shard that this instance reads.
type owned struct {
	id      ShardID
	term    uint64
	at      *source.Position // the lease's checkpoint
	started bool
	ended   bool // its end is committed
	paused  bool
	reader  *reader
	// unwritten is since when the engine has committed more than the lease says; zero: the lease says all.
	unwritten time.Time
}

var _ connect.Sharded = (*session)(nil)

var errClosed = errors.New("the session is closed")

func open(ctx context.Context, c Streams, app connect.App) (*session, error) {
	n := newCounts(app.Sources)
	c.Observe = n.observing(c.Observe)
	s := &session{c: c, counts: n, app: app, log: app.Logger, specs: map[string]connect.SourceSpec{}, writers: map[string]*writer{}, consumers: map[string]string{}, scattered: map[string]bool{}, batches: make(chan source.Batch), failed: make(chan error, 1),
		look: make(chan struct{}, 1), shards: map[ShardID]Shard{}, opened: map[ShardID]bool{}, passed: map[ShardID]bool{}, owned: map[source.Partition]*owned{}, pending: map[source.Partition]source.Position{}, changed: make(chan struct{})}
	s.slabs.Room = int(app.FetchBytes / 3)
	_, s.alone = c.Leases.(interface{ only() })
	if err := s.possible(); err != nil {
		return nil, err
	}
	for _, src := range app.Sources {
		s.specs[src.Name] = src
		d, err := c.describe(ctx, src.Name)
		if err != nil {
			return nil, err
		}
		if s.scattered[src.Name] = d.scattered; d.scattered {
			s.log.Warn("the service distributes the stream's records over its shards whatever their keys (RecordDistributionStrategy AUTO): records of a key have no order", "stream", src.Name)
		}
		if c.FanOut != "" {
			if s.consumers[src.Name], err = c.consumer(ctx, src.Name, d.arn); err != nil {
				return nil, err
			}
		}
		list, err := c.list(ctx, src.Name)
		if err != nil {
			return nil, err
		}
		for _, sh := range list {
			s.shards[sh.ShardID] = sh
		}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if c.outlet != nil {
		var err error
		if s.out, err = c.outlet.OpenOutlet(ctx, app); err != nil {
			s.Close(ctx)
			return nil, err
		}
		return s, nil
	}
	for _, name := range app.Sinks {
		if s.writers[name] != nil {
			continue
		}
		w, err := newWriter(ctx, &s.c, name, s.fail)
		if err != nil {
			s.Close(ctx)
			return nil, err
		}
		s.writers[name] = w
	}
	for _, w := range s.writers {
		w.start(s.ctx, &s.running)
	}
	return s, nil
}

// possible says what was asked for and is not built.
func (s *session) possible() error {
	for _, src := range s.app.Sources {
		if src.Range.End != source.Never {
			return fmt.Errorf("stream %s is to be read to an end, and Kinesis sources have none: leave EndAtNow and EndAtTime out: %w", src.Name, connect.ErrStop)
		}
		if src.Range.Start == source.StartTime && src.Range.From.After(time.Now()) {
			return fmt.Errorf("stream %s is to be read from %v, which lies in the future: %w", src.Name, src.Range.From, connect.ErrStop)
		}
	}
	if len(s.app.Global) > 0 {
		return fmt.Errorf("global tables cannot be on Kinesis: %w", connect.ErrStop)
	}
	if s.c.outlet != nil {
		return s.feeds()
	}
	if s.alone {
		return nil
	}
	if s.app.OwnAll {
		return fmt.Errorf("the Exchange is InMemory, so one instance has to read all shards, but the leases are shared among instances: use the default, InProcess: %w", connect.ErrStop)
	}
	for _, t := range s.app.Internal {
		if t.Purpose == connect.Changelog {
			return fmt.Errorf("the topology keeps state, which would not move with a shard to another instance: shared leases are for topologies without state, so use the default, InProcess: %w", connect.ErrStop)
		}
	}
	return nil
}

// fail ends the session with its first error.
func (s *session) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

func (s *session) Tasks() int32 { return s.c.Tasks }

// Partitions is, for a source, one more than the highest number of a shard: not all below it exist.
func (s *session) Partitions() map[string]int32 {
	counts := map[string]int32{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.shards {
		counts[id.Stream] = max(counts[id.Stream], id.partition().Index+1)
	}
	for p := range s.owned {
		counts[p.Stream] = max(counts[p.Stream], p.Index+1)
	}
	for name, w := range s.writers {
		if counts[name] == 0 {
			counts[name] = w.shards()
		}
	}
	if s.out != nil {
		maps.Copy(counts, s.out.Partitions())
	}
	for _, t := range s.app.Internal {
		if counts[t.Name] = t.Partitions; t.Partitions == 0 {
			counts[t.Name] = s.c.Tasks
		}
	}
	return counts
}

func (s *session) Parents(part source.Partition) (list []source.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, sh := range s.shards {
		if id.partition() == part {
			for _, p := range sh.Parents {
				list = append(list, ShardID{id.Stream, p}.partition())
			}
		}
	}
	return list
}

func (s *session) Limits(stream string) connect.Limits {
	if s.out != nil {
		return s.out.Limits(stream)
	}
	w := s.writers[stream]
	if w == nil {
		return connect.Limits{}
	}
	return connect.Limits{MaxBytes: w.maxValue()}
}

func (s *session) Committed(ctx context.Context, parts []source.Partition) (map[source.Partition]connect.Committed, error) {
	found, err := s.take(ctx, parts)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range parts {
		if _, ok := found[p]; ok {
			continue
		}
		if o := s.owned[p]; o != nil && o.at != nil {
			found[p] = connect.Committed{Position: *o.at}
		}
	}
	return found, nil
}

// ReadChangelog is never called: there are none.
func (s *session) ReadChangelog(_ context.Context, part source.Partition, from source.Position, _ func([]source.Record) error) (source.Position, error) {
	return from, fmt.Errorf("read changelog %v: Kinesis has no changelogs", part)
}

// Transactional says whether results go to a system with transactions.
func (s *session) Transactional() bool { return s.out != nil }
func (s *session) Begin() error        { return nil }

func (s *session) Produce(ctx context.Context, recs []sink.Record) error {
	if s.out != nil && len(recs) > 0 {
		return fmt.Errorf("write to %s: %w", recs[0].Stream, errWhose)
	}
	for i := range recs {
		w := s.writers[recs[i].Stream]
		if w == nil {
			return fmt.Errorf("record for stream %q, which the topology does not write", recs[i].Stream)
		}
		if err := w.write(ctx, &recs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) Flush(ctx context.Context) (map[source.Partition]source.Position, error) {
	if plant.CheckpointFirst {
		return nil, nil
	}
	if s.out != nil {
		return nil, s.out.Flush(ctx)
	}
	for name, w := range s.writers {
		if err := w.flush(ctx); err != nil {
			return nil, fmt.Errorf("write to stream %s: %w", name, err)
		}
	}
	return nil, nil
}

// checkpointEvery is how often positions go to leases that cost something to write. The store has them already.
const checkpointEvery = 5 * time.Second

// Commit comes after the store's batch: it tells the leases. Where results go to an outlet, its transactions are the commit
// point, and come first.
func (s *session) Commit(ctx context.Context, at []connect.PositionCommit) error {
	if err := s.commit(ctx, at); err != nil {
		return err
	}
	s.mu.Lock()
	due := s.alone || time.Since(s.wrote) >= s.c.checkpointEvery
	for _, c := range at {
		o := s.owned[c.Partition]
		if o == nil {
			continue
		}
		s.pending[c.Partition] = c.Next
		if o.unwritten.IsZero() {
			o.unwritten = time.Now()
		}
		due = due || c.Next == connect.Ended
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	return s.checkpoint(ctx)
}

// checkpoint writes the positions that are pending to the leases.
func (s *session) checkpoint(ctx context.Context) error {
	s.writing.Lock() // so that none is overtaken by one that is older
	defer s.writing.Unlock()
	s.mu.Lock()
	if s.member == nil {
		s.mu.Unlock()
		return nil
	}
	var list []Checkpoint
	for part, next := range s.pending {
		if o := s.owned[part]; o != nil {
			list = append(list, Checkpoint{o.id, next, o.term})
		}
	}
	clear(s.pending)
	begun := time.Now()
	s.wrote = begun
	member := s.member
	s.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	fault.At("before-checkpoint")
	if err := member.Checkpoint(ctx, list); err != nil {
		if errors.Is(err, ErrLeaseLost) {
			return fmt.Errorf("write the checkpoints of shards: %w: %w", connect.ErrFenced, err)
		}
		return fmt.Errorf("write the checkpoints of shards: %w", err)
	}
	fault.At("after-checkpoint")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range list {
		o := s.owned[c.partition()]
		if o == nil {
			continue
		}
		o.unwritten = time.Time{}
		if _, more := s.pending[c.partition()]; more { // committed meanwhile
			o.unwritten = begun
		}
		if c.Next == connect.Ended {
			o.ended = true
			s.lookAgain()
		}
	}
	return nil
}

func (s *session) lookAgain() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// Abort drops the open epoch as far as that can be done: what was sent stays.
func (s *session) Abort(ctx context.Context) {
	s.mu.Lock()
	s.aborted = true
	s.mu.Unlock()
	s.cancel()
	if s.out != nil {
		s.out.Abort(ctx)
	}
}

func (s *session) Purge(context.Context, map[source.Partition]source.Position) error { return nil }

func (s *session) Leave(ctx context.Context) error { return s.part(ctx) }

// part writes the last checkpoints and gives the leases back.
func (s *session) part(ctx context.Context) error {
	s.mu.Lock()
	member, aborted := s.member, s.aborted
	s.member = nil
	s.mu.Unlock()
	if member == nil {
		return nil
	}
	var err error
	if !aborted {
		s.mu.Lock()
		s.member = member
		s.mu.Unlock()
		err = s.checkpoint(ctx)
		s.mu.Lock()
		s.member = nil
		s.mu.Unlock()
	}
	return errors.Join(err, member.Close(ctx))
}

func (s *session) Close(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	if err := s.part(ctx); err != nil {
		s.log.Warn("give the leases of shards back; others take them when they expire", "err", err)
	}
	s.cancel()
	s.running.Wait()
	if s.out != nil {
		s.out.Close(ctx)
	}
}
