package operator

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unsafe"

	engine "github.com/millstream-go/millstream/internal/pattern"
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/pattern"
	"github.com/millstream-go/millstream/stream/codec"
)

// Detect finds a pattern in the records of each key. They wait on a shelf until the watermark is past their times, and are
// then shown to the pattern in the order of (time, arrival). What is known of a key is a row: its partial matches, with
// the records in them. A key of which nothing is known has none.
//
// Time is an input of its own: partial matches end when their time is over, and some are matches then. So when the
// watermark moves, records and ends of time are worked off in the order of time, ends before records of the same time: what
// is found, and when, does not depend on the steps in which the watermark moves. With AtWatermarks it does, as in Flink:
// the time of a key passes with its records, and then to the watermark.
type Detect[K comparable, V any] struct {
	rows[K, *engine.State[V]]
	DetectSpec[K, V]
	machine  *engine.Machine[V]
	clock    *task.Clock
	shelf    *shelf[K, V]
	schedule schedule[K]      // when time is over for something of a key
	blank    *engine.State[V] // of a key of which nothing is known
	bulk     int              // about how many bytes a state takes
	ending   []endingKey[K, V]
}

// DetectSpec is what the topology says about a Detect.
type DetectSpec[K comparable, V any] struct {
	Op           int32
	Store        string
	Keys         codec.Codec[K]
	Vals         codec.Codec[V]
	Pattern      pattern.Pattern[V]
	AtWatermarks bool
	Found        func(c *task.Ctx, k K, m pattern.Match[V])
	TimedOut     func(c *task.Ctx, k K, m pattern.Match[V]) // may be nil
	Late         task.KeyedFn[K, LateRecord[V]]
}

// endingKey is a key for which time is over.
type endingKey[K comparable, V any] struct {
	bytes string
	e     *entry[K, *engine.State[V]]
}

// NewDetect adds the operator to a task.
func NewDetect[K comparable, V any](t *task.Task, clock *task.Clock, s DetectSpec[K, V]) *Detect[K, V] {
	m := engine.Compile(s.Pattern)
	o := &Detect[K, V]{rows: newRows[K, *engine.State[V]](t, task.KindRuns, s.Store, s.Keys, stateCodec[V]{m, s.Vals}), DetectSpec: s, machine: m, clock: clock,
		shelf: newShelf(t, s.Store, 0, s.Keys, s.Vals, asOfBucket, 0, true), schedule: newSchedule[K](), blank: m.New()}
	t.AddStateful(o)
	t.AddTimed(o)
	return o
}

// Process takes a record.
func (o *Detect[K, V]) Process(c *task.Ctx, k K, v V) {
	c.Enter(o.Op)
	if w := o.clock.W; behind(c.Time, 0, w) {
		late(c, o.Op, k, v, w, o.Late)
		return
	}
	if err := o.shelf.add(k, c.Time, v, false); err != nil {
		c.Task.Fail(err)
	}
	c.Hold(o.Op)
	o.clock.Need(o.shelf.due)
}

// Clock implements task.Timed.
func (o *Detect[K, V]) Clock() *task.Clock { return o.clock }

// Due implements task.Timed: a time is over when the watermark is past it.
func (o *Detect[K, V]) Due() int64 {
	due := o.shelf.due
	if t := o.schedule.next(); t < math.MaxInt64 {
		due = min(due, t+1)
	}
	return due
}

// Advance implements task.Timed.
func (o *Detect[K, V]) Advance(c *task.Ctx, w int64) {
	list, err := o.shelf.advance(w)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	t, key, h := c.Time, c.Key, c.Headers
	o.work(c, list, w-1)
	c.Time, c.Key, c.Headers = t, key, h
}

