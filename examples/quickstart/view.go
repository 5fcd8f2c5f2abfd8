package main

import (
	"context"
	"encoding/json/v2"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/stream"
)

const (
	clock      = "15:04:05"
	maxWindows = 4 // printed at once
)

// view prints what happens, for people. It reads the result topics as any other consumer would, committed records only,
// and asks the application for the rest.
type view struct {
	app *stream.App
	cl  *kgo.Client
	t   topics
	out io.Writer

	windows  map[time.Time]*windowSum // results by the end of their window, until they are printed
	status   stream.Status
	read     uint64
	results  int
	late     int
	lateTold time.Time
}

type windowSum struct {
	cards int
	all   Spend
	most  Feature
}

func newView(ctx context.Context, app *stream.App, brokers []string, t topics, out io.Writer) (*view, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, t.features, t.late)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		cl.Close()
		return nil, fmt.Errorf("read the results: %w", err)
	}
	cl.AddConsumePartitions(ends.KOffsets()) // what was written before this run is not shown again
	return &view{app: app, cl: cl, t: t, out: out, windows: map[time.Time]*windowSum{}}, nil
}

func (v *view) close() { v.cl.Close() }

func (v *view) printf(format string, args ...any) { fmt.Fprintf(v.out, format, args...) }

// introduce says what is about to happen.
func introduce(out io.Writer, o options, brokers []string, t topics) {
	kafka := strings.Join(brokers, ", ")
	if o.brokers == "" {
		kafka = "in this process, at " + kafka
	}
	fmt.Fprintf(out, `Millstream quickstart: what does each card spend?

  %s → approved → by card → windows of %v, every %v → %s
  payments that come too late for all their windows → %s

  Kafka    %s
  topics   %s
           and the application's own:
           %s
  state    %s
  ends     after %v, or with Ctrl-C

`, t.payments, windows.Size, windows.Advance, t.features, t.late, kafka,
		strings.Join([]string{t.payments, t.features, t.late}, ", "), strings.Join(t.own(), ", "), o.dir, o.length)
}

// ready waits until the application's tasks run, and returns the positions in the payments topic from which they go
// on. There are none if it never ran before.
func (v *view) ready(ctx context.Context, ended <-chan error) (from []string, err error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case err := <-ended:
			return nil, err
		case <-ctx.Done():
			v.printf("The tasks did not come to this instance in time. Others that run now may have them.\n")
			return nil, nil
		}
		if v.status, err = v.app.Status(ctx); err != nil {
			continue // ctx has ended
		}
		running := func(t stream.TaskStatus) bool { return t.State == "running" }
		if n := len(v.status.Tasks); n > 0 && !slices.ContainsFunc(v.status.Tasks, func(t stream.TaskStatus) bool { return !running(t) }) {
			if begins(v.status) {
				return nil, nil
			}
			return v.positions(), nil
		}
	}
}

// begins says that all payments are still to be read.
func begins(s stream.Status) bool {
	for _, t := range s.Tasks {
		for part, at := range t.Positions {
			if strings.Contains(part, "payments/") && at != "0" {
				return false
			}
		}
	}
	return true
}

func tellStart(out io.Writer, t topics, from []string) {
	if len(from) == 0 {
		fmt.Fprintf(out, "First run: it begins with the oldest payment. Those of the last %v are waiting.\n\n", backlog)
		return
	}
	fmt.Fprintf(out, "It goes on where the last run stopped, with the windows that were open then.\n  %s: partition %s\n\n", t.payments, strings.Join(from, ", "))
}

// show prints until ctx ends, or the application or the generator fails.
func (v *view) show(ctx context.Context, ended, generated <-chan error) error {
	last := time.Now()
	for ctx.Err() == nil {
		select {
		case err := <-ended:
			return fmt.Errorf("the application ended: %w", err)
		case err := <-generated:
			if err != nil {
				return err
			}
		default:
		}
		v.poll(ctx, 100*time.Millisecond)
		if d := time.Since(last); d >= time.Second {
			last = last.Add(d)
			v.tell(ctx, d)
		}
	}
	return nil
}

// poll takes results that have been committed.
func (v *view) poll(ctx context.Context, wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	v.cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
		if r.Topic == v.t.late {
			v.late++
			var l LatePayment
			if json.Unmarshal(r.Value, &l) == nil && time.Since(v.lateTold) > 4*time.Second {
				v.lateTold = time.Now()
				v.printf("          late    %s paid %s at %s: its last window, to %s, has closed\n", l.Card, money(l.Cents), local(l.At), local(l.Closed))
			}
			return
		}
		var f Feature
		if json.Unmarshal(r.Value, &f) != nil {
			return
		}
		v.results++
		w := v.windows[f.End]
		if w == nil {
			w = &windowSum{}
			v.windows[f.End] = w
		}
		w.cards++
		w.all.Payments += f.Payments
		w.all.Cents += f.Cents
		if f.Cents > w.most.Cents {
			w.most = f
		}
	})
}

