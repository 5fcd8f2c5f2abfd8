package main

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"
)

// plot is a chart of horizontal bars, one group per workload and mode and one bar per engine, as SVG.
type plot struct {
	file, title, metric, format string
	takes                       func(Row) bool
}

var plots = []plot{
	{"cpu.svg", "CPU per record, exactly-once, catch-up (µs; shorter is better)", "cpu_us_per_record", "%.2f", tables[0].takes},
	{"rate.svg", "Records per second, catch-up (longer is better)", "records_per_s", "", tables[0].takes},
	{"latency.svg", "Latency at 20,000 records per second, p99 (ms; shorter is better)", "p99_ms", "%.1f", paced},
	{"recovery.svg", "From the start of the process to the first new record (ms; shorter is better)", "first_ms", "%.0f", tables[2].takes},
}

// Colours that differ also for the colour-blind (Okabe and Ito), readable on white and on black.
var colours = map[string]string{ours: "#0072B2", "millstream-tenth": "#56B4E9", "by-hand": "#999999", "kafka-streams": "#E69F00", "flink": "#CC79A7", "unsplit": "#56B4E9"}

const (
	plotWidth = 760
	labelEnd  = 220 // where the bars begin
	barHeight = 16
	groupGap  = 12
)

// writePlots writes the charts and curves for which there are figures.
func (r *Results) writePlots(dir string) error {
	svgs := map[string]string{}
	for _, p := range plots {
		svgs[p.file] = p.draw(r.Rows)
	}
	for _, c := range curves {
		svgs[c.file] = c.draw(r.Rows)
	}
	for file, svg := range svgs {
		if svg == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(svg), 0o644); err != nil {
			return fmt.Errorf("writing a plot: %w", err)
		}
	}
	return nil
}

// draw returns "" if no row has the metric. A bar is the median; the thin line on it goes from the smallest to the largest.
func (p plot) draw(rows []Row) string {
	var bars strings.Builder
	largest := 0.0
	for _, row := range rows {
		if s, ok := row.Metrics[p.metric]; ok && p.takes(row) {
			largest = max(largest, s.Max)
		}
	}
	if largest == 0 {
		return ""
	}
	scale := (plotWidth - labelEnd - 110) / largest
	y, group := 40, ""
	for _, row := range rows {
		s, ok := row.Metrics[p.metric]
		if !ok || !p.takes(row) {
			continue
		}
		if g := row.Workload + ", " + row.Mode; g != group {
			group = g
			y += groupGap
			fmt.Fprintf(&bars, `<text x="8" y="%d" font-weight="bold">%s</text>`+"\n", y+12, html.EscapeString(g))
			y += barHeight + 2
		}
		show := thousands(s.Median)
		if p.format != "" {
			show = fmt.Sprintf(p.format, s.Median)
		}
		middle := float64(y) + barHeight/2
		fmt.Fprintf(&bars, `<text x="%d" y="%d" text-anchor="end">%s</text>`, labelEnd-8, y+12, row.Engine)
		fmt.Fprintf(&bars, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, labelEnd, y, s.Median*scale, barHeight-2, colours[row.Engine])
		fmt.Fprintf(&bars, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#555"/>`, labelEnd+s.Min*scale, labelEnd+s.Max*scale, middle-1, middle-1)
		fmt.Fprintf(&bars, `<text x="%.1f" y="%d">%s</text>`+"\n", labelEnd+s.Max*scale+6, y+12, show)
		y += barHeight
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="white"/>
<text x="8" y="24" font-size="15" font-weight="bold">%s</text>
%s</svg>
`, plotWidth, y+16, html.EscapeString(p.title), bars.String())
}
