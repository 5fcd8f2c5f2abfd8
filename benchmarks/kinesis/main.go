// Kinesis reads a full stream of a Kinesis for tests (connect/kinesis/kinesistest), which runs in a process of its own, and prints what that
// costs: by Millstream (millstream.go), or by a bare loop of AWS's SDK without an engine (bare.go), which is the limit.
//
//	kinesis -serve [-records N] [-shards N]       fill a stream, print its address, and serve until the input ends
//	kinesis -engine millstream|bare-sdk -url URL [-records N]
//
// Both decode a number from each record, and must have seen each once. The last line is JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millstream-go/millstream/benchmarks/measure"
)

const streamName, recordSize = "events", 100

func main() {
	serving := flag.Bool("serve", false, "fill a stream and serve it")
	engine := flag.String("engine", "millstream", "millstream or bare-sdk")
	url := flag.String("url", "", "where the stream is")
	records := flag.Int64("records", 1_000_000, "records of the stream")
	shards := flag.Int("shards", 8, "shards of the stream")
	profile := flag.String("cpuprofile", "", "where to write a CPU profile")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := func() error {
		if *serving {
			return serve(ctx, *records, *shards, os.Stdin, os.Stdout)
		}
		if *profile != "" {
			f, err := os.Create(*profile)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := pprof.StartCPUProfile(f); err != nil {
				return err
			}
			defer pprof.StopCPUProfile()
		}
		return timed(ctx, *engine, *url, *records, os.Stdout)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kinesis:", err)
		os.Exit(1)
	}
}

// engines read the stream, call work with the number in each record, from any goroutine, and return when ctx ends.
var engines = map[string]func(ctx context.Context, client *api.Client, work func(int64)) error{"millstream": millstream, "bare-sdk": bare}

func client(url string) *api.Client {
	return api.New(api.Options{Region: "local", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
}

// figures is the line that a run prints.
type figures struct {
	Engine    string  `json:"engine"`
	Records   int64   `json:"records"`
	Verified  bool    `json:"verified"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"records_per_s"`
	CPU       float64 `json:"cpu_us_per_record"`
	Steady    float64 `json:"cpu_us_per_record_steady"`
	PerCPU    float64 `json:"records_per_cpu_s"`
	PeakMiB   float64 `json:"peak_rss_mib"`
}

// timed runs an engine until it has seen all records. CPU is that of the whole process; steady from 30 to 95 percent of the records.
func timed(ctx context.Context, engine, url string, records int64, out io.Writer) error {
	run := engines[engine]
	if run == nil {
		return fmt.Errorf("there is no engine %q", engine)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var n, sum atomic.Int64
	var from, to atomic.Pointer[measure.Reading]
	first, last := records*30/100, records*95/100
	began := time.Now()
	err := run(ctx, client(url), func(number int64) {
		sum.Add(number)
		switch i := n.Add(1); i {
		case first:
			r := measure.Read()
			from.Store(&r)
		case last:
			r := measure.Read()
			to.Store(&r)
		case records:
			cancel()
		}
	})
	if err != nil {
		return err
	}
	end := measure.Read()
	a, b := from.Load(), to.Load()
	if a == nil || b == nil {
		return errors.New("the stream was not read to its end")
	}
	us := func(cpu time.Duration, n int64) float64 { return float64(cpu.Nanoseconds()) / 1000 / float64(n) }
	took := end.Wall.Sub(began).Seconds()
	return json.NewEncoder(out).Encode(figures{Engine: engine, Records: records, Verified: n.Load() == records && sum.Load() == records*(records-1)/2, Seconds: took, PerSecond: float64(records) / took,
		CPU: us(end.CPU, records), Steady: us(b.CPU-a.CPU, last-first), PerCPU: 1e6 / us(end.CPU, records), PeakMiB: measure.PeakMiB()})
}
