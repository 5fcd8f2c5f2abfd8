package kinesis

import (
	"context"
	"sync"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// InProcess gives all shards to one instance: parents before children, each child once all its parents are read to their
// end. It remembers nothing itself; after a restart it goes by what the instance's store holds. No second instance with the
// same AppID may run: nothing here would keep it out.
type InProcess struct{}

// Join implements Leases.
func (InProcess) Join(_ context.Context, m Member) (Membership, error) {
	l := &local{shards: map[ShardID]Shard{}, taken: map[ShardID]bool{}, at: map[ShardID]source.Position{}, news: make(chan struct{}, 1), events: make(chan []LeaseEvent), closed: make(chan struct{})}
	for id, at := range m.Kept {
		l.at[id] = at
	}
	l.running.Go(l.pump)
	return l, nil
}

// only says that no other instance reads anything.
func (InProcess) only() {}

// local is the membership of the only instance.
type local struct {
	events  chan []LeaseEvent
	news    chan struct{}
	closed  chan struct{}
	closing sync.Once
	running sync.WaitGroup

	mu     sync.Mutex
	shards map[ShardID]Shard // those that there are now
	taken  map[ShardID]bool
	at     map[ShardID]source.Position
	queue  []LeaseEvent
}

// pump hands out events, so that nobody who causes one has to wait.
func (l *local) pump() {
	defer close(l.events)
	for {
		l.mu.Lock()
		queue := l.queue
		l.queue = nil
		l.mu.Unlock()
		if len(queue) > 0 {
			select {
			case l.events <- queue:
				continue
			case <-l.closed:
				return
			}
		}
		select {
		case <-l.news:
		case <-l.closed:
			return
		}
	}
}

func (l *local) Found(_ context.Context, shards []Shard) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.shards)
	for _, sh := range shards {
		l.shards[sh.ShardID] = sh
	}
	l.take(shards)
	return nil
}

// take takes what may be taken. One that was read to its end before the instance began is taken too: calls may be under
// way that its records have caused.
func (l *local) take(shards []Shard) {
	for _, sh := range shards {
		if l.taken[sh.ShardID] {
			continue
		}
		ready := true
		for _, p := range sh.Parents {
			parent := ShardID{sh.Stream, p}
			if _, there := l.shards[parent]; there && l.at[parent] != connect.Ended {
				ready = false
			}
		}
		if ready {
			l.taken[sh.ShardID] = true
			l.queue = append(l.queue, LeaseEvent{ShardID: sh.ShardID, Change: Taken, Term: 1})
		}
	}
	select {
	case l.news <- struct{}{}:
	default:
	}
}

func (l *local) Checkpoint(_ context.Context, at []Checkpoint) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	ended := false
	for _, c := range at {
		l.at[c.ShardID] = c.Next
		ended = ended || c.Next == connect.Ended
	}
	if ended {
		var all []Shard
		for _, sh := range l.shards {
			all = append(all, sh)
		}
		l.take(all)
	}
	return nil
}

func (l *local) Events() <-chan []LeaseEvent              { return l.events }
func (l *local) Err() error                               { return nil }
func (l *local) Release(context.Context, []ShardID) error { return nil }

func (l *local) Close(context.Context) error {
	l.closing.Do(func() { close(l.closed) })
	l.running.Wait()
	return nil
}
