package conformance

import (
	"fmt"
	"slices"
	"time"

	"github.com/millstream-go/millstream/stream/streamtest"
)

// way is one of the ways in which each case is run.
type way struct {
	name    string
	restart bool // after steps, which commits first
	// plainly: under the default rules, also for a case of Kafka Streams.
	plainly bool
	options []streamtest.Option
}

var ways = []way{
	{name: "plain"},
	{name: "restarts", restart: true},
	{name: "no cache", options: []streamtest.Option{streamtest.CacheSize(0)}},
}

// Run runs the case in all ways, and compares the results with what it expects. One of them restarts after each so many
// steps.
func (c *Case) Run(every int) error {
	var first *Result
	for _, w := range ways {
		r, err := c.run(w, every)
		if err == nil {
			err = c.Check(r)
		}
		if err == nil && first != nil {
			err = c.Same(r, first)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if first == nil {
			first = r
		}
	}
	return nil
}

// failed is what a driver ends a run with.
type failed string

// bench is the streamtest.TB of a run: a mistake ends the run, not the test.
type bench struct{ cleanups []func() }

func (*bench) Helper() {}

func (*bench) Fatalf(format string, args ...any) { panic(failed(fmt.Sprintf(format, args...))) }

func (b *bench) Cleanup(f func()) { b.cleanups = append(b.cleanups, f) }

func (b *bench) end() {
	for _, f := range slices.Backward(b.cleanups) {
		f()
	}
}

func (c *Case) run(w way, every int) (r *Result, err error) {
	tb := &bench{}
	defer func() {
		switch v := recover().(type) {
		case nil:
		case failed:
			err = fmt.Errorf("%s", string(v))
		default:
			err = fmt.Errorf("panic: %v", v)
		}
		tb.end()
	}()
	b, err := newBuild(c)
	if err != nil {
		return nil, err
	}
	options := append([]streamtest.Option{streamtest.Start(time.UnixMilli(0)), streamtest.KeyGroups(4)}, w.options...)
	if c.Kafka() && !w.plainly {
		options = append(options, kafkaOptions(c)...)
	}
	run := &runner{c: c, b: b, d: streamtest.New(tb, b.t, options...), r: &Result{Out: map[string][]Output{}, Drops: map[int]int64{}}}
	for i, s := range c.Steps {
		if err := run.step(s); err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		if err := run.collect(i); err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		if w.restart && i%every == every-1 {
			run.d.Restart()
			if err := run.collect(i); err != nil {
				return nil, fmt.Errorf("step %d: %w", i, err)
			}
		}
	}
	return run.r, nil
}

// runner is one run of a case.
type runner struct {
	c         *Case
	b         *build
	d         *streamtest.Driver
	r         *Result
	drops     int64 // counted so far, since the last start
	watermark time.Time
}

// flinkBound is the disorder of the sources of Flink's cases: so large that records do not move the watermark, which is
// given by the case.
const flinkBound = 100 * 365 * 24 * time.Hour

func (r *runner) step(s Step) error {
	switch {
	case s.AdvanceWallMS != nil:
		r.d.AdvanceWall(time.Duration(*s.AdvanceWallMS) * time.Millisecond)
	case s.Watermark != nil:
		// Flink's watermark W is ours less a millisecond: no record at or before W is expected.
		r.d.Advance(time.UnixMilli(*s.Watermark + 1).Add(flinkBound))
	default:
		rec := streamtest.Record{Time: time.UnixMilli(s.TS)}
		if s.Key != nil {
			rec.Key = []byte(NewKey(*s.Key))
		}
		if !s.Value.IsNull() {
			v, err := values.Append(nil, s.Value)
			if err != nil {
				return err
			}
			rec.Value = v
		}
		r.d.PipeTo(s.Topic, rec)
	}
	return nil
}

// collect reads what step i has put out.
func (r *runner) collect(i int) error {
	for topic := range r.b.outputs {
		for _, rec := range r.d.Records(topic) {
			o := Output{Step: i, TS: rec.Time.UnixMilli()}
			if r.b.timeless[topic] {
				o.TS = noTime
			}
			if k, w, ok := Key(rec.Key).parts(); ok {
				o.Key, o.Window = &k, w
			}
			if rec.Value != nil {
				v, err := values.Decode(rec.Value)
				if err != nil {
					return fmt.Errorf("topic %s: %w", topic, err)
				}
				o.Value = v
			}
			r.r.Out[topic] = append(r.r.Out[topic], o)
		}
	}
	var drops int64
	for _, op := range r.b.operators {
		n := r.d.Counts(op)
		drops += int64(n.Late + n.Skipped)
	}
	if drops < r.drops { // the tasks were started anew
		r.drops = 0
	}
	r.r.Drops[i] += drops - r.drops
	r.drops = drops
	if !r.c.Kafka() {
		r.forwarded(i)
	}
	return nil
}

// forwarded notes the watermark that has moved.
func (r *runner) forwarded(i int) {
	if r.c.Steps[i].Watermark == nil {
		return
	}
	var w time.Time
	for n, topic := range r.b.sources() {
		if at := r.d.Watermark(topic); n == 0 || at.Before(w) {
			w = at
		}
	}
	if w.After(r.watermark) {
		r.watermark = w
		ms := w.UnixMilli() - 1
		r.r.Out["watermarks"] = append(r.r.Out["watermarks"], Output{Step: i, Watermark: &ms})
	}
}

// sources are the topics of the case's records.
func (b *build) sources() (list []string) {
	for _, s := range b.c.Steps {
		if s.Topic != "" && !slices.Contains(list, s.Topic) {
			list = append(list, s.Topic)
		}
	}
	return list
}
