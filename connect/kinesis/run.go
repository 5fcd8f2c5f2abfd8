package kinesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// Run takes shards as the leases give them, hands over what the readers bring, and gives shards back that are over.
func (s *session) Run(ctx context.Context, h connect.Handler) error {
	s.h = h
	member, err := s.join(ctx)
	if err != nil {
		return err
	}
	tick, late := time.NewTicker(s.c.DiscoverEvery), time.NewTicker(s.c.checkpointEvery)
	defer tick.Stop()
	defer late.Stop()
	for {
		select {
		case list, ok := <-member.Events():
			if !ok {
				if err := member.Err(); err != nil && ctx.Err() == nil {
					return fmt.Errorf("leases of shards: %w", err)
				}
				return nil
			}
			if err := s.lease(ctx, member, list); err != nil {
				return err
			}
		case b := <-s.batches:
			h.Deliver(b)
		case <-s.look:
			if err := s.leaveOver(ctx, member); err != nil {
				return err
			}
		case <-tick.C:
			s.beside(s.discover)
		case <-late.C:
			if s.late() {
				s.beside(s.checkpoint)
			}
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// beside does something while Run goes on, and ends the session if that fails.
func (s *session) beside(f func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed { // Close waits for what has begun before it
		return
	}
	s.running.Go(func() {
		if err := f(s.ctx); err != nil && s.ctx.Err() == nil {
			s.fail(err)
		}
	})
}

// late says that the leases lack positions that the next commit would bring them, and that none has come for some time.
func (s *session) late() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) > 0 && time.Since(s.wrote) >= s.c.checkpointEvery
}

// join begins with the shards that there were when the session was opened.
func (s *session) join(ctx context.Context) (Membership, error) {
	m := Member{App: s.app.ID, Instance: s.app.Instance, Incarnation: s.app.Incarnation, Kept: map[ShardID]source.Position{}, Starts: map[string]source.Start{}, Logger: s.log}
	for name, src := range s.specs {
		m.Starts[name] = src.Range.Start
	}
	s.mu.Lock()
	var list []Shard
	var parts []source.Partition
	for _, sh := range s.shards {
		list, parts = append(list, sh), append(parts, sh.partition())
	}
	s.mu.Unlock()
	gone := s.forgotten(list)
	for _, id := range gone {
		parts = append(parts, id.partition())
	}
	known := map[string]bool{}
	if k, ok := s.h.(connect.Keeper); ok && s.alone && s.out == nil {
		kept, err := k.Kept(parts)
		if err != nil {
			return nil, err
		}
		for _, sh := range list {
			if at, ok := kept[sh.partition()]; ok {
				m.Kept[sh.ShardID], known[sh.Stream] = at, true
			}
		}
		for _, id := range gone {
			if at, ok := kept[id.partition()]; ok && at != connect.Ended {
				known[id.Stream] = true
				if err := s.missed(id.partition(), at, connect.Ended); err != nil {
					return nil, err
				}
				s.passed[id] = s.specs[id.Stream].Range.Deleted == source.DeletedLatest
			}
		}
	}
	for _, sh := range list {
		s.opened[sh.ShardID] = !known[sh.Stream] // before Run assigns anything: no other goroutine looks
	}
	member, err := s.c.Leases.Join(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("join those that share the shards: %w", err)
	}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.member = member
	}
	s.mu.Unlock()
	if closed { // meanwhile: Close has seen no member
		return nil, errors.Join(errClosed, member.Close(ctx))
	}
	if err := member.Found(ctx, list); err != nil {
		return nil, fmt.Errorf("make the leases of shards: %w", err)
	}
	return member, nil
}

// forgotten are the shards that others come from and that the stream has no longer.
func (s *session) forgotten(list []Shard) (gone []ShardID) {
	for _, sh := range list {
		for _, p := range sh.Parents {
			id := ShardID{sh.Stream, p}
			if _, there := s.shards[id]; !there && !slices.Contains(gone, id) {
				if _, err := index(p); err == nil {
					gone = append(gone, id)
				}
			}
		}
	}
	return gone
}

