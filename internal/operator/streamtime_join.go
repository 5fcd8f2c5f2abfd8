package operator

import (
	"math"

	"github.com/millstream-go/millstream/internal/task"
)

// StreamTimeJoin is StreamJoin by stream time, as Kafka Streams has it. Both sides have one stream time. No record is
// late: it is joined with what is still kept of the other side, which is all that is less than before + after + grace
// behind the newest record there.
//
// A record without a match whose window is over when it comes is emitted at once. Others wait; they are looked for when a
// record moves stream time, by the time of the one that was looked at last, and come in the order of (time, right side
// first, key).
type StreamTimeJoin[K comparable, L, R any] struct {
	StreamJoinSpec[K, L, R]
	task      *task.Task
	time      *streamTime
	left      *shelf[K, L]
	right     *shelf[K, R]
	keptLeft  *unmatched[K, L]
	keptRight *unmatched[K, R]
	retention int64
	nullKey   func(K) bool
	nullLeft  func(L) bool
	nullRight func(R) bool
	lefts     []match[L]
	rights    []match[R]
}

type match[V any] struct {
	time int64
	val  V
}

// What a join keeps besides its records.
const (
	newestLeft   = numberA
	newestRight  = numberB
	lookedAtLast = numberC // time of the record that was looked at last among those that wait; or of an older one since
)

// Of a join's store, the side that an entry of records without a match belongs to.
const (
	keptLeftSide byte = iota
	keptRightSide
)

// NewStreamTimeJoin adds the operator to a task.
func NewStreamTimeJoin[K comparable, L, R any](t *task.Task, st StreamTime, s StreamJoinSpec[K, L, R]) *StreamTimeJoin[K, L, R] {
	width, retention := JoinBucket(s.Before, s.After), s.Before+s.After+s.Grace
	o := &StreamTimeJoin[K, L, R]{StreamJoinSpec: s, task: t, time: newStreamTime(t, s.Store, st), retention: retention,
		left:     newShelf(t, s.Store, leftSide, s.Keys, s.Lefts, width, retention, false),
		right:    newShelf(t, s.Store, rightSide, s.Keys, s.Rights, width, retention, false),
		keptLeft: newUnmatched(t, s.Store, keptLeftSide, s.Keys, s.Lefts), keptRight: newUnmatched(t, s.Store, keptRightSide, s.Keys, s.Rights),
		nullKey: nullTest[K](), nullLeft: nullTest[L](), nullRight: nullTest[R]()}
	t.AddStateful(o)
	return o
}

// Left takes a record of the left stream.
func (o *StreamTimeJoin[K, L, R]) Left(c *task.Ctx, k K, v L) {
	c.Enter(o.Op)
	t := c.Time
	o.time.see(t)
	if refused(c, o.Op, k, v, o.nullKey, o.nullLeft, o.OnlyLeft) {
		return
	}
	c.Pass(o.Op)
	if !store(c, o.time, newestLeft, o.retention, o.left, k, t, v) {
		return
	}
	if t == o.time.W {
		o.flush(c, o.After)
	}
	c.Op = o.Op
	lo, hi := max(0, t-o.Before), max(0, t+o.After)
	o.rights = o.rights[:0]
	err := o.right.each(k, visible(o.time, newestRight, o.retention, lo), hi, func(_ *list[R], r *held[R]) {
		o.rights = append(o.rights, match[R]{r.time, r.val})
	})
	for _, r := range o.rights {
		if err == nil {
			err = o.keptRight.remove(r.time, k)
		}
		c.Time = max(t, r.time)
		o.Pair(c, k, v, r.val)
		c.Op = o.Op
	}
	c.Time = t
	if len(o.rights) == 0 && o.OnlyLeft != nil {
		if hi < o.time.W {
			o.OnlyLeft(c, k, v)
		} else if err == nil {
			err = o.keptLeft.put(t, k, v)
			o.wait(t)
		}
	}
	if err != nil {
		c.Task.Fail(err)
	}
}

// Right takes a record of the right stream.
func (o *StreamTimeJoin[K, L, R]) Right(c *task.Ctx, k K, v R) {
	c.Enter(o.Op)
	t := c.Time
	o.time.see(t)
	if refused(c, o.Op, k, v, o.nullKey, o.nullRight, o.OnlyRight) {
		return
	}
	c.Pass(o.Op)
	if !store(c, o.time, newestRight, o.retention, o.right, k, t, v) {
		return
	}
	if t == o.time.W {
		o.flush(c, o.Before)
	}
	c.Op = o.Op
	lo, hi := max(0, t-o.After), max(0, t+o.Before)
	o.lefts = o.lefts[:0]
	err := o.left.each(k, visible(o.time, newestLeft, o.retention, lo), hi, func(_ *list[L], r *held[L]) {
		o.lefts = append(o.lefts, match[L]{r.time, r.val})
	})
	for _, l := range o.lefts {
		if err == nil {
			err = o.keptLeft.remove(l.time, k)
		}
		c.Time = max(t, l.time)
		o.Pair(c, k, l.val, v)
		c.Op = o.Op
	}
	c.Time = t
	if len(o.lefts) == 0 && o.OnlyRight != nil {
		if hi < o.time.W {
			o.OnlyRight(c, k, v)
		} else if err == nil {
			err = o.keptRight.put(t, k, v)
			o.wait(t)
		}
	}
	if err != nil {
		c.Task.Fail(err)
	}
}

