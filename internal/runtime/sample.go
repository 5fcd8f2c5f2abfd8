package runtime

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/metrics"
	"github.com/millstream-go/millstream/source"
)

// Metrics. Tasks count in plain fields of their own, and a sampler asks for them now and then, on their workers' goroutines
// between two steps. What has no task is noted here: epochs, sessions, gaps, waiting for room.

// sampler makes the samples of an application. A nil *sampler takes notes of nothing.
type sampler struct {
	cfg      *Config
	instance string
	tell     sync.Mutex // samples go out one after another

	taking sync.Mutex // guards what follows, while a sample is made
	engine *engine    // that the counters of tasks and of the session belong to
	sums   map[string]*sum

	mu       sync.Mutex
	epochs   int
	phases   checkpoint.Durations
	longest  time.Duration
	resting  time.Time // when nothing was left to commit last, or an epoch was committed
	sessions int
	gaps     map[source.Partition]int64
	discards map[string]int // of local copies, by task
	full     time.Time      // since when there has been no room; zero: there is
	fullFor  time.Duration
	sampled  time.Time
}

// sum makes a counter go on where its task begins again at zero.
type sum struct{ base, last float64 }

func newSampler(cfg *Config) *sampler {
	if len(cfg.Metrics) == 0 {
		return nil
	}
	return &sampler{cfg: cfg, sums: map[string]*sum{}, gaps: map[source.Partition]int64{}, discards: map[string]int{}}
}

// run takes samples until ctx ends, and then tells the receivers that this was all.
func (s *sampler) run(ctx context.Context, engine func() *engine, st *store.Store) {
	tick := time.NewTicker(s.cfg.MetricsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.take(ctx, engine(), st)
		case <-ctx.Done():
			s.send(nil)
			return
		}
	}
}

func (s *sampler) begin(instance string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instance, s.sampled, s.resting = instance, time.Now(), time.Now()
}

func (s *sampler) send(points []metrics.Point) {
	s.tell.Lock()
	defer s.tell.Unlock()
	for _, r := range s.cfg.Metrics {
		r.Receive(metrics.Sample{App: s.cfg.AppID, Instance: s.instance, At: time.Now(), Points: points})
	}
}

// take makes one sample and sends it.
func (s *sampler) take(ctx context.Context, e *engine, st *store.Store) {
	s.taking.Lock()
	p := points{s: s}
	s.turn(e)
	if e != nil {
		p.ofTasks(ctx, e)
		p.ofSession(e.session)
	}
	if ctx.Err() == nil {
		p.ofStore(st.Metrics())
		p.ofProcess()
	}
	s.taking.Unlock()
	if ctx.Err() == nil {
		s.send(p.list)
	}
}

// turn begins with another engine: its tasks and its session count from zero.
func (s *sampler) turn(e *engine) {
	if e == s.engine {
		return
	}
	for _, c := range s.sums {
		c.base, c.last = c.base+c.last, 0
	}
	s.engine = e
}

// over takes a last look at the session of an engine that has ended: what has ended it is often what is counted.
func (s *sampler) over(e *engine) {
	if s == nil {
		return
	}
	s.taking.Lock()
	defer s.taking.Unlock()
	s.turn(e)
	p := points{s: s}
	p.ofSession(e.session)
}

// epoch notes an epoch that was committed.
func (s *sampler) epoch(d checkpoint.Durations) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epochs++
	s.phases.Produce += d.Produce
	s.phases.Flush += d.Flush
	s.phases.Commit += d.Commit
	s.phases.Apply += d.Apply
	s.longest = max(s.longest, d.Produce+d.Flush+d.Commit+d.Apply)
	s.resting = time.Now()
}

// rest notes that there was nothing to commit.
func (s *sampler) rest() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resting = time.Now()
}

// session notes that a session was opened.
func (s *sampler) session() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions++
	s.closeFull()
}

// gap notes positions that were passed over.
func (s *sampler) gap(p source.Partition, from, to source.Position) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := to.Offset() - from.Offset()
	if to.High != 0 { // a system that does not count its records one by one
		n = 1
	}
	s.gaps[p] += n
}

