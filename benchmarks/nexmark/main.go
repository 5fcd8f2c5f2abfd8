// Nexmark runs a query of the MNX1 workload (benchmarks/peers/flink/NEXMARK.md) in this process, on generated events
// and with durable state, and prints one line of JSON.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/millstream-go/millstream/benchmarks/measure"
	"github.com/millstream-go/millstream/benchmarks/numbers"
	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/stream"
)

func main() {
	var r run
	flag.StringVar(&r.query, "query", "", strings.Join(names(), ", "))
	flag.Uint64Var(&r.events, "events", 2_000_000, "number of events")
	flag.Uint64Var(&r.jitter, "jitter", 0, "by how many ms events are out of order")
	flag.IntVar(&r.workers, "workers", 0, "goroutines that process records, and partitions of the source; default: GOMAXPROCS")
	flag.Uint64Var(&r.every, "epoch-events", 0, "commit after so many events instead of each second")
	flag.StringVar(&r.dir, "state", "", "where to make the state directory; default: the system's folder for temporary files")
	flag.Int64Var(&r.memory, "memory", 1<<30, "memory budget in bytes")
	warm := flag.Bool("warm-up", false, "run the query once before it is measured, in the same process, as Flink's program does")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file")
	verbose := flag.Bool("v", false, "log")
	flag.Parse()
	if *verbose {
		r.logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *warm {
		if _, err := r.do(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "benchmarks/nexmark: warm up:", err)
			os.Exit(1)
		}
	}
	if err := report(ctx, r, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks/nexmark:", err)
		os.Exit(1)
	}
}

func report(ctx context.Context, r run, profile string) error {
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	figures, err := r.do(ctx)
	if err != nil {
		return err
	}
	line, err := json.Marshal(figures)
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	return nil
}

// run is one run of a query.
type run struct {
	query                 string
	events, jitter, every uint64
	workers               int
	dir                   string
	memory                int64
	logger                *slog.Logger
}

// figures is what is printed.
type figures struct {
	Query    string  `json:"query"`
	Events   uint64  `json:"events"`
	JitterMS uint64  `json:"jitter_ms"`
	Workers  int     `json:"workers"`
	Rows     uint64  `json:"rows"`
	Hash     string  `json:"hash"`
	PerS     float64 `json:"events_per_s"`
	CPU      float64 `json:"cpu_us_per_event"`
	PeakMiB  float64 `json:"peak_rss_mib"`
	Epochs   int     `json:"epochs"`
	// Counted is the sum of q12's counts, whose rows differ from run to run.
	Counted uint64 `json:"counted,omitempty"`
}

// do runs the query. Time and CPU are taken from the first event to the commit of the last one.
func (r run) do(ctx context.Context) (f figures, err error) {
	q, ok := queries[r.query]
	if !ok {
		return f, fmt.Errorf("there is no query %q: it is one of %s", r.query, strings.Join(names(), ", "))
	}
	if r.events == 0 {
		return f, fmt.Errorf("-events is 0: it must be at least 1")
	}
	if r.workers == 0 {
		r.workers = runtime.GOMAXPROCS(0)
	}
	dir, err := os.MkdirTemp(r.dir, "millstream-nexmark-")
	if err != nil {
		return f, err
	}
	defer func() { err = cmp.Or(err, os.RemoveAll(dir)) }()
	g := newGenerator(r.jitter)
	topo := stream.New(r.query)
	q(topo.From(numbers.Source[Event](decoder{g})), time.Duration(r.jitter)*time.Millisecond).To(numbers.Sink[Row](rowCodec{}))
	c := &numbers.Connector{Events: r.events, Partitions: r.workers, Every: r.every}
	interval := time.Second
	if r.every > 0 {
		interval = time.Hour
	}
	app, err := topo.Build(stream.Config{AppID: "nexmark-" + r.query, Connect: []connect.Connector{c}, StateDir: dir, CommitInterval: interval,
		Workers: r.workers, Exchange: stream.InMemory, MemoryBudget: r.memory, Logger: r.logger})
	if err != nil {
		return f, err
	}
	if err := app.Run(ctx); err != nil {
		return f, err
	}
	if ctx.Err() != nil {
		return f, fmt.Errorf("interrupted: %w", ctx.Err())
	}
	rows, sum := c.Rows()
	wall, cpu, epochs := c.Measured()
	n := float64(r.events)
	f = figures{Query: r.query, Events: r.events, JitterMS: r.jitter, Workers: r.workers, Rows: rows, Hash: fmt.Sprintf("%016x", sum),
		PerS: n / wall.Seconds(), CPU: float64(cpu.Nanoseconds()) / 1e3 / n, PeakMiB: measure.PeakMiB(), Epochs: epochs}
	if r.query == "q12" {
		f.Counted = sum
	}
	return f, nil
}
