package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/millstream-go/millstream/benchmarks/peers/by-hand/internal/bench"
	"github.com/twmb/franz-go/pkg/kgo"
)

const windowMs = 10_000

// counter is W2: count and newest send time per key and tumbling window. Dirty entries live in a map; a miss asks
// Pebble; changelog, output and Pebble are written once per interval.
type counter struct {
	ctx   context.Context
	db    *pebble.DB
	p     producer
	dirty map[string]*count
	marks marks
	kb    []byte
}

type count struct {
	key      []byte // key and window start, owned
	n, stamp uint64
	part     int32
}

func (c *count) value() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, 16), c.n), c.stamp)
}

func newCounter(ctx context.Context, p producer, changelog string) *counter {
	return &counter{ctx: ctx, db: openPebble(), p: p, dirty: map[string]*count{}, marks: marks{topic: changelog}}
}

func (c *counter) add(r *kgo.Record) {
	ts := r.Timestamp.UnixMilli()
	c.marks.touch(r)
	c.kb = storeKey(c.kb, r.Key, ts-ts%windowMs)
	e := c.dirty[string(c.kb)]
	if e == nil {
		e = &count{key: append([]byte(nil), c.kb...), part: r.Partition}
		old, closer, err := c.db.Get(c.kb)
		if err == nil {
			e.n, e.stamp = binary.BigEndian.Uint64(old), binary.BigEndian.Uint64(old[8:])
			must(closer.Close())
		} else if !errors.Is(err, pebble.ErrNotFound) {
			must(err)
		}
		c.dirty[string(e.key)] = e
	}
	e.n++
	e.stamp = max(e.stamp, binary.BigEndian.Uint64(r.Value[bench.OffStamp:]))
	if !*all && *changelog == "commit" {
		return
	}
	v := e.value()
	if *all {
		c.output(e, v)
	}
	if *changelog == "update" {
		c.log(e, v)
	}
}

func (c *counter) output(e *count, v []byte) {
	outs++
	c.p.Produce(c.ctx, &kgo.Record{Key: e.key, Value: v}, acknowledged)
}

func (c *counter) log(e *count, v []byte) {
	changelogN++
	c.p.Produce(c.ctx, &kgo.Record{Topic: c.marks.topic, Partition: e.part, Key: e.key, Value: v}, acknowledged)
}

func (c *counter) commit() {
	b := c.db.NewBatch()
	for _, e := range c.dirty {
		v := e.value()
		if !*all {
			c.output(e, v)
		}
		if *changelog == "commit" {
			c.log(e, v)
		}
		must(b.Set(e.key, v, nil))
	}
	clear(c.dirty)
	c.marks.write(c.ctx, c.p)
	must(b.Commit(pebble.NoSync))
	must(b.Close())
}

// rekeyed is W3: records go through a repartition topic under their amount, and are counted behind it. Both halves are
// in one process and in one transaction; a record is read back after the transaction that wrote it.
type rekeyed struct {
	*counter
	topic string
}

func (k *rekeyed) add(r *kgo.Record) {
	if r.Topic == k.topic {
		k.counter.add(r)
		return
	}
	key := amountKeys[binary.BigEndian.Uint32(r.Value[bench.OffAmount:])]
	k.p.Produce(k.ctx, &kgo.Record{Topic: k.topic, Key: key, Value: r.Value, Timestamp: r.Timestamp}, acknowledged)
}

var amountKeys = func() (keys [10_000][]byte) {
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "amt-%04d", i)
	}
	return keys
}()

// storeKey is key, window start.
func storeKey(b []byte, key []byte, win int64) []byte {
	return binary.BigEndian.AppendUint64(append(b[:0], key...), uint64(win))
}

// marks remembers which partitions an interval has touched and writes their epoch markers: one changelog record each,
// under a fixed key, with what a restore needs beside the entries.
type marks struct {
	topic string
	epoch uint64
	parts [partitions]struct {
		touched    bool
		next       int64
		streamTime int64
	}
}

func (m *marks) touch(r *kgo.Record) {
	p := &m.parts[r.Partition]
	p.touched = true
	p.next = r.Offset + 1
	p.streamTime = max(p.streamTime, r.Timestamp.UnixMilli())
}

func (m *marks) write(ctx context.Context, to producer) {
	m.epoch++
	for i := range m.parts {
		p := &m.parts[i]
		if !p.touched {
			continue
		}
		p.touched = false
		v := binary.BigEndian.AppendUint64(make([]byte, 0, 24), m.epoch)
		v = binary.BigEndian.AppendUint64(v, uint64(p.next))
		v = binary.BigEndian.AppendUint64(v, uint64(p.streamTime))
		changelogN++
		to.Produce(ctx, &kgo.Record{Topic: m.topic, Partition: int32(i), Key: []byte("\x00epoch"), Value: v}, acknowledged)
	}
}
