package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ours is the engine whose ratios are taken; nothing stands for the other one where the figure alone counts.
const (
	ours    = "millstream"
	nothing = "nothing"
)

// Run is one run of one engine.
type Run struct {
	Workload string  `json:"workload"`
	Mode     string  `json:"mode"` // such as "update, exactly-once"
	Engine   string  `json:"engine"`
	Round    int     `json:"round"`
	Verified string  `json:"verified"` // "yes", "no", "" = not checked in this round
	Error    string  `json:"error,omitempty"`
	Missing  string  `json:"missing,omitempty"` // why there is no such engine to run
	Load     float64 `json:"load"`              // load average of one minute, when it ended
	Figures  Figures `json:"figures"`
}

// Figures is the line that an engine prints, as far as it is numbers.
type Figures map[string]float64

// UnmarshalJSON leaves out what is not a number.
func (f *Figures) UnmarshalJSON(b []byte) error {
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	*f = Figures{}
	for k, v := range all {
		if n, ok := v.(float64); ok {
			(*f)[k] = n
		}
	}
	return nil
}

// metrics are the figures that are summarized, in the order of the tables.
var metrics = []string{
	"cpu_us_per_record", "cpu_us_per_record_steady", "records_per_s",
	"p50_ms", "p99_ms", "first_ms", "first_cpu_s", "peak_lag", "lag_s", "peak_rss_mib", "rss_mib", "cpu_percent",
	"cpu_ns_per_operator",
}

// Spread is the median of the rounds with the smallest and the largest.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spread(v []float64) Spread {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return Spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1]}
}

// Row is one engine on one workload.
type Row struct {
	Workload string            `json:"workload"`
	Mode     string            `json:"mode"`
	Engine   string            `json:"engine"`
	Size     float64           `json:"size,omitempty"` // of what grows from row to row: workers, keys, partitions, operators
	Rounds   int               `json:"rounds"`
	Records  int64             `json:"records"`
	Outputs  Spread            `json:"outputs"`
	Metrics  map[string]Spread `json:"metrics"`
	Load     Spread            `json:"load"`
	Verified string            `json:"verified"` // "yes" when checked and right in every round that was checked
}

// Ratio is Millstream's figure divided by another engine's, taken round by round, so that what the machine does beside
// it weighs on both. Against itself ("nothing") it is the figure alone, where the target is not a ratio.
type Ratio struct {
	Workload string  `json:"workload"`
	Mode     string  `json:"mode"`
	Against  string  `json:"against"`
	Metric   string  `json:"metric"`
	Median   float64 `json:"median"`
	Min      float64 `json:"min"`
	Max      float64 `json:"max"`
	Target   float64 `json:"target,omitempty"` // none if 0
	Bound    string  `json:"bound,omitempty"`  // "at most" or "at least" the target
	Met      *bool   `json:"met,omitempty"`
}

// Results is what benchmarks/results.json holds.
type Results struct {
	Machine  Machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Load     Spread            `json:"load"`
	Rows     []Row             `json:"rows"`
	Ratios   []Ratio           `json:"ratios"`
	Failures []string          `json:"failures"`
}

func readRuns(r io.Reader) ([]Run, error) {
	var runs []Run
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		var run Run
		if err := json.Unmarshal(sc.Bytes(), &run); err != nil {
			return nil, fmt.Errorf("reading a run: %w in %q", err, sc.Text())
		}
		runs = append(runs, run)
	}
	return runs, sc.Err()
}

type rowKey struct{ workload, mode, engine string }

