package operator

import (
	"reflect"
	"sync"
	"unsafe"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// parcel are records on their way to another task of this process.
//
// A column each: what the task needs of a record, and its key and value. Those of types without pointers are handed over as they
// are. Others are encoded, as for a topic: a copy would share with the original what its pointers lead to, which a function of the
// user's may change while another task reads it, and a string may be a small part of a large one that must not live on in a state.
type parcel[K comparable, V any] struct {
	heads   []parcelHead
	keys    []K // nil: they are in bytes alone
	vals    []V // nil: they are in bytes
	bytes   []byte
	headers [][]source.Header // of the first records; those behind have none
	size    int
	from    *Sender[K, V]
}

// parcelHead is what is told of any record: its key are the bytes from the end of the record before to keyEnd, then its value.
type parcelHead struct {
	time        int64
	of          uint64
	keyEnd, end int
}

// Len implements task.Parcel.
func (p *parcel[K, V]) Len() int { return len(p.heads) }

// Bytes implements task.Parcel.
func (p *parcel[K, V]) Bytes() int { return p.size }

// start is where the bytes of a record begin.
func (p *parcel[K, V]) start(i int) int {
	if i == 0 {
		return 0
	}
	return p.heads[i-1].end
}

// Key implements task.Parcel.
func (p *parcel[K, V]) Key(i int) []byte {
	end := p.heads[i].keyEnd
	return p.bytes[p.start(i):end:end]
}

func (p *parcel[K, V]) value(i int) []byte {
	h := &p.heads[i]
	return p.bytes[h.keyEnd:h.end:h.end]
}

// Head implements task.Parcel.
func (p *parcel[K, V]) Head(i int, r *source.Record) (of uint64) {
	h := &p.heads[i]
	r.Time, r.Key, r.Headers = h.time, p.Key(i), nil
	if i < len(p.headers) {
		r.Headers = p.headers[i]
	}
	return h.of
}

// Record implements task.Parcel.
func (p *parcel[K, V]) Record(i int) source.Record {
	var r source.Record
	if of := p.Head(i, &r); of == 0 && p.vals != nil {
		r.Value, _ = p.from.value.Append([]byte{}, p.vals[i]) // what cannot be encoded is left out of a dead letter
	} else {
		r.Value = p.value(i)
	}
	return r
}

// Release implements task.Parcel.
func (p *parcel[K, V]) Release() {
	from := p.from
	clear(p.headers)
	p.from = nil
	p.heads, p.keys, p.vals, p.bytes, p.headers, p.size = p.heads[:0], p.keys[:0], p.vals[:0], p.bytes[:0], p.headers[:0], 0
	from.empty.Put(p)
}

// Sender puts records into parcels.
type Sender[K comparable, V any] struct {
	Lane
	task  *task.Task
	id    int32
	key   codec.Codec[K]
	value codec.Codec[V]
	typed struct{ keys, vals bool } // handed over as they are
	fixed int                       // bytes of a record beside those of its key and value
	buf   []byte
	open  []*parcel[K, V] // by partition; nil: there is none yet
	used  []int32         // the partitions that have one
	empty *sync.Pool      // of parcels
}

// NewSender makes the end of a lane at which records leave a task for others of this process. The pool keeps parcels that have been read, of
// all tasks at this place of the topology.
func NewSender[K comparable, V any](t *task.Task, to Lane, key codec.Codec[K], value codec.Codec[V], empty *sync.Pool) *Sender[K, V] {
	s := &Sender[K, V]{Lane: to, task: t, key: key, value: value, empty: empty, fixed: int(unsafe.Sizeof(parcelHead{})), open: make([]*parcel[K, V], to.Partitions)}
	var k K
	if s.typed.keys = !points(reflect.TypeFor[K]()); s.typed.keys {
		s.fixed += int(unsafe.Sizeof(k))
	}
	var v V
	if s.typed.vals = !points(reflect.TypeFor[V]()); s.typed.vals {
		s.fixed += int(unsafe.Sizeof(v))
	}
	s.id = t.Cross.Join(s)
	return s
}

// Stream implements task.Sender.
func (s *Sender[K, V]) Stream() string { return s.Topic }

// into is the parcel for a partition.
func (s *Sender[K, V]) into(partition int32) *parcel[K, V] {
	p := s.open[partition]
	if p == nil {
		if p, _ = s.empty.Get().(*parcel[K, V]); p == nil {
			p = new(parcel[K, V])
		}
		p.from = s
		s.open[partition], s.used = p, append(s.used, partition)
	}
	return p
}

// send puts a record into the parcel of its partition.
func (s *Sender[K, V]) send(c *task.Ctx, k K, v V) {
	c.Enter(s.Op)
	b, err := s.key.Append(s.buf[:0], k)
	if err != nil {
		c.Reject(errEncode("key", err), nil)
		return
	}
	keyLen := len(b)
	partition := s.partition(s.task, b)
	if !s.typed.vals {
		if b, err = s.value.Append(b, v); err != nil {
			c.Reject(errEncode("value", err), nil)
			return
		}
	}
	s.buf = b
	p := s.into(partition)
	start := len(p.bytes)
	p.bytes = append(p.bytes, b...)
	if len(c.Headers) > 0 {
		for len(p.headers) < len(p.heads) {
			p.headers = append(p.headers, nil)
		}
		p.headers = append(p.headers, kept(c.Headers))
	}
	p.heads = append(p.heads, parcelHead{time: c.Time, keyEnd: start + keyLen, end: len(p.bytes)})
	if s.typed.keys {
		p.keys = append(p.keys, k)
	}
	if s.typed.vals {
		p.vals = append(p.vals, v)
	}
	c.Pass(s.Op)
	s.sent(p, partition, len(b))
}

// Gathered puts the aggregate of some records into the parcel of its partition.
func (s *Sender[K, V]) Gathered(partition int32, k K, key, value []byte, time int64, of uint64) {
	p := s.into(partition)
	p.bytes = append(p.bytes, key...)
	keyEnd := len(p.bytes)
	p.bytes = append(p.bytes, value...)
	p.heads = append(p.heads, parcelHead{time: time, of: of, keyEnd: keyEnd, end: len(p.bytes)})
	if s.typed.keys {
		p.keys = append(p.keys, k)
	}
	if s.typed.vals {
		var none V
		p.vals = append(p.vals, none)
	}
	s.sent(p, partition, len(key)+len(value))
}

func (s *Sender[K, V]) sent(p *parcel[K, V], partition int32, bytes int) {
	bytes += s.fixed
	p.size += bytes
	s.task.Cross.Sent(s.id, partition, bytes)
}

// Withdraw implements task.Sender.
func (s *Sender[K, V]) Withdraw(partition int32) {
	p := s.open[partition]
	n := len(p.heads) - 1
	p.size -= s.fixed + p.heads[n].end - p.start(n)
	p.bytes, p.heads = p.bytes[:p.start(n)], p.heads[:n]
	if s.typed.keys {
		p.keys = p.keys[:n]
	}
	if s.typed.vals {
		p.vals = p.vals[:n]
	}
	p.headers = p.headers[:min(n, len(p.headers))]
}

// Take implements task.Sender.
func (s *Sender[K, V]) Take(f func(partition int32, x task.Parcel)) {
	for _, i := range s.used {
		p := s.open[i]
		s.open[i] = nil
		if p.Len() == 0 { // all was withdrawn
			p.Release()
			continue
		}
		f(i, p)
	}
	s.used = s.used[:0]
}
