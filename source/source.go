// Package source describes what an application reads. A description is light: it names a topic, its codecs and its
// policies, and imports no client. The client comes in with its connector (see package connect), bound at Build, so
// that the same topology runs on a cluster, on an in-process broker, or record by record in a test.
//
// The second half of the package is the contract between the engine and its connectors: records, partitions,
// positions. Nothing in it is shaped by one system; a Kinesis shard is a partition, its sequence number a position.
package source

import (
	"maps"
	"time"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/stream/codec"
)

// Source describes a stream of values of type V.
type Source[V any] struct {
	Spec  Spec
	Value codec.Codec[V]
	// History decodes the records of Spec.Files, if there are any.
	History codec.Codec[V]
}

// KeyedSource describes a stream that is partitioned by its keys already, so that keyed operators read it without a
// repartition: all records of a key are in one partition. See stream.Topology.FromKeyed.
type KeyedSource[K comparable, V any] struct {
	Spec  Spec
	Key   codec.Codec[K]
	Value codec.Codec[V]
}

// Spec is the untyped part of a description.
type Spec struct {
	System  string // the connector that serves it: "kafka"
	Name    string // topic or stream
	Range   Range
	OnError onerror.Policy
	// NoKey is what becomes of a record without a key in a keyed source: onerror.Skip unless set.
	NoKey onerror.Policy
	// OnTombstone is what becomes of a record with a null value in a stream: onerror.Skip unless set.
	OnTombstone onerror.Policy
	MaxAhead    time.Duration
	MaxBytes    int
	// MaxJump and Confirm are those of the option MaxJump; 0: no bound.
	MaxJump time.Duration
	Confirm int
	Growth  Growth
	// Files are read before the topic; nil: there are none.
	Files *FileSpec
}

// Range is the part of a source that is read.
type Range struct {
	Start     Start
	From      time.Time          // with StartTime
	Exact     bool               // with StartTime: it is an error if records from then on may have been deleted
	Positions map[int32]Position // by partition; where one is named, it comes before Start
	End       End
	Until     time.Time // with EndTime
	Deleted   Deleted
}

// Start is where reading begins when no position was committed.
type Start uint8

// The start positions.
const (
	Earliest Start = iota
	Latest
	StartTime // at Range.From
)

// End is where reading ends.
type End uint8

// The ends.
const (
	Never   End = iota
	EndNow      // what is there when the run begins
	EndTime     // before Range.Until
)

// Deleted is what becomes of a partition whose next record was deleted by the broker before it was read.
type Deleted uint8

// The ways to go on, or not to. What is passed over is logged as a range, and counted (metrics.GapRecords).
const (
	DeletedFails  Deleted = iota // Run returns an error that names the range
	DeletedSkips                 // go on at the first record that is left
	DeletedLatest                // go on at the end
)

// Growth is what a source that is read by its own keys does when partitions are added to it, so that its producers put keys
// into other partitions than before.
type Growth uint8

// The ways. Behind a KeyBy every source may grow.
const (
	GrowthStops  Growth = iota // Run returns an error
	GrowthRekeys               // records are brought to the tasks of their keys by a repartition, from the beginning
)

// Option sets a rarer property of a source.
type Option func(*Spec)

// StartAt says where to begin when no position was committed yet. The default is Earliest.
func StartAt(s Start) Option { return func(d *Spec) { d.Range.Start = s } }

// StartAtTime begins at the first record, of each partition, whose timestamp is not before t, when no position was
// committed yet. The timestamps are those of the broker, not event times taken from values; where they are out of order,
// later records before t are read as well.
func StartAtTime(t time.Time) Option {
	return func(d *Spec) { d.Range.Start, d.Range.From = StartTime, t }
}

// StartAtPositions begins at these positions (offsets, in Kafka: source.At), by partition, when none was committed yet.
// Other partitions begin where StartAt or StartAtTime says.
func StartAtPositions(at map[int32]Position) Option {
	return func(d *Spec) { d.Range.Positions = maps.Clone(at) }
}

// EndAtNow ends the reading of each partition with the last record that it holds when the run begins. When every source
// of a topology has an end, and all that was read has been processed and committed, Run returns nil. See EndAtTime.
//
// What is still open then, such as windows, stays open: a later run without an end goes on from there, as if there had
// been one run.
func EndAtNow() Option { return func(d *Spec) { d.Range.End = EndNow } }

