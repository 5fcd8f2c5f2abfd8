package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
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

// Run joins the group and works until ctx ends. The membership stays until Leave or Close, so that a last commit is
// still possible.
func (s *session) Run(ctx context.Context, h connect.Handler) error {
	s.mu.Lock()
	s.copies, _ = h.(connect.Copier)
	s.mu.Unlock()
	if err := s.join(); err != nil {
		return err
	}
	beside, stop := context.WithCancel(ctx)
	var waits sync.WaitGroup
	waits.Go(func() { s.awaitReady(beside) })
	defer waits.Wait()
	defer stop()
	defer func() {
		s.mu.Lock()
		if s.interrupt != nil {
			s.interrupt()
			s.interrupt = nil
		}
		s.mu.Unlock()
		close(s.ended)
	}()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for taken := 0; ; {
		poll, err := s.ready(ctx, h)
		if err != nil || ctx.Err() != nil {
			return s.reason(ctx, err)
		}
		fetches := s.poll(poll)
		at := time.Now()
		if err := s.deliver(fetches, h, at); err != nil {
			return s.reason(ctx, err)
		}
		if s.cluster.Profile != Latency {
			continue
		}
		// Without a pause every record would come alone, at four times the cost. The client fetches ahead: as soon as the answers
		// that have waited are taken it asks each broker again, and these answer at once with what came meanwhile. That is taken
		// too before the next pause, in which it would wait.
		if taken++; taken > s.asked() {
			taken = 0
			pause.Reset(2 * time.Millisecond)
			select {
			case <-pause.C:
			case <-poll.Done():
			}
		}
	}
}

// asked is how many brokers are asked for records, at most.
func (s *session) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(len(s.reading), len(s.data.DiscoveredBrokers()))
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
	topics := s.inputs()
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
		g.s.fail(fmt.Errorf("%w: kafka: the consumer group %q is used by another program, or by an incompatible version of this one: give the application an id of its own: %w", connect.ErrStop, g.s.app.ID, err))
	case errors.Is(err, kerr.InvalidSessionTimeout):
		g.s.fail(fmt.Errorf("%w: kafka: the broker does not allow a session timeout of %v: choose one between its group.min.session.timeout.ms and group.max.session.timeout.ms: %w", connect.ErrStop, g.s.app.SessionTimeout, err))
	case errors.Is(err, kerr.GroupMaxSizeReached), errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.TopicAuthorizationFailed), isAuthentication(err):
		g.s.fail(fmt.Errorf("%w: kafka: join group %q: %w", connect.ErrStop, g.s.app.ID, err))
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
