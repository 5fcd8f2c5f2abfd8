package operator

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"unsafe"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// Gather takes the place of Repartition where the operator behind it aggregates windows, and its aggregates can be
// merged: it adds records up, and sends one aggregate per key and window. So a key that comes often costs the exchange, and
// the one task that has it, no more than any other key.
//
// The task behind must not see a difference. What a record changes there depends on its window alone, and so does whether it is
// late: a window's records may come as one, as long as the watermark does not pass the window's end and grace period before
// they do. Through a topic a task's watermark travels once per epoch, behind its records, and what is gathered is sent when
// the epoch ends. In memory it would travel after each step; it waits with what is gathered until it passes the end of a
// window, or the epoch ends. A record of a window that this task's watermark has passed when it was sent last is in time only
// if another task lags, and is sent after the step.
//
// Sessions: see GatherSessions.
//
// What is gathered is part of the open epoch. A crash drops it together with the records' positions, so it is not state.
type Gather[K comparable, A any] struct {
	GatherSpec[K, A]
	Lane
	task  *task.Task
	hand  Hand[K]
	cells []*gathered[K, A]
	last  *gathered[K, A] // the one that the last record was in
	spare []*gathered[K, A]
	keys  []byte // encoded keys of all cells
	count int    // of aggregates in all cells
	// closes is when the first window closes that something gathered is in, as far as this task knows; a pane is in several.
	closes   int64
	sessions bool // what is sent begins with how long before its time the first of its records was: uvarint
	saved    []ungathered[K, A]
}

// GatherSpec is what the topology says about the aggregate.
type GatherSpec[K comparable, A any] struct {
	Aggregate int32 // the operator whose functions are called
	Keys      codec.Codec[K]
	Vals      codec.Codec[A]
	Window    window.Alignment
	Update    Add[A]
}

// gathered are the aggregates of one window, or of one pane; or of all sessions.
type gathered[K comparable, A any] struct {
	place int64
	index map[K]int // the key's last one in list
	list  []partial[K, A]
}

// partial is the aggregate of some records of a key and window.
type partial[K comparable, A any] struct {
	val       A
	k         K
	from      int64 // the smallest time among its records; of sessions
	time      int64 // the largest
	records   uint64
	key       int // where it begins in Gather.keys
	keyLen    int
	partition int32
	alone     bool // it takes no other record
}

// ungathered is what a partial was before a record changed it.
type ungathered[K comparable, A any] struct {
	in *gathered[K, A]
	at int
	partial[K, A]
}

// Hand takes an aggregate of so many records to another task of this process. It copies the bytes.
type Hand[K comparable] func(partition int32, k K, key, value []byte, time int64, of uint64)

// NewGather adds the operator to a task. Without hand it writes to a topic.
func NewGather[K comparable, A any](t *task.Task, to Lane, hand Hand[K], s GatherSpec[K, A]) *Gather[K, A] {
	o := &Gather[K, A]{GatherSpec: s, Lane: to, task: t, hand: hand, closes: math.MaxInt64}
	t.AddFlusher(o)
	return o
}

// Process takes a record.
func (o *Gather[K, A]) Process(c *task.Ctx, k K) {
	c.Enter(o.Lane.Op)
	in := o.last
	if place := o.Window.Last(c.Time); in == nil || in.place != place {
		in = o.cell(place)
		o.closes = min(o.closes, o.Window.To(o.Window.First(place))+o.Window.Grace)
	}
	if i, ok := o.of(c, in, k); ok {
		o.take(c, in, i)
	}
}

// of is where a key's last aggregate is.
func (o *Gather[K, A]) of(c *task.Ctx, in *gathered[K, A], k K) (i int, ok bool) {
	if i, ok = in.index[k]; ok {
		return i, true
	}
	at := len(o.keys)
	keys, err := o.Keys.Append(o.keys, k)
	if err != nil {
		c.Reject(errEncode("key", err), nil)
		return 0, false
	}
	o.keys = keys
	return o.another(in, partial[K, A]{k: k, key: at, keyLen: len(keys) - at, partition: o.partition(o.task, keys[at:])}), true
}

