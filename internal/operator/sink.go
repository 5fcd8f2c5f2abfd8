package operator

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// Destination is what a sink operator knows of where its records go.
type Destination struct {
	Name       string
	Partitions int32
	MaxBytes   int   // of a whole record; 0: no bound
	MaxBehind  int64 // ms; 0: no bound
	MaxAhead   int64 // ms; 0: no bound
	RoundRobin bool
}

func (d *Destination) accepts(c *task.Ctx, bytes int) error {
	for _, h := range c.Headers {
		bytes += len(h.Key) + len(h.Value) + 8
	}
	if d.MaxBytes > 0 && bytes > d.MaxBytes {
		return fmt.Errorf("record of %d bytes is larger than topic %s accepts (%d)", bytes, d.Name, d.MaxBytes)
	}
	now := c.Task.Now
	if d.MaxAhead > 0 && c.Time > now+d.MaxAhead || d.MaxBehind > 0 && c.Time < now-d.MaxBehind {
		return fmt.Errorf("record time %d ms is further from the wall clock than topic %s accepts", c.Time, d.Name)
	}
	return nil
}

// Sink encodes records and puts them into the task's outbox.
func Sink[V any](op int32, d *Destination, s sink.Sink[V]) task.Fn[V] {
	turn := int32(-1)
	null := nullTest[V]()
	return func(c *task.Ctx, v V) {
		c.Enter(op)
		t := c.Task
		b, keyLen := t.Out.Buf(), -1
		if s.Key != nil {
			if k := s.Key(b, v); k != nil {
				b, keyLen = k, len(k)
			}
		} else if c.Key != nil {
			b = append(b, c.Key...)
			keyLen = len(b)
		}
		var err error
		tombstone := null != nil && null(v)
		if !tombstone {
			b, err = s.Value.Append(b, v)
		}
		if err == nil {
			err = d.accepts(c, len(b))
		}
		if err != nil {
			c.Reject(fmt.Errorf("write to %s: %w", d.Name, err), s.Spec.OnError)
			return
		}
		part := sink.ByKey
		switch {
		case s.Route != nil:
			part = s.Route(v, d.Partitions)
			if part < 0 || part >= d.Partitions {
				c.Reject(fmt.Errorf("write to %s: the partitioner chose partition %d of %d", d.Name, part, d.Partitions), s.Spec.OnError)
				return
			}
		case d.RoundRobin:
			turn = (turn + 1) % d.Partitions
			part = turn
		}
		c.Pass(op)
		t.Out.Add(d.Name, part, b, keyLen, kept(c.Headers), c.Time, tombstone)
	}
}

// kept copies headers: those of a record that was read lie in the connector's memory.
func kept(h []source.Header) []source.Header {
	if len(h) == 0 {
		return nil
	}
	h = slices.Clone(h)
	for i := range h {
		h[i].Value = slices.Clone(h[i].Value)
	}
	return h
}

// WithKey makes the stream's key the record's key, as bytes, for what follows.
func WithKey[K comparable, V any](op int32, key codec.Codec[K], next task.KeyedFn[K, V]) task.KeyedFn[K, V] {
	var buf []byte
	null := nullTest[K]()
	return func(c *task.Ctx, k K, v V) {
		if null != nil && null(k) {
			old := c.Key
			c.Key = nil
			next(c, k, v)
			c.Key = old
			return
		}
		c.Enter(op)
		b, err := key.Append(buf[:0], k)
		if err != nil {
			c.Reject(fmt.Errorf("encode key: %w", err), nil)
			return
		}
		c.Leave(op)
		buf = b
		old := c.Key
		c.Key = b
		next(c, k, v)
		c.Key = old
	}
}

// Unkeyed hands a keyed record to a step that does not look at the typed key.
func Unkeyed[K comparable, V any](next task.Fn[V]) task.KeyedFn[K, V] {
	return func(c *task.Ctx, _ K, v V) { next(c, v) }
}

// Lane is a repartition: where its records go.
type Lane struct {
	Op         int32
	Topic      string
	Partitions int32
	// Direct: the partition is the one that Kafka's clients choose for the key, because the tasks behind read a topic
	// beside this one whose producers did. Else it is the one that the key group belongs to.
	Direct bool
}

func (l *Lane) partition(t *task.Task, key []byte) int32 {
	if l.Direct {
		return int32(task.Murmur2(key)&0x7fffffff) % l.Partitions
	}
	return int32(task.Group(key, t.Spec.KeyGroups)) % l.Partitions
}

// add adds a record: b is the key, the value up to end, and what the first header has. The record's timestamp is the wall
// clock, because a broker deletes by it; the event time travels in that header.
func (l *Lane) add(t *task.Task, partition int32, b []byte, keyLen, end int, h []source.Header) {
	out := &t.Out
	out.Add(l.Topic, partition, b, keyLen, h, t.Now, false)
	r := &out.Records[len(out.Records)-1]
	r.Value = r.Value[: end-keyLen : end-keyLen]
}

// Repartition writes records to a repartition topic, or, with hand, hands them to tasks of this process.
//
// With nulls, an operator of the task, records with a null key are dropped, and counted as skipped by it; -1 is none.
func Repartition[K comparable, V any](to Lane, hand *Sender[K, V], nulls int32, key codec.Codec[K], value codec.Codec[V]) task.KeyedFn[K, V] {
	put := func(c *task.Ctx, k K, v V) {
		c.Enter(to.Op)
		t := c.Task
		out := &t.Out
		b, err := key.Append(out.Buf(), k)
		if err != nil {
			c.Reject(errEncode("key", err), nil)
			return
		}
		keyLen := len(b)
		part := to.partition(t, b)
		if b, err = value.Append(b, v); err != nil {
			c.Reject(errEncode("value", err), nil)
			return
		}
		end := len(b)
		b = binary.BigEndian.AppendUint64(b, uint64(c.Time))
		h := out.Header(1 + len(c.Headers))
		h[0] = source.Header{Key: task.TimeHeader, Value: b[end:]}
		copy(h[1:], kept(c.Headers))
		c.Pass(to.Op)
		to.add(t, part, b, keyLen, end, h)
	}
	if hand != nil {
		put = hand.send
	}
	if nulls >= 0 {
		return NoNulls(nulls, true, false, put)
	}
	return put
}

func errEncode(what string, err error) error {
	return fmt.Errorf("repartition: encode %s: %w", what, err)
}
