package main

import "strings"

type target struct {
	value   float64
	atLeast bool
}

// targets are set for exactly-once, by workload (with its emission, where that makes a difference), engine and metric.
// A target of 1.0/5 against Kafka Streams reads "a fifth of its CPU".
var targets = map[[3]string]target{
	{"W1", "by-hand", "cpu_us_per_record"}:        {value: 1.4},
	{"W2 update", "by-hand", "cpu_us_per_record"}: {value: 1.4},
	{"W2 commit", "by-hand", "cpu_us_per_record"}: {value: 1.6},
	{"W3", "by-hand", "cpu_us_per_record"}:        {value: 1.5},
	// What adding up before a repartition saves, where keys are skewed.
	{"W3-zipf", "unsplit", "records_per_s"}: {value: 3, atLeast: true},

	{"W4", "by-hand", "cpu_us_per_record"}: {value: 1.6},
	{"W5", "by-hand", "cpu_us_per_record"}: {value: 0.8},

	{"W1", "kafka-streams", "cpu_us_per_record"}:        {value: 1.0 / 5},
	{"W2 update", "kafka-streams", "cpu_us_per_record"}: {value: 1.0 / 5},
	{"W2 commit", "kafka-streams", "cpu_us_per_record"}: {value: 1.0 / 8},
	{"W3", "kafka-streams", "cpu_us_per_record"}:        {value: 1.0 / 5},
	{"W4", "kafka-streams", "cpu_us_per_record"}:        {value: 1.0 / 6},
	{"W5", "kafka-streams", "cpu_us_per_record"}:        {value: 1.0 / 5},

	{"W1", "kafka-streams", "cpu_us_per_record_steady"}:        {value: 1.0 / 3},
	{"W2 update", "kafka-streams", "cpu_us_per_record_steady"}: {value: 1.0 / 3.5},
	{"W2 commit", "kafka-streams", "cpu_us_per_record_steady"}: {value: 1.0 / 5},
	{"W3", "kafka-streams", "cpu_us_per_record_steady"}:        {value: 1.0 / 3},
	{"W4", "kafka-streams", "cpu_us_per_record_steady"}:        {value: 1.0 / 4},
	{"W5", "kafka-streams", "cpu_us_per_record_steady"}:        {value: 1.0 / 3},

	{"W1", "kafka-streams", "peak_rss_mib"}:        {value: 1.0 / 3},
	{"W2 update", "kafka-streams", "peak_rss_mib"}: {value: 1.0 / 3},
	{"W2 commit", "kafka-streams", "peak_rss_mib"}: {value: 1.0 / 4},
	{"W3", "kafka-streams", "peak_rss_mib"}:        {value: 1.0 / 4},
	{"W4", "kafka-streams", "peak_rss_mib"}:        {value: 1.0 / 3},
	{"W5", "kafka-streams", "peak_rss_mib"}:        {value: 1.0 / 3},

	// The queries in the process, against Flink with its state on the heap. The first three keep none: what they measure
	// is how events are made.
	{"nexmark-q0", "flink", "cpu_us_per_record"}:  {value: 1.4},
	{"nexmark-q1", "flink", "cpu_us_per_record"}:  {value: 1.3},
	{"nexmark-q2", "flink", "cpu_us_per_record"}:  {value: 1.6},
	{"nexmark-q3", "flink", "cpu_us_per_record"}:  {value: 1.0},
	{"nexmark-q5", "flink", "cpu_us_per_record"}:  {value: 0.2},
	{"nexmark-q7", "flink", "cpu_us_per_record"}:  {value: 0.5},
	{"nexmark-q8", "flink", "cpu_us_per_record"}:  {value: 0.8},
	{"nexmark-q11", "flink", "cpu_us_per_record"}: {value: 0.25},
	{"nexmark-q18", "flink", "cpu_us_per_record"}: {value: 0.6},
	{"nexmark-q20", "flink", "cpu_us_per_record"}: {value: 0.9},

	// From the start of the process to the first record.
	{"W1", "by-hand", "first_ms"}:       {value: 1.5},
	{"W1", "kafka-streams", "first_ms"}: {value: 1.0 / 5},

	// More state than memory.
	{"W2 large", "kafka-streams", "cpu_us_per_record"}: {value: 1.0 / 3},
	{"W2 large", nothing, "peak_rss_mib"}:              {value: 256 * 1.2}, // the memory budget of the run and a fifth

	// 85% of the records per CPU-second.
	{"kinesis", "bare-sdk", "cpu_us_per_record"}: {value: 1 / 0.85},

	// On every workload.
	{"", "by-hand", "records_per_s"}:       {value: 0.8, atLeast: true},
	{"", "kafka-streams", "records_per_s"}: {value: 3, atLeast: true},
}

