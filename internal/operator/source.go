package operator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// Why a source gives up on a record.
var (
	ErrNullKey   = errors.New("record has no key")
	ErrTombstone = errors.New("record has a null value (tombstone)")
	errGathered  = errors.New("record is an aggregate of several, which the operator that reads it cannot take: it is another one than when the record was written")
)

// Reader says how a source reads records.
type Reader struct {
	Op          int32
	OnTombstone onerror.Policy
	OnNullKey   onerror.Policy
	MaxBytes    int
	// EventTime: an operator behind the source takes the time from the value. If not, the record's own time moves the
	// watermark.
	EventTime bool
	nulls     bool // values may be null
}

func (s *Reader) check(c *task.Ctx, r *source.Record) bool {
	c.Enter(s.Op)
	switch {
	case r.Value == nil && !s.nulls:
		c.Reject(ErrTombstone, &s.OnTombstone)
		return false
	case s.MaxBytes > 0 && len(r.Value) > s.MaxBytes:
		c.Reject(fmt.Errorf("value has %d bytes, more than the source's MaxBytes of %d", len(r.Value), s.MaxBytes), nil)
		return false
	case !s.EventTime:
		if err := plausible(c, c.Time); err != nil {
			c.Reject(err, nil)
			return false
		}
	}
	return true
}

// Older is the codec of a source whose records come from files first, and these have a codec of their own.
type Older[V any] struct {
	codec.Codec[V]
	InFiles codec.Codec[V]
}

// decoder returns the codec of each record.
func decoder[V any](value codec.Codec[V]) func(r *source.Record) codec.Codec[V] {
	older, ok := value.(Older[V])
	if !ok {
		return func(*source.Record) codec.Codec[V] { return value }
	}
	return func(r *source.Record) codec.Codec[V] {
		if _, _, ok := r.Position.File(); ok {
			return older.InFiles
		}
		return older.Codec
	}
}

// Source decodes a port's records. at is for tasks with several ports: the record's event time, if an operator
// directly behind the source makes it (else nil).
func Source[V any](p *task.Port, s Reader, value codec.Codec[V], at func(V) int64, next task.Fn[V]) {
	var peeked *source.Record // decoded by Peek already
	var head V
	s.nulls = nullTest[V]() != nil
	of := decoder(value)
	p.Op = s.Op
	pass := func(c *task.Ctx, v V) {
		t := c.Time
		c.Pass(s.Op)
		next(c, v)
		if !s.EventTime {
			p.Observe(t)
		}
	}
	p.Run = func(c *task.Ctx, r *source.Record) {
		ready := false
		if peeked != nil { // it is not written for each record: another task's may lie beside it, in the same line of the cache
			ready = peeked == r
			peeked = nil // whatever becomes of r: the next record may lie in the same place
		}
		if !s.check(c, r) {
			return
		}
		switch {
		case ready:
			pass(c, head)
			return
		case r.Value == nil:
			var null V
			pass(c, null)
			return
		}
		by := of(r)
		v, err := by.Decode(r.Value)
		if err != nil {
			c.Reject(fmt.Errorf("decode value with codec %s: %w", by.Name(), err), nil)
			return
		}
		t := c.Time // as in pass, with a copy of v less: it may be large
		c.Pass(s.Op)
		next(c, v)
		if !s.EventTime {
			p.Observe(t)
		}
	}
	if at == nil {
		return
	}
	p.Peek = func(c *task.Ctx, r *source.Record) int64 {
		if peeked != r {
			v, err := of(r).Decode(r.Value)
			if err != nil {
				return r.Time // Run will reject it
			}
			head, peeked = v, r
		}
		return at(head)
	}
}

