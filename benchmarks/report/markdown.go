package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// table is one of the tables of the report: the rows that it takes, and their columns.
type table struct {
	title   string
	takes   func(Row) bool
	columns []column
}

type column struct{ head, metric, format string }

var tables = []table{
	{"Full topics, read from start to end. CPU is user and system time of the engine's process per input record, from its start to its last commit; steady is from 30 to 95 percent of the input.",
		func(r Row) bool {
			return !paced(r) && !scaling(r) && r.Workload != "recovery" && r.Workload != "burst" && r.Workload != "idle"
		},
		[]column{{"CPU µs/record", "cpu_us_per_record", "%.2f"}, {"steady", "cpu_us_per_record_steady", "%.2f"}, {"records/s", "records_per_s", ""}, {"peak RSS MiB", "peak_rss_mib", "%.0f"}, {"first record ms", "first_ms", "%.0f"}}},
	{"20,000 records per second. Latency is from the sending of a record to the reading of its result (read_committed); CPU without the start.",
		paced,
		[]column{{"p50 ms", "p50_ms", "%.1f"}, {"p99 ms", "p99_ms", "%.1f"}, {"CPU µs/record", "cpu_us_per_record", "%.2f"}, {"peak RSS MiB", "peak_rss_mib", "%.0f"}}},
	{"Recovery: from the start of the process to its first new record.",
		func(r Row) bool { return r.Workload == "recovery" },
		[]column{{"first record ms", "first_ms", "%.0f"}, {"CPU s until then", "first_cpu_s", "%.2f"}, {"peak RSS MiB", "peak_rss_mib", "%.0f"}}},
	{"Burst: the largest lag, and the seconds for which more than 5,000 records (half a second) were not committed.",
		func(r Row) bool { return r.Workload == "burst" },
		[]column{{"peak lag", "peak_lag", "%.0f"}, {"lag s", "lag_s", "%.1f"}, {"peak RSS MiB", "peak_rss_mib", "%.0f"}}},
	{"Idle: an application on an empty topic.",
		func(r Row) bool { return r.Workload == "idle" },
		[]column{{"CPU, % of a core", "cpu_percent", "%.2f"}, {"RSS MiB", "rss_mib", "%.0f"}, {"peak RSS MiB", "peak_rss_mib", "%.0f"}}},
	{"Scaling, in one process and without a broker.",
		scaling,
		[]column{{"CPU µs/record", "cpu_us_per_record", "%.3f"}, {"records/s", "records_per_s", ""}, {"CPU ns/operator", "cpu_ns_per_operator", "%.1f"}}},
}

func scaling(r Row) bool { return strings.HasPrefix(r.Workload, "scaling ") }

func paced(r Row) bool { return strings.HasPrefix(r.Mode, "paced") }

// markdown writes the tables that people read.
func (r *Results) markdown() string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "%s, %d cores, %s, Linux %s; load %.1f–%.1f", m.CPU, m.Cores, m.Memory, m.Kernel, r.Load.Min, r.Load.Max)
	for _, k := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, "; %s %s", k, r.Versions[k])
	}
	b.WriteString("\n\nMedian of the rounds (smallest – largest).\n")
	for _, t := range tables {
		t.write(&b, r.Rows)
	}
	if len(r.Ratios) > 0 {
		b.WriteString("\nMillstream's figure divided by the other engine's, round by round; against nothing: the figure itself.\n\n| workload | mode | against | metric | median (smallest – largest) | target | met |\n|---|---|---|---|---|---|---|\n")
	}
	for _, q := range r.Ratios {
		target, met := "", ""
		if q.Met != nil {
			target = fmt.Sprintf("%s %.3g", q.Bound, q.Target)
			met = map[bool]string{true: "yes", false: "**no**"}[*q.Met]
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.2f (%.2f – %.2f) | %s | %s |\n", q.Workload, q.Mode, q.Against, q.Metric, q.Median, q.Min, q.Max, target, met)
	}
	return b.String()
}

func (t table) write(b *strings.Builder, rows []Row) {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r Row) bool { return !t.takes(r) })
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n\n| workload | mode | engine |", t.title)
	for _, c := range t.columns {
		fmt.Fprintf(b, " %s |", c.head)
	}
	b.WriteString(" outputs | rounds | verified |\n|---|---|---|" + strings.Repeat("---|", len(t.columns)) + "---|---|---|\n")
	for _, row := range rows {
		fmt.Fprintf(b, "| %s | %s | %s |", row.Workload, row.Mode, row.Engine)
		for _, c := range t.columns {
			fmt.Fprintf(b, " %s |", c.cell(row))
		}
		outputs := ""
		if row.Outputs.Median > 0 {
			outputs = fmt.Sprintf("%.0f", row.Outputs.Median)
		}
		fmt.Fprintf(b, " %s | %d | %s |\n", outputs, row.Rounds, row.Verified)
	}
}

func (c column) cell(row Row) string {
	s, ok := row.Metrics[c.metric]
	if !ok {
		return ""
	}
	show := thousands
	if c.format != "" {
		show = func(v float64) string { return fmt.Sprintf(c.format, v) }
	}
	return fmt.Sprintf("%s (%s – %s)", show(s.Median), show(s.Min), show(s.Max))
}

func thousands(v float64) string {
	if v >= 1e6 {
		return fmt.Sprintf("%.2f M", v/1e6)
	}
	return fmt.Sprintf("%.0f k", v/1e3)
}
