package stream

import (
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// Process is what a function sees that processes a keyed stream record by record, with a state of type A for each key,
// timers, and results of type R. It is good only during the call.
type Process[K comparable, A, R any] struct {
	p     processor[K, A]
	next  task.Fn[R]
	sides sides
}

// processor is the part of operator.Process that does not depend on the type of its records.
type processor[K comparable, A any] interface {
	At() (K, *task.Ctx)
	Get() (A, bool)
	State() *A
	Clear()
	Watermark() int64
	SetTimer(at int64, wall, set bool)
}

// Timer is a timer that fires.
type Timer struct {
	At   time.Time // that it was set for
	Wall bool      // it goes by the wall clock
}

// Process hands each record to onRecord and each timer to onTimer (which may be nil), with the state of its key in a
// store of this name. The state is written with the codec given, or with the built-in one for its type, or as JSON.
//
// Functions of one key run one after the other, in the order of the records; timers of event time run in time order
// before any later record. A panic in onRecord gives up on its record; one in onTimer stops the application, because
// there is no record to give up on.
func (s Keyed[K, V]) Process[A, R any](store string, onRecord func(p *Process[K, A, R], v V), onTimer func(p *Process[K, A, R], t Timer), state ...codec.Codec[A]) Stream[R] {
	s = s.partitioned(store)
	n := &node[R]{n: s.add("process", store, "", typeName[R]())}
	s.t.function(n.n, onRecord == nil)
	vals := defaultCodec(s.t, n.n, state)
	n.n.Store = &plan.Store{Name: store, Kind: "process", Key: s.keys.Name(), Value: vals.Name(), Evolves: true}
	processed(s, n, vals, onRecord, onTimer, func(_ *compiler, o *operator.Process[K, V, A]) processor[K, A] { return o })
	return Stream[R]{t: s.t, node: n}
}

// processed compiles a Process. The operator keeps one value of type B per key; what functions see as the state of a key is
// up to the processor that view makes of it.
func processed[K comparable, V, A, B, R any](s Keyed[K, V], n *node[R], vals codec.Codec[B], onRecord func(*Process[K, A, R], V), onTimer func(*Process[K, A, R], Timer), view func(*compiler, *operator.Process[K, V, B]) processor[K, A]) {
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		p := &Process[K, A, R]{next: n.compile(b), sides: b.sides(n.n, s.t.sides[n.n])}
		spec := operator.ProcessSpec[K, V, B]{Op: b.op(n.n), Store: n.n.Name, Keys: s.keys, Vals: vals,
			OnRecord: func(_ *operator.Process[K, V, B], v V) { onRecord(p, v) }}
		if onTimer != nil {
			spec.OnTimer = func(_ *operator.Process[K, V, B], at int64, wall bool) {
				onTimer(p, Timer{time.UnixMilli(at).UTC(), wall})
			}
		}
		o := operator.NewProcess(b.task, b.clock(n.n), spec)
		p.p = view(b, o)
		return o.Process
	})
}

// Key is the key of the record or timer.
func (p *Process[K, A, R]) Key() K {
	k, _ := p.p.At()
	return k
}

// Time is the event time of the record; in a timer of event time, the timer's; in one of the wall clock, the watermark.
func (p *Process[K, A, R]) Time() time.Time {
	_, c := p.p.At()
	return time.UnixMilli(c.Time).UTC()
}

// Headers are the record's headers; none in a timer. They must not be kept or changed.
func (p *Process[K, A, R]) Headers() []source.Header {
	_, c := p.p.At()
	return c.Headers
}

// Watermark is the event time up to which no more records are expected; the zero Time as long as nothing is known.
func (p *Process[K, A, R]) Watermark() time.Time {
	w := p.p.Watermark()
	if w < minTime {
		return time.Time{}
	}
	return time.UnixMilli(w).UTC()
}

const minTime = -62135596800000 // year 1

// Get returns the key's state; ok is false, and the state zero, if it has none.
func (p *Process[K, A, R]) Get() (a A, ok bool) { return p.p.Get() }

// State returns the key's state, to be changed in place; a zero value if it had none. The pointer is good during the
// call only.
func (p *Process[K, A, R]) State() *A { return p.p.State() }

// Clear deletes the key's state. Its timers stay.
func (p *Process[K, A, R]) Clear() { p.p.Clear() }

// Emit emits a result, with the time and key of the record or timer.
func (p *Process[K, A, R]) Emit(r R) {
	_, c := p.p.At()
	op := c.Op
	p.next(c, r)
	c.Op = op
}

// SetTimer sets a timer of event time for the key: it fires once the watermark has passed at. There is one timer for
// each key and time; setting it again changes nothing. Timers are part of the state: they survive and move with it.
func (p *Process[K, A, R]) SetTimer(at time.Time) { p.p.SetTimer(at.UnixMilli(), false, true) }

// SetWallTimer sets a timer of the wall clock for the key. It fires at that time, or as soon after it as the task runs.
func (p *Process[K, A, R]) SetWallTimer(at time.Time) { p.p.SetTimer(at.UnixMilli(), true, true) }

// ClearTimer takes back a timer of event time.
func (p *Process[K, A, R]) ClearTimer(at time.Time) { p.p.SetTimer(at.UnixMilli(), false, false) }

// ClearWallTimer takes back a timer of the wall clock.
func (p *Process[K, A, R]) ClearWallTimer(at time.Time) { p.p.SetTimer(at.UnixMilli(), true, false) }
