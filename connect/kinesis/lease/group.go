package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
)

// group is an instance's part in the leases of one stream. One loop goes around every third of the time of failover: it
// renews what the instance holds, leads if it is the leader, and adopts what was assigned to it. Beside it a second loop gives
// up what could not be renewed in time, also when calls of the first hang.
type group struct {
	*member
	stream string
	start  Start
	table  *table
	wake   chan struct{}
	leader *leader

	mu      sync.Mutex // never held during a call
	running bool
	held    map[string]*held
	ended   map[string]uint64 // shards that this instance has read to their ends, with the term
	listed  []kinesis.Shard
	lists   int // how many lists there were
	unread  int // shards that nobody reads, if this instance leads
	alarms  map[AlarmKind]int
}

// held is a lease that the instance has.
type held struct {
	gate chan struct{} // holds a token while no write of the lease is under way
	term uint64        // the counter with which the instance has begun to have it

	// The group's mutex guards the rest.
	row   row
	until time.Time // when it must be given up unless it is renewed before
	taken bool      // the connector knows of it
	asked bool      // and that another instance is to have it
	bytes int64     // read since counted
	since time.Time
}

func newGroup(mb *member, stream string) *group {
	g := &group{member: mb, stream: stream, wake: make(chan struct{}, 1), held: map[string]*held{}, ended: map[string]uint64{}, alarms: map[AlarmKind]int{}}
	g.table = &table{client: mb.Client, name: mb.Name(mb.app, stream), patience: mb.Failover / 3, logger: mb.logger}
	if mb.Shared {
		g.table.prefix = sharedPrefix(mb.app, stream)
	}
	g.start = cmp.Or(mb.Start, words[mb.starts[stream]])
	g.leader = newLeader(g)
	return g
}

// valid is how long a lease is held after a write of it was sent: shorter than others wait, because clocks do not run
// equally fast and the loop that gives up looks only every now and then.
func (g *group) valid() time.Duration { return g.Failover * 85 / 100 }

func (g *group) every() time.Duration { return g.Failover / 3 }

func (g *group) id(shard string) kinesis.ShardID {
	return kinesis.ShardID{Stream: g.stream, Shard: shard}
}

func (g *group) event(shard string, c kinesis.LeaseChange, term uint64) kinesis.LeaseEvent {
	return kinesis.LeaseEvent{ShardID: g.id(shard), Change: c, Term: term}
}

func lost(id kinesis.ShardID) error {
	return fmt.Errorf("shard %s of %s: %w", id.Shard, id.Stream, kinesis.ErrLeaseLost)
}

// found takes in the stream's shards.
func (g *group) found(ctx context.Context, shards []kinesis.Shard) error {
	g.mu.Lock()
	g.listed = slices.Clone(shards)
	g.lists++
	running := g.running
	parents := map[string]*held{}
	for key := range g.ended { // those that the stream has forgotten are not asked for again
		if !slices.ContainsFunc(shards, func(s kinesis.Shard) bool { return s.Shard == key }) {
			delete(g.ended, key)
		}
	}
	for _, s := range shards {
		if h := g.held[s.Shard]; h != nil && s.Closed {
			parents[s.Shard] = h
		}
	}
	g.mu.Unlock()
	if !running {
		return g.begin(ctx)
	}
	// Children come before their parent's end is written, so that there is a lease for them whoever does what next. That
	// the parent is still held keeps one who was overtaken from making leases again that were finished and deleted.
	for _, s := range shards {
		for _, p := range s.Parents {
			h := parents[p]
			if h == nil {
				continue
			}
			if err := g.keep(ctx, h); err != nil {
				return err
			}
			if err := g.table.insert(ctx, fresh(s, g.start).item()); err != nil {
				return err
			}
			break
		}
	}
	g.hurry()
	return nil
}

// hurry makes the loop go around now.
func (g *group) hurry() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// begin makes the leases of a table that has none, and starts the loops.
func (g *group) begin(ctx context.Context) error {
	items, err := g.table.scan(ctx)
	if err != nil {
		return err
	}
	rows := g.leader.leases(items)
	g.mu.Lock()
	p := reconcile(g.listed, true, rows, g.start, map[string]int{})
	g.mu.Unlock()
	if err := each(p.create, func(r row) error { return g.table.insert(ctx, r.item()) }); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.running && g.ctx.Err() == nil {
		g.running = true
		g.wait.Go(g.loop)
		g.wait.Go(g.guard)
	}
	return nil
}

// loop goes around until the membership ends.
func (g *group) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-timer.C:
		case <-g.wake:
		}
		if err := g.round(g.ctx); err != nil && g.ctx.Err() == nil {
			if hopeless(err) {
				g.logger.Error("the lease table cannot be used", "table", g.table.name, "error", err)
				g.fail(err)
				return
			}
			g.logger.Warn("leases: not everything could be done; going on", "table", g.table.name, "error", err)
		}
		timer.Reset(g.every() - rand.N(g.every()/5)) // instances that began together part
	}
}

