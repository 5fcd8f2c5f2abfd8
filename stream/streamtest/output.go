package streamtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/stream/codec"
)

// Drain returns the values that were written to a topic since it was last drained, decoded with the codec of the sink,
// in the order in which they were written. Only committed ones are there.
func (d *Driver) Drain[V any](topic string) []V {
	d.t.Helper()
	var have []string
	var c codec.Codec[V]
	for _, e := range d.ends {
		if e.Topic == topic && !e.Source {
			if k, ok := e.Value.(codec.Codec[V]); ok {
				c = k
			} else {
				have = append(have, fmt.Sprintf("%T", e.Value))
			}
		}
	}
	switch {
	case c != nil:
	case have != nil:
		d.t.Fatalf("streamtest: the values of topic %q have a %s, not a codec of %s", topic, strings.Join(have, ", a "), name[V]())
		return nil
	case d.log.topics[topic] == nil:
		d.Records(topic) // which says so
		return nil
	default:
		d.t.Fatalf("streamtest: no sink says how the values of topic %q are encoded; use Records", topic)
		return nil
	}
	var list []V
	for _, r := range d.Records(topic) {
		if r.Value == nil {
			d.t.Fatalf("streamtest: topic %q has a tombstone; use Records", topic)
			return nil
		}
		v, err := c.Decode(slices.Clone(r.Value))
		if err != nil {
			d.t.Fatalf("streamtest: decode a record of topic %q: %v", topic, err)
			return nil
		}
		list = append(list, v)
	}
	return list
}

// Records returns the records that were written to a topic since it was last drained, as Drain does. Any topic will do:
// sinks, dead letters, sources, and the application's own.
func (d *Driver) Records(topic string) []Record {
	d.t.Helper()
	t := d.log.topics[topic]
	if t == nil {
		d.t.Fatalf("streamtest: the topology has no topic %q; it has %s", topic, strings.Join(d.log.names(), ", "))
		return nil
	}
	var list []Record
	for _, e := range t.visible[d.read[topic]:] {
		list = append(list, Record{Partition: e.Partition, Key: e.Key, Value: e.Value, Headers: e.Headers, Time: time.UnixMilli(e.Time).UTC()})
	}
	d.read[topic] = len(t.visible)
	return list
}

// Topics are the names of all topics: those that the topology reads and writes, and the application's own.
func (d *Driver) Topics() []string { return d.log.names() }

// Counts is what has become of the records at an operator.
type Counts struct {
	Records      uint64 // that came to it
	Passed       uint64 // that it has handed on, written, or taken into its state
	Filtered     uint64 // that it has left out, as it is to do
	Late         uint64 // that came after all their windows had closed
	Skipped      uint64 // that were dropped by an error policy, or wanted by no branch of a Split
	DeadLettered uint64
	Withdrawn    uint64 // that were taken back with the record that they came from, which was given up on elsewhere
	Lapsed       uint64 // of a join: that came too late to be kept, and found no match
	Held         int64  // that wait, less those that waited at the start
	Expired      uint64 // values of state handles that were removed for their age; they are no records
	Retried      uint64 // how often something was tried again (onerror.Retry), and a call of an Async made again; they are no records
}

// Counts returns the counts of the operators of this name, in all tasks since they were last started. An operator with
// state has the name of its store, a source or sink that of its topic, any other that of its method, in lower case.
func (d *Driver) Counts(operator string) Counts {
	d.t.Helper()
	var sum task.Counts
	found := false
	for _, s := range d.slots {
		for _, o := range s.task.Operators {
			if o.Name == operator {
				found = true
				sum.Add(&o.Counts)
			}
		}
	}
	if !found {
		d.t.Fatalf("streamtest: the topology has no operator of the name %q", operator)
	}
	return Counts{Records: sum.In, Passed: sum.Passed, Filtered: sum.Filtered, Late: sum.Late, Skipped: sum.Skipped, DeadLettered: sum.DeadLettered,
		Withdrawn: sum.Withdrawn, Lapsed: sum.Lapsed, Held: sum.Held, Expired: sum.Expired, Retried: sum.Retried}
}

// Bad is a record that was given up on.
type Bad struct {
	Operator  string // where it failed
	Site      string // file and line of the operator's declaration
	Topic     string
	Partition int32
	Offset    int64
	Policy    onerror.Policy
	Err       error
}

// Bad returns the records that were given up on since Bad was last called, each once, also if it was read again after
// a crash.
func (d *Driver) Bad() []Bad {
	b := d.bad
	d.bad = nil
	return b
}

// Watermark is the watermark of a source or repartition topic: the smallest of its partitions that are not idle. It is
// the zero Time while nothing is known.
func (d *Driver) Watermark(topic string) time.Time {
	d.t.Helper()
	w, found := int64(eventtime.End), false
	for _, s := range d.slots {
		for _, f := range s.feeds {
			if f.port.Part.Stream != topic {
				continue
			}
			found = true
			if !f.port.Input.Idle {
				w = min(w, f.port.Input.Watermark)
			}
		}
	}
	switch {
	case !found:
		d.t.Fatalf("streamtest: the topology does not read the topic %q", topic)
		return time.Time{}
	case w == eventtime.End || w < time.Time{}.UnixMilli():
		return time.Time{}
	}
	return time.UnixMilli(w).UTC()
}
