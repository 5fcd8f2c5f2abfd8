package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// deliver hands fetched records over.
func (s *session) deliver(fetches kgo.Fetches, h connect.Handler, at time.Time) error {
	for i := range fetches {
		for j := range fetches[i].Topics {
			t := &fetches[i].Topics[j]
			for k := range t.Partitions {
				if err := s.deliverPartition(source.Partition{Stream: t.Topic, Index: t.Partitions[k].Partition}, &t.Partitions[k], h, at); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s *session) deliverPartition(p source.Partition, f *kgo.FetchPartition, h connect.Handler, at time.Time) error {
	if len(f.Records) > 0 {
		s.mu.Lock()
		c := s.reading[p]
		s.mu.Unlock()
		if c == nil {
			recycle(f.Records)
		} else if first := f.Records[0].Offset; first < c.next {
			return fmt.Errorf("kafka: %v delivered offset %d again, after %d", p, first, c.next-1)
		} else {
			ended := s.cut(p, c, f)
			b := s.batch(p, f, at)
			if ended {
				at := source.At(max(c.end, c.next))
				b.Next, b.End, b.CaughtUp = at, at, true
			} else if c.bounded {
				b.End, b.CaughtUp = source.At(c.end), false
			}
			c.next = b.Next.Offset()
			h.Deliver(b)
		}
	}
	if f.Err != nil {
		return s.fetchError(p, f)
	}
	return nil
}

func recycle(recs []*kgo.Record) {
	for _, r := range recs {
		r.Recycle()
	}
}

// recordOverhead is about what a record occupies beside its bytes.
const recordOverhead = 336 // a kgo.Record and a source.Record

func (s *session) batch(p source.Partition, f *kgo.FetchPartition, at time.Time) source.Batch {
	out := s.pools.slab(len(f.Records))
	bytes := 0
	for _, r := range f.Records {
		if r.Attrs.IsControl() {
			continue
		}
		out = append(out, convert(r))
		bytes += len(r.Key) + len(r.Value) + recordOverhead
	}
	var next int64
	if n := len(f.Records); n > 0 {
		next = f.Records[n-1].Offset + 1
	}
	recs := f.Records
	var once bool
	return source.Batch{
		Partition: p,
		Records:   out,
		Next:      source.At(next),
		CaughtUp:  next == f.HighWatermark && f.HighWatermark == f.LastStableOffset,
		End:       source.At(f.HighWatermark),
		FetchedAt: at,
		Bytes:     bytes,
		Release: func() {
			if once {
				return
			}
			once = true
			recycle(recs)
			s.pools.putSlab(out)
		},
	}
}

func convert(r *kgo.Record) source.Record {
	rec := source.Record{Key: r.Key, Value: r.Value, Time: r.Timestamp.UnixMilli(), Position: source.At(r.Offset)}
	if len(r.Headers) > 0 {
		rec.Headers = make([]source.Header, len(r.Headers))
		for i, h := range r.Headers {
			rec.Headers[i] = source.Header{Key: h.Key, Value: h.Value}
		}
	}
	return rec
}

// fetchError tells passing errors, which the client tries again, from those that end the session.
func (s *session) fetchError(p source.Partition, f *kgo.FetchPartition) error {
	err := f.Err
	var group *kgo.ErrGroupSession
	var loss *kgo.ErrDataLoss
	var tooLarge *kgo.ErrDecompressTooLarge
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil // the poll was interrupted
	case errors.As(err, &group):
		return nil // groupErrors has heard of it
	case errors.Is(err, kgo.ErrClientClosed):
		return errClosed
	case errors.Is(err, kerr.OffsetOutOfRange):
		return s.outOfRange(p)
	case errors.As(err, &loss):
		return fmt.Errorf("kafka: %v: the brokers lost records that were read already (an unclean leader election): read up to %d, now the log goes on at %d: %w", p, loss.ConsumedTo, loss.ResetTo, err)
	case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InconsistentTopicID):
		return fmt.Errorf("%w: kafka: topic %q was deleted or recreated while it was read: positions of the old topic mean nothing in a new one. Reset the application, or restore the topic: %w", connect.ErrRecreated, p.Stream, err)
	case errors.As(err, &tooLarge):
		return fmt.Errorf("kafka: %v at offset %d: a batch of records is larger than 128 MiB when decompressed: %w", p, tooLarge.Offset, err)
	case errors.Is(err, kerr.CorruptMessage):
		return fmt.Errorf("kafka: %v: a batch of records is damaged (checksum): %w", p, err)
	case errors.Is(err, kerr.UnknownTopicOrPartition), kerr.IsRetriable(err), kgo.IsRetryableBrokerErr(err):
		s.log.Warn("cannot read, trying again", "partition", p.String(), "error", err)
		return nil
	}
	return fmt.Errorf("kafka: read %v: %w", p, err)
}

// outOfRange is for a partition whose next record was deleted while the application lagged behind.
func (s *session) outOfRange(p source.Partition) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.cluster.dialTimeout())
	defer cancel()
	s.mu.Lock()
	c := s.reading[p]
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	if _, internal := s.changelog[p.Stream]; internal {
		// Only the application deletes from it, and only what it has committed: others have gone on while this one was
		// silent. If not, the next start, which begins at the committed position, says so.
		return fmt.Errorf("%w: records of %v were processed, and deleted, by another instance", connect.ErrFenced, p)
	}
	next := source.At(c.next)
	from, _, err := s.resolve(ctx, map[source.Partition]*source.Position{p: &next})
	if err != nil {
		return err
	}
	c.next = from[p]
	s.data.RemoveConsumePartitions(byTopic([]source.Partition{p}))
	s.data.AddConsumePartitions(map[string]map[int32]kgo.Offset{p.Stream: {p.Index: kgo.NewOffset().At(c.next)}})
	return nil
}