// work shows the records to the pattern, and lets time pass up to now.
func (o *Detect[K, V]) work(c *task.Ctx, list []dueRecord[K, V], now int64) {
	for c.Task.Err() == nil {
		next := int64(math.MaxInt64)
		if len(list) > 0 {
			next = list[0].time
		}
		end := o.schedule.next()
		first := end <= next && !(plant.Is("pattern") && end == next)
		switch {
		case first && end <= now && !o.AtWatermarks:
			o.end(c, end)
		case len(list) > 0:
			o.show(c, &list[0])
			list = list[1:]
		case end <= now:
			o.end(c, now)
		default:
			return
		}
	}
}

// show shows a record to the pattern.
func (o *Detect[K, V]) show(c *task.Ctx, r *dueRecord[K, V]) {
	e, err := o.get(r.key)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	c.Release(o.Op)
	c.Pass(o.Op)
	s := o.blank
	passed := false
	if e != nil {
		s = e.val
		if o.AtWatermarks {
			passed = o.pass(c, e, r.bytes, r.time)
		}
	}
	c.Op = o.Op
	found, changed := o.machine.Process(s, r.time, r.val)
	if e == nil && !s.Empty() {
		e = o.add(r.key)
		e.val, e.live = s, true
		o.blank = o.machine.New()
	}
	if e != nil && (changed || passed) {
		o.keep(e, r.time)
	}
	o.found(c, r.key, r.bytes, r.time, found)
}

// end lets the time of all keys pass to t for which something is over by then, in the order of their keys.
func (o *Detect[K, V]) end(c *task.Ctx, t int64) {
	o.ending = o.ending[:0]
	for {
		k, ok := o.schedule.take(t)
		if !ok {
			break
		}
		e, err := o.get(k)
		if err != nil {
			c.Task.Fail(err)
			return
		}
		switch {
		case e == nil: // nothing is known of it any more
		case o.machine.Due(e.val) > t:
			o.keepTime(e)
		default:
			b, err := o.store.keys.Append(nil, k)
			if err != nil {
				c.Task.Fail(&task.StateError{Store: o.store.name, Doing: "encode key", Err: err})
				return
			}
			o.ending = append(o.ending, endingKey[K, V]{string(b), e})
		}
	}
	slices.SortFunc(o.ending, func(a, b endingKey[K, V]) int { return strings.Compare(a.bytes, b.bytes) })
	for _, x := range o.ending {
		if o.pass(c, x.e, x.bytes, t) {
			o.keep(x.e, t)
		}
	}
	clear(o.ending)
}

// pass lets the time of a key pass to t, and says whether that has changed anything.
func (o *Detect[K, V]) pass(c *task.Ctx, e *entry[K, *engine.State[V]], key string, t int64) (changed bool) {
	found, out, changed := o.machine.Advance(e.val, t, o.TimedOut != nil)
	o.found(c, e.key, key, t, found)
	for i := range out {
		o.emit(c, key, out[i].At, func() { o.TimedOut(c, e.key, out[i].Match) })
	}
	return changed
}

func (o *Detect[K, V]) found(c *task.Ctx, k K, key string, t int64, list []pattern.Match[V]) {
	for _, m := range list {
		o.emit(c, key, t, func() { o.Found(c, k, m) })
	}
}

func (o *Detect[K, V]) emit(c *task.Ctx, key string, t int64, emit func()) {
	c.Op, c.Time, c.Key, c.Headers = o.Op, t, []byte(key), nil
	m := c.Begin()
	emit()
	c.End(m)
}

// keep says that the state of a key has changed at t.
func (o *Detect[K, V]) keep(e *entry[K, *engine.State[V]], t int64) {
	if e.val.Empty() {
		o.schedule.forget(e.key)
		o.clear(e)
		return
	}
	e.time = max(e.time, t)
	e.revision++
	o.table.touch(e)
	o.keepTime(e)
}

// keepTime makes sure that the key is looked at when time is over for something of it.
func (o *Detect[K, V]) keepTime(e *entry[K, *engine.State[V]]) {
	if due := o.machine.Due(e.val); due < math.MaxInt64 {
		o.schedule.need(e.key, due)
	}
}

