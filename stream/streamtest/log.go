package streamtest

import (
	"maps"
	"slices"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// broker is a log in memory: topics of partitions of records, with one writer's transaction at a time. As in Kafka,
// readers see a transaction's records when it has been committed, and offsets have gaps where transactions end.
type broker struct {
	d         *Driver
	topics    map[string]*topic
	sources   map[string]bool
	committed map[source.Partition]connect.Committed
}

type topic struct {
	partitions []*partition
	visible    []*entry // in the order in which they became so
	turn       int32
}

type partition struct {
	topic   *topic
	index   int32
	entries []*entry
	end     int64 // offset of the next record
}

// entry is a record, or a mark at which event time is moved without one.
type entry struct {
	sink.Record
	offset  int64
	open    bool    // its transaction is
	advance bool    // it is a mark; Time is where to
	origin  *Origin // the source's record that it was made of, if that is noted
}

func newBroker(d *Driver) *broker {
	b := &broker{d: d, topics: map[string]*topic{}, sources: map[string]bool{}, committed: map[source.Partition]connect.Committed{}}
	b.declare()
	return b
}

// declare makes the topics of the program that are not there.
func (b *broker) declare() {
	app := b.d.prog.Topics(connect.App{})
	for _, s := range app.Sources {
		b.sources[s.Name] = true
		b.create(s.Name, 0)
	}
	for _, s := range app.Global {
		b.sources[s] = true
		b.create(s, 0)
	}
	for _, s := range app.Sinks {
		b.create(s, 0)
	}
	for _, in := range app.Internal {
		n := in.Partitions
		if n == 0 {
			for _, l := range in.Like {
				n = max(n, b.count(l))
			}
		}
		b.create(in.Name, n)
	}
}

// create makes a topic if there is none; with n = 0 it has as many partitions as the test wants.
func (b *broker) create(name string, n int32) {
	if b.topics[name] != nil {
		return
	}
	if n == 0 {
		n = b.d.o.partitions
	}
	if m := b.d.o.topics[name]; m > 0 {
		n = m
	}
	t := &topic{}
	for i := range n {
		t.partitions = append(t.partitions, &partition{topic: t, index: i})
	}
	b.topics[name] = t
}

func (b *broker) count(name string) int32 {
	if t := b.topics[name]; t != nil {
		return int32(len(t.partitions))
	}
	return 0
}

func (b *broker) names() []string { return slices.Sorted(maps.Keys(b.topics)) }

func (b *broker) partition(p source.Partition) *partition {
	return b.topics[p.Stream].partitions[p.Index]
}

// append adds a record or mark.
func (p *partition) append(r sink.Record, open, advance bool) *entry {
	r.Partition = p.index
	e := &entry{Record: r, offset: p.end, open: open, advance: advance}
	p.end++
	p.entries = append(p.entries, e)
	if !open && !advance {
		p.topic.visible = append(p.topic.visible, e)
	}
	return e
}

// choose picks the partition of a record.
func (t *topic) choose(r *sink.Record) *partition {
	n := int32(len(t.partitions))
	switch {
	case r.Partition != sink.ByKey:
		return t.partitions[r.Partition]
	case r.Key != nil:
		return t.partitions[partitionOf(r.Key, n)]
	default:
		t.turn++
		return t.partitions[(t.turn-1)%n]
	}
}

// from is the place among the entries of the first one at or after an offset.
func (p *partition) from(offset int64) int {
	i, _ := slices.BinarySearchFunc(p.entries, offset, func(e *entry, o int64) int { return int(e.offset - o) })
	return i
}

// at returns the entry at a place, if there is one that can be read.
func (p *partition) at(i int) *entry {
	if i < len(p.entries) && !p.entries[i].open {
		return p.entries[i]
	}
	return nil
}

// record is a copy of the record as it is delivered.
func (e *entry) record() source.Record {
	r := source.Record{Key: slices.Clone(e.Key), Value: slices.Clone(e.Value), Time: e.Time, Position: source.At(e.offset)}
	for _, h := range e.Headers {
		r.Headers = append(r.Headers, source.Header{Key: h.Key, Value: slices.Clone(h.Value)})
	}
	return r
}

// spoil overwrites the bytes of a record that were given back, so that whoever has kept them is found out.
func spoil(r *source.Record) {
	for i := range r.Key {
		r.Key[i] = '!'
	}
	for i := range r.Value {
		r.Value[i] = '!'
	}
	for _, h := range r.Headers {
		for i := range h.Value {
			h.Value[i] = '!'
		}
	}
	*r = source.Record{}
}

// feed delivers a partition to a task's port.
type feed struct {
	port *task.Port
	part *partition      // nil: an exchange in memory
	next int             // place among the partition's entries
	buf  []source.Record // used again for each batch
}

// deliver hands over the next records, up to n, if the port has none left. It returns the mark that comes next, once
// all before it is processed.
func (f *feed) deliver(n int) (delivered bool, mark *entry) {
	if f.part == nil || f.port.Queued() > 0 {
		return false, nil
	}
	e := f.part.at(f.next)
	if e == nil {
		return false, nil
	}
	if e.advance {
		f.next++
		return false, e
	}
	f.buf = f.buf[:0]
	b := source.Batch{Partition: f.port.Part, Bytes: 1, End: source.At(f.part.end)}
	for ; len(f.buf) < n && e != nil && !e.advance; e = f.part.at(f.next) {
		f.buf = append(f.buf, e.record())
		b.Next = source.At(e.offset + 1)
		f.next++
	}
	b.CaughtUp = f.part.at(f.next) == nil
	b.Records = f.buf
	b.Release = func() {
		for i := range f.buf {
			spoil(&f.buf[i])
		}
	}
	f.port.Offer(b)
	return true, nil
}

// pass tells the port that a mark lies behind it.
func (f *feed) pass(mark *entry) {
	f.port.Offer(source.Batch{Partition: f.port.Part, Next: source.At(mark.offset + 1), CaughtUp: f.part.at(f.next) == nil, End: source.At(f.part.end)})
}
