package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/millstream-go/millstream/benchmarks/peers/by-hand/internal/bench"
)

// What was measured so far. The steady figures are those between 30 and 95 percent of the input: without the start, and
// without the end, where the queues run dry.
var (
	t0, t30, t95       time.Time
	first              time.Duration // from the start of the process to the first record
	c30, c95, b30, b95 float64
	n30, n95, done     int
	outs, changelogN   int
)

// brokerCPU is 0 without -brokerpid.
func brokerCPU() float64 {
	if *bpid == 0 {
		return 0
	}
	return bench.CPU(*bpid)
}

// progress says that k more input records are processed.
func progress(k int) {
	if done == 0 && k > 0 {
		first = bench.SinceStart()
	}
	done += k
	if t30.IsZero() && done >= *n*30/100 {
		t30, c30, b30, n30 = time.Now(), bench.CPU(0), brokerCPU(), done
	}
	if t95.IsZero() && done >= *n*95/100 {
		t95, c95, b95, n95 = time.Now(), bench.CPU(0), brokerCPU(), done
	}
}

func finished() bool {
	if *hold > 0 {
		return time.Since(t0) > *hold
	}
	return done >= *n
}

func report() {
	total := time.Since(t0)
	if t95.IsZero() {
		t95, c95, b95, n95 = time.Now(), bench.CPU(0), brokerCPU(), done
	}
	cpu, steadyN := bench.CPU(0), float64(max(1, n95-n30))
	if *asJSON {
		must(json.NewEncoder(os.Stdout).Encode(map[string]any{
			"engine": "by-hand", "mode": *mode, "records": done, "outputs": outs, "changelog": changelogN,
			"records_per_s":            float64(done) / total.Seconds(),
			"cpu_us_per_record":        cpu * 1e6 / float64(done),
			"cpu_us_per_record_steady": (c95 - c30) * 1e6 / steadyN,
			"peak_rss_mib":             bench.MemMB("VmHWM"),
			"first_ms":                 first.Milliseconds(),
			"load":                     bench.Load1(),
		}))
		return
	}
	fmt.Printf("RESULT go %s n=%d out=%d changelog=%d first_ms=%d run_s=%.2f rate=%.0f steady_rate=%.0f cpu_total_s=%.2f cpu_us_rec_total=%.3f cpu_us_rec_steady=%.3f broker_us_rec_steady=%.2f hwm_mib=%d load=%s\n",
		*mode, done, outs, changelogN, first.Milliseconds(), total.Seconds(), float64(done)/total.Seconds(), float64(n95-n30)/t95.Sub(t30).Seconds(),
		cpu, cpu*1e6/float64(done), (c95-c30)*1e6/steadyN, (b95-b30)*1e6/steadyN, bench.MemMB("VmHWM"), bench.Load1())
}
