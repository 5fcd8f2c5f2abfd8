// Package state is the state that a function of stream.Keyed.ProcessWith declares and uses: any number of handles, each
// with a name, a type and an age limit of its own.
//
//	type cart struct {
//		items state.Map[string, int]
//		total state.Value[int64]
//	}
//
//	func declare(h *stream.Handles[string]) cart {
//		return cart{
//			items: h.Map("items", state.MapSpec[string, int]{TTL: 24 * time.Hour}),
//			total: h.Value("total", state.Spec[int64]{}),
//		}
//	}
//
// A handle shows what belongs to the key of the record or timer at hand, and is good only during that call. Its changes are
// part of the epoch: they are committed with the positions of the records that caused them and with the results, or not at
// all. If the record is given up on behind the operator, they are taken back.
//
// Each value of a collection is an entry of its own, so that reading or writing one costs the same in a large collection
// as in a small one. Values that were read must not be changed in place; put the changed value instead.
//
// # Age
//
// With a TTL a value has expired as soon as the watermark is more than the TTL past its time, which is the largest event
// time among the records that have written it. One that has expired is never returned, whether or not it has been removed
// yet: removal goes on in the background, as time does, a few hundred entries at a time. What would have expired at
// once, because its record is so late, is not kept. Both are counted as expired. The TTL may differ from one
// start to the next; what is already there goes by the new one.
package state

import (
	"iter"
	"time"

	"github.com/millstream-go/millstream/stream/codec"
)

// Spec says how the values of a handle are kept.
type Spec[V any] struct {
	// TTL is how long a value is kept after its time, in event time and whole milliseconds. Zero: for ever.
	TTL time.Duration
	// Codec writes the values. Nil: the built-in one for their type, or JSON. See codec.Version for how it may change.
	Codec codec.Codec[V]
}

// MapSpec says how the entries of a Map are kept.
type MapSpec[S comparable, V any] struct {
	// TTL is how long an entry is kept after its time, in event time and whole milliseconds. Zero: for ever.
	TTL time.Duration
	// Codec writes the values. Nil: the built-in one for their type, or JSON. See codec.Version for how it may change.
	Codec codec.Codec[V]
	// Keys writes the sub-keys, and the order of its bytes is theirs. Nil: codec.Sorted, whose order is that of the values.
	// It cannot change.
	Keys codec.Codec[S]
}

// Value is one value per key.
type Value[V any] interface {
	// Get returns the value; ok is false, and the value zero, if there is none.
	Get() (v V, ok bool)
	// Put sets the value.
	Put(v V)
	// Clear deletes it.
	Clear()
}

// Reducing is one value per key that others are added to by a function.
type Reducing[V any] interface {
	// Get returns what has come together; ok is false, and the value zero, if nothing has.
	Get() (v V, ok bool)
	// Add makes v the value if there is none, and else what the function makes of the value and v.
	Add(v V)
	// Clear deletes the value.
	Clear()
}

// List is the values that were appended, in the order in which they were.
type List[V any] interface {
	// Append appends a value. It reads none of the others.
	Append(v V)
	// All are the values, the first first. What is appended meanwhile may or may not be among them.
	All() iter.Seq[V]
	// Clear deletes them all.
	Clear()
}

// Map is values by sub-keys.
type Map[S comparable, V any] interface {
	// Get returns the value of s; ok is false, and the value zero, if there is none.
	Get(s S) (v V, ok bool)
	// Put sets the value of s.
	Put(s S, v V)
	// Delete deletes s, if it is there.
	Delete(s S)
	// All are the entries in the order of their sub-keys. The map may be changed meanwhile: what is deleted does not
	// come any more, what is added may or may not.
	All() iter.Seq2[S, V]
	// Range is All for the sub-keys from <= s < to.
	Range(from, to S) iter.Seq2[S, V]
	// Clear deletes all entries.
	Clear()
}

// Window is values by the start of a window. A value's age is counted from that start, not from the records: the TTL is
// the window's size and how long it is to be kept after its end. Times have milliseconds.
type Window[V any] interface {
	// Get returns the value of the window that starts at start; ok is false, and the value zero, if there is none.
	Get(start time.Time) (v V, ok bool)
	// Put sets the value of the window that starts at start.
	Put(start time.Time, v V)
	// Delete deletes it.
	Delete(start time.Time)
	// Range are the windows with from <= start < to, the earliest first, as Map.Range has entries.
	Range(from, to time.Time) iter.Seq2[time.Time, V]
	// Clear deletes all windows.
	Clear()
}

// Versioned is a value that changes with time: each version is valid from its own time until that of the next. The TTL is
// for how long, behind the watermark, one can ask what the value was; versions that were replaced before that are
// removed. The newest stays. Times have milliseconds.
type Versioned[V any] interface {
	// Put makes v the value from a time on, until the next version. Versions may come in any order; one of the same time is
	// replaced.
	Put(from time.Time, v V)
	// AsOf returns the value at a time; ok is false, and the value zero, if there was none yet, or if at is more than the
	// TTL behind the watermark.
	AsOf(at time.Time) (v V, ok bool)
	// Clear deletes all versions.
	Clear()
}
