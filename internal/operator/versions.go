package operator

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Versions keeps, for each key, the versions of its row by time: each is valid from its own time to the next one's. What
// the row was at any time can be asked for times that are no more than History behind the watermark of those who ask.
// Older versions are forgotten; a record that would be one is late.
type Versions[K comparable, V any] struct {
	rows[K, history[V]]
	VersionsSpec[K, V]
	clock  *task.Clock
	timers *timers
	before int64 // the watermark at the last Advance
	// changes take those of the newest versions; nil: nobody does.
	changes task.KeyedFn[K, Change[V]]
}

// VersionsSpec is what the topology says about Versions.
type VersionsSpec[K comparable, V any] struct {
	Op      int32
	Store   string
	Keys    codec.Codec[K]
	Vals    codec.Codec[V]
	History int64 // ms
	// Late gets versions that came too late, nil for a deletion. It may be nil.
	Late task.KeyedFn[K, LateRecord[*V]]
}

// history is the versions of a row, the oldest first.
type history[V any] struct {
	due      int64 // of the timer that forgets versions; None: there is none
	versions []version[V]
}

type version[V any] struct {
	time int64
	val  *V // nil: deleted
}

// NewVersions adds the operator to a task. The clock is that of all who ask. changes take those of the newest versions, and
// may be nil.
func NewVersions[K comparable, V any](t *task.Task, clock *task.Clock, s VersionsSpec[K, V], changes task.KeyedFn[K, Change[V]]) *Versions[K, V] {
	o := &Versions[K, V]{rows: newRows(t, task.KindVersions, s.Store, s.Keys, newHistoryCodec(s.Vals)), VersionsSpec: s,
		clock: clock, timers: newTimers(t, s.Store), before: eventtime.None, changes: changes}
	t.AddStateful(o)
	t.AddTimed(o)
	return o
}

// Put adds a version; nil deletes the row from then on. One of the same time is replaced.
func (o *Versions[K, V]) Put(c *task.Ctx, k K, v *V) {
	c.Enter(o.Op)
	if behind(c.Time, o.History, o.clock.W) {
		late(c, o.Op, k, v, o.clock.W, o.Late)
		return
	}
	e, err := o.store.find(o.table, k, 0)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	if !e.live {
		e.live, e.val, e.time = true, history[V]{due: eventtime.None}, math.MinInt64
	}
	c.Pass(o.Op)
	h := &e.val
	ch, newest := Change[V]{New: v}, true
	if n := len(h.versions); n > 0 {
		ch.Old = h.versions[n-1].val
		newest = c.Time >= h.versions[n-1].time
	}
	i := h.at(c.Time)
	if i >= 0 && h.versions[i].time == c.Time {
		h.versions[i].val = v
	} else {
		h.versions = slices.Insert(h.versions, i+1, version[V]{c.Time, v})
	}
	e.time = max(e.time, c.Time)
	e.revision++
	o.table.touch(e)
	o.forget(e, string(c.Key), o.clock.W)
	if o.changes != nil && newest && (ch.Old != nil || ch.New != nil) {
		o.changes(c, k, ch)
	}
}

// Newest is the Lookup of the newest versions.
func (o *Versions[K, V]) Newest(c *task.Ctx, k K) (*V, int64) {
	h, _ := o.Row(c, k)
	if h == nil || len(h.versions) == 0 {
		return nil, 0
	}
	v := h.versions[len(h.versions)-1]
	if v.val == nil {
		return nil, 0
	}
	return v.val, v.time
}

// at is the place of the version that is valid at a time; -1 if there was none yet.
func (h *history[V]) at(t int64) int {
	i := len(h.versions) - 1
	for i >= 0 && h.versions[i].time > t {
		i--
	}
	return i
}

// forget drops the versions that nobody can ask for at the watermark w, and sees to it that the next are.
func (o *Versions[K, V]) forget(e *entry[K, history[V]], key string, w int64) {
	h := &e.val
	if w >= eventtime.None+o.History {
		if i := h.at(w - o.History); i >= 0 {
			if h.versions[i].val == nil {
				i++ // as if there had been none
			}
			h.versions = slices.Delete(h.versions, 0, i)
		}
	}
	if len(h.versions) == 0 {
		if h.due != eventtime.None {
			o.timers.set(timer{eventTimer, h.due, key}, false)
		}
		o.clear(e)
		return
	}
	if h.due != eventtime.None {
		return
	}
	switch {
	case len(h.versions) > 1:
		h.due = h.versions[1].time + o.History
	case h.versions[0].val == nil:
		h.due = h.versions[0].time + o.History
	default:
		return
	}
	o.timers.set(timer{eventTimer, h.due, key}, true)
	o.clock.Need(h.due + 1)
}

