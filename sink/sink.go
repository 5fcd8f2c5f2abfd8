// Package sink describes where results go. Like the descriptions in package source these are light and import no
// client; the connector that serves them is bound at Build.
package sink

import (
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// Sink describes a destination of values of type V.
type Sink[V any] struct {
	Spec  Spec
	Value codec.Codec[V]
	// Key appends the record's key, if it is not to be the one that the stream carries. See Keyed.
	Key func(dst []byte, v V) []byte
	// Route picks the partition, if it is not to be the key's. See Partitioned.
	Route func(v V, partitions int32) int32
}

// Spec is the untyped part of a description.
type Spec struct {
	System     string // the connector that serves it: "kafka"
	Name       string // topic or stream
	RoundRobin bool
	OnError    *onerror.Policy // nil: that of the record's source
}

// Kafka describes a topic. Records carry the key of the stream they come from (the key of the record that was read, or
// of the last KeyBy), and go to the partition that the Java client would choose for it. A record without a key goes to
// the partitions in turn.
func Kafka[V any](topic string, value codec.Codec[V]) Sink[V] {
	return Sink[V]{Spec: Spec{System: "kafka", Name: topic}, Value: value}
}

// Kinesis describes a stream by its name or ARN. A record's key is its partition key: as it is if it is a string of 1 to
// 256 characters in UTF-8, else in hexadecimal, or, where that is too long, as the MD5 sum of it. A record without a key
// goes to any shard. Records have no headers there.
func Kinesis[V any](stream string, value codec.Codec[V]) Sink[V] {
	return Sink[V]{Spec: Spec{System: "kinesis", Name: stream}, Value: value}
}

// Keyed makes the record's key from its value: key appends it to dst. A nil result means no key.
func (s Sink[V]) Keyed(key func(dst []byte, v V) []byte) Sink[V] {
	s.Key = key
	return s
}

// RoundRobin spreads the records over the partitions in turn, whatever their keys. The order of a key is lost.
func (s Sink[V]) RoundRobin() Sink[V] {
	s.Spec.RoundRobin = true
	return s
}

// Partitioned lets route choose the partition, from 0 to partitions-1. A number outside of it is the record's error.
func (s Sink[V]) Partitioned(route func(v V, partitions int32) int32) Sink[V] {
	s.Route = route
	return s
}

// OnError says what becomes of records that cannot be written: that the codec or the partitioner refuses, or the topic for
// their size or their time. Without it they go to the policy of their source.
func (s Sink[V]) OnError(p onerror.Policy) Sink[V] {
	s.Spec.OnError = &p
	return s
}

// ByKey, as a Record's partition, leaves the choice to the key's hash.
const ByKey int32 = -1

// Record is one record as the engine hands it to a connector. The bytes are the connector's from then on.
type Record struct {
	Stream     string
	Partition  int32 // or ByKey
	Key, Value []byte
	Headers    []source.Header
	Time       int64 // ms since the epoch
}
