package operator

import "reflect"

// bulk is about how many bytes keys or values have behind their pointers (strings, lists, maps), which the size of their type
// does not tell: the mean length of those that were encoded or decoded lately, since walking through the values would cost
// more than it is worth. For types without pointers it is 0.
type bulk struct {
	pointers bool
	mean     int // times 64
}

func newBulk[T any]() bulk { return bulk{pointers: points(reflect.TypeFor[T]())} }

// points says that a type's values may have something behind a pointer.
func points(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String:
		return true
	case reflect.Array:
		return points(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if points(t.Field(i).Type) {
				return true
			}
		}
	}
	return !flat(t)
}

// saw takes the length of one that was encoded or decoded.
func (b *bulk) saw(n int) {
	switch {
	case !b.pointers:
	case b.mean == 0:
		b.mean = n << 6
	default:
		b.mean += n - b.mean>>6
	}
}

func (b *bulk) bytes() int { return b.mean >> 6 }
