package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/source"
)

// member is an instance's part in the leases of all its streams: one group for each.
type member struct {
	Table
	app    string
	me     string
	starts map[string]source.Start // of the sources
	logger *slog.Logger
	ctx    context.Context // of everything that runs; ends with Close or a failure
	cancel context.CancelCauseFunc
	wait   sync.WaitGroup
	events chan []kinesis.LeaseEvent
	news   chan struct{} // something was queued
	opened chan struct{} // holds a token while no group is being made

	mu     sync.Mutex // never held during a call
	groups map[string]*group
	queue  []kinesis.LeaseEvent
	err    error
}

// errClosed is why a membership ended in good order.
var errClosed = errors.New("the membership was closed")

func join(ctx context.Context, t Table, m kinesis.Member) *member {
	mb := &member{Table: t, app: m.App, me: m.Instance + "-" + m.Incarnation, starts: m.Starts, logger: m.Logger, events: make(chan []kinesis.LeaseEvent), news: make(chan struct{}, 1),
		opened: make(chan struct{}, 1), groups: map[string]*group{}}
	mb.opened <- struct{}{}
	if mb.logger == nil {
		mb.logger = slog.New(slog.DiscardHandler)
	}
	mb.ctx, mb.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	mb.wait.Go(mb.pump)
	return mb
}

// post queues events, so that nobody who causes one has to wait.
func (mb *member) post(events ...kinesis.LeaseEvent) {
	if len(events) == 0 {
		return
	}
	mb.mu.Lock()
	mb.queue = append(mb.queue, events...)
	mb.mu.Unlock()
	select {
	case mb.news <- struct{}{}:
	default:
	}
}

func (mb *member) pump() {
	defer close(mb.events)
	for {
		mb.mu.Lock()
		queue := mb.queue
		mb.queue = nil
		mb.mu.Unlock()
		if len(queue) > 0 {
			select {
			case mb.events <- queue:
				continue
			case <-mb.ctx.Done():
				return
			}
		}
		select {
		case <-mb.news:
		case <-mb.ctx.Done():
			return
		}
	}
}

// fail ends the membership for a reason that will not go away.
func (mb *member) fail(err error) {
	mb.mu.Lock()
	if mb.err == nil && mb.ctx.Err() == nil {
		mb.err = err
	}
	mb.mu.Unlock()
	mb.cancel(err)
}

// Err implements kinesis.Membership.
func (mb *member) Err() error {
	mb.mu.Lock()
	defer mb.mu.Unlock()
	return mb.err
}

// Events implements kinesis.Membership.
func (mb *member) Events() <-chan []kinesis.LeaseEvent { return mb.events }

func (mb *member) group(stream string) *group {
	mb.mu.Lock()
	defer mb.mu.Unlock()
	return mb.groups[stream]
}

// Found implements kinesis.Membership.
func (mb *member) Found(ctx context.Context, shards []kinesis.Shard) error {
	if err := mb.Err(); err != nil {
		return err
	}
	streams := map[string][]kinesis.Shard{}
	for _, s := range shards {
		streams[s.Stream] = append(streams[s.Stream], s)
	}
	var errs []error
	for stream, list := range streams {
		g, err := mb.opening(ctx, stream)
		if err == nil {
			err = g.found(ctx, list)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// opening returns the group of a stream, and makes it and its table the first time.
func (mb *member) opening(ctx context.Context, stream string) (*group, error) {
	if g := mb.group(stream); g != nil {
		return g, nil
	}
	select {
	case <-mb.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { mb.opened <- struct{}{} }()
	if g := mb.group(stream); g != nil {
		return g, nil
	}
	g := newGroup(mb, stream)
	if err := mb.apart(g); err != nil {
		return nil, err
	}
	if err := g.table.open(ctx); err != nil {
		return nil, err
	}
	mb.mu.Lock()
	mb.groups[stream] = g
	mb.mu.Unlock()
	return g, nil
}

// apart says what is wrong if another stream of the application has the same rows: ids of shards are the same in each stream.
func (mb *member) apart(g *group) error {
	mb.mu.Lock()
	defer mb.mu.Unlock()
	for _, other := range mb.groups {
		if other.table.name == g.table.name && other.table.prefix == g.table.prefix {
			return fmt.Errorf("lease: the streams %s and %s would have the same rows of table %s: let Table.Name return another table for each, or set Table.Shared if their names differ: %w", other.stream, g.stream, g.table.name, connect.ErrStop)
		}
	}
	return nil
}

// Checkpoint implements kinesis.Membership.
func (mb *member) Checkpoint(ctx context.Context, at []kinesis.Checkpoint) error {
	return each(at, func(c kinesis.Checkpoint) error {
		g := mb.group(c.Stream)
		if g == nil {
			return lost(c.ShardID)
		}
		return g.checkpoint(ctx, c)
	})
}

// Release implements kinesis.Membership.
func (mb *member) Release(ctx context.Context, shards []kinesis.ShardID) error {
	return each(shards, func(id kinesis.ShardID) error {
		if g := mb.group(id.Stream); g != nil {
			return g.release(ctx, id.Shard)
		}
		return nil
	})
}

// Close implements kinesis.Membership.
func (mb *member) Close(ctx context.Context) error {
	mb.cancel(errClosed)
	mb.wait.Wait()
	mb.mu.Lock()
	groups := mb.groups
	mb.groups = map[string]*group{}
	mb.mu.Unlock()
	var errs []error
	for _, g := range groups {
		errs = append(errs, g.leave(ctx))
	}
	return errors.Join(errs...)
}

// atOnce is how many calls of one kind are under way at a time.
const atOnce = 16

// each calls f for all elements, some at a time, and joins the errors.
func each[T any](list []T, f func(T) error) error {
	errs := make([]error, len(list))
	room := make(chan struct{}, atOnce)
	var wait sync.WaitGroup
	for i, e := range list {
		room <- struct{}{}
		wait.Go(func() {
			defer func() { <-room }()
			errs[i] = f(e)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