// summarize groups the runs in the order of their first appearance.
func summarize(runs []Run, expect []string) *Results {
	res := &Results{Failures: []string{}}
	byRow := map[rowKey][]Run{}
	var order []rowKey
	var loads []float64
	for _, r := range runs {
		if r.Missing != "" {
			continue
		}
		k := rowKey{r.Workload, r.Mode, r.Engine}
		if _, ok := byRow[k]; !ok {
			order = append(order, k)
			byRow[k] = nil
		}
		if r.Error != "" {
			res.Failures = append(res.Failures, fmt.Sprintf("%s, %s, %s, round %d: %s", r.Workload, r.Mode, r.Engine, r.Round, r.Error))
			continue
		}
		loads = append(loads, r.Load)
		byRow[k] = append(byRow[k], r)
	}
	if len(loads) > 0 {
		res.Load = spread(loads)
	}
	for _, k := range order {
		if len(byRow[k]) == 0 {
			continue
		}
		row := newRow(k, byRow[k])
		res.Rows = append(res.Rows, row)
		if row.Verified != "yes" {
			res.Failures = append(res.Failures, fmt.Sprintf("%s, %s, %s: the output is not verified (%s)", k.workload, k.mode, k.engine, row.Verified))
		}
	}
	for _, r := range runs {
		if r.Missing != "" {
			res.Rows = append(res.Rows, Row{Workload: r.Workload, Mode: r.Mode, Engine: r.Engine, Metrics: map[string]Spread{}, Verified: r.Missing})
		}
	}
	for _, e := range expect {
		if !slices.ContainsFunc(res.Rows, func(r Row) bool { return r.Engine == e }) {
			res.Failures = append(res.Failures, "no run of "+e)
		}
	}
	for _, k := range order {
		mine := byRow[rowKey{k.workload, k.mode, ours}]
		if k.engine == ours {
			res.Ratios = append(res.Ratios, ratios(rowKey{k.workload, k.mode, nothing}, mine, mine)...)
		} else {
			res.Ratios = append(res.Ratios, ratios(k, mine, byRow[k])...)
		}
	}
	for _, c := range comparisons {
		for _, k := range order {
			if k.engine == ours && k.workload == c.workload && (k.mode == c.mode || c.mode == "" && k.mode != c.otherMode) {
				res.Ratios = append(res.Ratios, c.ratio(k, byRow)...)
			}
		}
	}
	return res
}

// ratio is none if either row is not there.
func (c comparison) ratio(k rowKey, byRow map[rowKey][]Run) []Ratio {
	against := c.otherMode
	if c.otherName != ours {
		against = c.otherName + ", " + c.otherMode
	}
	v := perRound(byRow[k], byRow[rowKey{c.workload, c.otherMode, c.otherName}], c.metric)
	if len(v) == 0 {
		return nil
	}
	return []Ratio{newRatio(Ratio{Workload: k.workload, Mode: k.mode, Against: against, Metric: c.metric}, v, c.target, true)}
}

func newRow(k rowKey, runs []Run) Row {
	row := Row{Workload: k.workload, Mode: k.mode, Engine: k.engine, Rounds: len(runs), Metrics: map[string]Spread{}, Verified: "not checked"}
	var outs, loads []float64
	for _, r := range runs {
		row.Records, row.Size = int64(r.Figures["records"]), r.Figures["size"]
		outs, loads = append(outs, r.Figures["outputs"]), append(loads, r.Load)
		switch {
		case r.Verified == "no":
			row.Verified = "no"
		case r.Verified == "yes" && row.Verified != "no":
			row.Verified = "yes"
		}
	}
	row.Outputs, row.Load = spread(outs), spread(loads)
	for _, m := range metrics {
		var v []float64
		for _, r := range runs {
			if f, ok := r.Figures[m]; ok {
				v = append(v, f)
			}
		}
		if len(v) > 0 {
			row.Metrics[m] = spread(v)
		}
	}
	return row
}

func ratios(k rowKey, mine, theirs []Run) []Ratio {
	var out []Ratio
	for _, m := range metrics {
		t, hasTarget := targetOf(k, m)
		if !hasTarget && (k.engine == nothing || strings.HasPrefix(m, "first_") && k.workload != "recovery") {
			continue
		}
		v := perRound(mine, theirs, m)
		if k.engine == nothing {
			v = alone(mine, m)
		}
		if len(v) > 0 {
			out = append(out, newRatio(Ratio{Workload: k.workload, Mode: k.mode, Against: k.engine, Metric: m}, v, t, hasTarget))
		}
	}
	return out
}

// perRound are the quotients of the rounds that both have.
func perRound(mine, theirs []Run, metric string) (v []float64) {
	for _, a := range mine {
		for _, b := range theirs {
			if x, y := a.Figures[metric], b.Figures[metric]; a.Round == b.Round && x > 0 && y > 0 {
				v = append(v, x/y)
			}
		}
	}
	return v
}

// alone are the figures themselves. 0 stands for one that is not known, but for the CPU of who has nothing to do.
func alone(mine []Run, metric string) (v []float64) {
	for _, a := range mine {
		if x, ok := a.Figures[metric]; x > 0 || ok && metric == "cpu_percent" {
			v = append(v, x)
		}
	}
	return v
}

// newRatio fills in the spread of the values and, if there is a target, whether it is met.
func newRatio(r Ratio, v []float64, t target, hasTarget bool) Ratio {
	s := spread(v)
	r.Median, r.Min, r.Max = s.Median, s.Min, s.Max
	if hasTarget {
		met := s.Median <= t.value
		r.Bound = "at most"
		if t.atLeast {
			met, r.Bound = s.Median >= t.value, "at least"
		}
		r.Target, r.Met = t.value, &met
	}
	return r
}
