package stream

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/plan"
	engine "github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/metrics"
	"github.com/millstream-go/millstream/snapshot"
)

// Config is how an application runs. AppID and Connect are required; everything else has a default.
type Config struct {
	// AppID names the application. Instances with the same AppID share its work. It is the name of the consumer group,
	// and the beginning of the names of the application's topics and of its state directory. It lasts: under another
	// AppID an application starts anew.
	AppID string
	// Connect are the connectors for the systems that the topology names, for example kafka.Cluster.
	Connect []connect.Connector
	// StateDir is the root of the state directories; the application uses the folder AppID in it. The default is
	// millstream in the user's cache directory. It should be on a disk that outlives the process: state is then found
	// again after a crash, and only what changed since is read back. Two instances on one machine need two roots.
	StateDir string
	// InstanceID names this instance, the same after each restart. The default is an id that is made once and kept in
	// the state directory.
	InstanceID string
	// Guarantee is ExactlyOnce (the default), AtLeastOnce or AtMostOnce.
	Guarantee connect.Guarantee
	// CommitInterval is how often an epoch ends; under exactly-once it bounds the latency of results. When records have
	// just come, an epoch ends up to a tenth of it earlier. The default is 100 ms.
	CommitInterval time.Duration
	// SessionTimeout is how long an instance may be silent before its tasks go to others. The default is 45 s.
	SessionTimeout time.Duration
	// Dynamic makes the instance leave the group when it stops, so that its tasks move at once. By default membership
	// is static: an instance that comes back within the SessionTimeout finds its tasks as it left them.
	Dynamic bool
	// Standbys is how many other instances keep a copy of each task's state and follow its changelog, so that the task goes
	// on at once where its instance is lost. The largest number that an instance is configured with counts for all. The
	// default is 0: a task that moves takes its state from what its new instance has, a snapshot, and the changelog.
	Standbys int
	// Zone says where the instance runs: a rack, or an availability zone. Standbys are kept in other zones if there are any.
	Zone string
	// Workers is the number of goroutines that process records. The default is GOMAXPROCS.
	Workers int
	// KeyGroups is the number of parts into which keyed state is cut, once and for ever when it is created. It bounds
	// the number of partitions that can share the state. The default is 128.
	KeyGroups int
	// Exchange is how records travel to the tasks of their keys: ThroughTopic (the default) or InMemory. It is chosen
	// when the state is created, and cannot be changed for it.
	Exchange Exchange
	// Semantics is by which rules operators with state and time work. The default are the rules that they describe;
	// KafkaStreamsSemantics are those of Kafka Streams.
	Semantics Semantics
	// MemoryBudget is how much memory, in bytes, the application may take for records, state and the buffers of store and
	// clients, the program and Go's garbage included. What is beyond it waits. docs/architecture.md says how it is divided, and
	// what is not counted. The program alone takes some 48 MiB, so that a budget below 96 MiB makes the application small, but
	// is not kept. The default is 1 GiB, which most applications never come near.
	MemoryBudget int64
	// StateKeys encrypt the state directory and what snapshots copy of it. By default they are as they are, files for the
	// user of the process alone (0600). Topics are encrypted by their brokers, or not at all.
	StateKeys StateKeys
	// Snapshots say where copies of the state are kept, so that a task that comes to an instance without its state need
	// not read the whole of its changelog. By default there are none: the changelogs are enough. With Kinesis there are no
	// changelogs, and a lost disk is lost without snapshots: see docs/guarantees.md.
	Snapshots snapshot.Config
	// Metrics are told every MetricsInterval how the instance stands: a receiver of metrics/prom or metrics/otel,
	// metrics.OnLag, or one of the program's own.
	Metrics []metrics.Receiver
	// MetricsInterval is how often. The default is 10 s.
	MetricsInterval time.Duration
	// Logger gets what a person should know. The default says nothing.
	Logger *slog.Logger
}

// StateKeys are the keys of a state directory. To change the key, make it the first of Old and set another Current: the
// next start encrypts anew what is there.
type StateKeys = engine.Keys

// Exchange is a way of repartitioning.
type Exchange uint8

