package operator

import (
	"fmt"
	"reflect"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Change is what has become of a row; nil stands for no row. The values are good during the call, and must not be
// changed.
type Change[V any] struct{ Old, New *V }

// Lookup finds a row of a table, and its time; nil if there is none. The value is good during the call.
type Lookup[K comparable, V any] func(c *task.Ctx, k K) (row *V, time int64)

// rows is a store of one value per key, with what all operators that have one have in common.
type rows[K comparable, A any] struct {
	store backing[K, A]
	table *table[K, A]
	flat  bool          // its values can be copied as they are
	saved []saved[K, A] // for the record at hand, see undo.go
	ahead prefetch[K, A]
}

func newRows[K comparable, A any](t *task.Task, kind byte, store string, keys codec.Codec[K], vals codec.Codec[A]) rows[K, A] {
	return rows[K, A]{store: newBacking(t, kind, store, keys, vals), flat: flat(reflect.TypeFor[A]())}
}

// get returns the entry of a key that has a value; nil if there is none. Unlike find it leaves nothing behind for a key
// that is not there.
func (s *rows[K, A]) get(k K) (*entry[K, A], error) {
	if e := s.table.lookup(k); e != nil {
		if !e.live {
			return nil, nil
		}
		return e, nil
	}
	if s.table.absent(k) {
		return nil, nil
	}
	key, err := s.store.appendKey(s.store.buf[:0], k, 0)
	s.store.buf = key
	if err != nil {
		return nil, err
	}
	val, found, err := s.store.task.View.Get(key, s.store.val[:0])
	s.store.val = val[:0]
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", s.store.name, err)
	}
	if !found {
		return nil, nil
	}
	return s.store.put(s.table, k, key, val, true)
}

// add returns the entry for a key of which get has just found none: it is not live, and the store is not asked again.
func (s *rows[K, A]) add(k K) *entry[K, A] {
	if e := s.table.lookup(k); e != nil {
		return e
	}
	return s.table.insert(k)
}

// Row is the store's Lookup.
func (s *rows[K, A]) Row(c *task.Ctx, k K) (row *A, time int64) {
	e, err := s.get(k)
	if err != nil {
		c.Task.Fail(err)
		return nil, 0
	}
	if e == nil {
		return nil, 0
	}
	return &e.val, e.time
}

// clear makes an entry dead.
func (s *rows[K, A]) clear(e *entry[K, A]) {
	var zero A
	e.live, e.val, e.revision, e.time = false, zero, 0, 0
	s.table.touch(e)
}

// copied is a value that does not change with the original.
func (s *rows[K, A]) copied(a A) (*A, error) {
	b, err := s.store.vals.Append(s.store.val[:0], a)
	s.store.val = b[:0]
	if err != nil {
		return nil, &task.StateError{Store: s.store.name, Doing: "encode state", Err: err}
	}
	c, err := s.store.vals.Decode(b)
	if err != nil {
		return nil, &task.StateError{Store: s.store.name, Doing: "decode state", Err: err}
	}
	return &c, nil
}

// StoreID implements task.Stateful.
func (s *rows[K, A]) StoreID() uint32 { return s.store.id }

// Restore implements task.Stateful.
func (s *rows[K, A]) Restore(*task.Marker) error {
	held, err := s.store.holds()
	s.table = newTable[K, A](!held)
	return err
}

// Prefetch implements task.Prefetcher.
func (s *rows[K, A]) Prefetch(p *task.Port, n int, key func(i int) []byte) error {
	return s.store.prefetch(&s.ahead, s.table, 0, p, n, key)
}

// Cut implements task.Stateful.
func (s *rows[K, A]) Cut(d *task.Delta) error { return s.store.cut(s.table, d, 0) }

// Applied implements task.Stateful.
func (s *rows[K, A]) Applied(epoch uint64) {
	s.table.applied(epoch)
	if over := s.Held() - s.store.task.Room(s.Held()); over > 0 {
		s.store.evict(s.table, over/s.store.entrySize()+1, epoch)
	}
}

// Changed implements task.Stateful.
func (s *rows[K, A]) Changed() int { return len(s.table.changed) * s.store.entrySize() }

// Held implements task.Stateful.
func (s *rows[K, A]) Held() int { return s.store.size(s.table) }
