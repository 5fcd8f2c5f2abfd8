// Package kinesis connects applications to Amazon Kinesis Data Streams. A shard is a partition of its stream, numbered by
// the number in its id; a position is a sequence number with the sub-sequence number of a record inside an aggregate.
package kinesis