// discover lists the shards and tells the leases of them.
func (s *session) discover(ctx context.Context) error {
	s.finding.Lock()
	defer s.finding.Unlock()
	var all []Shard
	for name := range s.specs {
		list, err := s.c.list(ctx, name)
		if err != nil {
			return err
		}
		all = append(all, list...)
	}
	s.mu.Lock()
	clear(s.shards)
	for _, sh := range all {
		s.shards[sh.ShardID] = sh
	}
	member := s.member
	s.mu.Unlock()
	if member == nil {
		return errClosed
	}
	if err := member.Found(ctx, all); err != nil {
		return fmt.Errorf("make the leases of shards: %w", err)
	}
	s.lookAgain()
	return nil
}

// lease does what a list of events says.
func (s *session) lease(ctx context.Context, member Membership, list []LeaseEvent) error {
	var taken, asked, lost []source.Partition
	s.mu.Lock()
	for _, e := range list {
		part := e.partition()
		switch e.Change {
		case Taken:
			s.owned[part] = &owned{id: e.ShardID, term: e.Term, at: e.At}
			taken = append(taken, part)
		case Asked:
			asked = append(asked, part)
		case Lost:
			lost = append(lost, part)
		}
	}
	s.mu.Unlock()
	for _, e := range list {
		s.c.Observe(Event{What: [...]What{Taken: LeaseTaken, Asked: LeaseAsked, Lost: LeaseLost}[e.Change], Stream: e.Stream, Shard: e.Shard, N: 1})
	}
	if len(taken) > 0 {
		s.h.Assigned(ctx, taken)
	}
	if len(lost) > 0 {
		s.stop(lost)
		s.h.Lost(lost)
	}
	if len(asked) == 0 {
		return nil
	}
	begun := time.Now()
	given, err := s.giveBack(ctx, member, asked)
	if err == nil {
		s.counts.handedOver(given, time.Since(begun))
	}
	return err
}

// leaveOver gives shards back whose end is committed. Where there may be tasks behind an exchange, that is once all that follow them have been started: until
// then they hold the watermark where it is.
func (s *session) leaveOver(ctx context.Context, member Membership) error {
	s.mu.Lock()
	var over []source.Partition
	for part, o := range s.owned {
		if !o.ended {
			continue
		}
		follow := true
		for id, sh := range s.shards {
			if id.Stream != part.Stream || !slices.Contains(sh.Parents, o.id.Shard) {
				continue
			}
			if c := s.owned[id.partition()]; s.alone && s.out == nil && (c == nil || !c.started) {
				follow = false
			}
		}
		if follow {
			over = append(over, part)
		}
	}
	s.mu.Unlock()
	if len(over) == 0 {
		return nil
	}
	_, err := s.giveBack(ctx, member, over)
	return err
}

