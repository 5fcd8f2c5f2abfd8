package stream

import (
	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// ToTableOf is ToTable for a stream whose records can delete rows: row makes the row of a record, or says that there is
// none, which deletes the one that is there.
func (s Keyed[K, V]) ToTableOf[W any](store string, row func(K, V) (W, bool), vals ...codec.Codec[W]) Table[K, W] {
	s = s.partitioned(store)
	n := s.add("totable", store, "", typeName[K]()+" → "+typeName[W]())
	s.t.function(n, row == nil)
	value := defaultCodec(s.t, n, vals)
	out, _ := stored(s.t, n, "table", s.keys, value)
	out.rows = func(b *compiler) operator.Lookup[K, W] { return rowsOf[*operator.Upsert[K, W], K, W](b, n) }
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		o := once(b, n, func() *operator.Upsert[K, W] {
			return operator.NewUpsert(b.task, b.op(n), store, s.keys, value, b.semantics.kafka, out.changes(b))
		})
		put := operator.UpsertOf(o, row)
		if b.semantics.kafka {
			return operator.NoNulls(b.op(n), true, false, put)
		}
		return put
	})
	return out
}
