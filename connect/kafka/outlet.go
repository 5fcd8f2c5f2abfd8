package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/fault"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// Writing what was read elsewhere. There is no consumer group whose generation could keep a former owner of a partition
// out, so each partition of the other system has a transactional id of its own (KIP-98): whoever takes the partition asks
// for a producer id under it, which shuts out the former owner and ends what that has left open. Only then are positions
// read. They are records of a compacted topic, one key for each partition, written in the transactions of the results.

// positionsOf is the number of partitions of the topic of positions.
const positionsOf = 8

func positionsTopic(app string) string { return app + "-positions" }

// outflow is an open outlet. The session that it stands on takes part in no group, and has no producer.
type outflow struct {
	s *session

	mu      sync.Mutex
	writers map[source.Partition]*writer
}

// writer writes for one partition of the other system.
type writer struct {
	part source.Partition
	id   string // transactional
	cl   *kgo.Client

	mu      sync.Mutex
	begun   bool
	pending int
	err     error // the first
}

var _ connect.Outlet = Cluster{}

// OpenOutlet implements connect.Outlet: it is Open for an application that only writes here.
func (c Cluster) OpenOutlet(ctx context.Context, app connect.App) (connect.Outflow, error) {
	if errs := c.Check(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	app.Sources, app.Groups, app.Global = nil, nil, nil
	app.Internal = []connect.InternalTopic{{Name: positionsTopic(app.ID), Purpose: connect.Positions, Partitions: positionsOf}}
	if err := complete(&app); err != nil {
		return nil, err
	}
	s := newSession(c, app)
	if err := s.prepare(ctx); err != nil {
		s.Close(context.WithoutCancel(ctx))
		if perm := acl(err, app); perm != nil {
			return nil, perm
		}
		return nil, err
	}
	return &outflow{s: s, writers: map[source.Partition]*writer{}}, nil
}

func (o *outflow) Partitions() map[string]int32        { return o.s.Partitions() }
func (o *outflow) Limits(stream string) connect.Limits { return o.s.Limits(stream) }

// Take implements connect.Outflow.
func (o *outflow) Take(ctx context.Context, parts []source.Partition) (map[source.Partition]connect.Committed, error) {
	ids := map[int32][]source.Partition{}
	for _, part := range parts {
		if err := o.open(ctx, part); err != nil {
			if perm := acl(err, o.s.app); perm != nil {
				return nil, perm
			}
			return nil, fmt.Errorf("kafka: take over %v: %w", part, err)
		}
		ids[part.Index%positionsOf] = append(ids[part.Index%positionsOf], part)
	}
	found := map[source.Partition]connect.Committed{}
	for i, parts := range ids {
		want := map[string]source.Partition{}
		for _, p := range parts {
			want[p.String()] = p
		}
		_, err := o.s.ReadChangelog(ctx, source.Partition{Stream: positionsTopic(o.s.app.ID), Index: i}, source.Position{}, func(recs []source.Record) error {
			for _, r := range recs {
				part, ok := want[string(r.Key)]
				if !ok {
					continue
				}
				c, err := decodeCommitted(string(r.Value))
				if err != nil {
					return fmt.Errorf("position of %v in topic %s: %w", part, positionsTopic(o.s.app.ID), err)
				}
				found[part] = c
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("kafka: read what was committed of %v: %w", parts, err)
		}
	}
	return found, nil
}

// open makes a partition's writer, and shuts out the one before it.
func (o *outflow) open(ctx context.Context, part source.Partition) error {
	w := &writer{part: part, id: o.s.app.ID + "-" + part.String()}
	cl, err := kgo.NewClient(append(append(o.s.commonOptions(), o.s.writeOptions()...), kgo.TransactionalID(w.id), kgo.TransactionTimeout(transactionTimeout(o.s.app)),
		kgo.ConcurrentTransactionsBackoff(2*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("configure the writing client: %w", err)
	}
	w.cl = cl
	if err := o.s.patiently(ctx, "take over a transactional id", func(ctx context.Context) error {
		_, _, err := cl.ProducerID(ctx)
		return err
	}); err != nil {
		cl.Close()
		return fmt.Errorf("transactional id %q: %w", w.id, err)
	}
	o.mu.Lock()
	before := o.writers[part]
	o.writers[part] = w
	o.mu.Unlock()
	if before != nil {
		before.cl.Close()
	}
	return nil
}

// Drop implements connect.Outflow.
func (o *outflow) Drop(_ context.Context, parts []source.Partition) {
	for _, part := range parts {
		o.mu.Lock()
		w := o.writers[part]
		delete(o.writers, part)
		o.mu.Unlock()
		if w != nil {
			w.cl.Close()
		}
	}
}

func (o *outflow) writer(part source.Partition) (*writer, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.writers[part]
	if w == nil {
		return nil, fmt.Errorf("%w: kafka: nothing can be written for %v, which is not this instance's", connect.ErrFenced, part)
	}
	return w, nil
}

func (o *outflow) all() (list []*writer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.writers {
		list = append(list, w)
	}
	return list
}

// Write implements connect.Outflow.
func (o *outflow) Write(ctx context.Context, from source.Partition, recs []sink.Record) error {
	w, err := o.writer(from)
	if err != nil {
		return err
	}
	return w.write(ctx, recs)
}

func (w *writer) write(ctx context.Context, recs []sink.Record) error {
	w.mu.Lock()
	if !w.begun {
		if err := w.cl.BeginTransaction(); err != nil {
			w.mu.Unlock()
			return fmt.Errorf("%w: begin a transaction of %q: %w", connect.ErrRetry, w.id, err)
		}
		w.begun = true
	}
	w.pending += len(recs)
	w.mu.Unlock()
	out := make([]kgo.Record, len(recs)) // one allocation; the client keeps them until they are acknowledged
	var headers []kgo.RecordHeader
	for i := range recs {
		headers = fill(&out[i], &recs[i], headers)
		w.cl.Produce(ctx, &out[i], w.promise)
	}
	return ctx.Err()
}

// promise hears of each record's end, from the client's goroutine.
func (w *writer) promise(r *kgo.Record, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending--
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("kafka: write to %s/%d what was read of %v: %w", r.Topic, r.Partition, w.part, err)
	}
}

// Flush implements connect.Outflow.
func (o *outflow) Flush(ctx context.Context) error {
	var errs []error
	for _, w := range o.all() {
		errs = append(errs, w.flush(ctx))
	}
	return errors.Join(errs...)
}

func (w *writer) flush(ctx context.Context) error {
	if err := w.cl.Flush(ctx); err != nil {
		return fmt.Errorf("%w: wait for acknowledgements: %w", connect.ErrRetry, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return classify(w.err)
	}
	if w.pending > 0 {
		return fmt.Errorf("%w: %d records are neither written nor refused", connect.ErrRetry, w.pending)
	}
	return nil
}

// Commit implements connect.Outflow: each partition's position joins its transaction, and that is committed.
func (o *outflow) Commit(ctx context.Context, at []connect.PositionCommit) error {
	committing := map[source.Partition]bool{}
	for _, c := range at {
		committing[c.Partition] = true
	}
	for _, w := range o.all() {
		w.mu.Lock()
		without := w.begun && !committing[w.part]
		w.mu.Unlock()
		if without {
			return fmt.Errorf("%w: kafka: records were written for %v, and it has no position to commit with them", connect.ErrRetry, w.part)
		}
	}
	fault.At("before-toc")
	errs := make([]error, len(at))
	var ends sync.WaitGroup
	for i, c := range at {
		w, err := o.writer(c.Partition)
		if err != nil {
			errs[i] = err
			continue
		}
		ends.Go(func() { errs[i] = w.commit(ctx, positionsTopic(o.s.app.ID), c) })
	}
	ends.Wait()
	return errors.Join(errs...)
}

func (w *writer) commit(ctx context.Context, topic string, c connect.PositionCommit) error {
	r := sink.Record{Stream: topic, Partition: c.Partition.Index % positionsOf, Key: []byte(c.Partition.String()), Value: []byte(encodeCommitted(c)), Time: time.Now().UnixMilli()}
	if err := w.write(ctx, []sink.Record{r}); err != nil {
		return err
	}
	if err := w.flush(ctx); err != nil {
		return fmt.Errorf("write the position of %v: %w", w.part, err)
	}
	fault.At("before-end")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := ended(w.cl.EndTransaction(ctx, kgo.TryCommit)); err != nil {
		return err
	}
	fault.At("after-end")
	w.mu.Lock()
	w.begun = false
	w.mu.Unlock()
	return nil
}

// Abort implements connect.Outflow.
func (o *outflow) Abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	var aborts sync.WaitGroup
	for _, w := range o.all() {
		w.mu.Lock()
		begun := w.begun
		w.mu.Unlock()
		if !begun {
			continue
		}
		aborts.Go(func() {
			err := w.cl.AbortBufferedRecords(ctx)
			if err == nil {
				err = w.cl.EndTransaction(ctx, kgo.TryAbort)
			}
			if err != nil && !errors.Is(err, kerr.ProducerFenced) {
				o.s.log.Warn("could not abort the transaction of a partition; whoever takes the partition does, or the broker when its time is over", "partition", w.part.String(), "error", err)
			}
		})
	}
	aborts.Wait()
}

// Close implements connect.Outflow. Transactions that are open stay so until somebody takes their partitions.
func (o *outflow) Close(ctx context.Context) {
	o.mu.Lock()
	writers := o.writers
	o.writers = map[source.Partition]*writer{}
	o.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	var closing sync.WaitGroup
	for _, w := range writers {
		closing.Go(w.cl.Close)
	}
	waitOr(ctx, &closing, func() {})
	o.s.Close(ctx)
}

// encodeCommitted writes a position as a record's value: "1", for the format, its four numbers, and the metadata.
func encodeCommitted(c connect.PositionCommit) string {
	p := c.Next
	return fmt.Sprintf("1 %d %d %d %d %s", p.High, p.Mid, p.Low, p.Sub, c.Metadata)
}

func decodeCommitted(value string) (c connect.Committed, err error) {
	fields := strings.SplitN(value, " ", 6)
	p := &c.Position
	if len(fields) != 6 || fields[0] != "1" {
		return c, fmt.Errorf("%q is not written by a version that this one knows: %w", value, connect.ErrStop)
	}
	if _, err := fmt.Sscan(strings.Join(fields[1:5], " "), &p.High, &p.Mid, &p.Low, &p.Sub); err != nil {
		return c, fmt.Errorf("%q is no position: %w: %w", value, err, connect.ErrStop)
	}
	c.Metadata = fields[5]
	return c, nil
}
