package kafka

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/source"
)

// Restoring. The end of a changelog partition is its high watermark, taken once the positions are stable: a marker of a
// committed transaction may still be on its way to this partition when the positions show the commit already, and then
// the last stable offset lies before the transaction's records. Reading goes on, with committed records only, until the
// position passes that watermark; control records count, because they are often the last below it.
//
// The records are fetched by plain Fetch requests rather than by a consumer: there is one partition, one way, one end.

// How long a partition may give nothing, with nothing undecided in it, before what lies between the position and the end
// is taken to be compacted away.
const compactedAfter = 2 * time.Second

const restoreWait = 250 * time.Millisecond

// restores is how many partitions are read at the same time.
func restores() int { return max(4, runtime.GOMAXPROCS(0)) }

// restoreBytes bounds an answer of a restore, compressed. As records it takes about ten times the room, and each restore has one that is
// applied and another one under way. Of those that run at a time that makes six times the budget of fetched records, or
// a third of the whole: the caches are not full yet.
func restoreBytes(budget int64) int32 {
	return int32(min(max(6*budget/int64(2*10*restores()), 128<<10), 16<<20))
}

// ReadChangelog reads a partition to its end.
func (s *session) ReadChangelog(ctx context.Context, p source.Partition, from source.Position, apply func([]source.Record) error) (source.Position, error) {
	ends, err := s.listOffsets(ctx, []source.Partition{p}, latestOffset, plant.LSOAsEnd)
	if err != nil {
		return from, err
	}
	starts, err := s.listOffsets(ctx, []source.Partition{p}, earliestOffset, false)
	if err != nil {
		return from, err
	}
	end := ends[p]
	if from.Offset() > end {
		return from, fmt.Errorf("%w: %w: kafka: state holds changelog %v up to offset %d, but it ends at %d: the topic was recreated, or the brokers lost records. "+
			"Delete the state directory to rebuild the state from what is left", connect.ErrStop, connect.ErrDiverged, p, from.Offset(), end)
	}
	if s.changelog[p.Stream] && from.Offset() > 0 && from.Offset() < starts[p] {
		return from, fmt.Errorf("%w: kafka: state holds changelog %v up to offset %d, and it begins at %d now", connect.ErrDiverged, p, from.Offset(), starts[p])
	}
	cl, err := s.restoring.take(ctx)
	if err != nil {
		return from, fmt.Errorf("kafka: restore %v: %w", p, err)
	}
	defer s.restoring.give(cl)

	// One fetch is ahead while the records of the last are applied.
	ctx, cancel := context.WithCancel(ctx)
	chunks := make(chan chunk)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	r := restore{s: s, cl: cl, p: p, pos: max(from.Offset(), starts[p]), end: end}
	wg.Go(func() {
		defer close(chunks)
		for r.pos < end {
			c := r.next(ctx)
			select {
			case chunks <- c:
			case <-ctx.Done():
				return
			}
			if c.err != nil {
				return
			}
		}
	})
	pos := max(from.Offset(), starts[p])
	for c := range chunks {
		if c.err != nil {
			return source.At(pos), fmt.Errorf("kafka: restore %v at offset %d of %d: %w", p, pos, end, c.err)
		}
		if len(c.records) > 0 {
			if err := apply(c.records); err != nil {
				return source.At(pos), err
			}
		}
		s.pools.putSlab(c.records)
		pos = c.next
	}
	if pos < end {
		return source.At(pos), fmt.Errorf("kafka: restore %v at offset %d of %d: %w", p, pos, end, context.Cause(ctx))
	}
	return source.At(pos), nil
}

// chunk is what one step of a restore brought.
type chunk struct {
	records []source.Record
	next    int64
	err     error
}

type restore struct {
	s        *session
	cl       *kgo.Client
	p        source.Partition
	pos, end int64
}

// next fetches until there is progress.
func (r *restore) next(ctx context.Context) chunk {
	since, stable := time.Now(), int64(-1)
	for wait := 10 * time.Millisecond; ; {
		f, next, err := r.fetch(ctx)
		switch {
		case ctx.Err() != nil:
			return chunk{err: ctx.Err()}
		case err != nil && (kerr.IsRetriable(err) || kgo.IsRetryableBrokerErr(err) || errors.Is(err, context.DeadlineExceeded)):
			r.s.log.Debug("cannot read a changelog, trying again", "partition", r.p.String(), "error", err)
			r.cl.ForceMetadataRefresh()
			if err := sleep(ctx, wait); err != nil {
				return chunk{err: err}
			}
			wait = min(2*wait, time.Second)
			continue
		case err != nil:
			return chunk{err: err}
		case next > r.pos:
			return r.took(f, next)
		}
		// Nothing: an open transaction below the end is waited for; otherwise the rest has been compacted away.
		if f.LastStableOffset != stable || f.LastStableOffset < r.end {
			since, stable = time.Now(), f.LastStableOffset
		} else if time.Since(since) > compactedAfter {
			r.s.log.Info("the last offsets of a changelog hold no records any more", "partition", r.p.String(), "from", r.pos, "end", r.end)
			r.pos = r.end
			return chunk{next: r.end}
		}
	}
}

