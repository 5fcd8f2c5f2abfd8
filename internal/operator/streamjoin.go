package operator

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// StreamJoin joins two streams by key and time: l and r match if -Before <= r.time - l.time <= After.
//
// A pair is emitted when the second of it arrives, with the later of both times. A record is late if the watermark (of
// both streams) is more than Grace past its time. So a left record can be matched until the watermark is more than
// After + Grace past its time, and a right one, Before + Grace. That long it is kept; and if it is to be emitted also
// without a match, it is then.
type StreamJoin[K comparable, L, R any] struct {
	StreamJoinSpec[K, L, R]
	task     *task.Task
	clock    *task.Clock
	left     *shelf[K, L]
	right    *shelf[K, R]
	lefts    []dueRecord[K, L]
	rights   []dueRecord[K, R]
	ls       []foundRecord[L]
	rs       []foundRecord[R]
	released []release
}

// StreamJoinSpec is what the topology says about a StreamJoin.
type StreamJoinSpec[K comparable, L, R any] struct {
	Op                   int32
	Store                string
	Keys                 codec.Codec[K]
	Lefts                codec.Codec[L]
	Rights               codec.Codec[R]
	Before, After, Grace int64 // ms
	Pair                 func(c *task.Ctx, k K, l L, r R)
	OnlyLeft             task.KeyedFn[K, L] // takes records without a match; may be nil
	OnlyRight            task.KeyedFn[K, R]
	LateLeft             task.KeyedFn[K, LateRecord[L]]
	LateRight            task.KeyedFn[K, LateRecord[R]]
}

// Of a join's store, the side that an entry belongs to.
const (
	leftSide byte = iota
	rightSide
)

// NewStreamJoin adds the operator to a task.
func NewStreamJoin[K comparable, L, R any](t *task.Task, clock *task.Clock, s StreamJoinSpec[K, L, R]) *StreamJoin[K, L, R] {
	width := JoinBucket(s.Before, s.After)
	o := &StreamJoin[K, L, R]{StreamJoinSpec: s, task: t, clock: clock,
		left:  newShelf(t, s.Store, leftSide, s.Keys, s.Lefts, width, s.After+s.Grace, s.OnlyLeft != nil),
		right: newShelf(t, s.Store, rightSide, s.Keys, s.Rights, width, s.Before+s.Grace, s.OnlyRight != nil)}
	t.AddStateful(o)
	t.AddTimed(o)
	return o
}

// JoinBucket is the width of the buckets that a join keeps its records in. Looking for matches then takes about five.
func JoinBucket(before, after int64) int64 { return max(1000, (before+after+3)/4) }

// Clock implements task.Timed.
func (o *StreamJoin[K, L, R]) Clock() *task.Clock { return o.clock }

// Due implements task.Timed.
func (o *StreamJoin[K, L, R]) Due() int64 { return min(o.left.due, o.right.due) }

// foundRecord is a record that matches the one at hand.
type foundRecord[V any] struct {
	l *list[V]
	r *held[V]
}

// Left takes a record of the left stream.
func (o *StreamJoin[K, L, R]) Left(c *task.Ctx, k K, v L) {
	c.Enter(o.Op)
	t, w := c.Time, o.clock.W
	if behind(t, o.Grace, w) {
		late(c, o.Op, k, v, w, o.LateLeft)
		return
	}
	o.rs = o.rs[:0]
	after := o.After
	if plant.Is("join") {
		after-- // the upper bound is not included
	}
	err := o.right.each(k, t-o.Before, t+after, func(l *list[R], r *held[R]) { o.rs = append(o.rs, foundRecord[R]{l, r}) })
	if err != nil {
		c.Task.Fail(err)
		return
	}
	over := behind(t, o.left.hold, w)
	if over && len(o.rs) == 0 && o.OnlyLeft == nil {
		c.Lapse(o.Op)
	} else {
		c.Pass(o.Op)
	}
	for _, f := range o.rs {
		c.Time = max(t, f.r.time)
		o.Pair(c, k, v, f.r.val)
		c.Op = o.Op
	}
	c.Time = t
	if c.Rejected() {
		return // nothing of it was emitted, so that nothing is matched
	}
	if o.OnlyRight != nil {
		for _, f := range o.rs {
			o.right.match(f.l, f.r)
		}
	}
	switch {
	case !over:
		if err := o.left.add(k, t, v, len(o.rs) > 0); err != nil {
			c.Task.Fail(err)
		}
		o.clock.Need(o.left.due)
	case len(o.rs) == 0 && o.OnlyLeft != nil:
		o.OnlyLeft(c, k, v)
	}
}