// another makes an empty aggregate the key's last.
func (o *Gather[K, A]) another(in *gathered[K, A], x partial[K, A]) (i int) {
	i = len(in.list)
	in.list = append(in.list, x)
	in.index[x.k] = i
	o.count++
	return i
}

// take adds the record at hand to an aggregate.
func (o *Gather[K, A]) take(c *task.Ctx, in *gathered[K, A], i int) {
	x := &in.list[i]
	c.Pass(o.Lane.Op)
	o.saved = append(o.saved, ungathered[K, A]{in, i, *x})
	o.task.Changing(o)
	if x.records == 0 {
		x.from, x.time = math.MaxInt64, math.MinInt64
	}
	c.Enter(o.Aggregate) // a panic is its
	o.Update(&x.val, x.records == 0)
	c.Leave(o.Aggregate)
	x.records++
	x.from, x.time = min(x.from, c.Time), max(x.time, c.Time)
}

func (o *Gather[K, A]) cell(place int64) *gathered[K, A] {
	for _, in := range o.cells {
		if in.place == place {
			o.last = in
			return in
		}
	}
	var in *gathered[K, A]
	if n := len(o.spare); n > 0 {
		in = o.spare[n-1]
		o.spare = o.spare[:n-1]
	} else {
		in = &gathered[K, A]{index: map[K]int{}}
	}
	in.place = place
	o.cells, o.last = append(o.cells, in), in
	return in
}

// Undo implements task.Undoer.
func (o *Gather[K, A]) Undo() {
	n := len(o.saved) - 1
	x := o.saved[n]
	x.in.list[x.at] = x.partial
	o.saved[n] = ungathered[K, A]{}
	o.saved = o.saved[:n]
	c := &o.task.Operators[o.Lane.Op].Counts
	c.Passed--
	c.Withdrawn++
}

// Keep implements task.Undoer.
func (o *Gather[K, A]) Keep() {
	clear(o.saved)
	o.saved = o.saved[:0]
}

// The bounds of what a task gathers.
const (
	mostGathered      = 1 << 16
	mostGatheredBytes = 4 << 20
)

// Gathered implements task.Gatherer.
func (o *Gather[K, A]) Gathered() (some, full bool) {
	return o.count > 0, o.count >= mostGathered || o.Held() > min(int(o.task.Spec.MaxHeld.Load())/4, mostGatheredBytes)
}

// Held implements task.Gatherer.
func (o *Gather[K, A]) Held() int {
	var k K
	return o.count*(int(unsafe.Sizeof(partial[K, A]{}))+int(unsafe.Sizeof(k))+24) + len(o.keys)
}

// Due implements task.Gatherer.
func (o *Gather[K, A]) Due(sent, now int64) bool {
	switch {
	case sent == eventtime.None:
		return now != eventtime.None
	case o.closes <= sent: // something is late, unless another task before the exchange lags
		return true
	}
	return now >= o.closesAfter(sent)
}

// closesAfter is the first time after a watermark at which a window closes.
func (o *Gather[K, A]) closesAfter(w int64) int64 {
	return o.Window.To(o.Window.First(w-o.Window.Grace)) + o.Window.Grace
}

