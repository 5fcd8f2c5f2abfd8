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
	p.reset()
	p.from.again(p)
}

func (p *parcel[K, V]) reset() {
	clear(p.headers)
	p.heads, p.keys, p.vals, p.bytes, p.headers, p.size = p.heads[:0], p.keys[:0], p.vals[:0], p.bytes[:0], p.headers[:0], 0
}

// Sender puts records into parcels. It is used by its task, but for again.
type Sender[K comparable, V any] struct {
	Lane
	task  *task.Task
	id    int32
	key   codec.Codec[K]
	value codec.Codec[V]
	typed struct{ keys, vals bool } // handed over as they are
	fixed int                       // bytes of a record beside those of its key and value
	buf   []byte
	open  []*parcel[K, V] // by partition; nil: nothing was sent

	mu   sync.Mutex
	free []*parcel[K, V] // to be filled again
}

// NewSender makes the end of a lane at which records leave a task for others of this process.
func NewSender[K comparable, V any](t *task.Task, to Lane, key codec.Codec[K], value codec.Codec[V]) *Sender[K, V] {
	s := &Sender[K, V]{Lane: to, task: t, key: key, value: value, fixed: int(unsafe.Sizeof(parcelHead{})), open: make([]*parcel[K, V], to.Partitions)}
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
		p = s.empty()
		s.open[partition] = p
	}
	return p
}

func (s *Sender[K, V]) empty() *parcel[K, V] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		p := s.free[n-1]
		s.free[n-1], s.free = nil, s.free[:n-1]
		return p
	}
	return &parcel[K, V]{from: s}
}

// again takes a parcel to fill it once more. Two for each partition are enough for a reader that keeps up; the garbage collector gets
// what one has used that was behind.
func (s *Sender[K, V]) again(p *parcel[K, V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) < 2*len(s.open) {
		s.free = append(s.free, p)
	}
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
	for i, p := range s.open {
		if p == nil || p.Len() == 0 {
			continue
		}
		s.open[i] = nil
		f(int32(i), p)
	}
}