// The ways of repartitioning. Their results are the same.
const (
	// ThroughTopic writes records to a topic, from which the instance that owns their key reads them. It is durable,
	// and shares the work among instances.
	ThroughTopic Exchange = iota
	// InMemory hands records over within the process. It spares the broker and is faster, and needs all partitions in
	// one instance: a second one waits, and takes over when the first is gone. Values of types without strings and other pointers
	// go as they are; the codec of a repartition is asked for the others.
	InMemory
)

func (c Config) withDefaults() Config {
	if c.StateDir == "" {
		if dir, err := os.UserCacheDir(); err == nil {
			c.StateDir = filepath.Join(dir, "millstream")
		}
	}
	def(&c.CommitInterval, 100*time.Millisecond)
	def(&c.SessionTimeout, 45*time.Second)
	def(&c.MetricsInterval, 10*time.Second)
	def(&c.Snapshots.Every, 10*time.Minute)
	def(&c.Snapshots.Keep, 2)
	def(&c.Workers, runtime.GOMAXPROCS(0))
	def(&c.KeyGroups, 128)
	def(&c.MemoryBudget, 1<<30)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// check returns every mistake in a configuration with its defaults.
func (c Config) check() (errs []error) {
	note := func(format string, args ...any) { errs = append(errs, fmt.Errorf("Config."+format, args...)) }
	if !plan.ValidName(c.AppID) {
		note("AppID is %q: use 1 to 100 of the characters a-z A-Z 0-9 . _ -", c.AppID)
	}
	if c.StateDir == "" {
		note("StateDir is empty, and the user has no cache directory to default to: name a directory")
	}
	if c.InstanceID != "" && !plan.ValidName(c.InstanceID) {
		note("InstanceID is %q: use 1 to 100 of the characters a-z A-Z 0-9 . _ -", c.InstanceID)
	}
	if c.Guarantee > connect.AtMostOnce {
		note("Guarantee is %d: use connect.ExactlyOnce, AtLeastOnce or AtMostOnce", c.Guarantee)
	}
	if c.CommitInterval < time.Millisecond {
		note("CommitInterval is %v: it must be at least 1ms", c.CommitInterval)
	}
	if c.SessionTimeout < time.Second {
		note("SessionTimeout is %v: it must be at least 1s", c.SessionTimeout)
	}
	if c.Standbys < 0 {
		note("Standbys is %d: it must not be negative", c.Standbys)
	}
	if len(c.Zone) > 100 {
		note("Zone has %d characters: use 100 at most", len(c.Zone))
	}
	if c.Snapshots.Every < time.Millisecond || c.Snapshots.Keep < 1 {
		note("Snapshots are made every %v, and %d are kept: use at least 1ms and 1", c.Snapshots.Every, c.Snapshots.Keep)
	}
	if c.MetricsInterval < time.Millisecond {
		note("MetricsInterval is %v: it must be at least 1ms", c.MetricsInterval)
	}
	for i, r := range c.Metrics {
		if r == nil {
			note("Metrics[%d] is nil", i)
		}
	}
	if err := c.StateKeys.Check(); err != nil {
		note("StateKeys: %w", err)
	}
	if c.Exchange > InMemory {
		note("Exchange is %d: use stream.ThroughTopic or stream.InMemory", c.Exchange)
	}
	if c.Workers < 1 {
		note("Workers is %d: it must be at least 1", c.Workers)
	}
	if c.KeyGroups < 1 || c.KeyGroups > 1<<15 {
		note("KeyGroups is %d: it must be from 1 to 32768", c.KeyGroups)
	}
	if c.MemoryBudget < 16<<20 {
		note("MemoryBudget is %d bytes: it must be at least 16 MiB", c.MemoryBudget)
	}
	if err := c.Semantics.check(); err != nil {
		errs = append(errs, err)
	}
	systems := map[string]bool{}
	for i, k := range c.Connect {
		if k == nil {
			note("Connect[%d] is nil", i)
			continue
		}
		if systems[k.System()] {
			note("Connect has two connectors for %q", k.System())
		}
		systems[k.System()] = true
		for _, err := range k.Check() {
			errs = append(errs, fmt.Errorf("connector %s: %w", k.System(), err))
		}
	}
	return errs
}
