// Package runtime is the shell around the tasks: the only package that starts goroutines. It opens store and
// connector, makes tasks of the partitions that it is assigned, steps them on its workers, and ends epochs.
//
// # Goroutines
//
// The session's own goroutine delivers batches into the ports' queues and calls Assigned, Revoked and Lost. Each
// worker owns some of the tasks and steps them in turn. The coordinator owns everything else: which tasks there are,
// which epoch it is, what is being committed. It never touches a task; it sends functions to the workers instead,
// which run them between two steps. Restores and commits run on goroutines of their own, one commit at a time.
//
// # Epochs
//
// A tick sends a cut through the workers. Each hands over what its tasks have changed and goes on at once, with the
// next epoch; what that one writes is held in memory until the cut is committed, since a transaction holds one epoch
// only. If the commit fails in any way the session ends: tasks, caches and held records are dropped, and a new session
// begins from what is committed. The store was never touched by the epoch, so it is kept.
package runtime

import (
	"log/slog"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/metrics"
	"github.com/millstream-go/millstream/snapshot"
)

// Program is a topology, compiled as far as it can be without knowing partitions.
type Program struct {
	Subtopologies []*Subtopology // upstream ones first
	Stores        []Store
	Sinks         []string
	Globals       []Global
	Memory        bool // repartitions are within the process, without topics
}

// Keys encrypt the state directory.
type Keys = store.Keys

// Store is a store as the state's manifest knows it.
type Store = store.StoreInfo

// exchange is the word for it in the state's manifest.
func (p *Program) exchange() string {
	if p.Memory {
		return "memory"
	}
	return "topic"
}

// Subtopology is what becomes one task per partition.
type Subtopology struct {
	Name      string
	Inputs    []Input
	Changelog string // topic; "" if it keeps nothing
	Writes    []connect.InternalTopic
	Aligned   bool // its inputs must have equal numbers of partitions
	// Compile puts the operators onto a task. It is called once for each task, on the coordinator's goroutine.
	Compile func(t *task.Task, f Facts)
}

// Input is a topic that a subtopology reads.
type Input struct {
	Port   task.PortSpec
	Start  connect.SourceSpec
	Opened string // where the topology declares it, for errors
}

// Facts is what is known of topics once a session is open.
type Facts interface {
	Partitions(topic string) int32
	Limits(topic string) connect.Limits
	// Memory says that repartitions are within the process.
	Memory() bool
}

// Config is the checked configuration of an application.
type Config struct {
	AppID          string
	InstanceID     string // "": the one in the state directory
	StateDir       string
	Disk           store.FS // that StateDir is on; nil: the machine's. Tests let it fail
	Connector      connect.Connector
	Guarantee      connect.Guarantee
	CommitEvery    time.Duration
	SessionTimeout time.Duration
	Static         bool
	Standbys       int
	Zone           string
	Workers        int
	KeyGroups      int
	Memory         int64
	Logger         *slog.Logger
	Metrics        []metrics.Receiver
	MetricsEvery   time.Duration
	Snapshots      snapshot.Config
	Keys           Keys
}

// What the memory budget is divided into; docs/architecture.md has the table. Whatever is on Go's heap counts twice, since
// garbage may grow to as much before it is collected.
func (c *Config) fetchBytes() int64  { return min(c.divided()/24, mostQueued) } // in the ports' queues
func (c *Config) outputBytes() int64 { return c.fetchBytes() }                  // of the next epoch, while one is committed
func (c *Config) storeBytes() int64  { return c.divided() / 5 }                 // block cache and memtables

// mostQueued is what a queue has of a budget of 3 GiB. A larger budget is for state.
const mostQueued = 128 << 20

// keptBytes is for all tasks' caches, when an epoch is applied. What queues spare of a large budget is theirs, but for the writing client's.
func (c *Config) keptBytes() int64 { return c.divided()/14 + 4*(c.divided()/24-c.fetchBytes()) }

// dirtyBytes is what an epoch may change in the caches before it is ended early. When the next one has changed twice as much, no task
// steps until it is applied. A smaller share makes short epochs, which cost more than a smaller cache does.
func (c *Config) dirtyBytes() int64 { return c.divided() / 20 }

// There are two memtables. A larger one than 32 MiB costs more than it spares: the places where its list is searched are no longer in the
// processor's cache.
func (c *Config) memTableBytes() int64   { return min(c.storeBytes()/3, 32<<20) }
func (c *Config) blockCacheBytes() int64 { return c.storeBytes() - 2*c.memTableBytes() }

// ownBytes is what an application takes whatever it does: the program and its runtime, and the client's compressors.
const ownBytes = 48 << 20

// divided is the budget without ownBytes. A budget that has little more room than that cannot be kept: half of it is divided then.
func (c *Config) divided() int64 { return max(c.Memory-ownBytes, c.Memory/2) }