// refused takes a record without a key or a value. One with a value is emitted, if its side is.
func refused[K comparable, V any](c *task.Ctx, op int32, k K, v V, nullKey func(K) bool, null func(V) bool, only task.KeyedFn[K, V]) bool {
	switch noKey, noValue := nullKey != nil && nullKey(k), null != nil && null(v); {
	case !noKey && !noValue:
		return false
	case noKey && !noValue && only != nil:
		c.Pass(op)
		only(c, k, v)
	default:
		c.Skip(op)
	}
	return true
}

// store keeps a record of one side, unless it would be gone at once, and forgets what is gone by now.
func store[K comparable, V any](c *task.Ctx, st *streamTime, newest int, retention int64, s *shelf[K, V], k K, t int64, v V) bool {
	st.set(newest, max(st.numbers[newest], t))
	var err error
	if t > st.numbers[newest]-retention {
		err = s.add(k, t, v, true)
	}
	if err == nil {
		_, err = s.advance(st.numbers[newest])
	}
	if err != nil {
		c.Task.Fail(err)
	}
	return err == nil
}

// visible is the first time of the other side's records that are still kept, from lo on.
func visible(st *streamTime, newest int, retention, lo int64) int64 {
	if n := st.numbers[newest]; n != math.MinInt64 {
		return max(lo, n-retention+1)
	}
	return lo
}

// wait notes the time of a record that waits.
func (o *StreamTimeJoin[K, L, R]) wait(t int64) { o.time.set(lookedAtLast, min(o.last(), t)) }

func (o *StreamTimeJoin[K, L, R]) last() int64 {
	if n := o.time.numbers[lookedAtLast]; n != math.MinInt64 {
		return n
	}
	return math.MaxInt64
}

// flush emits the records without a match whose window has closed. reach is how far that of the record at hand goes.
func (o *StreamTimeJoin[K, L, R]) flush(c *task.Ctx, reach int64) {
	if o.OnlyLeft == nil && o.OnlyRight == nil {
		return
	}
	w := o.time.W
	switch last := o.last(); {
	case last == math.MaxInt64 && reach+o.Grace == 0: // nothing waits
		return
	case last != math.MaxInt64 && last+reach+o.Grace >= w:
		return
	case !o.time.may(c.Task.Now):
		return
	}
	t, key, h := c.Time, c.Key, c.Headers
	last := int64(math.MaxInt64)
	openLeft, openRight := false, false
	ls, rs, doneLeft, doneRight := o.keptLeft.list, o.keptRight.list, 0, 0
	for i, j := 0, 0; i < len(ls) || j < len(rs); {
		right := i == len(ls) || j < len(rs) && rs[j].time <= ls[i].time
		if right {
			last = rs[j].time
		} else {
			last = ls[i].time
		}
		if openLeft && openRight {
			break
		}
		switch {
		case right && last+o.Before+o.Grace >= w:
			openRight = true
		case !right && last+o.After+o.Grace >= w:
			openLeft = true
		case right:
			c.Time, c.Key, c.Headers = last, []byte(rs[j].bytes), nil
			for _, v := range rs[j].vals {
				c.Op = o.Op
				o.OnlyRight(c, rs[j].key, v)
			}
			doneRight++
		default:
			c.Time, c.Key, c.Headers = last, []byte(ls[i].bytes), nil
			for _, v := range ls[i].vals {
				c.Op = o.Op
				o.OnlyLeft(c, ls[i].key, v)
			}
			doneLeft++
		}
		if right {
			j++
		} else {
			i++
		}
	}
	c.Time, c.Key, c.Headers = t, key, h
	o.keptLeft.take(doneLeft)
	o.keptRight.take(doneRight)
	o.time.set(lookedAtLast, last)
}

// Restore implements task.Stateful.
func (o *StreamTimeJoin[K, L, R]) Restore(*task.Marker) error {
	for _, f := range []func() error{o.time.restore, func() error { return o.left.restore(nil) }, func() error { return o.right.restore(nil) },
		o.keptLeft.restore, o.keptRight.restore} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// Cut implements task.Stateful.
func (o *StreamTimeJoin[K, L, R]) Cut(d *task.Delta) error {
	o.time.cut(d)
	for _, f := range []func(*task.Delta) error{o.left.cut, o.right.cut, o.keptLeft.cut, o.keptRight.cut} {
		if err := f(d); err != nil {
			return err
		}
	}
	return nil
}

// Applied implements task.Stateful.
func (o *StreamTimeJoin[K, L, R]) Applied(epoch uint64) {
	room := o.task.Room(o.Held())
	o.left.evict(max(room-o.right.held(), room/2), epoch)
	o.right.evict(room-o.left.held(), epoch)
}

// Changed implements task.Stateful.
func (o *StreamTimeJoin[K, L, R]) Changed() int {
	return o.left.changed*o.left.recordSize() + o.right.changed*o.right.recordSize() + (o.keptLeft.changed+o.keptRight.changed)*128
}

// Held implements task.Stateful.
func (o *StreamTimeJoin[K, L, R]) Held() int {
	return o.left.held() + o.right.held() + o.keptLeft.held() + o.keptRight.held()
}

// StoreID implements task.Stateful.
func (o *StreamTimeJoin[K, L, R]) StoreID() uint32 { return o.left.id }
