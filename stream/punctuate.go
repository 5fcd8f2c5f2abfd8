package stream

import (
	"iter"
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Schedule is when the function of a ProcessEvery is called: at the multiples of an interval since 1970.
type Schedule struct {
	// Every is the interval, in whole milliseconds.
	Every time.Duration
	// Wall is to go by the wall clock. Without it the schedule goes by event time: a call is due when the watermark has
	// reached its time, and the first one comes with the first watermark.
	Wall bool
}

// Tick is what a function sees that is called at intervals: the states of all keys of its task. It is good only during
// the call.
type Tick[K comparable, A, R any] struct {
	o    ticker[K, A]
	at   int64
	next task.Fn[R]
}

// ticker is the part of operator.Punctuate that does not depend on the type of its records.
type ticker[K comparable, A any] interface {
	Watermark() int64
	Key(k K) *task.Ctx
	Get(k K) (A, bool)
	Set(k K, a A)
	Clear(k K)
	All() iter.Seq2[K, A]
}

// ProcessEvery is Process with a function more: onTick is called at intervals, once for each task (each partition of the
// stream), with the states of all its keys. It is what a punctuator is in Kafka Streams. For something that is due for one
// key, a timer costs less.
//
// When several multiples of the interval have passed, there is one call for all of them. When the next one is due is part
// of the state: a restart neither repeats a call nor passes one over. A panic in onTick stops the application.
func (s Keyed[K, V]) ProcessEvery[A, R any](store string, onRecord func(p *Process[K, A, R], v V), onTimer func(p *Process[K, A, R], t Timer), when Schedule, onTick func(t *Tick[K, A, R]), state ...codec.Codec[A]) Stream[R] {
	s = s.partitioned(store)
	detail := "every " + when.Every.String()
	if when.Wall {
		detail += " of the wall clock"
	}
	n := &node[R]{n: s.add("process", store, detail, typeName[R]())}
	s.t.function(n.n, onRecord == nil || onTick == nil)
	if when.Every <= 0 || when.Every%time.Millisecond != 0 {
		s.t.graph.Errorf(n.n, "its Schedule is every %v: use whole milliseconds, at least one", when.Every)
	}
	vals := defaultCodec(s.t, n.n, state)
	n.n.Store = &plan.Store{Name: store, Kind: "process", Key: s.keys.Name(), Value: vals.Name(), Evolves: true}
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		next := n.compile(b)
		p, tick := &Process[K, A, R]{next: next, sides: b.sides(n.n, s.t.sides[n.n])}, &Tick[K, A, R]{next: next}
		spec := operator.ProcessSpec[K, V, A]{Op: b.op(n.n), Store: store, Keys: s.keys, Vals: vals,
			OnRecord: func(_ *operator.Process[K, V, A], v V) { onRecord(p, v) }}
		if onTimer != nil {
			spec.OnTimer = func(_ *operator.Process[K, V, A], at int64, wall bool) {
				onTimer(p, Timer{time.UnixMilli(at).UTC(), wall})
			}
		}
		o := operator.NewProcess(b.task, b.clock(n.n), spec)
		p.p = o
		tick.o = operator.NewPunctuate(b.task, b.clock(n.n), o, operator.PunctuateSpec[K, V, A]{Op: b.op(n.n), Every: when.Every.Milliseconds(),
			Wall: when.Wall, Stream: b.semantics.kafka, OnTick: func(_ *operator.Punctuate[K, V, A], at int64) {
				tick.at = at
				onTick(tick)
			}})
		return o.Process
	})
	return Stream[R]{t: s.t, node: n}
}

// Time is when the call is made, by the clock of the schedule: the watermark that has reached or passed its time, or the
// time of the wall clock.
func (t *Tick[K, A, R]) Time() time.Time { return time.UnixMilli(t.at).UTC() }

// Watermark is the event time up to which no more records are expected; the zero Time as long as nothing is known.
func (t *Tick[K, A, R]) Watermark() time.Time {
	w := t.o.Watermark()
	if w < minTime {
		return time.Time{}
	}
	return time.UnixMilli(w).UTC()
}

// All yields the keys of the task that have a state, with it, in an order that is the same each time (that of the store).
// The states must not be changed in place. Keys may be set and cleared meanwhile.
func (t *Tick[K, A, R]) All() iter.Seq2[K, A] { return t.o.All() }

// Get returns the state of a key; ok is false, and the state zero, if it has none.
func (t *Tick[K, A, R]) Get(k K) (a A, ok bool) { return t.o.Get(k) }

// Set replaces the state of a key that has one. Nothing happens if it has none: keys come with records, to the task that
// they belong to.
func (t *Tick[K, A, R]) Set(k K, a A) { t.o.Set(k, a) }

// Clear deletes the state of a key. Its timers stay.
func (t *Tick[K, A, R]) Clear(k K) { t.o.Clear(k) }

// Emit emits a result with this key, which may be any. Its event time is the watermark; before there is one, the time of
// the call.
func (t *Tick[K, A, R]) Emit(k K, r R) {
	c := t.o.Key(k)
	if c == nil {
		return
	}
	op := c.Op
	t.next(c, r)
	c.Op = op
}
