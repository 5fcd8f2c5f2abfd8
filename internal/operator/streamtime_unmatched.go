package operator

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// unmatched are records that are held back, in the order of (time, key, arrival). They are in memory, all of them, and in
// changelog and store as an entry for each time and key.
type unmatched[K comparable, V any] struct {
	task    *task.Task
	name    string
	id      uint32
	side    byte
	keys    codec.Codec[K]
	vals    codec.Codec[V]
	codecs  written[V]
	list    []unmatchedRecord[K, V]
	deleted [][]byte
	changed int
	records int
	buf     []byte
}

type unmatchedRecord[K comparable, V any] struct {
	time    int64
	bytes   string // the key's
	key     K
	vals    []V
	changed bool
	logged  bool
}

func newUnmatched[K comparable, V any](t *task.Task, name string, side byte, keys codec.Codec[K], vals codec.Codec[V]) *unmatched[K, V] {
	return &unmatched[K, V]{task: t, name: name, id: task.ID(name), side: side, keys: keys, vals: vals, codecs: newWritten(vals)}
}

func (s *unmatched[K, V]) bytes(k K) (string, error) {
	b, err := s.keys.Append(s.buf[:0], k)
	s.buf = b
	if err != nil {
		return "", &task.StateError{Store: s.name, Doing: "encode key", Err: err}
	}
	return string(b), nil
}

func (s *unmatched[K, V]) find(t int64, key string) (int, bool) {
	return slices.BinarySearchFunc(s.list, unmatchedRecord[K, V]{time: t, bytes: key}, func(a, b unmatchedRecord[K, V]) int {
		return cmp.Or(cmp.Compare(a.time, b.time), strings.Compare(a.bytes, b.bytes))
	})
}

// put keeps a record.
func (s *unmatched[K, V]) put(t int64, k K, v V) error {
	key, err := s.bytes(k)
	if err != nil {
		return err
	}
	i, found := s.find(t, key)
	if !found {
		s.list = slices.Insert(s.list, i, unmatchedRecord[K, V]{time: t, bytes: key, key: k})
	}
	r := &s.list[i]
	r.vals = append(r.vals, v)
	s.records++
	if !r.changed {
		r.changed = true
		s.changed++
	}
	return nil
}

// remove forgets what is kept of a key and time.
func (s *unmatched[K, V]) remove(t int64, k K) error {
	key, err := s.bytes(k)
	if err != nil {
		return err
	}
	if i, found := s.find(t, key); found {
		s.drop(&s.list[i])
		s.list = slices.Delete(s.list, i, i+1)
	}
	return nil
}

// drop notes that a record is about to leave the list.
func (s *unmatched[K, V]) drop(r *unmatchedRecord[K, V]) {
	if r.changed {
		s.changed--
	}
	s.records -= len(r.vals)
	if r.logged {
		s.deleted = append(s.deleted, s.appendKey(nil, r))
	}
}

// take forgets the first n.
func (s *unmatched[K, V]) take(n int) {
	for i := range n {
		s.drop(&s.list[i])
	}
	s.list = slices.Delete(s.list, 0, n)
}

func (s *unmatched[K, V]) appendKey(b []byte, r *unmatchedRecord[K, V]) []byte {
	b = append(task.AppendPrefix(b, task.KindUnmatched, s.id, task.Group([]byte(r.bytes), s.task.Spec.KeyGroups)), s.side)
	return append(task.AppendTime(b, r.time), r.bytes...)
}

// writtenKey is where it is said with which codecs the records were written.
func (s *unmatched[K, V]) writtenKey(b []byte) []byte { return appendWrittenKey(b, s.id, 0x10+s.side) }

// laterCodec begins an entry whose values are written with another codec than the store's first; the codec's number
// follows. It is no length: those are written with as few bytes as can be.
var laterCodec = []byte{0x80, 0x00}

func (s *unmatched[K, V]) cut(d *task.Delta) error {
	if s.changed > 0 && !s.codecs.noted {
		s.codecs.note(d, s.writtenKey(d.Buf(256)), s.keys.Name())
	}
	put := map[string]bool{}
	for i := range s.list {
		r := &s.list[i]
		if !r.changed {
			continue
		}
		b := s.appendKey(d.Buf(512), r)
		n := len(b)
		put[string(b)] = true
		if s.codecs.now > 0 {
			b = binary.AppendUvarint(append(b, laterCodec...), uint64(s.codecs.now))
		}
		for _, v := range r.vals {
			var err error
			if s.buf, err = s.vals.Append(s.buf[:0], v); err != nil {
				return &task.StateError{Store: s.name, Doing: "encode a record", Err: err}
			}
			b = append(binary.AppendUvarint(b, uint64(len(s.buf))), s.buf...)
		}
		d.Put(b, n, false, false)
		r.changed, r.logged = false, true
	}
	for _, key := range s.deleted {
		if !put[string(key)] {
			d.Put(append(d.Buf(len(key)), key...), len(key), true, false)
		}
	}
	s.deleted, s.changed = nil, 0
	return nil
}

func (s *unmatched[K, V]) restore() error {
	if err := s.codecs.open(s.task, s.name, s.writtenKey(nil), s.keys.Name(), s.vals); err != nil {
		return err
	}
	for g := range s.task.Spec.KeyGroups {
		lo := append(task.AppendPrefix(nil, task.KindUnmatched, s.id, uint16(g)), s.side)
		err := s.task.View.Scan(lo, after(slices.Clone(lo)), func(key, value []byte) error {
			damaged := &task.StateError{Store: s.name, Doing: "read a record that waits", Err: errDamaged}
			at := task.PrefixLen + 1
			if len(key) < at+8 {
				return damaged
			}
			r := unmatchedRecord[K, V]{time: task.Time(key[at:]), bytes: string(key[at+8:]), logged: true}
			var err error
			if r.key, err = s.keys.Decode([]byte(r.bytes)); err != nil {
				return &task.StateError{Store: s.name, Doing: "decode key", Err: err}
			}
			by := uint64(0)
			if rest, ok := bytes.CutPrefix(value, laterCodec); ok {
				n := 0
				if by, n = binary.Uvarint(rest); n <= 0 {
					return damaged
				}
				value = rest[n:]
			}
			for len(value) > 0 {
				n, w := binary.Uvarint(value)
				if w <= 0 || n > uint64(len(value)-w) {
					return damaged
				}
				v, err := s.codecs.decode(by, value[w:w+int(n)])
				if err != nil {
					return &task.StateError{Store: s.name, Doing: "decode a record", Err: err}
				}
				r.vals, value = append(r.vals, v), value[w+int(n):]
				s.records++
			}
			s.list = append(s.list, r)
			return nil
		})
		if err != nil {
			return fmt.Errorf("store %s: %w", s.name, err)
		}
	}
	slices.SortFunc(s.list, func(a, b unmatchedRecord[K, V]) int {
		return cmp.Or(cmp.Compare(a.time, b.time), strings.Compare(a.bytes, b.bytes))
	})
	return nil
}

func (s *unmatched[K, V]) held() int { return s.records * 160 }