// Right takes a record of the right stream.
func (o *StreamJoin[K, L, R]) Right(c *task.Ctx, k K, v R) {
	c.Enter(o.Op)
	t, w := c.Time, o.clock.W
	if behind(t, o.Grace, w) {
		late(c, o.Op, k, v, w, o.LateRight)
		return
	}
	o.ls = o.ls[:0]
	err := o.left.each(k, t-o.After, t+o.Before, func(l *list[L], r *held[L]) { o.ls = append(o.ls, foundRecord[L]{l, r}) })
	if err != nil {
		c.Task.Fail(err)
		return
	}
	over := behind(t, o.right.hold, w)
	if over && len(o.ls) == 0 && o.OnlyRight == nil {
		c.Lapse(o.Op)
	} else {
		c.Pass(o.Op)
	}
	for _, f := range o.ls {
		c.Time = max(t, f.r.time)
		o.Pair(c, k, f.r.val, v)
		c.Op = o.Op
	}
	c.Time = t
	if c.Rejected() {
		return
	}
	if o.OnlyLeft != nil {
		for _, f := range o.ls {
			o.left.match(f.l, f.r)
		}
	}
	switch {
	case !over:
		if err := o.right.add(k, t, v, len(o.ls) > 0); err != nil {
			c.Task.Fail(err)
		}
		o.clock.Need(o.right.due)
	case len(o.ls) == 0 && o.OnlyRight != nil:
		o.OnlyRight(c, k, v)
	}
}

// behind says that the watermark w is more than d past the time t.
func behind(t, d, w int64) bool { return w != math.MinInt64 && w-d > t }

func late[K comparable, V any](c *task.Ctx, op int32, k K, v V, w int64, to task.KeyedFn[K, LateRecord[V]]) {
	c.Late(op)
	if to != nil {
		to(c, k, LateRecord[V]{v, Lateness{Time: c.Time, Watermark: w}})
	}
}

// release is a record of one side that has found no match.
type release struct {
	time int64
	key  string
	side byte
	i    int
}

// Advance implements task.Timed: records that cannot find a match any more are emitted, in the order of (time, key), and
// forgotten.
func (o *StreamJoin[K, L, R]) Advance(c *task.Ctx, w int64) {
	var err error
	if o.lefts, err = o.left.advance(w); err == nil {
		o.rights, err = o.right.advance(w)
	}
	if err != nil {
		c.Task.Fail(err)
		return
	}
	o.released = o.released[:0]
	for i, x := range o.lefts {
		o.released = append(o.released, release{x.time, x.bytes, leftSide, i})
	}
	for i, x := range o.rights {
		o.released = append(o.released, release{x.time, x.bytes, rightSide, i})
	}
	slices.SortStableFunc(o.released, func(a, b release) int {
		return cmp.Or(cmp.Compare(a.time, b.time), bytes.Compare([]byte(a.key), []byte(b.key)), cmp.Compare(a.side, b.side))
	})
	t, k, h := c.Time, c.Key, c.Headers
	for _, x := range o.released {
		c.Op, c.Time, c.Key, c.Headers = o.Op, x.time, []byte(x.key), nil
		m := c.Begin()
		if x.side == leftSide {
			o.OnlyLeft(c, o.lefts[x.i].key, o.lefts[x.i].val)
		} else {
			o.OnlyRight(c, o.rights[x.i].key, o.rights[x.i].val)
		}
		c.End(m)
	}
	c.Time, c.Key, c.Headers = t, k, h
	clear(o.lefts)
	clear(o.rights)
}

// Restore implements task.Stateful.
func (o *StreamJoin[K, L, R]) Restore(m *task.Marker) error {
	o.clock.Resume(m, o.StoreID())
	if err := o.left.restore(m); err != nil {
		return err
	}
	return o.right.restore(m)
}

// Cut implements task.Stateful.
func (o *StreamJoin[K, L, R]) Cut(d *task.Delta) error {
	if err := o.left.cut(d); err != nil {
		return err
	}
	return o.right.cut(d)
}

// Applied implements task.Stateful.
func (o *StreamJoin[K, L, R]) Applied(epoch uint64) {
	room := o.task.Room(o.Held())
	o.left.evict(max(room-o.right.held(), room/2), epoch)
	o.right.evict(room-o.left.held(), epoch)
}

// Changed implements task.Stateful.
func (o *StreamJoin[K, L, R]) Changed() int {
	return o.left.changed*o.left.recordSize() + o.right.changed*o.right.recordSize()
}

// Held implements task.Stateful.
func (o *StreamJoin[K, L, R]) Held() int { return o.left.held() + o.right.held() }

// StoreID implements task.Stateful.
func (o *StreamJoin[K, L, R]) StoreID() uint32 { return o.left.id }

// ClosedThrough implements task.Closer.
func (o *StreamJoin[K, L, R]) ClosedThrough() task.MarkerClosed {
	return task.MarkerClosed{Store: o.StoreID(), Through: o.clock.W}
}