// guard gives up leases whose time is over.
func (g *group) guard() {
	ticker := time.NewTicker(g.Failover / 20)
	defer ticker.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		g.mu.Lock()
		for key, h := range g.held {
			if now.After(h.until) {
				g.logger.Warn("a lease was not renewed in time and is given up", "stream", g.stream, "shard", key)
				g.lose(key, h)
			}
		}
		g.mu.Unlock()
	}
}

// lose forgets a lease. The group is locked.
func (g *group) lose(key string, h *held) {
	if g.held[key] != h {
		return
	}
	delete(g.held, key)
	if h.taken {
		g.post(g.event(key, kinesis.Lost, h.term))
	}
}

func (g *group) round(ctx context.Context) error {
	g.mu.Lock()
	var mine []*held
	for _, h := range g.held {
		g.measure(h)
		if time.Until(h.until) < g.valid()-g.every()/2 { // a checkpoint renews, too
			mine = append(mine, h)
		}
	}
	g.mu.Unlock()
	err := each(mine, func(h *held) error {
		if err := g.keep(ctx, h); !errors.Is(err, kinesis.ErrLeaseLost) {
			return err
		}
		return nil
	})
	assigned, err2 := g.leader.round(ctx)
	keys, err3 := g.table.owned(ctx, g.me)
	err4 := g.adopt(ctx, append(keys, assigned...))
	return errors.Join(err, err2, err3, err4)
}

// measure makes a rate of the bytes that were read of a shard. The group is locked.
func (g *group) measure(h *held) {
	now := time.Now()
	if passed := now.Sub(h.since); passed >= g.every()/2 && (h.bytes > 0 || h.row.load > 0) {
		rate := float64(h.bytes) / 1024 / passed.Seconds()
		if h.row.load > 0 {
			rate = (rate + h.row.load) / 2
		}
		h.row.load, h.bytes, h.since = max(rate, 0.001), 0, now
	}
}

// Read counts bytes that were read of a shard: leases are assigned by what their shards bring. A connector that does not call
// it has them assigned by number.
func (mb *member) Read(id kinesis.ShardID, bytes int) {
	g := mb.group(id.Stream)
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if h := g.held[id.Shard]; h != nil {
		h.bytes += int64(bytes)
	}
}

// write does an edit of a lease that is held; one at a time. If it turns out that the lease is not held any more it is lost.
func (g *group) write(ctx context.Context, h *held, change func(row) *edit) error {
	select {
	case <-h.gate:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { h.gate <- struct{}{} }()
	g.mu.Lock()
	r, there := h.row, g.held[h.row.key] == h
	g.mu.Unlock()
	if !there {
		return lost(g.id(r.key))
	}
	sent := time.Now()
	after, err := g.table.hold(ctx, g.me, r, change)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case errors.Is(err, kinesis.ErrLeaseLost):
		g.logger.Warn("a lease has another holder", "stream", g.stream, "shard", r.key)
		g.lose(r.key, h)
	case err == nil:
		after.load = h.row.load
		h.row, h.until = after, sent.Add(g.valid())
		if after.holder == g.me && h.taken && !h.asked {
			h.asked = true
			g.post(g.event(r.key, kinesis.Asked, h.term))
		}
	}
	return err
}

func (g *group) keep(ctx context.Context, h *held) error {
	return g.write(ctx, h, func(r row) *edit { return renew(g.me, r) })
}

// adopt begins terms of leases that were assigned to this instance, and tells of all that can be read.
func (g *group) adopt(ctx context.Context, keys []string) error {
	slices.Sort(keys)
	keys = slices.Compact(keys)
	g.mu.Lock()
	keys = slices.DeleteFunc(keys, func(k string) bool { return g.held[k] != nil || g.ended[k] != 0 })
	g.mu.Unlock()
	err := each(keys, func(key string) error { return g.adoptOne(ctx, key) })
	return errors.Join(err, g.tell(ctx))
}

func (g *group) adoptOne(ctx context.Context, key string) error {
	r, found, err := g.table.lease(ctx, key)
	if err != nil || !found || r.owner != g.me || r.holder != "" || r.ended() {
		return err
	}
	if _, err := r.position(); err != nil {
		g.alarm(Alarm{Kind: Broken, Shard: key, Detail: err.Error()})
		return nil
	}
	sent := time.Now()
	after, err := g.table.hold(ctx, g.me, r, func(r row) *edit { return renew(g.me, r) })
	if errors.Is(err, kinesis.ErrLeaseLost) {
		return nil // somebody else was given it meanwhile
	}
	if err != nil {
		return err
	}
	h := &held{gate: make(chan struct{}, 1), term: uint64(after.counter), row: after, until: sent.Add(g.valid()), since: sent}
	h.gate <- struct{}{}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held[key] == nil {
		g.held[key] = h
	}
	return nil
}

