package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// Reading. Run owns one goroutine, and everything that the handler hears comes from it: the group client's callbacks
// hand their news over and wait, interrupting the poll that may be going on. A partition is added to the reading client
// by Start and removed by Run, between two polls; so a batch never arrives for a partition after its revocation, nor one
// from before it after it was started again.

// call is news from the group client.
type call struct {
	kind  callKind
	parts []source.Partition
	ctx   context.Context // the group client's, which outlives Run's
	done  chan struct{}
}

type callKind uint8

const (
	assigned callKind = iota
	revoked
	lost
)

// cursor is a partition that was started.
type cursor struct{ next int64 }

// Run joins the group and works until ctx ends. The membership stays until Leave or Close, so that a last commit is
// still possible.
func (s *session) Run(ctx context.Context, h connect.Handler) error {
	if err := s.join(); err != nil {
		return err
	}
	defer func() {
		s.mu.Lock()
		s.interrupt = nil
		s.mu.Unlock()
		close(s.ended)
	}()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		poll, err := s.ready(ctx, h)
		if err != nil || ctx.Err() != nil {
			return s.reason(ctx, err)
		}
		fetches := s.data.PollFetches(poll)
		at := time.Now()
		if err := s.deliver(fetches, h, at); err != nil {
			return s.reason(ctx, err)
		}
		if s.cluster.Profile == Latency {
			// Without a pause every record would come alone, at four times the cost.
			pause.Reset(2 * time.Millisecond)
			select {
			case <-pause.C:
			case <-poll.Done():
			}
		}
	}
}

// reason is what Run returns: nil if it was told to end.
func (s *session) reason(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, errClosed) {
		return nil
	}
	if perm := acl(err, s.app); perm != nil {
		return perm
	}
	return err
}

// join creates the group client, which joins by itself.
func (s *session) join() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running || s.closed {
		return errors.New("kafka: Run was called twice, or after Close")
	}
	var topics []string
	for _, g := range s.app.Groups {
		topics = append(topics, g...)
	}
	if len(topics) == 0 {
		return errors.New("kafka: the application reads nothing: it needs at least one source")
	}
	opts := append(s.commonOptions(),
		kgo.WithContext(s.groupLife),
		kgo.ConsumerGroup(s.app.ID),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(assignor{s}),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(s.app.SessionTimeout),
		kgo.HeartbeatInterval(min(s.app.SessionTimeout/6, time.Second)),
		kgo.RebalanceTimeout(max(time.Minute, 2*s.app.SessionTimeout)),
		kgo.OnPartitionsAssigned(s.callback(assigned)),
		kgo.OnPartitionsRevoked(s.callback(revoked)),
		kgo.OnPartitionsLost(s.callback(lost)),
		// The member reads nothing itself.
		kgo.AdjustFetchOffsetsFn(func(context.Context, map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			return nil, nil
		}),
		kgo.WithHooks(groupErrors{s}),
	)
	if s.app.Static {
		opts = append(opts, kgo.InstanceID(s.app.Instance))
	}
	var err error
	if s.group, err = kgo.NewClient(append(opts, s.cluster.ClientOptions...)...); err != nil {
		return fmt.Errorf("kafka: configure the group client: %w", err)
	}
	s.running = true
	return nil
}

// syncs is called by the group client's goroutine when it has entered a generation.
func (s *session) syncs() error {
	s.mu.Lock()
	group := s.group
	s.mu.Unlock()
	if group == nil {
		return errClosed
	}
	return s.member.syncs(group.GroupMetadata())
}

// groupErrors hears why a membership ended. The client joins again by itself, unless that is of no use.
type groupErrors struct{ s *session }

func (g groupErrors) OnGroupManageError(err error) {
	switch {
	case errors.Is(err, kerr.FencedInstanceID):
		g.s.fail(fmt.Errorf("%w: another process runs as instance %q of application %q: instances need names of their own: %w", connect.ErrFenced, g.s.app.Instance, g.s.app.ID, err))
	case errors.Is(err, kerr.InconsistentGroupProtocol):
		g.s.fail(fmt.Errorf("kafka: the consumer group %q is used by another program, or by an incompatible version of this one: give the application an id of its own: %w", g.s.app.ID, err))
	case errors.Is(err, kerr.InvalidSessionTimeout):
		g.s.fail(fmt.Errorf("kafka: the broker does not allow a session timeout of %v: choose one between its group.min.session.timeout.ms and group.max.session.timeout.ms: %w", g.s.app.SessionTimeout, err))
	case errors.Is(err, kerr.GroupMaxSizeReached), errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.TopicAuthorizationFailed), isAuthentication(err):
		g.s.fail(fmt.Errorf("kafka: join group %q: %w", g.s.app.ID, err))
	default:
		g.s.log.Warn("membership of the group ended, joining again", "group", g.s.app.ID, "error", err)
	}
}

