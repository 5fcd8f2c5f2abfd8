package operator

import (
	"math"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Update folds a record into an aggregate. first says that a is the zero value because there was none.
type Update[V, A any] func(a *A, v V, first bool)

// Aggregate keeps one aggregate per key, and emits each of its changes. The time of a change is the largest among the
// records that made it.
type Aggregate[K comparable, V, A any] struct {
	backing[K, A]
	op      int32
	update  Update[V, A]
	changes task.KeyedFn[K, A]
	table   *table[K, A]
	done    uint64 // applied epoch
}

// NewAggregate adds the operator to a task. changes may be nil.
func NewAggregate[K comparable, V, A any](t *task.Task, op int32, store string, keys codec.Codec[K], vals codec.Codec[A], update Update[V, A], changes task.KeyedFn[K, A]) *Aggregate[K, V, A] {
	o := &Aggregate[K, V, A]{backing: newBacking(t, task.KindValue, store, keys, vals), op: op, update: update, changes: changes}
	t.AddStateful(o)
	return o
}

// Process takes a record.
func (o *Aggregate[K, V, A]) Process(c *task.Ctx, k K, v V) {
	c.Op = o.op
	e, err := o.find(o.table, k, 0)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	if !e.live {
		*e = entry[K, A]{key: e.key, epoch: e.epoch, changed: e.changed, logged: e.logged, recent: true, time: math.MinInt64}
	}
	o.update(&e.val, v, !e.live)
	e.live = true
	e.time = max(e.time, c.Time)
	e.revision++
	o.table.touch(e)
	if o.changes != nil {
		t := c.Time
		c.Time = e.time
		o.changes(c, k, e.val)
		c.Time = t
	}
}

// Restore implements task.Stateful.
func (o *Aggregate[K, V, A]) Restore(*task.Marker) error {
	held, err := o.holds()
	o.table = newTable[K, A](!held)
	return err
}

// Cut implements task.Stateful.
func (o *Aggregate[K, V, A]) Cut(d *task.Delta) error { return o.cut(o.table, d, 0) }

// Applied implements task.Stateful.
func (o *Aggregate[K, V, A]) Applied(epoch uint64) {
	o.done = epoch
	o.table.applied(epoch)
	if over := o.size(o.table) - int(o.task.Spec.MaxHeld.Load()); over > 0 {
		o.evict(o.table, over/o.entrySize()+1, epoch)
	}
}

// Changed implements task.Stateful.
func (o *Aggregate[K, V, A]) Changed() int { return len(o.table.changed) * o.entrySize() }

// Held implements task.Stateful.
func (o *Aggregate[K, V, A]) Held() int { return o.size(o.table) }
