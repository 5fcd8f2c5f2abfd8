package operator

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/stream/codec"
)

// The orders in which an Async emits.
const (
	InOrder  = iota // of its records
	PerKey          // of its records, for each key by itself
	AnyOrder        // of the answers
)

// Async calls a slow function for each record, for several at a time, and hands on what it returns.
//
// A record is kept, as a part of the state, from when it comes until its result is emitted: those that are kept at a cut
// are in the changelog, and are called for again after a restore. So a call may be made twice, and its result is emitted
// once. The watermark behind the operator does not pass the one that the oldest kept record came at (see task.Hold), so
// that whatever is overtaken by what, nothing becomes late.
type Async[K comparable, V, R any] struct {
	AsyncSpec[K, V, R]
	task    *task.Task
	clock   *task.Clock
	hold    *task.Hold
	id      uint32
	codecs  written[V]
	kept    []*flight[K, V, R] // in the order in which they came; those that are gone first in the list are cut off
	byKey   map[K][]*flight[K, V, R]
	count   int // of those that are not gone
	next    uint64
	full    bool
	fresh   []*flight[K, V, R] // kept since the last cut
	gone    []*flight[K, V, R] // that the changelog has
	emitted bool               // since the last cut
	epoch   uint64             // the last one with changes
	applied uint64

	answers *answers[K, R]           // nil: every record has a call of its own
	asking  map[K][]*flight[K, V, R] // the records behind the one that a call is under way for
}

// AsyncSpec is what the topology says about an Async.
type AsyncSpec[K comparable, V, R any] struct {
	Op       int32
	Store    string
	Keys     codec.Codec[K] // nil: records have no typed key
	Vals     codec.Codec[V]
	Call     func(context.Context, K, V) (R, error)
	Failed   func(V, error) (R, error) // makes the result if the call fails; nil: the record is given up on
	Order    int
	Capacity int
	Timeout  time.Duration
	Retry    onerror.Retry
	Policy   *onerror.Policy
	// Next hands on the result, and books the record.
	Next func(c *task.Ctx, k K, v V, r R)
	// Answers, if set, are kept and shared: there is one call for all records of a key that come while it is under way, and
	// none as long as its answer is good. Miss says that an answer is that there is nothing.
	Answers *Answers
	Miss    func(R) bool
}

// flight is a record that a call is made for.
type flight[K comparable, V, R any] struct {
	*task.Kept
	n        uint64
	by       uint64 // the number of the codec that its entry is written with
	key      K
	val      V
	calls    int // so far
	result   R
	err      error
	answered bool
	gone     bool
	logged   bool
}

// NewAsync adds the operator to a task. The hold is that of the clocks behind it.
func NewAsync[K comparable, V, R any](t *task.Task, clock *task.Clock, hold *task.Hold, s AsyncSpec[K, V, R]) *Async[K, V, R] {
	o := &Async[K, V, R]{AsyncSpec: s, task: t, clock: clock, hold: hold, id: task.ID(s.Store), codecs: newWritten(s.Vals), byKey: map[K][]*flight[K, V, R]{}}
	if s.Answers != nil {
		o.answers, o.asking = newAnswers[K](*s.Answers, s.Miss), map[K][]*flight[K, V, R]{}
	}
	t.AddStateful(o)
	return o
}

// Process takes a record.
func (o *Async[K, V, R]) Process(c *task.Ctx, k K, v V) {
	c.Enter(o.Op)
	f := &flight[K, V, R]{Kept: c.Keep(o.clock.W), n: o.next, key: k, val: v}
	o.fresh = append(o.fresh, f)
	o.task.Changing(o)
	c.Hold(o.Op)
	o.take(f)
}

// Undo implements task.Undoer: the record that came last is given up on elsewhere.
func (o *Async[K, V, R]) Undo() {
	f := o.kept[len(o.kept)-1]
	o.kept[len(o.kept)-1] = nil
	o.kept = o.kept[:len(o.kept)-1]
	f.gone, f.answered = true, true
	n := &o.task.Operators[o.Op]
	n.Held--
	n.Withdrawn++
	if q := o.byKey[f.key]; len(q) > 1 {
		o.byKey[f.key] = q[:len(q)-1]
	} else {
		delete(o.byKey, f.key)
	}
	if q, ok := o.asking[f.key]; ok && len(q) > 0 && q[len(q)-1] == f {
		o.asking[f.key] = q[:len(q)-1]
	} else if ok && len(q) == 0 && f.calls > 0 {
		delete(o.asking, f.key)
	}
	o.count--
	o.raise()
	o.room()
}

// Keep implements task.Undoer.
func (o *Async[K, V, R]) Keep() {}

