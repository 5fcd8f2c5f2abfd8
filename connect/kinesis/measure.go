package kinesis

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/metrics"
)

// Metrics of a session. What comes with each answer is counted in atomics that its reader has, or under the lock that its
// writer takes anyway. What Streams.Observe is told of comes seldom, and is counted on its way there.

var _ connect.Measured = (*session)(nil)

// ofEvents are the metrics that count events.
var ofEvents = map[What]*metrics.Metric{Throttled: metrics.KinesisThrottled, Retried: metrics.KinesisRetries, Expired: metrics.KinesisExpired, Reshaped: metrics.KinesisEnded,
	BadAggregate: metrics.KinesisDamaged, Foreign: metrics.KinesisForeign, MaybeDoubled: metrics.KinesisDoubled, WrittenAgain: metrics.KinesisRewritten,
	Resubscribed: metrics.KinesisReconnects, FellBack: metrics.KinesisFallbacks, LeaseTaken: metrics.KinesisTaken, LeaseLost: metrics.KinesisLost}

// ofWriting says which of them are about streams that are written; the others are about those that are read.
var ofWriting = map[What]bool{MaybeDoubled: true, WrittenAgain: true}

// counts are the counters of a session.
type counts struct {
	mu     sync.Mutex
	events map[counted]int64
	handed map[string]handOvers // by stream
	shards map[ShardID]*traffic // that this instance reads
	gets   map[string]*calls    // by stream that is read; not changed once the session is open
}

// counted is what events are counted by. Only of refusals it has the shard, which shows the ones that are hot.
type counted struct {
	what What
	ShardID
}

type handOvers struct {
	n    int
	took time.Duration
}

// calls are the calls of GetRecords for a stream.
type calls struct{ n, took, longest atomic.Int64 }

func (c *calls) note(took time.Duration) {
	c.n.Add(1)
	c.took.Add(int64(took))
	for {
		if l := c.longest.Load(); int64(took) <= l || c.longest.CompareAndSwap(l, int64(took)) {
			return
		}
	}
}

// traffic is what a shard has brought to this instance.
type traffic struct {
	records, bytes atomic.Int64
	behind         atomic.Int64 // as the last answer has said; -1: there was none
	answered       atomic.Int64 // when, or when the reader began; Unix nanoseconds
}

func (t *traffic) note(records, bytes int, behind time.Duration) {
	t.records.Add(int64(records))
	t.bytes.Add(int64(bytes))
	t.behind.Store(int64(behind))
	t.answered.Store(time.Now().UnixNano())
}

// age is how far the reader is behind. An answer counts for some time; then what has passed since counts too.
func (t *traffic) age(now time.Time, patience time.Duration) (age time.Duration, known bool) {
	behind, since := time.Duration(t.behind.Load()), now.Sub(time.Unix(0, t.answered.Load()))
	if since > patience {
		return max(behind, 0) + since, true
	}
	return behind, behind >= 0
}

func newCounts(sources []connect.SourceSpec) *counts {
	c := &counts{events: map[counted]int64{}, handed: map[string]handOvers{}, shards: map[ShardID]*traffic{}, gets: map[string]*calls{}}
	for _, src := range sources {
		c.gets[src.Name] = &calls{}
	}
	return c
}

// observing counts what goes to an observer.
func (c *counts) observing(tell func(Event)) func(Event) {
	return func(e Event) {
		key := counted{e.What, ShardID{Stream: e.Stream}}
		if e.What == Throttled {
			key.Shard = e.Shard
		}
		c.mu.Lock()
		c.events[key] += int64(e.N)
		c.mu.Unlock()
		tell(e)
	}
}

// reading returns the traffic of a shard that a reader begins with.
func (c *counts) reading(id ShardID) *traffic {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.shards[id]
	if t == nil {
		t = &traffic{}
		c.shards[id] = t
	}
	t.behind.Store(-1)
	t.answered.Store(time.Now().UnixNano())
	return t
}

// handedOver notes that shards were given to those who had asked for them.
func (c *counts) handedOver(ids []ShardID, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		h := c.handed[id.Stream]
		c.handed[id.Stream] = handOvers{h.n + 1, h.took + took}
	}
}

