package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// view prints what happens, for people. It reads the results as any other consumer would, committed records only, and looks for
// those of this run's visits.
type view struct {
	cl  *kgo.Client
	n   names
	out io.Writer

	began   time.Time
	run     string // what the ids of this run's visits begin with
	made    int
	came    map[string]int // how often each visit came, by its id
	views   int
	dead    int
	sample  string         // a view
	reasons map[string]int // of dead letters
}

func newView(ctx context.Context, brokers []string, n names, out io.Writer) (*view, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, n.views, n.dead)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		cl.Close()
		return nil, fmt.Errorf("read the results in the topics %s and %s, which must exist: %w", n.views, n.dead, err)
	}
	cl.AddConsumePartitions(ends.KOffsets())
	now := time.Now()
	return &view{cl: cl, n: n, out: out, began: now, run: strconv.FormatInt(now.UnixMilli(), 36), came: map[string]int{}, reasons: map[string]int{}}, nil
}

func (v *view) close() { v.cl.Close() }

func (v *view) printf(format string, args ...any) { fmt.Fprintf(v.out, format, args...) }

// introduce says what is about to happen.
func (v *view) introduce(o options, p *place) {
	at, kafka := cmp.Or(o.endpoint, o.region), strings.Join(p.brokers, ", ")
	if p.fake != nil {
		at = "in this process"
	}
	if p.broker != nil {
		kafka = "in this process, at " + kafka
	}
	v.printf(`Visits of web pages, from Kinesis to Kafka, without the visitors

  stream %s → parse → drop what is personal → refine → by page → topic %s
  what cannot be used, with the reason → topic %s

  Kinesis  %s
  Kafka    %s
           and the application's own topic %s-positions
  ends     when %d visits have come through, after %v at the latest, or with Ctrl-C

`, v.n.visits, v.n.views, v.n.dead, at, kafka, v.n.app, o.visits, o.limit)
}

// poll takes results that have been committed.
func (v *view) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), every/2)
	defer cancel()
	got := v.cl.PollFetches(ctx)
	if err := got.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("read the results: %w", err)
	}
	got.EachRecord(func(r *kgo.Record) {
		if r.Topic == v.n.dead { // a dead letter is the record as it was, with its key
			if v.count(string(r.Key)) {
				v.dead++
				v.reasons[header(r, "millstream-error")]++
			}
			return
		}
		var got View
		if json.Unmarshal(r.Value, &got) == nil && v.count(got.ID) {
			v.views++
			v.sample = string(r.Value)
		}
	})
	return nil
}

// count counts a visit, if it is one of this run's.
func (v *view) count(id string) bool {
	if !strings.HasPrefix(id, v.run+"-") {
		return false
	}
	v.came[id]++
	return true
}

// through is how many visits have come through.
func (v *view) through() int { return len(v.came) }

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// tell prints how things stand.
func (v *view) tell() {
	v.printf("%s  %6d visits made   %6d views   %4d dead letters\n", time.Now().Format(time.TimeOnly), v.made, v.views, v.dead)
}

// summarize says what was done and how to go on.
func (v *view) summarize(interrupted bool, o options) {
	why, again := "Done", "go run ./examples/kinesis-etl"
	if interrupted {
		why = "Stopped"
	}
	v.printf("\n%s after %.1f s.\n", why, time.Since(v.began).Seconds())
	v.printf("  %6d visits written to the stream %s\n", v.made, v.n.visits)
	v.printf("  %6d views in the topic %s\n", v.views, v.n.views)
	v.printf("  %6d dead letters in the topic %s\n", v.dead, v.n.dead)
	v.printf("  %6d visits missing, %d twice\n", v.made-len(v.came), v.views+v.dead-len(v.came))
	if v.sample != "" {
		v.printf("A view: %s\n", v.sample)
	}
	common := slices.SortedFunc(maps.Keys(v.reasons), func(a, b string) int { return cmp.Or(v.reasons[b]-v.reasons[a], strings.Compare(a, b)) })
	for _, why := range common[:min(2, len(common))] {
		v.printf("Dead letters, %d: %s\n", v.reasons[why], why)
	}
	v.printf("\nGo on\n")
	switch {
	case o.brokers != "":
		v.printf("  the same command      from the positions that are in the topic %s-positions, beside the results\n", v.n.app)
	case o.endpoint != "" || o.region != "":
		v.printf("  -brokers HOST:PORT    beside the other flags, on your Kafka, which keeps the positions; the one of this process has forgotten them\n")
	default:
		v.printf("  %s   anew: nothing was kept\n", again)
		v.printf("  %s -endpoint http://127.0.0.1:4568 -brokers localhost:9092   on your own; create the stream and the topics first\n", again)
	}
	v.printf("The application is examples/kinesis-etl/topology.go.\n")
}