// take keeps a record, and calls.
func (o *Async[K, V, R]) take(f *flight[K, V, R]) {
	o.next = f.n + 1
	if o.kept = append(o.kept, f); len(o.kept) == 1 && !plant.Is("async") {
		o.hold.W = f.Watermark
	}
	o.count++
	if o.Order == PerKey {
		o.byKey[f.key] = append(o.byKey[f.key], f)
	}
	o.room()
	if o.answers == nil {
		o.call(f, 0)
		return
	}
	if r, ok := o.answers.get(f.key, o.task.Now); ok {
		o.task.Answer(func(c *task.Ctx) { o.settle(c, f, r, nil) })
		return
	}
	behind, asked := o.asking[f.key]
	if !asked {
		o.asking[f.key] = nil
		o.call(f, 0)
		return
	}
	o.asking[f.key] = append(behind, f)
}

func (o *Async[K, V, R]) call(f *flight[K, V, R], after time.Duration) {
	f.calls++
	this := f.calls
	answer := func(r R, err error) task.Answer {
		return func(c *task.Ctx) {
			if f.calls == this && !f.answered { // and not after it was given up on
				o.answer(c, f, r, err)
			}
		}
	}
	o.task.Call(task.Call{Operator: o.Store, Input: f.val, After: after, Timeout: o.Timeout,
		Run: func(ctx context.Context) task.Answer { return answer(o.guarded(ctx, f.key, f.val)) },
		Failed: func(err error) task.Answer {
			var none R
			return answer(none, err)
		}})
}

// guarded calls the user's function.
func (o *Async[K, V, R]) guarded(ctx context.Context, k K, v V) (r R, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &task.PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return o.Call(ctx, k, v)
}

// answer goes on with a record: it is called for again, or its result is there, for itself and those that share it.
func (o *Async[K, V, R]) answer(c *task.Ctx, f *flight[K, V, R], r R, err error) {
	var panicked *task.PanicError
	if err != nil && f.calls < o.Retry.Attempts && !errors.As(err, &panicked) {
		o.task.Operators[o.Op].Retried++
		o.call(f, o.Retry.Delay(f.calls, f.seed()))
		return
	}
	if o.answers == nil {
		o.settle(c, f, r, err)
		return
	}
	if err == nil {
		o.answers.put(f.key, r, o.task.Now)
	}
	behind := o.asking[f.key]
	delete(o.asking, f.key)
	o.settle(c, f, r, err)
	for _, x := range behind {
		x.calls = f.calls
		o.settle(c, x, r, err)
	}
}

// settle notes the result of a record, and emits it with all that have waited for it.
func (o *Async[K, V, R]) settle(c *task.Ctx, f *flight[K, V, R], r R, err error) {
	if f.gone {
		return
	}
	f.result, f.err, f.answered = r, err, true
	switch o.Order {
	case AnyOrder:
		o.emit(c, f)
	case PerKey:
		for q := o.byKey[f.key]; len(q) > 0 && q[0].answered; q = o.byKey[f.key] {
			if len(q) == 1 {
				delete(o.byKey, f.key)
			} else {
				o.byKey[f.key] = q[1:]
			}
			o.emit(c, q[0])
		}
	default:
		for len(o.kept) > 0 && o.kept[0].answered {
			o.emit(c, o.kept[0])
		}
	}
}

// seed makes the jitter of two records differ.
func (f *flight[K, V, R]) seed() uint64 {
	return fnv(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, f.n), uint64(f.calls)))
}

// emit hands on a result, and forgets the record.
func (o *Async[K, V, R]) emit(c *task.Ctx, f *flight[K, V, R]) {
	f.gone, o.emitted = true, true
	o.count--
	if f.logged {
		o.gone = append(o.gone, f)
	}
	o.task.Continue(f.Kept, func(c *task.Ctx) {
		c.Op = o.Op
		c.Release(o.Op)
		r, err := f.result, f.err
		if err != nil {
			err = fmt.Errorf("call %d of %d: %w", f.calls, max(1, o.Retry.Attempts), err)
			var panicked *task.PanicError
			if o.Failed != nil && !errors.As(err, &panicked) {
				r, err = o.Failed(f.val, f.err)
			}
		}
		if err != nil {
			c.Reject(err, o.Policy)
			return
		}
		o.Next(c, f.key, f.val, r)
	})
	done := 0
	for done < len(o.kept) && o.kept[done].gone {
		done++
	}
	o.room()
	if done == 0 {
		return
	}
	o.kept = slices.Delete(o.kept, 0, done)
	o.raise()
	o.task.Released(o.hold)
}

// raise lets the hold go to the oldest record that is kept.
func (o *Async[K, V, R]) raise() {
	o.hold.W = math.MaxInt64
	if len(o.kept) > 0 && !plant.Is("async") { // planted: the watermark overtakes records under way
		o.hold.W = o.kept[0].Watermark
	}
}

// room stops the task from reading, or lets it go on.
func (o *Async[K, V, R]) room() {
	if full := o.count >= o.Capacity; full != o.full {
		o.full = full
		o.task.Full(full)
	}
}