// EndAtTime ends the reading of each partition before the first record whose timestamp is t or later, or where the
// partition ends when the run begins, if there is no such record yet. See EndAtNow.
func EndAtTime(t time.Time) Option {
	return func(d *Spec) { d.Range.End, d.Range.Until = EndTime, t }
}

// OnDeleted says what to do when the broker deleted records (retention) before they were read. The default is
// DeletedFails.
func OnDeleted(what Deleted) Option { return func(d *Spec) { d.Range.Deleted = what } }

// OnGrowth says what happens when a topic that is read with FromKeyed gets more partitions. The default is GrowthStops.
// GrowthRekeys costs the repartition that FromKeyed saves otherwise. It must be set before the application runs for the
// first time: set later, it begins with new state. Records of one key that are in one partition of the topic keep their
// order; between those in its partition before the topic grew and those in the one after, Kafka knows none.
func OnGrowth(what Growth) Option { return func(d *Spec) { d.Growth = what } }

// OnError says what becomes of records that do not decode, or whose processing fails. The default is onerror.Skip.
func OnError(p onerror.Policy) Option { return func(d *Spec) { d.OnError = p } }

// OnNullKey says what becomes of records without a key in a keyed source. The default is onerror.Skip.
func OnNullKey(p onerror.Policy) Option { return func(d *Spec) { d.NoKey = p } }

// OnTombstone says what becomes of records with a null value. The default is onerror.Skip.
func OnTombstone(p onerror.Policy) Option { return func(d *Spec) { d.OnTombstone = p } }

// MaxAhead bounds event times: one that lies more than d ahead of the wall clock is bad data, handled by the source's
// OnError policy, because it would move the watermark and make all the others late. The default is 24 hours; a
// negative d switches the check off. Event times before 1970 are accepted.
func MaxAhead(d time.Duration) Option { return func(s *Spec) { s.MaxAhead = d } }

// MaxJump keeps a record with a wrong time from closing windows, and from making all others late: where one lies more than d
// ahead of all before it in its partition, it is processed like any other, but does not move the watermark, until so many
// others in a row lie ahead as well and agree with it to within d. A record in between that does not lie ahead shows that
// those were wrong. Such records are counted (millstream_doubted_records_total) and logged. d is in whole milliseconds,
// and longer than the gaps that the stream usually has: behind a gap the watermark waits for those others. There is no
// bound unless this is set, except MaxAhead; up to 64 others can be asked for. It plays no part in stream.KafkaStreamsSemantics.
func MaxJump(d time.Duration, others int) Option {
	return func(s *Spec) { s.MaxJump, s.Confirm = d, others }
}

// MaxBytes bounds a record's value; a larger one is bad data. The default is 1 MiB; 0 or less means no bound.
func MaxBytes(n int) Option { return func(s *Spec) { s.MaxBytes = n } }

// Kafka describes a topic whose records' keys do not matter to the topology, or are made by KeyBy.
func Kafka[V any](topic string, value codec.Codec[V], opts ...Option) Source[V] {
	return Source[V]{Spec: spec("kafka", topic, opts), Value: value}
}

// KafkaKeyed describes a topic that its producers partition by key, as every Kafka client does by default.
func KafkaKeyed[K comparable, V any](topic string, key codec.Codec[K], value codec.Codec[V], opts ...Option) KeyedSource[K, V] {
	return KeyedSource[K, V]{spec("kafka", topic, opts), key, value}
}

// Kinesis describes a stream by its name or ARN. Its records are read in the order of each shard. Their partition keys do
// not matter to the topology: since shards are split and merged while a stream is read, keyed operators come after a
// KeyBy. Aggregated records, as the Kinesis Producer Library writes them, are taken apart.
func Kinesis[V any](stream string, value codec.Codec[V], opts ...Option) Source[V] {
	return Source[V]{Spec: spec("kinesis", stream, opts), Value: value}
}

func spec(system, name string, opts []Option) Spec {
	s := Spec{System: system, Name: name, MaxAhead: 24 * time.Hour, MaxBytes: 1 << 20}
	for _, o := range opts {
		o(&s)
	}
	return s
}