func (r *restore) took(f kgo.FetchPartition, next int64) chunk {
	c := chunk{records: r.s.pools.slab(len(f.Records)), next: next}
	for _, rec := range f.Records {
		if !rec.Attrs.IsControl() && rec.Offset < r.end {
			c.records = append(c.records, convert(rec))
		}
		rec.Recycle()
	}
	c.next = min(c.next, max(r.end, r.pos))
	r.pos = c.next
	return c
}

// fetch asks the partition's leader for what follows the position.
func (r *restore) fetch(ctx context.Context) (kgo.FetchPartition, int64, error) {
	leader, epoch, err := r.leader(ctx)
	if err != nil {
		return kgo.FetchPartition{}, r.pos, err
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(restoreWait.Milliseconds()), 1, restoreBytes(r.s.app.FetchBytes)
	req.IsolationLevel, req.SessionEpoch = 1, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = r.p.Stream, r.s.topicID(r.p.Stream)
	fp := kmsg.NewFetchRequestTopicPartition()
	fp.Partition, fp.CurrentLeaderEpoch, fp.FetchOffset, fp.PartitionMaxBytes = r.p.Index, epoch, r.pos, req.MaxBytes
	t.Partitions = append(t.Partitions, fp)
	req.Topics = append(req.Topics, t)
	raw, err := r.cl.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return kgo.FetchPartition{}, r.pos, err
	}
	resp := raw.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return kgo.FetchPartition{}, r.pos, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return kgo.FetchPartition{}, r.pos, errors.New("the broker answered for other partitions")
	}
	f, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: true, Offset: r.pos, IsolationLevel: kgo.ReadCommitted(),
		Topic: r.p.Stream, Partition: r.p.Index, Pools: []kgo.Pool{recordPool{r.s.pools}},
	}, &resp.Topics[0].Partitions[0], r.s.decompressor.unpooled(), nil)
	return f, next, f.Err
}

func (r *restore) leader(ctx context.Context) (leader, epoch int32, err error) {
	meta, err := r.cl.RequestCachedMetadata(ctx, metadataFor(r.p.Stream), time.Minute)
	if err != nil {
		return 0, -1, err
	}
	for _, t := range meta.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return 0, -1, err
		}
		for _, p := range t.Partitions {
			if p.Partition == r.p.Index {
				return p.Leader, p.LeaderEpoch, kerr.ErrorForCode(p.ErrorCode)
			}
		}
	}
	return 0, -1, kerr.UnknownTopicOrPartition
}

func metadataFor(names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	return req
}

// recordPool lends only records, not the bytes they point to: those of a restore belong to whoever applies it.
type recordPool struct{ p *pools }

func (r recordPool) GetRecords(n int) []kgo.Record { return r.p.GetRecords(n) }
func (r recordPool) PutRecords(s []kgo.Record)     { r.p.PutRecords(s) }

// restoreClients keep clients between restores: each has connections of its own, so that restores that run side by side
// do not wait for each other's answers. There are not more than slots has room for.
type restoreClients struct {
	open   func() (*kgo.Client, error)
	slots  chan struct{}
	mu     sync.Mutex
	idle   []*kgo.Client
	closed bool
}

func (c *restoreClients) take(ctx context.Context) (cl *kgo.Client, err error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() {
		if err != nil {
			<-c.slots
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle); n > 0 {
		cl = c.idle[n-1]
		c.idle = c.idle[:n-1]
		return cl, nil
	}
	return c.open()
}

func (c *restoreClients) give(cl *kgo.Client) {
	c.mu.Lock()
	if !c.closed {
		c.idle = append(c.idle, cl)
		cl = nil
	}
	c.mu.Unlock()
	if cl != nil {
		cl.Close()
	}
	<-c.slots
}

// close returns the idle clients, and has those that are still at work closed when they are given back.
func (c *restoreClients) close() []*kgo.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := c.idle
	c.idle, c.closed = nil, true
	return idle
}
