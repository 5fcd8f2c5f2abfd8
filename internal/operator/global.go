package operator

import (
	"fmt"
	"sync"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// Global is a table that every process has whole, in memory. The runtime reads its topic beside the tasks and applies
// the records; tasks look rows up. Both may happen at the same time.
type Global[K comparable, V any] struct {
	keys    codec.Codec[K]
	vals    codec.Codec[V]
	onError onerror.Policy
	onNull  onerror.Policy

	mu   sync.RWMutex
	rows map[K]globalRow[V]
}

type globalRow[V any] struct {
	val  V
	time int64
}

// NewGlobal makes a table without rows.
func NewGlobal[K comparable, V any](keys codec.Codec[K], vals codec.Codec[V], s source.Spec) *Global[K, V] {
	return &Global[K, V]{keys: keys, vals: vals, onError: s.OnError, onNull: s.NoKey, rows: map[K]globalRow[V]{}}
}

// Reset forgets all rows.
func (g *Global[K, V]) Reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.rows)
}

// Apply sets or, where the value is null, deletes the rows of records. Records that are bad are passed to skipped, or end
// it with an error, as the source's policies say.
func (g *Global[K, V]) Apply(recs []source.Record, skipped func(r *source.Record, err error)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range recs {
		r := &recs[i]
		err, policy := g.apply(r), g.onError
		if r.Key == nil {
			policy = g.onNull
		}
		switch {
		case err == nil:
		case policy.Action == onerror.ActionFail:
			return fmt.Errorf("record %v: %w", r.Position, err)
		default:
			skipped(r, err)
		}
	}
	return nil
}

func (g *Global[K, V]) apply(r *source.Record) (err error) {
	defer func() {
		if v := recover(); v != nil { // a codec of the user's
			err = fmt.Errorf("decode it: panic: %v", v)
		}
	}()
	if r.Key == nil {
		return ErrNullKey
	}
	k, err := g.keys.Decode(r.Key)
	if err != nil {
		return fmt.Errorf("decode key with codec %s: %w", g.keys.Name(), err)
	}
	if r.Value == nil {
		if !plant.Is("global") { // planted: a deleted row stays
			delete(g.rows, k)
		}
		return nil
	}
	v, err := g.vals.Decode(r.Value)
	if err != nil {
		return fmt.Errorf("decode value with codec %s: %w", g.vals.Name(), err)
	}
	g.rows[k] = globalRow[V]{v, r.Time}
	return nil
}

// Row finds a row. The value must not be changed.
func (g *Global[K, V]) Row(k K) *V {
	g.mu.RLock()
	defer g.mu.RUnlock()
	r, ok := g.rows[k]
	if !ok {
		return nil
	}
	return &r.val
}

// JoinGlobal joins a record with the row whose key is made of it. Where there is no such key, row is nil too; inner says
// that such a record is then skipped, and counted.
//
//go:noinline
func JoinGlobal[G comparable, V, W, O any](op int32, g *Global[G, W], inner bool, key func(V) (G, bool), f func(V, *W) (O, bool), next task.Fn[O]) task.Fn[V] {
	return func(c *task.Ctx, v V) {
		c.Enter(op)
		var row *W
		if k, ok := key(v); ok {
			row = g.Row(k)
		} else if inner {
			c.Skip(op)
			return
		}
		o, ok := f(v, row)
		if !ok {
			c.Filter(op)
			return
		}
		c.Pass(op)
		next(c, o)
	}
}

// JoinGlobalKeyed is JoinGlobal for a keyed stream.
//
//go:noinline
func JoinGlobalKeyed[K, G comparable, V, W, O any](op int32, g *Global[G, W], inner bool, key func(K, V) (G, bool), f func(V, *W) (O, bool), next task.KeyedFn[K, O]) task.KeyedFn[K, V] {
	return func(c *task.Ctx, k K, v V) {
		c.Enter(op)
		var row *W
		if x, ok := key(k, v); ok {
			row = g.Row(x)
		} else if inner {
			c.Skip(op)
			return
		}
		o, ok := f(v, row)
		if !ok {
			c.Filter(op)
			return
		}
		c.Pass(op)
		next(c, k, o)
	}
}
