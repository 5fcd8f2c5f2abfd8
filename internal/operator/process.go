package operator

import (
	"math"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Process hands records and timers to functions of the user, with one state per key.
type Process[K comparable, V, A any] struct {
	rows[K, A]
	ProcessSpec[K, V, A]
	clock  *task.Clock
	timers *timers
	key    K      // of the record or timer at hand
	bytes  []byte // the same, encoded
	c      *task.Ctx
	e      *entry[K, A]
}

// ProcessSpec is what the topology says about a Process.
type ProcessSpec[K comparable, V, A any] struct {
	Op       int32
	Store    string
	Keys     codec.Codec[K]
	Vals     codec.Codec[A]
	OnRecord func(p *Process[K, V, A], v V)
	// OnTimer gets the time that the timer was set for, in ms; wall says by which clock. It may be nil.
	OnTimer func(p *Process[K, V, A], at int64, wall bool)
}

// NewProcess adds the operator to a task.
func NewProcess[K comparable, V, A any](t *task.Task, clock *task.Clock, s ProcessSpec[K, V, A]) *Process[K, V, A] {
	o := &Process[K, V, A]{rows: newRows(t, task.KindValue, s.Store, s.Keys, s.Vals), ProcessSpec: s, clock: clock, timers: newTimers(t, s.Store)}
	t.AddStateful(o)
	t.AddTimed(o)
	t.AddWallTimed(o)
	return o
}

// Process takes a record.
func (o *Process[K, V, A]) Process(c *task.Ctx, k K, v V) {
	c.Enter(o.Op)
	c.Pass(o.Op)
	o.c, o.key, o.bytes, o.e = c, k, c.Key, nil
	o.OnRecord(o, v)
}

// At is the key and the context of the record or timer at hand.
func (o *Process[K, V, A]) At() (K, *task.Ctx) { return o.key, o.c }

func (o *Process[K, V, A]) entry() *entry[K, A] {
	if o.e != nil {
		return o.e
	}
	e, err := o.store.find(o.table, o.key, 0)
	if err != nil {
		o.store.task.Fail(err)
		e = &entry[K, A]{changed: true} // the task ends with this step; the table does not know it
	}
	o.e = e
	return e
}

// known is the entry of the key at hand if it has a state. A key without one leaves nothing behind: there may be many.
func (o *Process[K, V, A]) known() *entry[K, A] {
	if o.e != nil {
		return o.e
	}
	e, err := o.get(o.key)
	if err != nil {
		o.store.task.Fail(err)
	}
	o.e = e
	return e
}

// Get returns the key's state; ok is false, and the value zero, if there is none.
func (o *Process[K, V, A]) Get() (a A, ok bool) {
	e := o.known()
	if e == nil {
		return a, false
	}
	return e.val, e.live
}

// State returns the key's state to be changed in place, a zero value if there was none.
func (o *Process[K, V, A]) State() *A {
	e := o.entry()
	o.save(o, e)
	e.live = true
	e.time = max(e.time, o.c.Time)
	e.revision++
	o.table.touch(e)
	return &e.val
}

// Clear deletes the key's state.
func (o *Process[K, V, A]) Clear() {
	e := o.known()
	if e == nil || !e.live {
		return
	}
	o.save(o, e)
	var zero A
	e.live, e.val, e.revision, e.time = false, zero, 0, 0
	o.table.touch(e)
}

// Undo implements task.Undoer: timers are among the changes.
func (o *Process[K, V, A]) Undo() {
	x := o.pop()
	if x.timed {
		o.timers.set(x.timer, !x.set)
		return
	}
	o.undo(x)
}

// Watermark is the operator's watermark, in ms.
func (o *Process[K, V, A]) Watermark() int64 { return o.clock.W }

// SetTimer registers (or, with set false, takes back) a timer of the key at hand.
func (o *Process[K, V, A]) SetTimer(at int64, wall, set bool) {
	clock := eventTimer
	if wall {
		clock = wallTimer
	}
	t := timer{clock, at, string(o.bytes)}
	if o.timers.set(t, set) {
		o.saved = append(o.saved, saved[K, A]{timer: t, timed: true, set: set})
		o.store.task.Changing(o)
	}
	if set && !wall {
		o.clock.Need(at + 1)
	}
}

// Clock implements task.Timed.
func (o *Process[K, V, A]) Clock() *task.Clock { return o.clock }

// Due implements task.Timed: a timer t fires when the watermark is beyond t.
func (o *Process[K, V, A]) Due() int64 {
	if t := o.timers.next(eventTimer); t < math.MaxInt64 {
		return t + 1
	}
	return math.MaxInt64
}

// Advance implements task.Timed.
func (o *Process[K, V, A]) Advance(c *task.Ctx, w int64) {
	if plant.Is("timer") {
		w++ // one at the watermark fires as well
	}
	o.fire(c, eventTimer, w)
}

// WallDue implements task.WallTimed.
func (o *Process[K, V, A]) WallDue() int64 { return o.timers.next(wallTimer) }

// AdvanceWall implements task.WallTimed.
func (o *Process[K, V, A]) AdvanceWall(c *task.Ctx, now int64) { o.fire(c, wallTimer, now+1) }

// fire runs the timers before a time, in time order; those that they set before it run too. A wall-clock timer's
// results carry the watermark as their event time, if there is one.
func (o *Process[K, V, A]) fire(c *task.Ctx, clock byte, before int64) {
	t0, k0, h0 := c.Time, c.Key, c.Headers
	for {
		t, ok := o.timers.fire(clock, before)
		if !ok {
			break
		}
		key := []byte(t.key)
		k, err := o.store.keys.Decode(key)
		if err != nil {
			c.Task.Fail(&task.StateError{Store: o.store.name, Doing: "decode a timer's key", Err: err})
			break
		}
		c.Op, c.Time, c.Key, c.Headers = o.Op, t.at, key, nil
		if clock == wallTimer && o.clock.W != math.MinInt64 {
			c.Time = o.clock.W
		}
		o.c, o.key, o.bytes, o.e = c, k, key, nil
		if o.OnTimer != nil {
			m := c.Begin()
			o.OnTimer(o, t.at, clock == wallTimer)
			c.End(m)
		}
	}
	c.Time, c.Key, c.Headers = t0, k0, h0
}

// Restore implements task.Stateful.
func (o *Process[K, V, A]) Restore(m *task.Marker) error {
	o.clock.Resume(m, o.store.id)
	held, err := o.store.holds()
	if err != nil {
		return err
	}
	o.table = newTable[K, A](!held)
	return o.timers.restore()
}

// Cut implements task.Stateful.
func (o *Process[K, V, A]) Cut(d *task.Delta) error {
	o.timers.cut(d)
	return o.store.cut(o.table, d, 0)
}

// Applied implements task.Stateful.
func (o *Process[K, V, A]) Applied(epoch uint64) {
	o.table.applied(epoch)
	o.timers.applied(epoch, o.store.task.Room(o.Held())/2)
	if over := o.Held() - o.store.task.Room(o.Held()); over > 0 {
		o.store.evict(o.table, over/o.store.entrySize()+1, epoch)
	}
}

// ClosedThrough implements task.Closer: the watermark up to which timers have fired.
func (o *Process[K, V, A]) ClosedThrough() task.MarkerClosed {
	return task.MarkerClosed{Store: o.store.id, Through: o.clock.W}
}

// Changed implements task.Stateful.
func (o *Process[K, V, A]) Changed() int {
	return len(o.table.changed)*o.store.entrySize() + len(o.timers.changed)*64
}

// Held implements task.Stateful.
func (o *Process[K, V, A]) Held() int { return o.store.size(o.table) + o.timers.held() }