// AsOf finds the row of a key as it was at a time.
func (o *Versions[K, V]) AsOf(c *task.Ctx, k K, t int64) *V {
	h, _ := o.Row(c, k)
	if h == nil {
		return nil
	}
	if i := h.at(t); i >= 0 {
		return h.versions[i].val
	}
	return nil
}

// Clock implements task.Timed.
func (o *Versions[K, V]) Clock() *task.Clock { return o.clock }

// Due implements task.Timed.
func (o *Versions[K, V]) Due() int64 {
	if t := o.timers.next(eventTimer); t < math.MaxInt64 {
		return t + 1
	}
	return math.MaxInt64
}

// Advance implements task.Timed. It forgets by the watermark before this one, since who waited for this one still asks
// for times between the two.
func (o *Versions[K, V]) Advance(c *task.Ctx, w int64) {
	for {
		t, ok := o.timers.fire(eventTimer, o.before)
		if !ok {
			break
		}
		k, err := o.store.keys.Decode([]byte(t.key))
		if err != nil {
			c.Task.Fail(&task.StateError{Store: o.store.name, Doing: "decode a timer's key", Err: err})
			return
		}
		e, err := o.get(k)
		if err != nil {
			c.Task.Fail(err)
			return
		}
		if e != nil {
			e.val.due = eventtime.None
			o.table.touch(e)
			o.forget(e, t.key, o.before)
		}
	}
	o.before = w
}

// Restore implements task.Stateful.
func (o *Versions[K, V]) Restore(m *task.Marker) error {
	o.clock.Resume(m, o.store.id)
	if err := o.rows.Restore(m); err != nil {
		return err
	}
	return o.timers.restore()
}

// Cut implements task.Stateful.
func (o *Versions[K, V]) Cut(d *task.Delta) error {
	o.timers.cut(d)
	return o.rows.Cut(d)
}

// Applied implements task.Stateful.
func (o *Versions[K, V]) Applied(epoch uint64) {
	o.timers.applied(epoch, o.store.task.Room(o.Held())/2)
	o.rows.Applied(epoch)
}

// Held implements task.Stateful.
func (o *Versions[K, V]) Held() int { return o.rows.Held() + o.timers.held() }

// ClosedThrough implements task.Closer.
func (o *Versions[K, V]) ClosedThrough() task.MarkerClosed {
	return task.MarkerClosed{Store: o.store.id, Through: o.clock.W}
}

func newHistoryCodec[V any](vals codec.Codec[V]) codec.Codec[history[V]] {
	return historyCodec[V]{vals}
}

// historyCodec writes the timer's time, then the versions: for each the time, a byte (1: it has a value), and the value
// with its length in front. Times and lengths are varints.
type historyCodec[V any] struct{ vals codec.Codec[V] }

func (x historyCodec[V]) Name() string { return x.vals.Name() }

func (x historyCodec[V]) Append(b []byte, h history[V]) ([]byte, error) {
	b = binary.AppendVarint(b, h.due)
	for _, v := range h.versions {
		b = binary.AppendVarint(b, v.time)
		if v.val == nil {
			b = append(b, 0)
			continue
		}
		val, err := x.vals.Append(nil, *v.val)
		if err != nil {
			return b, err
		}
		b = append(binary.AppendUvarint(append(b, 1), uint64(len(val))), val...)
	}
	return b, nil
}

func (x historyCodec[V]) Decode(b []byte) (h history[V], err error) {
	due, n := binary.Varint(b)
	if n <= 0 {
		return h, errDamaged
	}
	h.due, b = due, b[n:]
	for len(b) > 0 {
		t, n := binary.Varint(b)
		if n <= 0 || n == len(b) || b[n] > 1 {
			return h, errDamaged
		}
		v := version[V]{time: t}
		full := b[n] == 1
		b = b[n+1:]
		if full {
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return h, errDamaged
			}
			val, err := x.vals.Decode(b[n : n+int(size)])
			if err != nil {
				return h, err
			}
			v.val, b = &val, b[n+int(size):]
		}
		h.versions = append(h.versions, v)
	}
	return h, nil
}