func (s *session) callback(kind callKind) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(ctx context.Context, _ *kgo.Client, m map[string][]int32) {
		var parts []source.Partition
		for t, ps := range m {
			for _, p := range ps {
				parts = append(parts, source.Partition{Stream: t, Index: p})
			}
		}
		if kind == lost {
			s.member.lose()
		}
		if len(parts) == 0 {
			return
		}
		slices.SortFunc(parts, comparePartitions)
		if kind == assigned {
			s.member.add(parts)
		}
		c := call{kind, parts, ctx, make(chan struct{})}
		select {
		case s.calls <- c:
			s.mu.Lock()
			if s.interrupt != nil {
				s.interrupt()
			}
			s.mu.Unlock()
			select {
			case <-c.done:
			case <-s.ended:
			case <-s.groupLife.Done():
			}
		case <-s.ended:
		case <-s.groupLife.Done():
		}
		if kind == revoked {
			s.member.remove(parts)
		}
	}
}

func comparePartitions(a, b source.Partition) int {
	if a.Stream != b.Stream {
		if a.Stream < b.Stream {
			return -1
		}
		return 1
	}
	return int(a.Index) - int(b.Index)
}

// ready passes on what the group says and waits until there is something to read and room for it. The context that it
// returns ends when there is news.
func (s *session) ready(ctx context.Context, h connect.Handler) (context.Context, error) {
	poll := s.pollContext(ctx)
	for {
		select {
		case c := <-s.calls:
			s.handle(ctx, h, c)
			poll = s.pollContext(ctx)
			continue
		case err := <-s.fatal:
			return nil, err
		case <-ctx.Done():
			return nil, nil
		default:
		}
		if poll.Err() != nil {
			poll = s.pollContext(ctx)
			continue
		}
		s.mu.Lock()
		n := len(s.reading)
		s.mu.Unlock()
		if n > 0 && h.Room() > 0 {
			return poll, nil
		}
		select {
		case <-s.wake:
		case <-poll.Done():
		}
	}
}

// pollContext returns the context of the next polls, a new one if the last was interrupted.
func (s *session) pollContext(ctx context.Context) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.polling == nil || s.polling.Err() != nil {
		s.polling, s.interrupt = context.WithCancel(ctx)
	}
	return s.polling
}

func (s *session) handle(ctx context.Context, h connect.Handler, c call) {
	defer close(c.done)
	switch c.kind {
	case assigned:
		s.noticeGrowth(ctx, c.parts)
		s.mu.Lock()
		for _, p := range c.parts {
			s.owned[p] = true
		}
		s.mu.Unlock()
		h.Assigned(ctx, c.parts)
	case revoked:
		s.stop(c.parts)
		h.Revoked(c.ctx, c.parts)
	case lost:
		s.stop(c.parts)
		h.Lost(c.parts)
	}
}

// noticeGrowth reads the partition counts again if a partition is assigned that was not there at the start.
func (s *session) noticeGrowth(ctx context.Context, parts []source.Partition) {
	for _, p := range parts {
		if p.Index < s.partitionsOf(p.Stream) {
			continue
		}
		if err := s.loadTopics(ctx); err != nil {
			s.log.Warn("cannot read the new number of partitions", "topic", p.Stream, "error", err)
		}
		return
	}
}

// stop ends the reading of partitions, and forgets that they are ours.
func (s *session) stop(parts []source.Partition) {
	s.starting.Lock()
	defer s.starting.Unlock()
	s.mu.Lock()
	m := map[string][]int32{}
	for _, p := range parts {
		delete(s.owned, p)
		if s.reading[p] != nil {
			m[p.Stream] = append(m[p.Stream], p.Index)
			delete(s.reading, p)
		}
	}
	s.mu.Unlock()
	if len(m) > 0 {
		s.data.RemoveConsumePartitions(m)
		s.data.ResumeFetchPartitions(m)
	}
}

