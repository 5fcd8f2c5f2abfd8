// Scaling measures how the cost of a record grows with what an application has more and more of: keys, partitions, or
// operators. All is in this process, without a broker; state is durable. It prints one line of JSON for each size.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/millstream-go/millstream/benchmarks/numbers"
	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/stream"
)

func main() {
	name := flag.String("curve", "keys", "keys, partitions or operators")
	scale := flag.Uint64("scale", 1, "divides the numbers of events, and leaves out what has more than 10,000,000 keys divided by it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	points, err := curve(*name, max(*scale, 1))
	for i := 0; err == nil && i < len(points); i++ {
		err = points[i].print(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks/scaling:", err)
		os.Exit(1)
	}
}

// point is one size of a curve.
type point struct {
	numbers.Connector
	size     int
	noun     string // of the size, in the singular
	topo     func() *stream.Topology
	wants    func() (rows, sum uint64) // that come out
	interval time.Duration
	memory   int64
	shorter  *point  // operators: the next shorter chain, which has been measured
	cpu      float64 // of a record, in µs
}

// figures is what is printed.
type figures struct {
	Size     int     `json:"size"`
	Mode     string  `json:"mode"`
	Records  uint64  `json:"records"`
	PerS     float64 `json:"records_per_s"`
	CPU      float64 `json:"cpu_us_per_record"`
	PerOp    float64 `json:"cpu_ns_per_operator,omitempty"`
	Epochs   int     `json:"epochs"`
	Verified bool    `json:"verified"`
}

func (p *point) print(ctx context.Context) error {
	f, err := p.run(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name(), err)
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

func (p *point) run(ctx context.Context) (f figures, err error) {
	dir, err := os.MkdirTemp("", "millstream-scaling-")
	if err != nil {
		return f, err
	}
	defer func() { err = cmp.Or(err, os.RemoveAll(dir)) }()
	runtime.GC() // what the size before has left behind
	app, err := p.topo().Build(stream.Config{AppID: "scaling", Connect: []connect.Connector{&p.Connector}, StateDir: dir, CommitInterval: p.interval,
		KeyGroups: 1024, Exchange: stream.InMemory, MemoryBudget: p.memory})
	if err != nil {
		return f, err
	}
	if err := app.Run(ctx); err != nil {
		return f, err
	}
	if ctx.Err() != nil {
		return f, fmt.Errorf("interrupted: %w", ctx.Err())
	}
	wall, cpu, epochs := p.Measured()
	n := p.Events - p.Before
	f = figures{Size: p.size, Mode: p.name(), Records: n, PerS: float64(n) / wall.Seconds(), CPU: float64(cpu.Nanoseconds()) / 1e3 / float64(n), Epochs: epochs}
	rows, sum := p.Rows()
	wantRows, wantSum := p.wants()
	f.Verified = rows == wantRows && sum == wantSum
	if p.cpu = f.CPU; p.shorter != nil {
		f.PerOp = (p.cpu - p.shorter.cpu) * 1e3 / float64(p.size-p.shorter.size)
	}
	return f, nil
}

// name is the size as people write it: "10,000 keys".
func (p *point) name() string {
	s := strconv.Itoa(p.size)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if p.size != 1 {
		return s + " " + p.noun + "s"
	}
	return s + " " + p.noun
}