// giveBack takes shards from the engine, which commits what it has of them, and then gives their leases back. It returns those that
// it had.
func (s *session) giveBack(ctx context.Context, member Membership, parts []source.Partition) (ids []ShardID, err error) {
	s.stop(parts)
	s.h.Revoked(ctx, parts)
	if err := s.checkpoint(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	for _, p := range parts {
		if o := s.owned[p]; o != nil {
			ids = append(ids, o.id)
			delete(s.owned, p)
		}
	}
	s.mu.Unlock()
	if s.out != nil {
		s.out.Drop(ctx, parts)
	}
	s.lookAgain() // one that was left may be what another waited for
	if err := member.Release(ctx, ids); err != nil {
		return nil, fmt.Errorf("give leases of shards back: %w", err)
	}
	return ids, nil
}

// stop ends the readers of shards.
func (s *session) stop(parts []source.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range parts {
		if o := s.owned[p]; o != nil && o.reader != nil {
			o.reader.cancel()
		}
	}
}

// Start begins to read.
func (s *session) Start(_ context.Context, at map[source.Partition]*source.Position) (caughtUp []source.Partition, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	for part, pos := range at {
		o := s.owned[part]
		if o == nil {
			return nil, fmt.Errorf("start %v: its lease is gone: %w", part, connect.ErrRetry)
		}
		latest := false
		if pos == nil {
			first, last := s.first(o)
			pos, latest = &first, last
			at[part] = pos
		}
		o.started = true
		if *pos == connect.Ended {
			o.ended = true
			s.pending[part] = *pos // where the lease does not say so yet
			caughtUp = append(caughtUp, part)
			continue
		}
		o.reader = newReader(s, o, *pos, latest)
		s.running.Go(o.reader.run)
	}
	s.lookAgain()
	return caughtUp, nil
}

// first is where a shard begins of which no position is known. What follows a shard that was read is read from its beginning,
// wherever the stream was begun; shards that have come before the application did begin where the source says. Where
// others share the leases, or an outlet has the positions, the two cannot be told apart, and too much is read rather than too little.
func (s *session) first(o *owned) (at source.Position, latest bool) {
	r := s.specs[o.id.Stream].Range
	if p, ok := r.Positions[o.id.partition().Index]; ok {
		return p, false
	}
	old := s.opened[o.id]
	if !s.alone || s.out != nil {
		old = !slices.ContainsFunc(s.shards[o.id].Parents, func(p string) bool { _, there := s.shards[ShardID{o.id.Stream, p}]; return there })
	}
	after := slices.ContainsFunc(s.shards[o.id].Parents, func(p string) bool { return s.passed[ShardID{o.id.Stream, p}] })
	switch {
	case after:
		return arrived(time.Now()), true
	case r.Start == source.StartTime:
		return arrived(r.From), false
	case r.Start == source.Latest && old:
		return arrived(time.Now()), true
	}
	return source.Position{}, false
}

// Pause implements connect.Session.
func (s *session) Pause(parts []source.Partition) { s.setPaused(parts, true) }

// Resume implements connect.Session.
func (s *session) Resume(parts []source.Partition) { s.setPaused(parts, false) }

func (s *session) setPaused(parts []source.Partition, paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range parts {
		if o := s.owned[p]; o != nil {
			o.paused = paused
		}
	}
	s.signal()
}

// Wake implements connect.Session.
func (s *session) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signal()
}

func (s *session) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// reserve waits until the engine has room for what a reader is about to fetch, beside what others are fetching, and takes some
// of it: an even share at most, since all readers want some. It returns 0 when ctx has ended.
func (s *session) reserve(ctx context.Context, o *owned, most int64) int64 {
	for {
		s.mu.Lock()
		room := s.h.Room() - s.reserved
		if share := max(s.app.FetchBytes/int64(max(len(s.owned), 1)), 64<<10); !o.paused && room > 0 {
			n := min(room, share, most)
			s.reserved += n
			s.mu.Unlock()
			return n
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return 0
		}
	}
}

func (s *session) unreserve(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= bytes
	s.signal()
}

// Ends implements connect.Ender: a shard's end is known once it was asked, after the call of Ends, and had nothing more. Where it
// has more, or was asked by somebody else meanwhile, a position that is never reached stands for it.
func (s *session) Ends(ctx context.Context, parts []source.Partition) (map[source.Partition]source.Position, error) {
	ends := map[source.Partition]source.Position{}
	asked := time.Now()
	for _, p := range parts {
		s.mu.Lock()
		o := s.owned[p]
		s.mu.Unlock()
		ends[p] = source.Position{High: connect.Ended.High, Mid: connect.Ended.Mid, Low: connect.Ended.Low, Sub: 1}
		if o == nil || o.reader == nil {
			continue
		}
		if end, ok, err := o.reader.end(ctx, asked); err != nil {
			return nil, fmt.Errorf("find the end of %v: %w", p, err)
		} else if ok {
			ends[p] = end
		}
	}
	return ends, nil
}