// tell tells the connector of the leases that are held and whose parents were read to their ends, all at once.
func (g *group) tell(ctx context.Context) error {
	g.mu.Lock()
	var waiting []*held
	for _, h := range g.held {
		if !h.taken {
			waiting = append(waiting, h)
		}
	}
	g.mu.Unlock()
	may := make(map[*held]bool)
	var mu sync.Mutex
	err := each(waiting, func(h *held) error {
		ok, err := g.ready(ctx, h.row)
		mu.Lock()
		defer mu.Unlock()
		may[h] = ok && err == nil
		return err
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	var events []kinesis.LeaseEvent
	for key, h := range g.held {
		if !may[h] || h.taken {
			continue
		}
		e := g.event(key, kinesis.Taken, h.term)
		e.At, _ = h.row.position() // was looked at when it was adopted
		h.taken = true
		events = append(events, e)
	}
	slices.SortFunc(events, func(a, b kinesis.LeaseEvent) int { return compareShards(a.ShardID, b.ShardID) })
	g.post(events...)
	return err
}

// ready reads the leases of a lease's parents, and of what goes before those that have none, and decides.
func (g *group) ready(ctx context.Context, r row) (bool, error) {
	g.mu.Lock()
	shards := g.listed
	g.mu.Unlock()
	parents := map[string][]string{}
	for _, s := range shards {
		parents[s.Shard] = s.Parents
	}
	rows := map[string]row{}
	seen := map[string]bool{}
	for look := slices.Clone(r.parents); len(look) > 0 && !r.begun(); look = look[1:] {
		id := look[0]
		if seen[id] {
			continue
		}
		seen[id] = true
		p, found, err := g.table.lease(ctx, id)
		if err != nil {
			return false, err
		}
		if found {
			rows[id] = p
		} else {
			look = append(look, parents[id]...)
		}
	}
	return ready(r, rows, shards), nil
}

func (g *group) checkpoint(ctx context.Context, c kinesis.Checkpoint) error {
	m := written(c.Next)
	var children []string
	g.mu.Lock()
	h, done := g.held[c.Shard], g.ended[c.Shard]
	for _, s := range g.listed {
		if c.Next == connect.Ended && slices.Contains(s.Parents, c.Shard) {
			children = append(children, s.Shard)
		}
	}
	g.mu.Unlock()
	switch {
	case h == nil && done != 0 && done == c.Term && c.Next == connect.Ended:
		return nil // was written before
	case h == nil || h.term != c.Term:
		return lost(c.ShardID)
	}
	err := g.write(ctx, h, func(r row) *edit { return checkpointed(g.me, r, m, children) })
	if err != nil || c.Next != connect.Ended {
		return err
	}
	g.mu.Lock()
	delete(g.held, c.Shard)
	g.ended[c.Shard] = c.Term
	g.mu.Unlock()
	if err := g.claim(ctx, children); err != nil {
		g.logger.Warn("could not take the children of a shard; the leader will assign them", "stream", g.stream, "shard", c.Shard, "error", err)
	}
	return nil
}

// claim takes children that nobody has yet, so that they need not wait for the leader.
func (g *group) claim(ctx context.Context, children []string) error {
	err := each(children, func(key string) error {
		r, found, err := g.table.lease(ctx, key)
		if err != nil || !found || r.has() != "" || r.ended() {
			return err
		}
		if ok, err := g.ready(ctx, r); !ok || err != nil {
			return err
		}
		if _, err := g.table.apply(ctx, key, assigned(r, g.me)); !errors.Is(err, errMissed) {
			return err
		}
		return nil
	})
	return errors.Join(err, g.adopt(ctx, children))
}

func (g *group) release(ctx context.Context, key string) error {
	g.mu.Lock()
	h := g.held[key]
	g.mu.Unlock()
	if h == nil {
		return nil
	}
	err := g.write(ctx, h, func(r row) *edit { return released(g.me, r) })
	if err != nil && !errors.Is(err, kinesis.ErrLeaseLost) {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held[key] == h {
		delete(g.held, key)
	}
	return nil
}

// leave gives back all that the instance has, when its loops have ended.
func (g *group) leave(ctx context.Context) error {
	g.mu.Lock()
	var keys []string
	for key := range g.held {
		keys = append(keys, key)
	}
	g.mu.Unlock()
	err := each(keys, func(key string) error { return g.release(ctx, key) })
	return errors.Join(err, g.leader.leave(ctx))
}

// alarm tells a person.
func (g *group) alarm(a Alarm) {
	a.Stream = g.stream
	g.mu.Lock()
	g.alarms[a.Kind]++
	g.mu.Unlock()
	g.logger.Log(g.ctx, slog.LevelError, "leases: "+string(a.Kind), "stream", a.Stream, "shard", a.Shard, "detail", a.Detail)
	if g.OnAlarm != nil {
		g.OnAlarm(a)
	}
}
