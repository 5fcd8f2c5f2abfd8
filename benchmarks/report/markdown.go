package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// markdown writes the table that people read.
func (r *Results) markdown() string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "%s, %d cores, %s, Linux %s; load %.1f–%.1f", m.CPU, m.Cores, m.Memory, m.Kernel, r.Load.Min, r.Load.Max)
	for _, k := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, "; %s %s", k, r.Versions[k])
	}
	b.WriteString("\n\nMedian of the rounds (smallest – largest). CPU is user and system time of the engine's process per input record,\nfrom its start to its last commit; steady is from 30 to 95 percent of the input.\n\n")
	b.WriteString("| workload | mode | engine | CPU µs/record | steady | records/s | peak RSS MiB | outputs | rounds | verified |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		cpu, steady := row.Metrics["cpu_us_per_record"], row.Metrics["cpu_us_per_record_steady"]
		rate, rss := row.Metrics["records_per_s"], row.Metrics["peak_rss_mib"]
		fmt.Fprintf(&b, "| %s | %s | %s | %.2f (%.2f – %.2f) | %.2f (%.2f – %.2f) | %s (%s – %s) | %.0f (%.0f – %.0f) | %.0f | %d | %s |\n",
			row.Workload, row.Mode, row.Engine, cpu.Median, cpu.Min, cpu.Max, steady.Median, steady.Min, steady.Max,
			thousands(rate.Median), thousands(rate.Min), thousands(rate.Max), rss.Median, rss.Min, rss.Max,
			row.Outputs.Median, row.Rounds, row.Verified)
	}
	if len(r.Ratios) > 0 {
		b.WriteString("\nMillstream's figure divided by the other engine's, round by round:\n\n| workload | mode | against | metric | median (smallest – largest) | target | met |\n|---|---|---|---|---|---|---|\n")
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

func thousands(v float64) string {
	if v >= 1e6 {
		return fmt.Sprintf("%.2f M", v/1e6)
	}
	return fmt.Sprintf("%.0f k", v/1e3)
}