// Measure implements connect.Measured.
func (s *session) Measure(add func(m *metrics.Metric, value float64, labels ...string)) {
	s.measureShards(add)
	c := s.counts
	c.mu.Lock()
	for what, m := range ofEvents {
		for name := range s.specs {
			if !ofWriting[what] {
				add(m, float64(c.events[counted{what, ShardID{Stream: name}}]), labels(what, ShardID{Stream: name})...)
			}
		}
		for name := range s.writers {
			if ofWriting[what] || c.gets[name] == nil && (what == Throttled || what == Retried) {
				add(m, float64(c.events[counted{what, ShardID{Stream: name}}]), labels(what, ShardID{Stream: name})...)
			}
		}
	}
	for key, n := range c.events {
		if key.Shard != "" {
			add(ofEvents[key.what], float64(n), labels(key.what, key.ShardID)...)
		}
	}
	for name, g := range c.gets {
		add(metrics.KinesisGets, float64(g.n.Load()), name)
		add(metrics.KinesisGetSeconds, time.Duration(g.took.Load()).Seconds(), name)
		add(metrics.KinesisGetLongest, time.Duration(g.longest.Swap(0)).Seconds(), name)
		add(metrics.KinesisHandedOver, float64(c.handed[name].n), name)
		add(metrics.KinesisHandOverSeconds, c.handed[name].took.Seconds(), name)
	}
	c.mu.Unlock()
	for name, w := range s.writers {
		w.measure(name, add)
	}
	s.mu.Lock()
	member, ok := s.member.(connect.Measured)
	s.mu.Unlock()
	if ok {
		member.Measure(add)
	}
}

func labels(what What, id ShardID) []string {
	if what == Throttled {
		return []string{id.Stream, id.Shard}
	}
	return []string{id.Stream}
}

// measureShards reports the shards that this instance has, and forgets what was counted of shards that are gone.
func (s *session) measureShards(add func(m *metrics.Metric, value float64, labels ...string)) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.forget(s.known())
	leases, unfinished := map[string]int{}, map[string]int{}
	for _, o := range s.owned {
		leases[o.id.Stream]++
		if s.shards[o.id].Closed && !o.ended {
			unfinished[o.id.Stream]++
		}
		behind := time.Duration(0)
		if !o.unwritten.IsZero() {
			behind = now.Sub(o.unwritten)
		}
		add(metrics.KinesisCheckpointAge, behind.Seconds(), o.id.Stream, o.id.Shard)
		if o.reader == nil {
			continue
		}
		t := o.reader.traffic
		add(metrics.KinesisRecords, float64(t.records.Load()), o.id.Stream, o.id.Shard)
		add(metrics.KinesisBytes, float64(t.bytes.Load()), o.id.Stream, o.id.Shard)
		if age, known := t.age(now, s.c.PollEvery+s.c.CallTimeout); known && !o.ended {
			add(metrics.KinesisAge, age.Seconds(), o.id.Stream, o.id.Shard)
		}
	}
	for name := range s.specs {
		add(metrics.KinesisLeases, float64(leases[name]), name)
		add(metrics.KinesisUnfinished, float64(unfinished[name]), name)
	}
}

// known are the shards of streams that are read or written. The session is locked.
func (s *session) known() map[ShardID]bool {
	known := map[ShardID]bool{}
	for id := range s.shards {
		known[id] = true
	}
	for _, o := range s.owned {
		known[o.id] = true
	}
	for name, w := range s.writers {
		w.mu.Lock()
		for _, t := range w.shardMap {
			known[ShardID{name, t.id}] = true
		}
		w.mu.Unlock()
	}
	return known
}

// forget drops what was counted of shards that are not known any more.
func (c *counts) forget(known map[ShardID]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.events, func(k counted, _ int64) bool { return k.Shard != "" && !known[k.ShardID] })
	maps.DeleteFunc(c.shards, func(id ShardID, _ *traffic) bool { return !known[id] })
}

// measure reports what was written.
func (w *writer) measure(name string, add func(m *metrics.Metric, value float64, labels ...string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	add(metrics.KinesisPuts, float64(w.sent.requests), name)
	add(metrics.KinesisPutFill, float64(w.sent.records), name)
	add(metrics.KinesisPartial, float64(w.sent.partial), name)
	for shard, n := range w.sent.to {
		add(metrics.KinesisWritten, float64(n.records), name, shard)
		add(metrics.KinesisWrote, float64(n.bytes), name, shard)
	}
}

// sent is what a writer has sent. The writer's lock guards it.
type sent struct {
	requests, records, partial int64
	to                         map[string]acknowledged // by shard
}

type acknowledged struct{ records, bytes int64 }

func (s *sent) acknowledge(shard string, p *put) {
	n := s.to[shard]
	s.to[shard] = acknowledged{n.records + 1, n.bytes + int64(p.size())}
}
