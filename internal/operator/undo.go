package operator

import (
	"reflect"

	"github.com/millstream-go/millstream/internal/task"
)

// saved is what an entry was before a record changed it, or a timer.
type saved[K comparable, A any] struct {
	key      K
	val      A
	time     int64
	revision uint64
	live     bool

	timed bool // it is a timer, set or, if set is false, taken back
	timer timer
	set   bool
}

// flat says that a copy of a value shares nothing with it that could be changed: there is no pointer, slice or map in it.
func flat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface, reflect.UnsafePointer:
		return false
	case reflect.Array:
		return flat(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !flat(t.Field(i).Type) {
				return false
			}
		}
	}
	return true
}

// save notes what an entry is before a change, if a copy of its value can be kept. u is the operator.
func (s *rows[K, A]) save(u task.Undoer, e *entry[K, A]) {
	if !s.flat {
		return
	}
	s.saved = append(s.saved, saved[K, A]{key: e.key, val: e.val, time: e.time, revision: e.revision, live: e.live})
	s.store.task.Changing(u)
}

// Undo implements task.Undoer.
func (s *rows[K, A]) Undo() { s.undo(s.pop()) }

func (s *rows[K, A]) pop() saved[K, A] {
	x := s.saved[len(s.saved)-1]
	s.saved[len(s.saved)-1] = saved[K, A]{}
	s.saved = s.saved[:len(s.saved)-1]
	return x
}

func (s *rows[K, A]) undo(x saved[K, A]) {
	e := s.table.lookup(x.key)
	if e == nil {
		if !x.live {
			return
		}
		e = s.table.insert(x.key)
	}
	e.val, e.time, e.revision, e.live = x.val, x.time, x.revision, x.live
	s.table.touch(e)
}

// Keep implements task.Undoer.
func (s *rows[K, A]) Keep() {
	clear(s.saved)
	s.saved = s.saved[:0]
}
