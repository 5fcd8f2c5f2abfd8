package streamtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	engine "github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// Record is a record as it stands in a topic.
type Record struct {
	Partition  int32
	Key, Value []byte // nil: no key, a tombstone
	Headers    []source.Header
	Time       time.Time
}

// Pipe writes values to a source topic, encoded with the source's codec, without keys, to the topic's partitions in
// turn, and processes all that they cause. at is the records' time as a broker would record it; the wall clock moves
// there if it is earlier.
func (d *Driver) Pipe[V any](topic string, at time.Time, values ...V) {
	d.t.Helper()
	c, ok := valueCodec[V](d, topic)
	if !ok {
		return
	}
	if d.keyed(topic) {
		d.t.Fatalf("streamtest: topic %q is read with keys: use PipeKeyed, or PipeTo", topic)
		return
	}
	d.arrive(topic, at, func() {
		for _, v := range values {
			p := d.turn[topic]
			d.turn[topic] = (p + 1) % d.log.count(topic)
			if value, ok := encode(d, topic, c, v); ok {
				d.write(topic, sink.Record{Stream: topic, Partition: p, Value: value, Time: at.UnixMilli()})
			}
		}
	})
}

// PipeKeyed is Pipe for values with a key. The key is encoded with the codec of a keyed source, otherwise with the
// built-in one for its type, and chooses the partition as Kafka's clients do.
func (d *Driver) PipeKeyed[K comparable, V any](topic string, key K, at time.Time, values ...V) {
	d.t.Helper()
	c, ok := valueCodec[V](d, topic)
	if !ok {
		return
	}
	keys, ok := keyCodec[K](d, topic)
	if !ok {
		return
	}
	d.arrive(topic, at, func() {
		for _, v := range values {
			k, ok := encode(d, topic, keys, key)
			if !ok {
				return
			}
			if value, ok := encode(d, topic, c, v); ok {
				d.write(topic, sink.Record{Stream: topic, Partition: partitionOf(k, d.log.count(topic)), Key: k, Value: value, Time: at.UnixMilli()})
			}
		}
	})
}

// PipeTo writes records to a source topic as they are, to the partitions that they name, and processes all that they cause.
// It moves the wall clock only if they are the first input, and there is no Start.
func (d *Driver) PipeTo(topic string, records ...Record) {
	d.t.Helper()
	if !d.reads(topic) {
		return
	}
	n := d.log.count(topic)
	for _, r := range records {
		if r.Partition < 0 || r.Partition >= n {
			d.t.Fatalf("streamtest: topic %q has no partition %d: it has %d", topic, r.Partition, n)
			return
		}
	}
	d.input(func() {
		for _, r := range records {
			if !d.timed {
				d.clock(r.Time)
			}
			d.write(topic, sink.Record{Stream: topic, Partition: r.Partition, Key: slices.Clone(r.Key), Value: slices.Clone(r.Value),
				Headers: slices.Clone(r.Headers), Time: r.Time.UnixMilli()})
		}
	})
}

// Advance moves event time in every partition of every source, as records of the time to would that are then dropped
// before the first operator; and the wall clock, if it is earlier. The watermark becomes to, less the topology's bound
// for disorder. Like a record, it is part of the input: it is not lost in a crash, but read again.
func (d *Driver) Advance(to time.Time) {
	d.t.Helper()
	d.input(func() {
		d.clock(to)
		for _, topic := range d.sources() {
			for _, p := range d.log.topics[topic].partitions {
				p.append(sink.Record{Stream: topic, Time: to.UnixMilli()}, false, true)
			}
		}
	})
}

// AdvanceWall moves the wall clock: timers that are due fire, and partitions that have been silent become idle.
func (d *Driver) AdvanceWall(by time.Duration) {
	d.t.Helper()
	d.input(func() { d.clock(d.Now().Add(by)) })
}

// Now is the time of the wall clock.
func (d *Driver) Now() time.Time { return d.wall() }

// clock moves the wall clock, if it is earlier.
func (d *Driver) clock(to time.Time) {
	d.t.Helper()
	d.timed = true
	ms := to.UnixMilli()
	for at, ok := d.nextCall(); ok && at < ms && d.err == nil; at, ok = d.nextCall() {
		d.now = max(d.now, at)
		d.settle(false)
	}
	if ms > d.now {
		d.now = ms
		d.settle(false)
	}
}

// arrive writes records that arrive at a time.
func (d *Driver) arrive(topic string, at time.Time, write func()) {
	d.t.Helper()
	if !d.reads(topic) {
		return
	}
	d.input(func() {
		d.clock(at)
		write()
	})
}

// input does what the test does to the application's surroundings, and lets it work.
func (d *Driver) input(f func()) {
	d.t.Helper()
	if d.o.before != nil {
		d.o.before(d)
	}
	f()
	d.settle(false)
	if d.o.after != nil {
		d.o.after(d)
	}
}

func (d *Driver) write(topic string, r sink.Record) {
	d.log.topics[topic].partitions[r.Partition].append(r, false, false)
}

func (d *Driver) reads(topic string) bool {
	d.t.Helper()
	if !d.log.sources[topic] {
		d.t.Fatalf("streamtest: the topology does not read the topic %q; it reads %s", topic, strings.Join(d.sources(), ", "))
		return false
	}
	return true
}

// keyed says that a source is read with its keys.
func (d *Driver) keyed(topic string) bool {
	return slices.ContainsFunc(d.ends, func(e engine.End) bool { return e.Source && e.Topic == topic && e.Key != nil })
}

// valueCodec is the codec of a source's values.
func valueCodec[V any](d *Driver, topic string) (codec.Codec[V], bool) {
	d.t.Helper()
	if !d.reads(topic) {
		return nil, false
	}
	for _, e := range d.ends {
		if !e.Source || e.Topic != topic {
			continue
		}
		if c, ok := e.Value.(codec.Codec[V]); ok {
			return c, true
		}
		d.t.Fatalf("streamtest: the values of topic %q have a %T, not a codec of %s", topic, e.Value, name[V]())
	}
	return nil, false
}

// keyCodec is the codec of a source's keys.
func keyCodec[K comparable](d *Driver, topic string) (codec.Codec[K], bool) {
	d.t.Helper()
	for _, e := range d.ends {
		if !e.Source || e.Topic != topic || e.Key == nil {
			continue
		}
		if c, ok := e.Key.(codec.Codec[K]); ok {
			return c, true
		}
		d.t.Fatalf("streamtest: the keys of topic %q have a %T, not a codec of %s", topic, e.Key, name[K]())
		return nil, false
	}
	c, err := codec.DefaultKey[K]()
	if err != nil {
		d.t.Fatalf("streamtest: topic %q: %v; use PipeTo", topic, err)
	}
	return c, err == nil
}

func encode[V any](d *Driver, topic string, c codec.Codec[V], v V) ([]byte, bool) {
	d.t.Helper()
	b, err := c.Append([]byte{}, v)
	if err != nil {
		d.t.Fatalf("streamtest: encode %v for topic %q: %v", v, topic, err)
	}
	return b, err == nil
}

func name[V any]() string { return strings.TrimPrefix(fmt.Sprintf("%T", *new(*V)), "*") }
