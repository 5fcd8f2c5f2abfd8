package kinesis

import (
	"context"
	"errors"
	"log/slog"

	"github.com/millstream-go/millstream/connect/kinesis/kpl"
	"github.com/millstream-go/millstream/source"
)

// Leases say which instance reads which shard. InProcess is for one instance; others keep the leases in a table that the
// instances share.
type Leases interface {
	// Join takes part for an instance, until Membership.Close.
	Join(ctx context.Context, m Member) (Membership, error)
}

// Member is an instance as its peers are to know it.
type Member struct {
	App         string // the application
	Instance    string // the same after a restart on the same state directory
	Incarnation string // this start of the process
	// Kept is how far this instance's own store is. Leases without a memory of their own go by it; the others compare it
	// with what is in their table.
	Kept map[ShardID]source.Position
	// Starts are where the sources begin that have no positions yet, by stream.
	Starts map[string]source.Start
	Logger *slog.Logger
}

// ShardID names a shard of a stream.
type ShardID struct {
	Stream string // the name that the topology uses, or an ARN
	Shard  string // shardId-000000000007
}

// Shard is a shard as ListShards describes it.
type Shard struct {
	ShardID
	// Parents are the shards that it was split or merged from: none, one or two. One that the stream has forgotten
	// (retention) may be among them; it counts as read to its end.
	Parents []string
	Hashes  kpl.Range
	Closed  bool // it gets no more records
}

// Membership is an instance's part in the leases. Its methods are safe for concurrent use. One that has a method
// Read(ShardID, int) is told by it how many bytes were read of each shard, to assign leases by.
type Membership interface {
	// Found tells of all shards that the streams have now, closed ones too. It is called at the beginning, then every now and
	// then, and at the end of each shard before Checkpoint says so: rows for its children are to be made first. A shard that
	// is missing now and was there before has been forgotten by its stream.
	Found(ctx context.Context, shards []Shard) error
	// Events are what happens to this instance's leases, in order; what happens together comes in one list, above all what an
	// instance takes when it has joined: the engine begins with that, and watermarks need to know of all that is read. A
	// shard is Taken only when all its parents have been checkpointed at connect.Ended, by whichever instance, or are
	// forgotten. The channel is closed when Close has been called, or after a failure that Err returns.
	Events() <-chan []LeaseEvent
	Err() error
	// Checkpoint writes how far the shards have been processed for good. It fails with an error that wraps ErrLeaseLost,
	// and writes nothing for them, where a shard's lease has another owner or term by now; those of the others are written.
	// connect.Ended, which tables write as SHARD_END, ends a shard: its children may be taken.
	Checkpoint(ctx context.Context, at []Checkpoint) error
	// Release gives leases back: those that others have asked for, once their last checkpoint is written. A shard that is not
	// held is passed over.
	Release(ctx context.Context, shards []ShardID) error
	// Close gives all leases back, so that others need not wait until they expire.
	Close(ctx context.Context) error
}

// Checkpoint is how far a shard was processed, with the term of the lease that allows to write it.
type Checkpoint struct {
	ShardID
	Next source.Position // the first position that was not processed: the sequence number, and the sub-sequence number in Sub
	Term uint64
}

// LeaseEvent is something that has happened to a lease of this instance.
type LeaseEvent struct {
	ShardID
	Change LeaseChange
	// Term is raised with every change of a shard's owner.
	Term uint64
	// At is, for Taken, how far the shard's checkpoint is; nil: it has none.
	At *source.Position
}

// LeaseChange tells the events apart.
type LeaseChange uint8

// The changes of a lease.
const (
	Taken LeaseChange = iota // this instance reads the shard from now on
	Asked                    // another one is to have it: finish, checkpoint, Release
	Lost                     // it has gone, or may have: nothing may be written for it any more
)

func (c LeaseChange) String() string { return [...]string{"taken", "asked for", "lost"}[c] }

// ErrLeaseLost: the lease of a shard has another owner by now, so a checkpoint of it was not written.
var ErrLeaseLost = errors.New("lease of the shard has another owner")
