// Package connect is the contract between the engine and the systems it reads and writes. A Connector is what a
// program puts into its Config: connect/kafka for Kafka. A Session is one opened connector: it assigns partitions,
// delivers their records, writes records, and ends epochs.
//
// Who calls whom: the engine calls Session; the session's Run calls Handler, from one goroutine at a time. Assigned,
// Revoked and Lost may block (the engine commits inside Revoked); Deliver never does.
package connect

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"time"

	"github.com/millstream-go/millstream/metrics"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// Guarantee is what an application promises of each record's effect on state and output.
type Guarantee uint8

// The guarantees.
const (
	// ExactlyOnce: state, output and positions change in one atomic step.
	ExactlyOnce Guarantee = iota
	// AtLeastOnce: nothing is lost; after an unclean end records may be counted and written again.
	AtLeastOnce
	// AtMostOnce: nothing is doubled; after an unclean end records may be missing.
	AtMostOnce
)

func (g Guarantee) String() string {
	return [...]string{"exactly-once", "at-least-once", "at-most-once"}[g]
}

// Connector connects the descriptions of one system to its servers.
type Connector interface {
	// System is the word that descriptions use: "kafka".
	System() string
	// Check returns what is wrong with the connector's configuration, all of it, without talking to anyone.
	Check() []error
	// Open connects for one application instance. It verifies that the sources exist and creates what the
	// application needs for itself (see App.Internal), or verifies it where it exists.
	Open(ctx context.Context, app App) (Session, error)
}

// App is what a session needs to know of the application.
type App struct {
	ID          string // the application, also the name of its group
	Instance    string // this instance; the same after a restart on the same state directory
	Incarnation string // this start of the process
	Static      bool   // the instance keeps its place in the group while it restarts
	Guarantee   Guarantee
	CommitEvery time.Duration
	// SessionTimeout is how long an instance may be silent before its tasks move.
	SessionTimeout time.Duration
	Sources        []SourceSpec
	// Groups lists the inputs (sources and repartition topics) that must be read side by side: partition i of all
	// inputs of one group goes to one instance. Every input is in exactly one group.
	Groups [][]string
	Sinks  []string
	// Global are topics that each instance reads whole, by ReadChangelog, beside its sources.
	Global []string
	// Internal are the topics that belong to the application: repartition topics and changelogs.
	Internal []InternalTopic
	// FetchBytes bounds what the session holds of fetched records.
	FetchBytes int64
	// OwnAll makes one instance own every partition and all others wait (in-memory exchange).
	OwnAll bool
	// Standbys is how many other instances keep a copy of each task's state (see Copier), in another Zone if they can.
	Standbys int
	Zone     string
	// OnGap is told of positions that were deleted before they were read and are passed over; nil: nobody is.
	OnGap  func(part source.Partition, from, to source.Position)
	Logger *slog.Logger
}

// SourceSpec is one source to read.
type SourceSpec struct {
	Name  string
	Range source.Range
	Files *source.FileSpec // that come before it; the engine's affair
}

// Purpose tells the internal topics apart.
type Purpose uint8

// The purposes of internal topics.
const (
	Repartition Purpose = iota
	Changelog
	Positions // of partitions of another system; see Outlet
)

// InternalTopic is a topic that the application creates for itself.
type InternalTopic struct {
	Name    string
	Purpose Purpose
	// Partitions, or 0: as many as the largest of the sources named in Like; an existing topic keeps its number.
	Partitions int32
	Like       []string // sources, or internal topics that stand earlier in App.Internal
}

// Handler is the engine's side of a running session.
type Handler interface {
	// Assigned hands over partitions, paused: the engine restores their tasks, then calls Session.Start.
	Assigned(ctx context.Context, parts []source.Partition)
	// Revoked takes partitions back in good order: the engine finishes the epoch of all its tasks, commits it, and
	// releases these before it returns.
	Revoked(ctx context.Context, parts []source.Partition)
	// Lost says that the partitions have gone to others already, or may have: nothing may be committed for them.
	Lost(parts []source.Partition)
	// Deliver hands over a batch of a started partition. Batches of one partition come in order.
	Deliver(b source.Batch)
	// Room returns how many more bytes the engine can queue. The session fetches nothing while it is not positive; it
	// asks again after Session.Wake.
	Room() int64
}

