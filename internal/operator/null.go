package operator

import (
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// nullTest is how to tell the null of a type; nil if it has none. See codec.Nullable.
func nullTest[V any]() func(V) bool {
	var zero V
	if _, ok := any(zero).(codec.Nullable); !ok {
		return nil
	}
	return func(v V) bool { return any(v).(codec.Nullable).IsNull() }
}

// NoNulls drops records whose key (with keys) or value (with values) is null, and counts them as skipped.
func NoNulls[K comparable, V any](op int32, keys, values bool, next task.KeyedFn[K, V]) task.KeyedFn[K, V] {
	key, value := nullTest[K](), nullTest[V]()
	if !keys {
		key = nil
	}
	if !values {
		value = nil
	}
	if key == nil && value == nil {
		return next
	}
	return func(c *task.Ctx, k K, v V) {
		if key != nil && key(k) || value != nil && value(v) {
			c.Enter(op)
			c.Skip(op)
			return
		}
		next(c, k, v)
	}
}
