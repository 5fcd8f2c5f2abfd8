package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// curve is a chart of one figure over a size that grows, as SVG: a line for each workload, the sizes on a logarithmic axis.
type curve struct {
	file, title, metric, format string
	workloads                   []string // and the colours of their lines, below
}

var curves = []curve{
	{"scaling-keys.svg", "CPU per record by the number of keys in the cache (µs)", "cpu_us_per_record", "%.2f", []string{"scaling keys"}},
	{"scaling-partitions.svg", "CPU per record by the number of partitions of one process (µs)", "cpu_us_per_record", "%.2f", []string{"scaling partitions"}},
	{"scaling-operators.svg", "CPU per record and operator by the number of operators (ns)", "cpu_ns_per_operator", "%.1f", []string{"scaling operators"}},
	{"scaling-workers.svg", "Records per second by the number of workers, Nexmark in one process", "records_per_s", "",
		[]string{"scaling nexmark-q5", "scaling nexmark-q7", "scaling nexmark-q11", "scaling nexmark-q18"}},
}

var lineColours = []string{"#0072B2", "#E69F00", "#009E73", "#CC79A7"}

const (
	curveWidth, curveHeight        = 560, 300
	left, right, topEdge, underAll = 70, 110, 50, 40 // margins
)

// draw returns "" if there are no two sizes.
func (c curve) draw(rows []Row) string {
	lines := make([][]Row, len(c.workloads))
	low, high, most := math.Inf(1), 0.0, 0.0
	for i, w := range c.workloads {
		for _, row := range rows {
			if s, ok := row.Metrics[c.metric]; ok && row.Workload == w && row.Size > 0 {
				lines[i] = append(lines[i], row)
				low, high, most = min(low, row.Size), max(high, row.Size), max(most, s.Max)
			}
		}
	}
	if high <= low || most == 0 {
		return ""
	}
	x := func(size float64) float64 {
		return left + (curveWidth-left-right)*math.Log(size/low)/math.Log(high/low)
	}
	y := func(v float64) float64 { return curveHeight - underAll - (curveHeight-topEdge-underAll)*v/most }
	var b strings.Builder
	for _, v := range []float64{0, most / 2, most} {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left, curveWidth-right, y(v), y(v), left-8, y(v)+4, c.show(v))
	}
	named := map[float64]bool{}
	for i, line := range lines {
		colour, path := lineColours[i%len(lineColours)], ""
		for _, row := range line {
			s := row.Metrics[c.metric]
			path += fmt.Sprintf("%.1f,%.1f ", x(row.Size), y(s.Median))
			fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#555"/><circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n",
				x(row.Size), x(row.Size), y(s.Min), y(s.Max), x(row.Size), y(s.Median), colour)
			if !named[row.Size] {
				named[row.Size] = true
				fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(row.Size), curveHeight-underAll+18, html.EscapeString(row.Mode))
			}
		}
		if len(line) == 0 {
			continue
		}
		last := line[len(line)-1]
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.TrimSpace(path), colour)
		if len(c.workloads) > 1 {
			name := strings.TrimPrefix(last.Workload, "scaling nexmark-")
			fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" fill="%s">%s</text>`+"\n", x(last.Size)+8, y(last.Metrics[c.metric].Median)+4, colour, html.EscapeString(name))
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">
<rect width="100%%" height="100%%" fill="white"/>
<text x="8" y="24" font-size="14" font-weight="bold">%s</text>
%s</svg>
`, curveWidth, curveHeight, html.EscapeString(c.title), b.String())
}

func (c curve) show(v float64) string {
	if c.format == "" {
		return thousands(v)
	}
	return fmt.Sprintf(c.format, v)
}