// EpochEnder is a Handler that ends the open epoch when a connector asks for it, before the commit interval is over: a
// connector whose lease on a partition runs out, for example. The engine is one.
type EpochEnder interface {
	// EndEpoch does not wait. The epoch is ended and committed as soon as the one before it is committed.
	EndEpoch()
}

// Copier is a Handler whose tasks keep their state on the instance's disk, and that can keep copies there of the state of
// tasks that other instances run. A connector that assigns partitions brings tasks to where their state is, and tells the
// others what to copy. A task is named by any of the partitions that it reads. The methods do not wait, and may be called
// from any goroutine. The engine is a Copier.
type Copier interface {
	// Copies returns what this instance has of tasks' states, of its own tasks and of others.
	Copies() map[source.Partition]Copy
	// Follow names the tasks whose state this instance is to copy, and keep up to date, in place of those named before.
	Follow(parts []source.Partition)
}

// Copy is what an instance has of a task's state.
type Copy struct {
	// Progress says how much of what has happened to the state is in it. Copies of one task can be compared by it; what
	// lies between them is about as many changes.
	Progress int64
	// Followed: it is brought up to date. Current: it lacks what was written in the last moments only.
	Followed, Current bool
}

// Committed is what the last commit left for a partition.
type Committed struct {
	Position source.Position
	Metadata string // as given to Commit
}

// PositionCommit is a partition's processed position, to be committed.
type PositionCommit struct {
	Partition source.Partition
	Next      source.Position // the first position that was not processed
	Metadata  string
}

// Session is an open connector. All methods but Run may be called from any goroutine, while Run runs.
type Session interface {
	// Partitions returns the number of partitions of each source and internal topic.
	Partitions() map[string]int32
	// Limits returns what a destination accepts, so that a record it would refuse is found before it is sent and goes
	// to its error policy, instead of failing the epoch of all the others.
	Limits(stream string) Limits
	// Run takes part in the group and delivers records until ctx ends (nil) or the session is of no use any more.
	Run(ctx context.Context, h Handler) error
	// Committed returns what was committed for the partitions, once no open transaction can still change it.
	// Partitions without a commit are missing from the result.
	Committed(ctx context.Context, parts []source.Partition) (map[source.Partition]Committed, error)
	// ReadChangelog reads a partition of an internal topic, or of one in App.Global, from a position to the end that it has when called, with
	// committed records only, and returns the position after the last. The end is exact: it waits for transactions
	// that are open below it. Call it after Committed.
	ReadChangelog(ctx context.Context, part source.Partition, from source.Position, apply func([]source.Record) error) (source.Position, error)
	// Start begins delivery of assigned partitions at these positions; a partition without one begins where its
	// source's Start says, and its position is filled in. It returns the partitions that had nothing to read at that moment.
	Start(ctx context.Context, at map[source.Partition]*source.Position) (caughtUp []source.Partition, err error)
	// Pause stops and Resume continues delivery of single partitions. What was fetched already may still come.
	Pause(parts []source.Partition)
	Resume(parts []source.Partition)
	// Wake makes a waiting Run ask Room again.
	Wake()

	// Begin opens the next epoch. Exactly-once: the transaction.
	Begin() error
	// Produce writes records in the open epoch; it may wait for room in the client's buffer. Errors show at Flush. At-least-once
	// it may also be called while an epoch is being flushed or committed, and before the next one is begun: Flush waits for
	// what was handed over before it was called, and need not wait for more.
	Produce(ctx context.Context, recs []sink.Record) error
	// Flush waits until every record handed over is acknowledged, and returns for each changelog partition written
	// the position after its last record. An error means that the epoch must be aborted.
	Flush(ctx context.Context) (map[source.Partition]source.Position, error)
	// Commit ends the epoch: exactly-once, it is the atomic step that makes records and positions visible; the others
	// commit the positions. The partitions' generation is checked: a zombie's commit fails. An error wrapping
	// ErrUnknown says that the outcome is not known.
	Commit(ctx context.Context, at []PositionCommit) error
	// Transactional says whether Commit is the commit point. If not, the engine's own store is, and Commit comes after
	// the store's batch.
	Transactional() bool
	// Abort drops the open epoch. The session is of no use afterwards, and must be closed.
	Abort(ctx context.Context)
	// Purge deletes records of a repartition topic below a committed position. It is best effort.
	Purge(ctx context.Context, below map[source.Partition]source.Position) error
	// Leave gives up the instance's place in the group, so that others take over at once.
	Leave(ctx context.Context) error
	// Close ends the session without leaving a static membership.
	Close(ctx context.Context)
}

