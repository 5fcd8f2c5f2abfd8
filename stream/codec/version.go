package codec

import (
	"errors"
	"fmt"
)

// ErrUnreadable: a store holds values that were written with a codec that the program's does not read. The error that
// wraps it says which store and which codecs, and how to mend it.
var ErrUnreadable = errors.New("state was written with a codec that the program does not read")

// Evolving is a codec of state that also reads what other codecs have written: earlier versions of itself, or others. Each
// store remembers with which codecs it was written, each value by which of them. A value that another codec has written
// is read by what Reader returns, and written anew with the codec itself when it changes; until then it stays as it is,
// so that a Reader is needed for as long as such values may be there.
//
// A codec that does not implement it, as those of this package, reads only what a codec of its own name has written.
type Evolving[V any] interface {
	Codec[V]
	// Reader returns what decodes the values that the codec of this name has written, under the rules of Decode; nil if
	// there is nothing that does.
	Reader(name string) func(b []byte) (V, error)
}

// Older says how values are read that another codec has written. See From and Compatible.
type Older[V any] struct {
	reader func(c Codec[V], name string) func(b []byte) (V, error)
}

// From reads what the codec old has written, and makes a V of it: a migration. It also reads what old reads, so that
// versions can be chained, each with the migration from the one before.
func From[Old, V any](old Codec[Old], migrate func(Old) (V, error)) Older[V] {
	return Older[V]{func(_ Codec[V], name string) func(b []byte) (V, error) {
		decode := Reader(old, name)
		if decode == nil {
			return nil
		}
		return func(b []byte) (v V, err error) {
			was, err := decode(b)
			if err != nil {
				return v, err
			}
			if v, err = migrate(was); err != nil {
				return v, fmt.Errorf("migrate from %s: %w", old.Name(), err)
			}
			return v, nil
		}
	}}
}

// Compatible says that the new codec decodes what a codec of this name has written as it is.
func Compatible[V any](name string) Older[V] {
	return Older[V]{func(c Codec[V], written string) func(b []byte) (V, error) {
		if written == name {
			return c.Decode
		}
		return nil
	}}
}

// Reader returns what decodes the values that the codec of this name has written: c itself, if the name is its own, or
// what it has for them if it is Evolving; nil if there is nothing that does.
func Reader[V any](c Codec[V], name string) func(b []byte) (V, error) {
	if c.Name() == name {
		return c.Decode
	}
	if e, ok := c.(Evolving[V]); ok {
		return e.Reader(name)
	}
	return nil
}

// Version numbers the schema of what a codec writes, and says what is to become of values of other versions. Its name is
// that of c with the version: "json v2". A codec without a version has the plain name.
//
//	codec.Version(2, codec.JSON[Cart](), codec.From(codec.JSON[CartV1](), CartV1.upgrade))
//
// A version is needed only where the codec would not read the old values, or would read them wrongly. JSON may gain and
// lose fields without one.
func Version[V any](version int, c Codec[V], reads ...Older[V]) Codec[V] {
	return versioned[V]{c, fmt.Sprintf("%s v%d", c.Name(), version), reads}
}

type versioned[V any] struct {
	Codec[V]
	name  string
	reads []Older[V]
}

func (v versioned[V]) Name() string { return v.name }

// Reader implements Evolving.
func (v versioned[V]) Reader(name string) func(b []byte) (V, error) {
	for _, o := range v.reads {
		if decode := o.reader(v, name); decode != nil {
			return decode
		}
	}
	return nil
}