// Hold implements task.Holder.
func (o *Async[K, V, R]) Hold() *task.Hold { return o.hold }

// Waits implements task.Waiting.
func (o *Async[K, V, R]) Waits() bool { return o.count > 0 || o.emitted || o.applied < o.epoch }

func (o *Async[K, V, R]) prefix(b []byte) []byte {
	return task.AppendPrefix(b, task.KindKept, o.id, 0)
}

// appendKey appends the key of a record's entry: its number, and that of the codec of its value, if that is not the first.
func (o *Async[K, V, R]) appendKey(b []byte, n, by uint64) []byte {
	b = binary.BigEndian.AppendUint64(o.prefix(b), n)
	if by > 0 {
		b = binary.AppendUvarint(b, by)
	}
	return b
}

func (o *Async[K, V, R]) writtenKey(b []byte) []byte { return appendWrittenKey(b, o.id) }

func (o *Async[K, V, R]) keysName() string {
	if o.Keys == nil {
		return ""
	}
	return o.Keys.Name()
}

// Restore implements task.Stateful: it calls for the records that were kept.
func (o *Async[K, V, R]) Restore(*task.Marker) error {
	if err := o.codecs.open(o.task, o.Store, o.writtenKey(nil), o.keysName(), o.Vals); err != nil {
		return err
	}
	lo := o.prefix(nil)
	return o.task.View.Scan(lo, after(slices.Clone(lo)), func(key, value []byte) error {
		f, err := o.read(key, value)
		if err == nil {
			o.take(f)
		}
		return err
	})
}

// read reads the entry of a record.
func (o *Async[K, V, R]) read(key, value []byte) (*flight[K, V, R], error) {
	failed := func(doing string, err error) error { return &task.StateError{Store: o.Store, Doing: doing, Err: err} }
	if len(key) < task.PrefixLen+8 {
		return nil, failed("read entry", errDamaged)
	}
	f := &flight[K, V, R]{n: binary.BigEndian.Uint64(key[task.PrefixLen:]), logged: true}
	if rest := key[task.PrefixLen+8:]; len(rest) > 0 {
		by, n := binary.Uvarint(rest)
		if n != len(rest) {
			return nil, failed("read entry", errDamaged)
		}
		f.by = by
	}
	var err error
	if f.Kept, value, err = o.task.DecodeKept(value); err != nil {
		return nil, failed("read entry", err)
	}
	if f.val, err = o.codecs.decode(f.by, value); err != nil {
		return nil, failed("decode a record", err)
	}
	if o.Keys != nil && f.Kept.Key != nil {
		if f.key, err = o.Keys.Decode(f.Kept.Key); err != nil {
			return nil, failed("decode key", err)
		}
	}
	return f, nil
}

// Cut implements task.Stateful: it hands over the records that are kept, if the changelog does not have them yet, and
// takes back those that are gone.
func (o *Async[K, V, R]) Cut(d *task.Delta) error {
	for _, f := range o.fresh {
		if f.gone {
			continue
		}
		if !o.codecs.noted {
			o.codecs.note(d, o.writtenKey(d.Buf(256)), o.keysName())
		}
		f.by = uint64(o.codecs.now)
		b := o.appendKey(d.Buf(512), f.n, f.by)
		n := len(b)
		b, err := o.Vals.Append(task.AppendKept(b, f.Kept), f.val)
		if err != nil {
			return &task.StateError{Store: o.Store, Doing: "encode a record", Err: err}
		}
		d.Put(b, n, false, false)
		f.logged = true
	}
	for _, f := range o.gone {
		b := o.appendKey(d.Buf(task.PrefixLen+18), f.n, f.by)
		d.Put(b, len(b), true, false)
	}
	if len(o.fresh) > 0 || o.emitted {
		o.epoch = d.Epoch
	}
	clear(o.fresh)
	clear(o.gone)
	o.fresh, o.gone, o.emitted = o.fresh[:0], o.gone[:0], false
	return nil
}

// Applied implements task.Stateful.
func (o *Async[K, V, R]) Applied(epoch uint64) { o.applied = epoch }

// Changed implements task.Stateful.
func (o *Async[K, V, R]) Changed() int { return (len(o.fresh) + len(o.gone)) * keptSize }

// Keeps implements task.Keeper.
func (o *Async[K, V, R]) Keeps() (int, error) { return o.count, nil }

// Operator implements task.Keeper.
func (o *Async[K, V, R]) Operator() int32 { return o.Op }

// Held implements task.Stateful.
func (o *Async[K, V, R]) Held() int { return o.count * keptSize }

// StoreID implements task.Stateful.
func (o *Async[K, V, R]) StoreID() uint32 { return o.id }

// keptSize is about how many bytes a record takes that is kept.
const keptSize = 512
