package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/fault"
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// epoch is what was produced since Begin.
type epoch struct {
	s             *session
	inTransaction bool // begun at the first record: an empty transaction could not be ended
	produced      bool
	flushed       bool

	mu      sync.Mutex
	acked   int
	pending int
	err     error // the first
	ends    map[source.Partition]source.Position
}

// promise hears of each record's end, from the client's goroutine.
func (e *epoch) promise(r *kgo.Record, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending--
	if err != nil {
		if e.err == nil {
			e.err = fmt.Errorf("kafka: write to %s/%d: %w", r.Topic, r.Partition, err)
		}
		return
	}
	e.acked++
	if e.s.changelog[r.Topic] {
		p := source.Partition{Stream: r.Topic, Index: r.Partition}
		if next := source.At(r.Offset + 1); e.ends[p].Compare(next) < 0 {
			e.ends[p] = next
		}
	}
}

// Begin opens an epoch. The transaction itself begins with the first record.
func (s *session) Begin() error {
	if s.epoch != nil {
		return errors.New("kafka: Begin before the last epoch was committed or aborted")
	}
	s.epoch = &epoch{s: s, ends: map[source.Partition]source.Position{}}
	return nil
}

// Produce hands records to the client.
func (s *session) Produce(ctx context.Context, recs []sink.Record) error {
	e := s.epoch
	if e == nil {
		return errors.New("kafka: Produce without Begin")
	}
	if len(recs) == 0 {
		return nil
	}
	e.mu.Lock()
	if s.Transactional() && !e.inTransaction && !plant.NoTransaction {
		if err := s.producer.BeginTransaction(); err != nil {
			e.mu.Unlock()
			return fmt.Errorf("%w: begin a transaction: %w", connect.ErrRetry, err)
		}
		e.inTransaction = true
	}
	e.produced, e.flushed = true, false
	e.pending += len(recs)
	e.mu.Unlock()
	out := make([]kgo.Record, len(recs)) // one allocation; the client keeps them until they are acknowledged
	cl, promise := s.writer(), e.promise
	for i := range recs {
		fill(&out[i], &recs[i])
		if plant.UncheckedProduce && rand.IntN(2000) == 0 { // a build that does not check needs something to miss
			promise(&out[i], errPlanted)
			continue
		}
		cl.Produce(ctx, &out[i], promise)
	}
	return ctx.Err()
}

// fill makes a record as the client takes it.
func fill(out *kgo.Record, r *sink.Record) {
	*out = kgo.Record{Topic: r.Stream, Partition: r.Partition, Key: r.Key, Value: r.Value, Timestamp: time.UnixMilli(r.Time)}
	if len(r.Headers) > 0 {
		hs := make([]kgo.RecordHeader, len(r.Headers))
		for j, h := range r.Headers {
			hs[j] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
		}
		out.Headers = hs
	}
}

var errPlanted = errors.New("a planted failure")

func (s *session) writer() *kgo.Client {
	if plant.NoTransaction {
		return s.outside
	}
	return s.producer
}

// Flush waits for all records of the epoch.
func (s *session) Flush(ctx context.Context) (map[source.Partition]source.Position, error) {
	e := s.epoch
	if e == nil {
		return nil, errors.New("kafka: Flush without Begin")
	}
	if err := s.writer().Flush(ctx); err != nil {
		return nil, fmt.Errorf("%w: wait for acknowledgements: %w", connect.ErrRetry, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pending > 0 {
		return nil, fmt.Errorf("%w: %d records are neither written nor refused", connect.ErrRetry, e.pending)
	}
	if e.err != nil && !plant.UncheckedProduce {
		return nil, classify(e.err)
	}
	e.flushed = true
	fault.At("after-flush")
	return e.ends, nil
}

// classify says of an error before the commit point what it means for the engine: fenced, or the epoch once more.
func classify(err error) error {
	if fencing(err) {
		return fmt.Errorf("%w: %w", connect.ErrFenced, err)
	}
	return fmt.Errorf("%w: %w", connect.ErrRetry, err)
}

// abortTimeout bounds the courtesy of ending a transaction that is to be given up.
const abortTimeout = 3 * time.Second

// Abort ends the open transaction, so that readers need not wait for its timeout.
func (s *session) Abort(ctx context.Context) {
	e := s.epoch
	s.epoch = nil
	if e == nil || !e.inTransaction {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if err := s.producer.AbortBufferedRecords(ctx); err != nil {
		s.log.Warn("records of an aborted epoch are still under way; the next start of this instance ends their transaction", "error", err)
		return
	}
	if err := s.producer.EndTransaction(ctx, kgo.TryAbort); err != nil {
		s.log.Warn("could not abort the transaction; the next start of this instance does, or the broker when its time is over", "error", err)
	}
}
