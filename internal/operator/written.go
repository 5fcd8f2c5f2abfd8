package operator

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// written is what is known of the codecs that a store was written with. They are an entry of the store, so that they are
// in the changelog too, and come back with a restore. The entry is written once, with the first change, and again when
// another codec begins to write: values cost nothing for it.
//
// The codecs of values are numbered in the order in which they began to write. Those of number 0 are as they always were;
// the others say their number, in front (see tag). So a value is read by the codec that wrote it, whenever that is, and
// none has to be written anew when the codec changes.
type written[A any] struct {
	names []string
	reads []func(b []byte) (A, error)
	now   int  // the number of the codec that writes
	noted bool // the entry is as it should be
}

const writtenVersion = 1

func newWritten[A any](vals codec.Codec[A]) written[A] {
	return written[A]{names: []string{vals.Name()}, reads: []func([]byte) (A, error){vals.Decode}}
}

// open reads with which codecs the store was written, and refuses those that cannot be read. The entry is at key.
func (w *written[A]) open(t *task.Task, store string, key []byte, keys string, vals codec.Codec[A]) error {
	val, found, err := t.View.Get(key, nil)
	if err != nil {
		return fmt.Errorf("store %s: %w", store, err)
	}
	if !found {
		return nil
	}
	was, names, err := decodeWritten(val)
	if err != nil {
		return &task.StateError{Store: store, Doing: "read its codecs", Err: err}
	}
	refused := func(format string, args ...any) error {
		return &task.StateError{Store: store, Doing: "open", Err: fmt.Errorf("%w: "+format, append([]any{codec.ErrUnreadable}, args...)...)}
	}
	if was != keys {
		return refused("keys were written with %q, and the program has %q: keys cannot be migrated; go back to that codec, or rename the store, so that it starts empty", was, keys)
	}
	x := written[A]{names: names, now: slices.Index(names, vals.Name()), noted: true}
	for _, name := range names {
		read := codec.Reader(vals, name)
		if read == nil {
			return refused("values were written with %q, and the program has %q: give that a migration (codec.Version with codec.From or codec.Compatible), "+
				"go back to the version of the program that wrote them, or rename the store, so that it starts empty", name, vals.Name())
		}
		x.reads = append(x.reads, read)
	}
	if x.now < 0 {
		x.now, x.noted = len(names), false
		x.names, x.reads = append(x.names, vals.Name()), append(x.reads, vals.Decode)
	}
	*w = x
	return nil
}

// note hands over the entry, before the first value of a codec. b is the entry's key, and is kept.
func (w *written[A]) note(d *task.Delta, b []byte, keys string) {
	w.noted = true
	n := len(b)
	b = append(b, writtenVersion)
	for _, name := range append([]string{keys}, w.names...) {
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	}
	d.Put(b, n, false, false)
}

// decode reads a value that the codec with a number has written.
func (w *written[A]) decode(by uint64, b []byte) (A, error) {
	if by >= uint64(len(w.reads)) {
		var none A
		return none, errDamaged
	}
	return w.reads[by](b)
}

// appendWrittenKey appends the key of the entry. A store has one for each of its parts that hold values of their own:
// that of rows is not named, those of shelves and kept records are.
func appendWrittenKey(b []byte, store uint32, part ...byte) []byte {
	return append(task.AppendPrefix(b, task.KindCodecs, store, 0), part...)
}

// decodeWritten reads what note wrote: a version byte, the codec of the keys, those of the values.
func decodeWritten(b []byte) (keys string, names []string, err error) {
	if len(b) == 0 || b[0] != writtenVersion {
		return "", nil, fmt.Errorf("the list of codecs has a format that this program does not know: %w", errDamaged)
	}
	for b = b[1:]; len(b) > 0; {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return "", nil, errDamaged
		}
		names = append(names, string(b[w:w+int(n)]))
		b = b[w+int(n):]
	}
	if len(names) < 2 {
		return "", nil, errDamaged
	}
	return names[0], names[1:], nil
}

// tag appends what a value begins with that is not just a number of changes: a zero, and the number of its codec.
func (w *written[A]) tag(b []byte, revision uint64) []byte {
	if w.now > 0 || revision == 0 {
		return binary.AppendUvarint(append(b, 0), uint64(w.now))
	}
	return b
}

// The codecs of stores whose values hold more than what the user's codec writes evolve as that does.

// reading is a codec that reads what another has written.
type reading[V any] struct {
	codec.Codec[V]
	decode func(b []byte) (V, error)
}

func (r reading[V]) Decode(b []byte) (V, error) { return r.decode(b) }

// Reader implements codec.Evolving.
func (s *spansCodec[A]) Reader(name string) func(b []byte) ([]span[A], error) {
	if decode := codec.Reader(s.vals, name); decode != nil {
		return (&spansCodec[A]{vals: reading[A]{s.vals, decode}}).Decode
	}
	return nil
}

// Reader implements codec.Evolving.
func (x historyCodec[V]) Reader(name string) func(b []byte) (history[V], error) {
	if decode := codec.Reader(x.vals, name); decode != nil {
		return historyCodec[V]{reading[V]{x.vals, decode}}.Decode
	}
	return nil
}

// Reader implements codec.Evolving.
func (g groupCodec[A]) Reader(name string) func(b []byte) (grouped[A], error) {
	if decode := codec.Reader(g.vals, name); decode != nil {
		return groupCodec[A]{reading[A]{g.vals, decode}}.Decode
	}
	return nil
}
