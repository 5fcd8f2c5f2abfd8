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
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/benchmarks/measure"
	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/snapshot"
	"github.com/millstream-go/millstream/stream"
)

var (
	workload  = flag.String("workload", "W1", "W1 (filter and map), W2 (windowed count), W3 (the same behind a repartition), W3-zipf (its newest values at each commit, with skewed keys), W4 (join of two streams), W5 (stream and table) or KV (a table)")
	emit      = flag.String("emit", "update", "what W2 and W3 write: every update, or the newest value at each commit")
	guarantee = flag.String("guarantee", "exactly-once", "exactly-once or at-least-once")
	brokers   = flag.String("brokers", "127.0.0.1:19092", "addresses, with commas")
	in        = flag.String("in", "events", "input topic; W4 and W5: two, with a comma")
	out       = flag.String("out", "out", "output topic; made if it does not exist")
	workers   = flag.Int("workers", runtime.GOMAXPROCS(0), "goroutines that process records")
	follow    = flag.Bool("follow", false, "go on until SIGINT or SIGTERM instead of stopping at the end")
	only      = flag.Int64("n", 0, "stop after so many records; default: those that are in the input at the start")
	merges    = flag.Bool("merge", true, "W3-zipf: the aggregate can be merged, so that records are added up before the repartition")
	commit    = flag.Duration("commit", 100*time.Millisecond, "commit interval")
	profile   = flag.String("profile", "throughput", "throughput or latency")
	exchange  = flag.String("exchange", "topic", "topic or memory")
	state     = flag.String("state", "", "state directory; default: a new one, deleted at the end")
	appID     = flag.String("app", "", "application id; default: a new one")
	instance  = flag.String("instance", "", "instance id; default: one kept in the state directory")
	dynamic   = flag.Bool("dynamic", false, "leave the consumer group at the end, instead of static membership")
	snapshots = flag.String("snapshots", "", "folder for snapshots of the state, one every 5 s; default: none are made or used")
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
	if *only > 0 {
		m.total = *only
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
	cfg := stream.Config{AppID: id, StateDir: dir, InstanceID: *instance, Dynamic: *dynamic, CommitInterval: *commit, Workers: *workers, MemoryBudget: *budget, Connect: []connect.Connector{cluster()}}
	if *guarantee == "at-least-once" {
		cfg.Guarantee = connect.AtLeastOnce
	}
	if *exchange == "memory" {
		cfg.Exchange = stream.InMemory
	}
	if *snapshots != "" {
		cfg.Snapshots = snapshot.Config{Store: snapshot.NewDirectory(*snapshots), Every: 5 * time.Second}
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
	topics := strings.Split(*in, ",")
	if *workload == "W5" {
		topics = topics[:1] // rows of the table are not counted
	}
	for _, topic := range topics {
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
	inserts atomic.Int64 // KV: rows that were not in the table
	first   atomic.Int64 // milliseconds from the start of the process to the first record
	cpu1    atomic.Int64 // CPU microseconds at the first record, and at 30% and 95% of the input
	t30     atomic.Int64
	t95     atomic.Int64
	began   atomic.Int64 // nanoseconds from start to the first record
	last    atomic.Int64 // and, of W3-zipf, to the last result
	done    context.CancelFunc
}

// read counts a record that was processed. At the last one the application is told to stop: Run commits what was
// processed before it returns. With -follow it says so, and goes on.
func (m *meter) read() {
	if n := m.processed(); n != m.total {
		return
	} else if *follow {
		fmt.Fprintf(os.Stderr, "PROCESSED %d\n", n)
	} else {
		m.done()
	}
}

// processed counts a record, and returns how many there have been.
func (m *meter) processed() int64 {
	n := m.records.Add(1)
	if n == 1 {
		m.first.Store(sinceExec().Milliseconds())
		m.began.Store(int64(time.Since(m.start)))
		m.cpu1.Store(cpu())
	}
	switch n {
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
	}
	return n
}

// figures is the line that is printed.
type figures struct {
	Workload  string  `json:"workload"`
	Emit      string  `json:"emit"`
	Guarantee string  `json:"guarantee"`
	Workers   int     `json:"workers"`
	Records   int64   `json:"records"`
	Outputs   int64   `json:"outputs"`
	Inserts   int64   `json:"inserts"`
	Seconds   float64 `json:"seconds"`
	Rate      float64 `json:"records_per_s"`
	CPU       float64 `json:"cpu_us_per_record"`
	CPUSteady float64 `json:"cpu_us_per_record_steady"`
	PeakRSS   int64   `json:"peak_rss_mib"`
	FirstMS   int64   `json:"first_ms"`    // from the start of the process to the first record
	FirstCPU  float64 `json:"first_cpu_s"` // and the CPU until then
}

func (m *meter) report() error {
	n := m.records.Load()
	secs := time.Since(m.start).Seconds()
	if last := m.last.Load(); last > 0 {
		secs = time.Duration(last - m.began.Load()).Seconds()
	}
	f := figures{
		Workload: *workload, Emit: *emit, Guarantee: *guarantee, Workers: *workers,
		Records: n, Outputs: m.outputs.Load(), Inserts: m.inserts.Load(), Seconds: secs, PeakRSS: int64(measure.PeakMiB()),
		FirstMS: m.first.Load(), FirstCPU: float64(m.cpu1.Load()) / 1e6,
	}
	if n > 0 {
		f.Rate, f.CPU = float64(n)/secs, float64(cpu())/float64(n)
	}
	if from, to := m.total*30/100, m.total*95/100; m.t95.Load() > 0 && to > from {
		f.CPUSteady = float64(m.t95.Load()-m.t30.Load()) / float64(to-from)
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

// sinceExec is the time since the process was started, to 10 ms, so that the work before main counts; 0 is not known.
func sinceExec() time.Duration {
	stat, err := os.ReadFile("/proc/self/stat")
	uptime, err2 := os.ReadFile("/proc/uptime")
	if err != nil || err2 != nil {
		return 0
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	const starttime, perSecond = 22 - 3, 100 // see proc_pid_stat(5); Linux tells programs of 100 ticks per second
	ticks, err := strconv.ParseFloat(fields[starttime], 64)
	up, err2 := strconv.ParseFloat(strings.Fields(string(uptime))[0], 64)
	if err != nil || err2 != nil {
		return 0
	}
	return time.Duration((up - ticks/perSecond) * float64(time.Second))
}

// cpu is user and system time of this process, in microseconds.
func cpu() int64 { return measure.Read().CPU.Microseconds() }