// pacedTargets are for a steady rate of records, by profile and guarantee, engine and metric.
var pacedTargets = map[[3]string]target{
	{"throughput, exactly-once", "by-hand", "cpu_us_per_record"}:       {value: 1.0 / 2},
	{"throughput, exactly-once", "kafka-streams", "cpu_us_per_record"}: {value: 1.0 / 4},
	{"throughput, exactly-once", "kafka-streams", "p50_ms"}:            {value: 1},
	{"throughput, exactly-once", "kafka-streams", "p99_ms"}:            {value: 1},
	{"latency, at-least-once", nothing, "p50_ms"}:                      {value: 5.5},
	{"latency, at-least-once", nothing, "p99_ms"}:                      {value: 15},
	{"latency, at-least-once", "kafka-streams", "cpu_us_per_record"}:   {value: 2.0 / 3},
	{"throughput, exactly-once", "kafka-streams", "peak_rss_mib"}:      {value: 1.0 / 4},
	{"latency, at-least-once", "kafka-streams", "peak_rss_mib"}:        {value: 1.0 / 4},
}

// otherTargets are for recovery, by case, for the burst, and for an application that has nothing to do.
var otherTargets = map[[3]string]target{
	{"killed", nothing, "first_ms"}:                                 {value: 500},
	{"killed, ten times the state", "millstream-tenth", "first_ms"}: {value: 1.5},
	{"wiped", "kafka-streams", "first_ms"}:                          {value: 1.0 / 2},
	{"wiped", "kafka-streams", "first_cpu_s"}:                       {value: 1.0 / 3},
	{"clean", "kafka-streams", "first_ms"}:                          {value: 1.0 / 5},
	{"clean", "kafka-streams", "peak_rss_mib"}:                      {value: 1.0 / 4},
	{"dynamic", nothing, "first_ms"}:                                {value: 1000},
	{"10, 10,000, 10 records/s", nothing, "peak_rss_mib"}:           {value: 256}, // the memory budget of the run
	{"W2, exactly-once", nothing, "cpu_percent"}:                    {value: 1},
	{"W2, exactly-once", "kafka-streams", "rss_mib"}:                {value: 1.0 / 4},
}

// comparison is of a row of Millstream's with a row of another mode. All else is compared within one mode.
type comparison struct {
	workload, mode       string // Millstream's row; any mode but the other one if ""
	otherMode, otherName string // the row beside it; its engine
	metric               string
	target               target
}

var comparisons = []comparison{
	// Kafka Streams has no snapshots: it reads the changelog.
	{"recovery", "snapshot", "wiped", "kafka-streams", "first_ms", target{value: 1.0 / 4}},

	{"scaling nexmark-q5", "2 workers", "1 worker", ours, "records_per_s", target{value: 1.5, atLeast: true}},
	{"scaling nexmark-q7", "2 workers", "1 worker", ours, "records_per_s", target{value: 1.5, atLeast: true}},
	{"scaling nexmark-q11", "2 workers", "1 worker", ours, "records_per_s", target{value: 1.5, atLeast: true}},
	{"scaling nexmark-q18", "2 workers", "1 worker", ours, "records_per_s", target{value: 1.5, atLeast: true}},
	{"scaling keys", "", "10,000 keys", ours, "cpu_us_per_record", target{value: 2}},
	{"scaling partitions", "", "4 partitions", ours, "cpu_us_per_record", target{value: 2}},
	{"scaling operators", "", "4 operators", ours, "cpu_ns_per_operator", target{value: 2}},
}

// targetOf finds a row's target: the one for its workload and emission first, then for its workload, then for all.
func targetOf(k rowKey, metric string) (target, bool) {
	if mode, ok := strings.CutPrefix(k.mode, "paced, "); ok {
		t, ok := pacedTargets[[3]string{mode, k.engine, metric}]
		return t, ok
	}
	if k.workload == "recovery" || k.workload == "burst" || k.workload == "idle" {
		t, ok := otherTargets[[3]string{k.mode, k.engine, metric}]
		return t, ok
	}
	emit, guarantee, ok := strings.Cut(k.mode, ", ")
	if !ok {
		emit, guarantee = "", k.mode
	}
	if guarantee != "exactly-once" {
		return target{}, false
	}
	for _, w := range []string{k.workload + " " + emit, k.workload, ""} {
		if t, ok := targets[[3]string{w, k.engine, metric}]; ok {
			return t, true
		}
	}
	return target{}, false
}