// tell prints the windows that are complete, and a line about the last second.
func (v *view) tell(ctx context.Context, d time.Duration) {
	v.tellWindows(v.watermark().Add(-windows.Grace)) // closed at the last status; their results have been read since
	s, err := v.app.Status(ctx)
	if err != nil || len(s.Tasks) == 0 {
		return
	}
	v.status = s
	read, lag := v.payments()
	rate := float64(read-v.read) / d.Seconds()
	v.read = read
	mark := "none yet"
	if w := v.watermark(); !w.IsZero() {
		mark = fmt.Sprintf("%s (%.1f s ago)", local(w), time.Since(w).Seconds())
	}
	v.printf("%s  %6s payments/s   watermark %s   lag %s   results %s   late %s\n",
		time.Now().Format(clock), thousands(int64(rate)), mark, thousands(lag), thousands(int64(v.results)), thousands(int64(v.late)))
}

// tellWindows prints the windows that end at or before a time; of many at once, the last ones.
func (v *view) tellWindows(until time.Time) {
	ends := slices.SortedFunc(maps.Keys(v.windows), time.Time.Compare)
	n := 0
	for n < len(ends) && !ends[n].After(until) {
		n++
	}
	for i, end := range ends[:n] {
		w := v.windows[end]
		delete(v.windows, end)
		switch skipped := n - maxWindows; {
		case i < skipped-1:
		case i == skipped-1:
			v.printf("          window  %d more, up to %s\n", skipped, local(end))
		default:
			v.printf("          window  %s–%s   %3d cards, %s payments, %s; most: %s with %s\n", local(w.most.Start), local(end),
				w.cards, thousands(w.all.Payments), money(w.all.Cents), w.most.Card, money(w.most.Cents))
		}
	}
}

// catchUp reads what is committed after the last payment, for a while at most, and notes where the tasks stand.
func (v *view) catchUp(wait time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	for quiet := 0; ctx.Err() == nil && quiet < 3; {
		before := v.results + v.late
		v.poll(ctx, 100*time.Millisecond)
		if s, err := v.app.Status(ctx); err == nil && len(s.Tasks) > 0 {
			v.status = s
		}
		if _, lag := v.payments(); lag > 0 || v.results+v.late > before {
			quiet = 0
		} else {
			quiet++
		}
	}
}

// summarize says what was done and how to go on.
func (v *view) summarize(interrupted bool, d time.Duration, o options) {
	v.tellWindows(time.Now().Add(time.Hour))
	why := "Done"
	if interrupted {
		why = "Stopped"
	}
	read, _ := v.payments()
	again := "go run ./examples/quickstart"
	if o.brokers != "" {
		again += " -brokers " + o.brokers
	}
	if o.prefix != "quickstart-" {
		again += " -prefix " + o.prefix
	}
	if o.dir != defaultDir() {
		again += " -state " + o.dir
	}
	v.printf("\n%s after %.1f s.\n", why, d.Seconds())
	v.printf("  %7s payments read from %s\n", thousands(int64(read)), v.t.payments)
	v.printf("  %7s results written to %s\n", thousands(int64(v.results)), v.t.features)
	v.printf("  %7s late payments written to %s\n", thousands(int64(v.late)), v.t.late)
	if at := v.positions(); len(at) > 0 {
		v.printf("Committed, exactly once, together with the windows that are still open:\n  %s: partition %s\n", v.t.payments, strings.Join(at, ", "))
	}
	ways := [][2]string{{again, "from these positions"}}
	if o.brokers == "" {
		ways = append(ways, [2]string{again + " -reset", "from the beginning"},
			[2]string{"go run ./examples/quickstart -brokers localhost:9092", "on your Kafka"})
	} else {
		ways = append(ways, [2]string{again + " -reset", "the same, with the state restored from Kafka"},
			[2]string{"go run ./examples/quickstart -brokers " + o.brokers + " -prefix another-", "from the beginning"})
	}
	width := 0
	for _, w := range ways {
		width = max(width, len(w[0]))
	}
	v.printf("\nGo on\n")
	for _, w := range ways {
		v.printf("  %-*s  %s\n", width, w[0], w[1])
	}
	if o.brokers != "" {
		v.printf("The topics %s* are still there; nothing was deleted.\n", o.prefix)
	}
	v.printf("The application is examples/quickstart/topology.go.\n")
}

// payments is how many payments this run has read, and how many wait.
func (v *view) payments() (read uint64, lag int64) {
	for _, t := range v.status.Tasks {
		if strings.HasPrefix(t.ID, v.t.payments+"_") {
			read += t.Records
			lag += t.Lag
		}
	}
	return read, lag
}

// watermark is the earliest one of the tasks that keep windows; zero as long as one of them has none.
func (v *view) watermark() (w time.Time) {
	for _, t := range v.status.Tasks {
		if strings.HasPrefix(t.ID, v.t.payments+"_") {
			continue
		}
		if t.Watermark.IsZero() {
			return time.Time{}
		}
		if w.IsZero() || t.Watermark.Before(w) {
			w = t.Watermark
		}
	}
	return w
}

// positions are those of the payments topic, by partition.
func (v *view) positions() (list []string) {
	for _, t := range v.status.Tasks {
		for part, at := range t.Positions {
			if i, ok := strings.CutPrefix(part, v.t.payments+"/"); ok {
				if n, err := strconv.ParseInt(at, 10, 64); err == nil {
					at = thousands(n)
				}
				list = append(list, i+" at "+at)
			}
		}
	}
	slices.Sort(list)
	return list
}

func local(t time.Time) string { return t.Local().Format(clock) }

func money(cents int64) string { return fmt.Sprintf("%s.%02d", thousands(cents/100), cents%100) }

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
