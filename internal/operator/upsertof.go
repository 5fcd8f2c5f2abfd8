package operator

import "github.com/millstream-go/millstream/internal/task"

// UpsertOf makes rows of records: where row says that there is none, it is deleted.
func UpsertOf[K comparable, V, W any](o *Upsert[K, W], row func(K, V) (W, bool)) task.KeyedFn[K, V] {
	return func(c *task.Ctx, k K, v V) {
		c.Enter(o.op)
		w, ok := row(k, v)
		c.Leave(o.op)
		if ok {
			o.Process(c, k, w)
		} else {
			o.Put(c, k, nil)
		}
	}
}
