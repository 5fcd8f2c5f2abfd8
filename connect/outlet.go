package connect

import (
	"context"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// Outlet is a Connector whose system has transactions, and can keep in them the positions of partitions of another system
// that has none: results of what was read there, and how far it was read, become visible together. Kafka is one.
type Outlet interface {
	Connector
	// OpenOutlet connects for one instance. Of app it looks at the sinks, not at the sources.
	OpenOutlet(ctx context.Context, app App) (Outflow, error)
}

// Feeder is a Connector whose sessions can hand their results to an Outlet: Kinesis.
type Feeder interface {
	Connector
	// Into returns a connector that reads as this one does, and whose sessions write to the outlet.
	Into(o Outlet) Connector
}

// Outflow is an open Outlet. Each partition has a writer of its own, with a transaction in each epoch in which anything was
// done for it. So partitions can move between instances one by one, and whoever takes one shuts out whoever had it before.
// Its methods may be called from any goroutine; Flush, Commit and Abort one after the other.
type Outflow interface {
	// Partitions returns the number of partitions of each destination.
	Partitions() map[string]int32
	// Limits returns what a destination accepts.
	Limits(stream string) Limits
	// Take makes partitions this instance's: it shuts out the writers that they had before, ends what those have left open,
	// and then returns what was committed last. Partitions of which nothing was ever committed are missing from the result.
	Take(ctx context.Context, parts []source.Partition) (map[source.Partition]Committed, error)
	// Drop ends the writers of partitions that go to other instances, after their last Commit.
	Drop(ctx context.Context, parts []source.Partition)
	// Write writes records that were caused by what was read of a partition, in the open epoch. Errors show at Flush.
	Write(ctx context.Context, from source.Partition, recs []sink.Record) error
	// Flush waits until every record is acknowledged.
	Flush(ctx context.Context) error
	// Commit ends the epoch: for each partition, one atomic step makes its records and its position visible. If it fails,
	// those of some partitions may be committed and those of others not; each partition is as of its own position.
	Commit(ctx context.Context, at []PositionCommit) error
	// Abort drops what is not committed. The Outflow is of no use afterwards, and must be closed.
	Abort(ctx context.Context)
	// Close ends the writers. What they have left open ends when somebody takes their partitions.
	Close(ctx context.Context)
}

// Apart is a Session that must know which task has caused a record. If it is one, the engine calls ProduceFor instead of Produce.
type Apart interface {
	Session
	// ProduceFor is Produce for records of the task that reads a partition.
	ProduceFor(ctx context.Context, from source.Partition, recs []sink.Record) error
}