// discarded notes that a local copy of a task's state was of no use.
func (s *sampler) discarded(task string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discards[task]++
}

// room notes whether there is room for more records.
func (s *sampler) room(is bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if is {
		s.closeFull()
	} else if s.full.IsZero() {
		s.full = time.Now()
	}
}

func (s *sampler) closeFull() {
	if !s.full.IsZero() {
		s.fullFor += time.Since(s.full)
		s.full = time.Time{}
	}
}

// points are the points of a sample that is being made.
type points struct {
	s    *sampler
	list []metrics.Point
}

func (p *points) add(m *metrics.Metric, v float64, labels ...string) {
	if m.Kind == metrics.Counter {
		key := m.Name + "\x00" + strings.Join(labels, "\x00")
		c := p.s.sums[key]
		if c == nil {
			c = &sum{}
			p.s.sums[key] = c
		}
		if v < c.last {
			c.base += c.last
		}
		c.last = v
		v += c.base
	}
	p.list = append(p.list, metrics.Point{Metric: m, Values: labels, Value: v})
}

func (p *points) ofTasks(ctx context.Context, e *engine) {
	restoring := 0
	e.post(func() {
		for _, s := range e.slots {
			p.ofRestore(s)
			if s.worker == nil {
				restoring++
			}
		}
	})
	for _, s := range e.standbys() {
		p.add(metrics.StandbyRecords, float64(s.progress.records.Load()), s.task.ID())
		if left, known := s.progress.left(); known {
			p.add(metrics.StandbyLag, float64(left), s.task.ID())
		}
	}
	running := 0
	for _, w := range e.workers {
		w.do(ctx, func() {
			running += len(w.tasks)
			for _, t := range w.tasks {
				p.ofTask(t, e.now())
			}
		})
	}
	p.add(metrics.Tasks, float64(restoring), task.Restoring.String())
	p.add(metrics.Tasks, float64(running), task.Running.String())
}

func (p *points) ofSession(s connect.Session) {
	if m, ok := s.(connect.Measured); ok {
		m.Measure(p.add)
	}
}

func (p *points) ofRestore(s *slot) {
	if s.key.sub.Changelog == "" {
		return
	}
	id := s.task.ID()
	p.add(metrics.RestoredRecords, float64(s.progress.records.Load()), id)
	p.add(metrics.RestoredBytes, float64(s.progress.bytes.Load()), id)
	if left, known := s.progress.left(); known && s.worker == nil {
		p.add(metrics.RestoreLeft, float64(left), id)
	}
}

func (p *points) ofTask(t *task.Task, now int64) {
	for _, port := range t.Ports {
		if port.Spec.Memory {
			continue
		}
		topic, index := port.Part.Stream, strconv.Itoa(int(port.Part.Index))
		lag := port.Lag()
		p.add(metrics.Records, float64(port.Read()), topic, index)
		p.add(metrics.RecordLag, float64(lag), topic, index)
		queued := port.Queued()
		p.add(metrics.QueuedBytes, float64(queued), topic, index)
		age := 0.0
		if seen := port.Seen(); seen != eventtime.None && (lag > 0 || queued > 0) {
			age = max(0, float64(now-seen)/1000)
		}
		p.add(metrics.TimeLag, max(age, port.Behind().Seconds()), topic, index)
		if w := port.Input.Watermark; w != eventtime.None {
			p.add(metrics.Watermark, float64(w)/1000, topic, index)
		}
		p.add(metrics.Idle, number(port.Input.Idle), topic, index)
		p.add(metrics.Waits, number(port.Waits()), topic, index)
		p.add(metrics.Doubted, float64(port.Doubted()), topic, index)
	}
	id := t.ID()
	if t.Spec.Changelog != "" {
		p.add(metrics.CacheBytes, float64(t.Held()), id)
		p.add(metrics.DirtyBytes, float64(t.Changed()), id)
		if v, ok := t.View.(*countedView); ok {
			p.add(metrics.StoreReads, float64(v.reads), id)
		}
	}
	hot := map[string]float64{} // operators of several inputs may share a name
	for _, port := range t.Ports {
		if port.Hot != nil {
			for _, k := range port.Hot.Top(1) {
				name := t.Operators[port.Op].Name
				hot[name] = max(hot[name], k.Share)
			}
		}
	}
	for name, share := range hot {
		p.add(metrics.HotKeyShare, share, id, name)
	}
	counts := map[string]task.Counts{} // an operator's parts may share its name
	for _, o := range t.Operators {
		c := counts[o.Name]
		c.Add(&o.Counts)
		counts[o.Name] = c
	}
	for name, c := range counts {
		p.add(metrics.Late, float64(c.Late), id, name)
		p.add(metrics.Skipped, float64(c.Skipped), id, name)
		p.add(metrics.DeadLettered, float64(c.DeadLettered), id, name)
		p.add(metrics.Expired, float64(c.Expired), id, name)
		p.add(metrics.Retries, float64(c.Retried), id, name)
		for _, x := range []struct {
			outcome string
			n       uint64
		}{{"in", c.In}, {"passed", c.Passed}, {"filtered", c.Filtered}, {"late", c.Late - c.AlsoLate}, {"skipped", c.Skipped},
			{"dead-lettered", c.DeadLettered}, {"withdrawn", c.Withdrawn}, {"lapsed", c.Lapsed}} {
			p.add(metrics.Operator, float64(x.n), id, name, x.outcome)
		}
		p.add(metrics.HeldRecords, float64(c.Held), id, name)
		p.add(metrics.Unaccounted, float64(c.Missing()), id, name)
	}
}