// KeyedSource decodes a port's records with their keys. gathered takes what a Gather has sent; nil if nothing can.
func KeyedSource[K comparable, V any](p *task.Port, s Reader, key codec.Codec[K], value codec.Codec[V], gathered func(*task.Ctx, K, []byte), next task.KeyedFn[K, V]) {
	keys := newInterner(key)
	nullKeys := nullTest[K]() != nil
	s.nulls = nullTest[V]() != nil
	hot := &task.HotKeys{}
	p.Op, p.Hot, p.Keys = s.Op, hot, key.Name()
	decodeKey := func(c *task.Ctx, b []byte) (k K, ok bool) {
		k, err := keys.decode(b)
		if err != nil {
			c.Reject(fmt.Errorf("decode key with codec %s: %w", key.Name(), err), nil)
		}
		return k, err == nil
	}
	decodeValue := func(c *task.Ctx, b []byte) (v V, ok bool) {
		v, err := value.Decode(b)
		if err != nil {
			c.Reject(fmt.Errorf("decode value with codec %s: %w", value.Name(), err), nil)
		}
		return v, err == nil
	}
	add := func(c *task.Ctx, k K, b []byte) {
		if gathered == nil {
			c.Reject(errGathered, nil)
			return
		}
		c.Pass(s.Op)
		gathered(c, k, b)
	}
	handed := func(c *task.Ctx, r *source.Record, in *parcel[K, V], at int) {
		c.Enter(s.Op)
		hot.See(r.Key)
		var k K
		var v V
		ok := true
		if len(in.keys) > 0 {
			k = in.keys[at]
		} else if k, ok = decodeKey(c, r.Key); !ok {
			return
		}
		if c.Of > 0 {
			add(c, k, in.value(at))
			return
		}
		if len(in.vals) > 0 {
			v = in.vals[at]
		} else if v, ok = decodeValue(c, in.value(at)); !ok {
			return
		}
		c.Pass(s.Op)
		next(c, k, v)
	}
	p.Run = func(c *task.Ctx, r *source.Record) {
		if in, at := p.Parcel(); in != nil {
			handed(c, r, in.(*parcel[K, V]), at)
			return
		}
		if !s.check(c, r) {
			return
		}
		var k K // null, if there is none
		var v V
		ok := true
		if r.Key != nil {
			if k, ok = decodeKey(c, r.Key); !ok {
				return
			}
			hot.See(r.Key)
		} else if !nullKeys {
			c.Reject(ErrNullKey, &s.OnNullKey)
			return
		}
		if c.Of > 0 {
			add(c, k, r.Value)
			return
		}
		if r.Value != nil {
			if v, ok = decodeValue(c, r.Value); !ok {
				return
			}
		}
		t := c.Time
		c.Pass(s.Op)
		next(c, k, v)
		if !s.EventTime {
			p.Observe(t)
		}
	}
}

// interner decodes keys and remembers the last ones by their bytes, so that a key that comes often is not made again
// for every record. It is a direct-mapped cache: a new key takes the place of an old one. Numbers, and arrays of them such as a
// UUID, are quicker made than found.
type interner[K comparable] struct {
	codec  codec.Codec[K]
	number bool
	text   func(K) string // the key itself, if it is text; else nil
	slots  []interned[K]  // grows while keys displace each other, since most tasks see few
	misses int
}

func newInterner[K comparable](c codec.Codec[K]) interner[K] {
	text, _ := any(func(k string) string { return k }).(func(K) string)
	return interner[K]{codec: c, text: text, number: number(reflect.TypeFor[K]())}
}

func number(t reflect.Type) bool {
	switch k := t.Kind(); {
	case k == reflect.Array:
		return number(t.Elem())
	default:
		return k >= reflect.Bool && k <= reflect.Complex128
	}
}

// interned is a key and its bytes; none, if there are no bytes.
type interned[K comparable] struct {
	bytes string
	key   K
}

const (
	fewestInterned = 1 << 6
	mostInterned   = 1 << 14
)

func (n *interner[K]) decode(b []byte) (K, error) {
	if n.number {
		return n.codec.Decode(b)
	}
	if n.misses >= 2*len(n.slots) && len(n.slots) < mostInterned {
		n.slots = make([]interned[K], max(4*len(n.slots), fewestInterned))
		n.misses = 0
	}
	s := &n.slots[fnv(b)%uint64(len(n.slots))]
	if s.bytes == string(b) && len(b) > 0 {
		return s.key, nil
	}
	n.misses++
	k, err := n.codec.Decode(b)
	if err != nil {
		return k, err
	}
	if n.text != nil && n.text(k) == string(b) {
		*s = interned[K]{n.text(k), k} // one copy serves for both
	} else {
		*s = interned[K]{string(b), k}
	}
	return k, nil
}

// fnv is FNV-1a over eight bytes at a time where it can, then the finalizer of MurmurHash3 (Austin Appleby): integers in
// big-endian order differ in their last byte, which FNV alone leaves in the hash's highest.
func fnv(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for ; len(b) >= 8; b = b[8:] {
		h = (h ^ binary.LittleEndian.Uint64(b)) * 1099511628211
		h ^= h >> 29
	}
	for _, x := range b {
		h = (h ^ uint64(x)) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
