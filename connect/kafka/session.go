package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// session is an open connector. Its fields are set by open, or guarded as they say.
type session struct {
	cluster Cluster
	app     connect.App
	log     *slog.Logger
	pools   *pools

	start        string        // names this session in the group
	handed       []*handed     // to be used again, guarded by writing
	compressor   *compressor   // of all that is written, unless ClientOptions say otherwise
	decompressor *decompressor // of all that is read, unless they do

	data     *kgo.Client // reads what was started, and asks everything else
	adm      *kadm.Client
	watcher  *kgo.Client // watches quiet partitions; opened by Run when there are some
	producer *kgo.Client
	outside  *kgo.Client // plant.NoTransaction: writes without the transaction
	member   membership

	calls chan call     // what the group says, for Run
	wake  chan struct{} // capacity 1: Run looks again at its conditions
	fatal chan error    // capacity 1: what ends the session
	ended chan struct{} // closed when Run returned

	starting sync.Mutex // orders adding to, removing from and closing the reading client; taken before mu

	// The clients live in these contexts, so that one that is held up, by a rebalance or a silent broker, can be ended.
	life, groupLife context.Context
	kill, killGroup context.CancelFunc

	mu        sync.Mutex
	group     *kgo.Client // set by Run
	topics    map[string]topic
	owned     map[source.Partition]bool    // partitions that the handler has
	reading   map[source.Partition]*cursor // those that were started
	committed map[source.Partition]source.Position
	polling   context.Context    // of the poll in progress
	interrupt context.CancelFunc // ends it
	running   bool
	closed    bool
	copies    connect.Copier     // the handler, if it is one; set by Run
	next      []source.Partition // what this member is to have once its copies are near

	ending sync.Mutex                 // of ends
	ends   map[source.Partition]int64 // of sources that end, as far as somebody asked

	writing   sync.Mutex // guards these two, and what is in the epoch; Begin to Commit are called one after the other
	epoch     *epoch     // that Produce writes in
	begun     bool
	changelog map[string]bool

	restoring restoreClients
}

func newSession(c Cluster, app connect.App) *session {
	s := &session{
		cluster: c, app: app, log: app.Logger.With("application", app.ID, "instance", app.Instance), pools: newPools(app.FetchBytes / 2), start: rand.Text(), compressor: newCompressor(),
		calls: make(chan call, 16), wake: make(chan struct{}, 1), fatal: make(chan error, 1), ended: make(chan struct{}),
		topics: map[string]topic{}, owned: map[source.Partition]bool{}, reading: map[source.Partition]*cursor{}, committed: map[source.Partition]source.Position{},
		changelog: map[string]bool{}, ends: map[source.Partition]int64{},
	}
	s.life, s.kill = context.WithCancel(context.Background())
	s.groupLife, s.killGroup = context.WithCancel(s.life)
	s.member.held = map[source.Partition]bool{}
	s.restoring.slots = make(chan struct{}, restores())
	s.restoring.open = func() (*kgo.Client, error) {
		return kgo.NewClient(append(s.commonOptions(), s.cluster.ClientOptions...)...)
	}
	for _, t := range app.Internal {
		s.changelog[t.Name] = t.Purpose == connect.Changelog
	}
	return s
}

// Partitions returns the number of partitions of each source, internal topic and sink.
func (s *session) Partitions() map[string]int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := make(map[string]int32, len(s.topics))
	for name, t := range s.topics {
		m[name] = t.partitions
	}
	return m
}

func (s *session) Limits(stream string) connect.Limits {
	s.mu.Lock()
	l := s.topics[stream].limits
	s.mu.Unlock()
	l.MaxBytes = int(s.batchBytes(stream)) - batchOverhead
	return l
}

func (s *session) Transactional() bool { return s.app.Guarantee == connect.ExactlyOnce }

func (s *session) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// leaveTimeout bounds how long a leave may queue behind a rebalance that waits for a dead member.
const leaveTimeout = time.Second

// Leave gives up the place in the group. Nothing can be committed afterwards. It waits for the coordinator no longer
// than a second: a leave can queue for many behind a rebalance.
func (s *session) Leave(ctx context.Context) error {
	s.mu.Lock()
	group := s.group
	s.mu.Unlock()
	if group == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	defer s.closeGroup()
	var err error
	if s.app.Static {
		// A client with an instance id never leaves by itself.
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group = s.app.ID
		m := kmsg.NewLeaveGroupRequestMember()
		m.InstanceID = &s.app.Instance
		m.Reason = kmsg.StringPtr("the instance leaves for good")
		req.Members = append(req.Members, m)
		var resp *kmsg.LeaveGroupResponse
		if resp, err = req.RequestWith(ctx, s.data); err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
			for _, m := range resp.Members {
				err = errors.Join(err, kerr.ErrorForCode(m.ErrorCode))
			}
		}
	} else {
		err = group.LeaveGroupContext(ctx)
	}
	s.member.lose()
	if err != nil && !errors.Is(err, kerr.UnknownMemberID) {
		return fmt.Errorf("kafka: leave group %q (its partitions stay with this instance for up to %v): %w", s.app.ID, s.app.SessionTimeout, err)
	}
	return nil
}

// closeTimeout bounds Close where the caller's context does not.
const closeTimeout = 5 * time.Second

// Close ends the session. A transaction that is still open is not ended: the next Open of this instance aborts it, or
// the broker does when its time is over.
func (s *session) Close(ctx context.Context) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	running := s.running
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	s.fail(errClosed)
	if running {
		select {
		case <-s.ended:
		case <-ctx.Done():
		}
	}
	s.member.lose()
	s.closeGroup()
	var wg sync.WaitGroup
	for _, cl := range append(s.restoring.close(), s.watcher, s.producer, s.outside) {
		if cl != nil {
			wg.Go(cl.CloseAllowingRebalance)
		}
	}
	if s.data != nil {
		wg.Go(func() { // a start that is under way would begin to fetch again: it comes first, and others find the session closed
			s.starting.Lock()
			defer s.starting.Unlock()
			// The client forgets its partitions first: metadata that arrives while it closes would have it fetch once more.
			s.mu.Lock()
			parts := slices.Collect(maps.Keys(s.reading))
			s.mu.Unlock()
			s.data.RemoveConsumePartitions(byTopic(parts))
			s.data.CloseAllowingRebalance()
		})
	}
	waitOr(ctx, &wg, s.kill)
}

var errClosed = errors.New("kafka: the session was closed")

// closeGroup ends the membership. A static one has nothing to say at its end; another leaves, if that does not take long.
func (s *session) closeGroup() {
	s.mu.Lock()
	group := s.group
	s.group = nil
	s.mu.Unlock()
	if group == nil {
		return
	}
	if s.app.Static {
		s.killGroup()
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(group.CloseAllowingRebalance)
	waitOr(ctx, &wg, s.killGroup)
}

// waitOr waits for clients to close until ctx ends, then ends them.
func waitOr(ctx context.Context, wg *sync.WaitGroup, kill context.CancelFunc) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wg.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	kill()
	select {
	case <-done:
	case <-time.After(closeTimeout): // a defect of the client, or of a Handler that never returns
	}
}

// fail ends Run with err.
func (s *session) fail(err error) {
	select {
	case s.fatal <- err:
	default:
	}
	s.mu.Lock()
	if s.interrupt != nil {
		s.interrupt()
	}
	s.mu.Unlock()
}