// Start begins reading. Partitions that were revoked in the meantime are passed over.
func (s *session) Start(ctx context.Context, at map[source.Partition]*source.Position) ([]source.Partition, error) {
	if len(at) == 0 {
		return nil, nil
	}
	from, caughtUp, err := s.resolve(ctx, at)
	if err != nil {
		return nil, err
	}
	s.starting.Lock()
	defer s.starting.Unlock()
	s.mu.Lock()
	offsets := map[string]map[int32]kgo.Offset{}
	for p, offset := range from {
		switch {
		case !s.owned[p]:
			caughtUp = slices.DeleteFunc(caughtUp, func(c source.Partition) bool { return c == p })
			continue
		case s.reading[p] != nil:
			s.mu.Unlock()
			return nil, fmt.Errorf("kafka: %v was started already", p)
		}
		s.reading[p] = &cursor{next: offset}
		if offsets[p.Stream] == nil {
			offsets[p.Stream] = map[int32]kgo.Offset{}
		}
		offsets[p.Stream][p.Index] = kgo.NewOffset().At(offset)
	}
	s.mu.Unlock()
	s.data.AddConsumePartitions(offsets)
	s.Wake()
	return caughtUp, nil
}

// resolve turns positions into offsets that can be read, and finds the partitions with nothing behind theirs.
func (s *session) resolve(ctx context.Context, at map[source.Partition]*source.Position) (map[source.Partition]int64, []source.Partition, error) {
	parts := make([]source.Partition, 0, len(at))
	for p := range at {
		parts = append(parts, p)
	}
	slices.SortFunc(parts, comparePartitions)
	starts, err := s.listOffsets(ctx, parts, earliestOffset, false)
	if err != nil {
		return nil, nil, err
	}
	stable, err := s.listOffsets(ctx, parts, latestOffset, true)
	if err != nil {
		return nil, nil, err
	}
	ends, err := s.listOffsets(ctx, parts, latestOffset, false)
	if err != nil {
		return nil, nil, err
	}
	from := make(map[source.Partition]int64, len(at))
	var caughtUp []source.Partition
	for _, p := range parts {
		switch pos := at[p]; {
		case pos == nil && s.startOf(p.Stream) == source.Latest:
			from[p] = stable[p]
		case pos == nil:
			from[p] = starts[p]
		case pos.Offset() > ends[p]:
			return nil, nil, fmt.Errorf("kafka: %v was read up to offset %d, but now it ends at %d: the topic was recreated, or the brokers lost records. "+
				"Reset the application, or restore the topic", p, pos.Offset(), ends[p])
		case pos.Offset() < starts[p]:
			if err := s.deletedBefore(p, pos.Offset(), starts[p]); err != nil {
				return nil, nil, err
			}
			from[p] = starts[p]
		default:
			from[p] = pos.Offset()
		}
		if from[p] >= ends[p] {
			caughtUp = append(caughtUp, p)
		}
	}
	return from, caughtUp, nil
}

// deletedBefore says what becomes of records that the broker deleted before they were read.
func (s *session) deletedBefore(p source.Partition, from, to int64) error {
	if s.cluster.SkipDeleted {
		s.log.Warn("records were deleted by the broker before they were read, and are skipped", "partition", p.String(), "from", from, "to", to)
		return nil
	}
	return fmt.Errorf("kafka: the records of %v from offset %d to %d were deleted by the broker (retention) before they were read. "+
		"Keep records longer (retention.ms, retention.bytes), or set Cluster.SkipDeleted to go on without them", p, from, to-1)
}

func (s *session) Pause(parts []source.Partition) { s.data.PauseFetchPartitions(byTopic(parts)) }

func (s *session) Resume(parts []source.Partition) {
	if len(parts) > 0 {
		s.data.ResumeFetchPartitions(byTopic(parts))
		s.Wake()
	}
}

func byTopic(parts []source.Partition) map[string][]int32 {
	m := map[string][]int32{}
	for _, p := range parts {
		m[p.Stream] = append(m[p.Stream], p.Index)
	}
	return m
}

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
			b := s.batch(p, f, at)
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
	next := f.Records[len(f.Records)-1].Offset + 1
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
		return fmt.Errorf("kafka: topic %q was deleted or recreated while it was read: positions of the old topic mean nothing in a new one. Reset the application, or restore the topic: %w", p.Stream, err)
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
