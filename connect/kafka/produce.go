package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/fault"
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// epoch is what was produced since Begin, guarded by the session's writing. Without transactions it ends at Flush already:
// what is handed over later is the next Flush's, so that one that goes on while others write comes to its end.
type epoch struct {
	s             *session
	inTransaction bool // begun at the first record: an empty transaction could not be ended
	produced      bool
	flushed       bool

	acked   int
	pending int
	settled chan struct{} // of a Flush that waits without transactions: closed when nothing is pending
	err     error         // the first
	ends    map[source.Partition]source.Position

	topic     string // of the record that came to its end last
	changelog bool   // it is one
}

// handed are records that were handed to the client together, in memory that is used again once the last of them has come
// to its end: the client does not look at a record after that.
type handed struct {
	e       *epoch
	left    int // that have not come to their ends, guarded by the session's writing
	records []kgo.Record
	headers []kgo.RecordHeader
}

// handedAtOnce is how many records are handed over together, at most.
const handedAtOnce = 256

// hand returns n records to be filled in and produced with the promise of what they are part of.
func (s *session) hand(e *epoch, n int) *handed {
	s.writing.Lock()
	defer s.writing.Unlock()
	h := &handed{}
	if last := len(s.handed) - 1; last >= 0 {
		h, s.handed = s.handed[last], s.handed[:last]
	}
	h.e, h.left = e, n
	h.records, h.headers = slices.Grow(h.records[:0], n)[:n], h.headers[:0]
	return h
}

// handedKept is how many are kept for later: a quarter of what the client may hold of records in all.
func (s *session) handedKept() int {
	return int(s.app.FetchBytes) / 4 / (handedAtOnce * int(unsafe.Sizeof(kgo.Record{})))
}

// promise hears of each record's end, from the client's goroutine.
func (h *handed) promise(r *kgo.Record, err error) {
	s := h.e.s
	s.writing.Lock()
	defer s.writing.Unlock()
	h.e.promise(r, err)
	if h.left--; h.left > 0 {
		return
	}
	h.e = nil
	clear(h.records)
	clear(h.headers)
	if len(s.handed) < s.handedKept() {
		s.handed = append(s.handed, h)
	}
}

// promise books a record's end. The session's writing is locked.
func (e *epoch) promise(r *kgo.Record, err error) {
	if e.pending--; e.pending == 0 && e.settled != nil {
		close(e.settled)
		e.settled = nil
	}
	if err != nil {
		if e.err == nil {
			e.err = fmt.Errorf("kafka: write to %s/%d: %w", r.Topic, r.Partition, err)
		}
		return
	}
	e.acked++
	if r.Topic != e.topic {
		e.topic, e.changelog = r.Topic, e.s.changelog[r.Topic]
	}
	if e.changelog {
		p := source.Partition{Stream: r.Topic, Index: r.Partition}
		if next := source.At(r.Offset + 1); e.ends[p].Compare(next) < 0 {
			e.ends[p] = next
		}
	}
}

// Begin opens an epoch. The transaction itself begins with the first record.
func (s *session) Begin() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.begun {
		return errors.New("kafka: Begin before the last epoch was committed or aborted")
	}
	s.begun = true
	if s.epoch == nil {
		s.epoch = s.newEpoch()
	}
	return nil
}

func (s *session) newEpoch() *epoch {
	return &epoch{s: s, ends: map[source.Partition]source.Position{}}
}

// Produce hands records to the client.
func (s *session) Produce(ctx context.Context, recs []sink.Record) error {
	e, err := s.expect(len(recs))
	if err != nil || len(recs) == 0 {
		return err
	}
	cl := s.writer()
	for some := range slices.Chunk(recs, handedAtOnce) {
		h := s.hand(e, len(some))
		out, promise := h.records, h.promise
		for i := range some {
			h.headers = fill(&out[i], &some[i], h.headers)
			if plant.UncheckedProduce && rand.IntN(2000) == 0 { // a build that does not check needs something to miss
				promise(&out[i], errPlanted)
				continue
			}
			cl.Produce(ctx, &out[i], promise)
		}
	}
	return ctx.Err()
}

// expect counts records that are about to be written, and returns their epoch.
func (s *session) expect(n int) (*epoch, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.epoch == nil {
		if s.Transactional() {
			return nil, errors.New("kafka: Produce without Begin")
		}
		s.epoch = s.newEpoch()
	}
	e := s.epoch
	if n == 0 {
		return e, nil
	}
	if s.Transactional() && !e.inTransaction && !plant.NoTransaction {
		if err := s.producer.BeginTransaction(); err != nil {
			return nil, fmt.Errorf("%w: begin a transaction: %w", connect.ErrRetry, err)
		}
		e.inTransaction = true
	}
	e.produced, e.flushed = true, false
	e.pending += n
	return e, nil
}

// fill makes a record as the client takes it. Its headers go to the end of a list, which is returned.
func fill(out *kgo.Record, r *sink.Record, headers []kgo.RecordHeader) []kgo.RecordHeader {
	*out = kgo.Record{Topic: r.Stream, Partition: r.Partition, Key: r.Key, Value: r.Value, Timestamp: time.UnixMilli(r.Time)}
	if len(r.Headers) > 0 {
		from := len(headers) // where the list grows, records before this one keep the old one
		for _, h := range r.Headers {
			headers = append(headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		out.Headers = headers[from:len(headers):len(headers)]
	}
	return headers
}

var errPlanted = errors.New("a planted failure")

func (s *session) writer() *kgo.Client {
	if plant.NoTransaction {
		return s.outside
	}
	return s.producer
}

// Flush waits for all records that were handed over before it.
func (s *session) Flush(ctx context.Context) (map[source.Partition]source.Position, error) {
	e, err := s.settle(ctx)
	if err != nil {
		return nil, err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
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

// settle waits until all records of an epoch are written or refused.
func (s *session) settle(ctx context.Context) (*epoch, error) {
	s.writing.Lock()
	e := s.epoch
	if e == nil || !s.begun {
		s.writing.Unlock()
		return nil, errors.New("kafka: Flush without Begin")
	}
	if s.Transactional() {
		s.writing.Unlock()
		if err := s.writer().Flush(ctx); err != nil {
			return nil, fmt.Errorf("%w: wait for acknowledgements: %w", connect.ErrRetry, err)
		}
		return e, nil
	}
	// The client's Flush would wait for what others go on writing as well, without end.
	s.epoch = s.newEpoch()
	settled := make(chan struct{})
	if e.pending == 0 {
		close(settled)
	} else {
		e.settled = settled
	}
	s.writing.Unlock()
	select {
	case <-settled:
		return e, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: wait for acknowledgements: %w", connect.ErrRetry, ctx.Err())
	}
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
	s.writing.Lock()
	e := s.epoch
	s.epoch, s.begun = nil, false
	s.writing.Unlock()
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