func (p *points) ofStore(m store.Metrics) {
	p.add(metrics.StateBytes, float64(m.DiskBytes))
	p.add(metrics.BlockHits, float64(m.CacheHits))
	p.add(metrics.BlockMisses, float64(m.CacheMisses))
	p.add(metrics.WriteStalls, float64(m.WriteStalls))
	p.add(metrics.DiskFull, number(m.DiskFull))
}

func (p *points) ofProcess() {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	p.add(metrics.Epochs, float64(s.epochs))
	for _, phase := range []struct {
		name string
		took time.Duration
	}{{"produce", s.phases.Produce}, {"flush", s.phases.Flush}, {"commit", s.phases.Commit}, {"apply", s.phases.Apply}} {
		p.add(metrics.EpochSeconds, phase.took.Seconds(), phase.name)
	}
	p.add(metrics.EpochLongest, s.longest.Seconds())
	s.longest = 0
	age := now.Sub(s.resting)
	if age < 2*s.cfg.CommitEvery {
		age = 0
	}
	p.add(metrics.EpochAge, age.Seconds())
	p.add(metrics.Sessions, float64(s.sessions))
	for part, n := range s.gaps {
		p.add(metrics.GapRecords, float64(n), part.Stream, strconv.Itoa(int(part.Index)))
	}
	for id, n := range s.discards {
		p.add(metrics.Discarded, float64(n), id)
	}
	if !s.full.IsZero() {
		s.fullFor += now.Sub(s.full)
		s.full = now
	}
	share := 0.0
	if d := now.Sub(s.sampled); d > 0 {
		share = min(1, s.fullFor.Seconds()/d.Seconds())
	}
	p.add(metrics.BackPressure, share)
	s.fullFor, s.sampled = 0, now
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// countedView counts what a task's cache could not answer. It is used by the task's owner, as the task is.
type countedView struct {
	task.View
	reads uint64
}

func (v *countedView) Get(key, dst []byte) ([]byte, bool, error) {
	v.reads++
	return v.View.Get(key, dst)
}

func (v *countedView) GetSorted(keys [][]byte, f func(i int, val []byte, found bool) error) error {
	v.reads += uint64(len(keys))
	return v.View.GetSorted(keys, f)
}

// progress is how far the restore of a task has come. Positions are read without a lock, each by itself.
type progress struct {
	records, bytes atomic.Int64
	at, end        atomic.Int64 // offsets in the changelog; end is 0 while it is not known
}

// left is how many positions are still to be read.
func (p *progress) left() (n int64, known bool) {
	end := p.end.Load()
	return max(0, end-p.at.Load()), end > 0
}