// Restore implements task.Stateful: it looks through the store for when time is over.
func (o *Detect[K, V]) Restore(m *task.Marker) error {
	o.clock.Resume(m, o.store.id)
	if err := o.store.open(); err != nil {
		return err
	}
	complete := true
	for g := range o.store.groups {
		lo, hi := o.store.bounds(uint16(g), nil)
		err := o.store.task.View.Scan(lo, hi, func(key, value []byte) error {
			complete = false
			k, err := o.store.keys.Decode(o.store.userKey(key))
			if err != nil {
				return &task.StateError{Store: o.store.name, Doing: "decode key", Err: err}
			}
			_, _, value, err = entryHead(value)
			due := int64(0)
			if err == nil {
				due, err = engine.Due(value)
			}
			if err != nil {
				return &task.StateError{Store: o.store.name, Doing: "read partial matches", Err: err}
			}
			if due < math.MaxInt64 {
				o.schedule.need(k, due)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("store %s: %w", o.store.name, err)
		}
	}
	o.table = newTable[K, *engine.State[V]](complete)
	return o.shelf.restore(m)
}

// Cut implements task.Stateful.
func (o *Detect[K, V]) Cut(d *task.Delta) error {
	var v V
	bulk, n := 0, 0
	for _, e := range o.table.changed {
		if e.live {
			events, nodes, runs := e.val.Size()
			bulk += 200 + events*(int(unsafe.Sizeof(v))+64) + nodes*24 + runs*48
			n++
		}
	}
	if n > 0 {
		o.bulk = bulk / n
	}
	if err := o.shelf.cut(d); err != nil {
		return err
	}
	return o.store.cut(o.table, d, 0)
}

// Applied implements task.Stateful.
func (o *Detect[K, V]) Applied(epoch uint64) {
	room := o.store.task.Room(o.Held()) / 2
	o.shelf.evict(room, epoch)
	o.table.applied(epoch)
	if over := o.heldRows() - room; over > 0 {
		o.store.evict(o.table, over/o.perEntry()+1, epoch)
	}
}

func (o *Detect[K, V]) perEntry() int {
	return o.store.bareSize() + max(o.store.valBulk.bytes(), o.bulk)
}

func (o *Detect[K, V]) heldRows() int { return o.table.entries() * o.perEntry() }

// Changed implements task.Stateful.
func (o *Detect[K, V]) Changed() int {
	return len(o.table.changed)*o.perEntry() + o.shelf.changed*o.shelf.recordSize()
}

// Held implements task.Stateful.
func (o *Detect[K, V]) Held() int {
	var k K
	return o.heldRows() + o.shelf.held() + len(o.schedule.queue.list)*3*(int(unsafe.Sizeof(k))+16)
}

// Keeps implements task.Keeper.
func (o *Detect[K, V]) Keeps() (int, error) { return o.shelf.waits() }

// Operator implements task.Keeper.
func (o *Detect[K, V]) Operator() int32 { return o.Op }

// ClosedThrough implements task.Closer.
func (o *Detect[K, V]) ClosedThrough() task.MarkerClosed {
	return task.MarkerClosed{Store: o.store.id, Through: o.clock.W}
}

// stateCodec writes what is known of a key.
type stateCodec[V any] struct {
	machine *engine.Machine[V]
	vals    codec.Codec[V]
}

func (s stateCodec[V]) Name() string { return s.vals.Name() }

func (s stateCodec[V]) Append(b []byte, x *engine.State[V]) ([]byte, error) {
	return s.machine.Append(b, x, s.vals.Append)
}

func (s stateCodec[V]) Decode(b []byte) (*engine.State[V], error) {
	return s.machine.Decode(b, s.vals.Decode)
}

// Reader implements codec.Evolving: only the records in partial matches are the user's.
func (s stateCodec[V]) Reader(name string) func(b []byte) (*engine.State[V], error) {
	if decode := codec.Reader(s.vals, name); decode != nil {
		return stateCodec[V]{s.machine, reading[V]{s.vals, decode}}.Decode
	}
	return nil
}