// Ender is a Session that knows where partitions end, of its sources and of the application's own topics.
type Ender interface {
	// Ends returns the position behind the last record that is to be read of each partition: of a source that ends
	// (SourceSpec.Range) where it ends, otherwise where the partition ends now. A partition that has nothing to read is
	// missing from the result.
	Ends(ctx context.Context, parts []source.Partition) (map[source.Partition]source.Position, error)
}

// Measured is a Session that has metrics of its own, beside those that the engine reports of every system.
type Measured interface {
	// Measure calls add with the value of each metric for each set of labels, as of now. Counters count from the session's
	// beginning; the engine adds up those of one session after the other. It is called when a sample is taken, by one goroutine at a
	// time, and does not wait for any server.
	Measure(add func(m *metrics.Metric, value float64, labels ...string))
}

// Sharded is a Session of a system whose partitions come and go, and which keeps neither changelogs nor the engine's
// positions: Kinesis. The engine's store is then where state lives. An epoch's changes and positions go into it as one
// synced batch, which is the commit point; Session.Commit comes after it, so that what others see of the positions is
// never ahead of the state. No changelog is written or read, and ReadChangelog is never called.
//
// A partition that was split or merged is read to Ended. Once that has been committed the session assigns those that
// follow it, and, once these have been started, revokes it: until then it holds the watermark where its last record left it.
type Sharded interface {
	Session
	// Tasks is the number of tasks behind an exchange in memory, if the topology does not say it. It must not change
	// during the life of an application.
	Tasks() int32
	// Parents are the partitions that a partition was split or merged from. One that begins where no position of it is
	// known takes over the smallest of their watermarks.
	Parents(part source.Partition) []source.Partition
}

// Ended is the position behind the last record of a partition that gets no more, in a Sharded session.
var Ended = source.Position{High: math.MaxUint64, Mid: math.MaxUint64, Low: math.MaxUint64}

// Keeper is a Handler that knows what its store holds. The engine is one.
type Keeper interface {
	// Kept returns how far partitions have been committed in the store, where a Sharded session has no memory of its
	// own. Partitions of which nothing is known are missing from the result.
	Kept(parts []source.Partition) (map[source.Partition]source.Position, error)
}

// Limits is what a destination accepts. Zero values mean no limit.
type Limits struct {
	MaxBytes  int           // key, value and headers of one record
	MaxBehind time.Duration // how far a record's time may lie behind the wall clock
	MaxAhead  time.Duration // how far ahead
}

// Errors that the engine tells apart. Connectors wrap them.
var (
	// ErrUnknown: a commit was sent and not answered. The engine fences, reads back, and goes on from there.
	ErrUnknown = errors.New("outcome of the commit is not known")
	// ErrFenced: another instance has taken over the partitions or the identity. The engine drops what it did since
	// the last commit and joins again.
	ErrFenced = errors.New("fenced by another instance")
	// ErrStop: a person has to mend something first; trying again is of no use.
	ErrStop = errors.New("cannot go on")
	// ErrDeleted: records were deleted before they were read, and the source's policy is to fail.
	ErrDeleted = errors.New("records were deleted before they were read")
	// ErrDiverged: a copy of a task's state does not fit its changelog any more, which holds less than the copy, or has
	// deleted what would follow it.
	ErrDiverged = errors.New("copy of the state does not fit its changelog")
	// ErrRecreated: a source was deleted, or is another one than the one that was read before.
	ErrRecreated = errors.New("source was deleted or recreated")
	// ErrRetry: the epoch failed for a passing reason and must be done again from the last commit.
	ErrRetry = errors.New("epoch must be repeated")
)