// Send implements task.Gatherer.
func (o *Gather[K, A]) Send(c *task.Ctx) {
	o.Keep()
	out, name := &o.task.Out, o.Vals.Name()
	for _, in := range o.cells {
		c.Op = o.Aggregate
		for i := range in.list {
			x := &in.list[i]
			if x.records == 0 { // all were taken back
				continue
			}
			b := append(out.Buf(), o.keys[x.key:x.key+x.keyLen]...)
			if o.sessions {
				b = binary.AppendUvarint(b, uint64(x.time-x.from))
			}
			b, err := o.Vals.Append(b, x.val)
			if err != nil {
				c.Task.Fail(&task.StateError{Store: o.task.Operators[o.Aggregate].Name, Doing: "encode an aggregate that is sent to another task", Err: err})
				return
			}
			end := len(b)
			if o.hand != nil {
				o.hand(x.partition, x.k, b[:x.keyLen], b[x.keyLen:end], x.time, x.records)
				continue
			}
			b = binary.AppendUvarint(binary.BigEndian.AppendUint64(b, uint64(x.time)), x.records)
			b = append(b, name...)
			h := out.Header(1)
			h[0] = source.Header{Key: task.TimeHeader, Value: b[end:]}
			o.add(o.task, x.partition, b, x.keyLen, end, h)
		}
		o.reset(in)
	}
	o.cells, o.last, o.keys, o.count, o.closes = o.cells[:0], nil, o.keys[:0], 0, math.MaxInt64
}

// reset empties a cell for another window. What it took for many more keys than it had is not worth clearing.
func (o *Gather[K, A]) reset(in *gathered[K, A]) {
	if len(in.list)*8 < cap(in.list) {
		return
	}
	clear(in.index)
	clear(in.list)
	in.list = in.list[:0]
	o.spare = append(o.spare, in)
}

// Flush implements task.Flusher: what is gathered belongs to the epoch.
func (o *Gather[K, A]) Flush(c *task.Ctx) { o.Send(c) }

// CanGather says whether several records may come as one aggregate of type A: it must be possible to take back what one of them has
// done to it, which copying ensures only for types without pointers. That a record is in one window, pane or session is the caller's to know.
func CanGather[A any]() bool { return flat(reflect.TypeFor[A]()) }

// Gathered is the other end: it hands what was gathered to an operator of windows, beside records.
type Gathered[A any] struct {
	val   A
	given bool
}

// Taker takes n records as one, the aggregate at hand. Their times are from this to c.Time.
type Taker[K comparable] func(c *task.Ctx, k K, from int64, n uint64)

// Add is an update with the aggregate at hand, or else with the record at hand.
func (g *Gathered[A]) Add(add Add[A], merge func(*A, A)) Add[A] {
	return func(a *A, first bool) {
		switch {
		case !g.given:
			add(a, first)
		case first || plant.Is("gather"): // planted: what is sent later replaces what was sent before
			*a = g.val
		default:
			merge(a, g.val)
		}
	}
}

// Late leaves the aggregates out of what is late: nobody knows their records any more, they are counted.
func (g *Gathered[A]) Late[K comparable](late LateFn[K]) LateFn[K] {
	if late == nil {
		return nil
	}
	return func(c *task.Ctx, k K, l Lateness) {
		if !g.given {
			late(c, k, l)
		}
	}
}

// FromGathered makes what takes the bytes of such an aggregate, of sessions or of windows.
func FromGathered[K comparable, A any](op int32, g *Gathered[A], vals codec.Codec[A], sessions bool, take Taker[K]) func(*task.Ctx, K, []byte) {
	name, decode := vals.Name(), vals.Decode
	return func(c *task.Ctx, k K, b []byte) {
		c.Enter(op)
		if len(c.Codec) > 0 && string(c.Codec) != name { // what wrote it was another version of the program
			name = string(c.Codec)
			if decode = codec.Reader(vals, name); decode == nil {
				decode = func([]byte) (v A, err error) { return v, codec.ErrUnreadable }
			}
		}
		lasted, n := uint64(0), 0
		if sessions {
			lasted, n = binary.Uvarint(b)
		}
		v, err := decode(b[max(n, 0):])
		if err == nil && sessions && (n <= 0 || lasted > math.MaxInt64) {
			err = errDamaged
		}
		if err != nil {
			c.Reject(fmt.Errorf("decode the aggregate of %d records, written with codec %s, with %s: %w", c.Of, name, vals.Name(), err), nil)
			return
		}
		c.Leave(op)
		g.val, g.given = v, true
		defer func() { g.given = false }() // merge may panic
		take(c, k, c.Time-int64(lasted), c.Of)
	}
}
