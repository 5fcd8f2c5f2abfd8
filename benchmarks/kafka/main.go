// Kafka runs one of the frozen Kafka workloads on topics that the loader has filled, to the end that they have at the
// start (or follows them), and prints one line of JSON. See benchmarks/README.md for the workloads.
package main

import (
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
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/stream"
)

var (
	workload  = flag.String("workload", "W1", "W1 (filter and map), W2 (windowed count) or W3 (the same behind a repartition)")
	emit      = flag.String("emit", "update", "what W2 and W3 write: every update, or the newest value at each commit")
	guarantee = flag.String("guarantee", "exactly-once", "exactly-once or at-least-once")
	brokers   = flag.String("brokers", "127.0.0.1:19092", "addresses, with commas")
	in        = flag.String("in", "events", "input topic")
	out       = flag.String("out", "out", "output topic; made if it does not exist")
	workers   = flag.Int("workers", runtime.GOMAXPROCS(0), "goroutines that process records")
	follow    = flag.Bool("follow", false, "go on until SIGINT instead of stopping at the end")
	commit    = flag.Duration("commit", 100*time.Millisecond, "commit interval")
	profile   = flag.String("profile", "throughput", "throughput or latency")
	exchange  = flag.String("exchange", "topic", "topic or memory")
	state     = flag.String("state", "", "state directory; default: a new one, deleted at the end")
	appID     = flag.String("app", "", "application id; default: a new one")
	budget    = flag.Int64("memory", 256<<20, "memory budget in bytes")
	cpuProf   = flag.String("cpuprofile", "", "write a CPU profile to this file")
	memProf   = flag.String("memprofile", "", "write a heap profile to this file when 95% of the input are read")
	verbose   = flag.Bool("v", false, "log")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks/kafka:", err)
		os.Exit(1)
	}
}

func run() error {
	start := time.Now()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	total, err := prepare(ctx)
	if err != nil {
		return err
	}
	m := &meter{total: total, start: start}
	if *follow {
		m.total = 1 << 62
	}
	topo, err := topology(m)
	if err != nil {
		return err
	}
	dir := *state
	if dir == "" {
		if dir, err = os.MkdirTemp("", "millstream-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	id := *appID
	if id == "" {
		id = fmt.Sprintf("bench-%s-%d", strings.ToLower(*workload), start.UnixNano())
	}
	cfg := stream.Config{AppID: id, StateDir: dir, CommitInterval: *commit, Workers: *workers, MemoryBudget: *budget, Connect: []connect.Connector{cluster()}}
	if *guarantee == "at-least-once" {
		cfg.Guarantee = connect.AtLeastOnce
	}
	if *exchange == "memory" {
		cfg.Exchange = stream.InMemory
	}
	if *verbose {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	app, err := topo.Build(cfg)
	if err != nil {
		return err
	}
	if *cpuProf != "" {
		f, err := os.Create(*cpuProf)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	ctx, m.done = context.WithCancel(ctx)
	if err := app.Run(ctx); err != nil {
		return err
	}
	return m.report()
}

func cluster() kafka.Cluster {
	c := kafka.Cluster{Brokers: strings.Split(*brokers, ",")}
	if *profile == "latency" {
		c.Profile = kafka.Latency
	}
	return c
}

// prepare makes the output topic and counts the records to read.
func prepare(ctx context.Context) (total int64, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(*brokers, ",")...))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, 4, -1, nil, *out); err != nil && !strings.Contains(err.Error(), "TOPIC_ALREADY_EXISTS") {
		return 0, fmt.Errorf("create %s: %w", *out, err)
	}
	for _, topic := range strings.Split(*in, ",") {
		first, err := adm.ListStartOffsets(ctx, topic)
		if err != nil {
			return 0, err
		}
		last, err := adm.ListEndOffsets(ctx, topic)
		if err != nil {
			return 0, err
		}
		last.Each(func(o kadm.ListedOffset) {
			f, _ := first.Lookup(topic, o.Partition)
			total += o.Offset - f.Offset
		})
	}
	return total, nil
}

// meter counts and times.
type meter struct {
	total   int64
	start   time.Time
	records atomic.Int64
	outputs atomic.Int64
	t30     atomic.Int64 // CPU microseconds at 30% and 95% of the input
	t95     atomic.Int64
	done    context.CancelFunc
}

// read counts a record that was processed. At the last one the application is told to stop: Run commits what was
// processed before it returns.
func (m *meter) read() {
	switch m.records.Add(1) {
	case m.total * 30 / 100:
		m.t30.Store(cpu())
	case m.total * 95 / 100:
		m.t95.Store(cpu())
		if *memProf != "" {
			if f, err := os.Create(*memProf); err == nil {
				_ = pprof.WriteHeapProfile(f)
				f.Close()
			}
		}
	case m.total:
		m.done()
	}
}

func (m *meter) report() error {
	n := m.records.Load()
	secs := time.Since(m.start).Seconds()
	steady := 0.0
	if m.t95.Load() > 0 {
		steady = float64(m.t95.Load()-m.t30.Load()) / float64(m.total*95/100-m.total*30/100)
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"workload": *workload, "emit": *emit, "guarantee": *guarantee, "workers": *workers,
		"records": n, "outputs": m.outputs.Load(), "seconds": secs, "records_per_s": float64(n) / secs,
		"cpu_us_per_record": float64(cpu()) / float64(n), "cpu_us_per_record_steady": steady, "peak_rss_mib": peakRSS(),
	})
}

// cpu is user and system time of this process, in microseconds.
func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Sec*1e6 + u.Utime.Usec + u.Stime.Sec*1e6 + u.Stime.Usec
}

func peakRSS() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Maxrss / 1024
}
