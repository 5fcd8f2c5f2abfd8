package streamtest

import (
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/stream"
)

// Option sets up a Driver.
type Option func(*options)

type options struct {
	app        string
	keyGroups  int
	guarantee  connect.Guarantee
	partitions int32
	topics     map[string]int32
	limits     map[string]connect.Limits
	cache      int64
	batch      int
	every      int
	manual     bool
	overlap    bool
	exchange   stream.Exchange
	mayStop    bool
	explain    bool
	semantics  stream.Semantics
	start      time.Time
	takes      func(operator string, v any) time.Duration
	before     func(*Driver) // each input
	after      func(*Driver)
}

// AppID sets the application's name, with which the names of its own topics begin. The default is "test".
func AppID(id string) Option { return func(o *options) { o.app = id } }

// KeyGroups sets Config.KeyGroups. The default here is 8, because a small number makes tests faster.
func KeyGroups(n int) Option { return func(o *options) { o.keyGroups = n } }

// Guarantee sets Config.Guarantee.
func Guarantee(g connect.Guarantee) Option { return func(o *options) { o.guarantee = g } }

// Partitions sets the number of partitions of all topics of which Topic does not set it. The default is 1.
func Partitions(n int) Option { return func(o *options) { o.partitions = int32(n) } }

// Topic sets the number of partitions of one topic.
func Topic(name string, partitions int) Option {
	return func(o *options) { o.topics[name] = int32(partitions) }
}

// Limits sets what a topic accepts. By default it accepts everything.
func Limits(topic string, l connect.Limits) Option { return func(o *options) { o.limits[topic] = l } }

// Start sets the time at which the wall clock begins. Without it, it is the time of the first record.
func Start(at time.Time) Option { return func(o *options) { o.start = at } }

// CacheSize sets how many bytes of state each task keeps in memory from one epoch to the next; 0 keeps nothing, so that
// every key is read from the store again.
func CacheSize(bytes int64) Option { return func(o *options) { o.cache = bytes } }

// Batch sets how many records are delivered and processed at a time. The default is 1.
func Batch(records int) Option { return func(o *options) { o.batch = max(1, records) } }

// CommitEvery ends an epoch after every n steps of tasks (records, with a Batch of 1), and not only when there is nothing
// left to do.
func CommitEvery(steps int) Option { return func(o *options) { o.every = steps } }

// ManualCommit leaves commits to the test: epochs end when Commit, Restart or WipeState is called, and never else.
func ManualCommit() Option { return func(o *options) { o.manual = true } }

// Overlap lets tasks go on with the next epoch while one is being committed, as they do in production.
func Overlap() Option { return func(o *options) { o.overlap = true } }

// Exchange sets Config.Exchange.
func Exchange(e stream.Exchange) Option { return func(o *options) { o.exchange = e } }

// Semantics sets Config.Semantics.
func Semantics(s stream.Semantics) Option { return func(o *options) { o.semantics = s } }

// CallsTake says how long the calls of async operators take by the wall clock: takes is asked for each call, with the
// operator's name and the value that it is called with. Calls return when the wall clock gets there, in the order of
// time, then of their beginnings. Without it they take no time.
func CallsTake(takes func(operator string, v any) time.Duration) Option {
	return func(o *options) { o.takes = takes }
}

// MayStop keeps the test going when the application stops with an error; Err returns it. Records that are piped in
// afterwards wait until Restart.
func MayStop() Option { return func(o *options) { o.mayStop = true } }
