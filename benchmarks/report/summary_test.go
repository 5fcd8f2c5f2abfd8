package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const w1 = `{"workload":"W1","mode":"exactly-once","engine":"by-hand","round":1,"verified":"yes","figures":{"records":10,"outputs":8,"records_per_s":100,"cpu_us_per_record":1,"cpu_us_per_record_steady":0.9,"peak_rss_mib":50},"load":1}
{"workload":"W1","mode":"exactly-once","engine":"millstream","round":1,"verified":"yes","figures":{"records":10,"outputs":8,"records_per_s":90,"cpu_us_per_record":1.5,"cpu_us_per_record_steady":1.2,"peak_rss_mib":60},"load":2}
{"workload":"W1","mode":"exactly-once","engine":"by-hand","round":2,"figures":{"records":10,"outputs":8,"records_per_s":50,"cpu_us_per_record":2,"cpu_us_per_record_steady":1.8,"peak_rss_mib":50},"load":3}
{"workload":"W1","mode":"exactly-once","engine":"millstream","round":2,"figures":{"records":10,"outputs":8,"records_per_s":60,"cpu_us_per_record":3.4,"cpu_us_per_record_steady":2.6,"peak_rss_mib":60},"load":3}`

func summaryOf(t *testing.T, runs string, expect ...string) *Results {
	t.Helper()
	all, err := readRuns(strings.NewReader(runs))
	require.NoError(t, err)
	return summarize(all, expect)
}

func TestRatiosAreTakenRoundByRound(t *testing.T) {
	res := summaryOf(t, w1, "millstream", "by-hand")
	require.Empty(t, res.Failures)
	require.Len(t, res.Rows, 2)
	require.Equal(t, Spread{Median: 1.5, Min: 1, Max: 2}, res.Rows[0].Metrics["cpu_us_per_record"])
	require.Len(t, res.Ratios, 4)
	cpu := res.Ratios[0]
	require.Equal(t, "cpu_us_per_record", cpu.Metric)
	require.InDelta(t, 1.6, cpu.Median, 1e-9)
	require.InDelta(t, 1.5, cpu.Min, 1e-9)
	require.InDelta(t, 1.7, cpu.Max, 1e-9)
	require.Equal(t, 1.4, cpu.Target)
	require.False(t, *cpu.Met)
	rate := res.Ratios[2]
	require.Equal(t, "at least", rate.Bound)
	require.True(t, *rate.Met)
	require.Nil(t, res.Ratios[3].Met, "no target for memory against the loop by hand")
}

func TestWhatMakesTheReportFail(t *testing.T) {
	for name, c := range map[string]struct{ runs, want string }{
		"wrong output": {strings.Replace(w1, `"verified":"yes"`, `"verified":"no"`, 1), "W1, exactly-once, by-hand: the output is not verified (no)"},
		"never verified": {strings.ReplaceAll(w1, `"verified":"yes",`, ""),
			"W1, exactly-once, by-hand: the output is not verified (not checked)"},
		"failed run":     {w1 + "\n" + `{"workload":"W1","mode":"exactly-once","engine":"millstream","round":3,"error":"status 2"}`, "W1, exactly-once, millstream, round 3: status 2"},
		"missing engine": {strings.ReplaceAll(w1, `"engine":"millstream"`, `"engine":"flink"`), "no run of millstream"},
		"nothing":        {"", "no run of millstream"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, summaryOf(t, c.runs, "millstream", "by-hand").Failures, c.want)
		})
	}
}

// An engine that is not to be had has a row that says why, and no figures.
func TestMissingEngine(t *testing.T) {
	res := summaryOf(t, w1+"\n"+`{"workload":"W1","mode":"exactly-once","engine":"other","missing":"not to be had"}`, "millstream", "by-hand")
	require.Empty(t, res.Failures)
	require.Len(t, res.Rows, 3)
	require.Equal(t, Row{Workload: "W1", Mode: "exactly-once", Engine: "other", Metrics: map[string]Spread{}, Verified: "not to be had"}, res.Rows[2])
	require.Contains(t, res.markdown(), "| W1 | exactly-once | other |  |  |  |  |  |  | 0 | not to be had |")
	require.Len(t, res.Ratios, 4)
}

func TestTargetsByMode(t *testing.T) {
	got, ok := targetOf(rowKey{"W2", "commit, exactly-once", "kafka-streams"}, "cpu_us_per_record")
	require.True(t, ok)
	require.Equal(t, 1.0/8, got.value)
	_, ok = targetOf(rowKey{"W1", "at-least-once", "by-hand"}, "cpu_us_per_record")
	require.False(t, ok, "targets are for exactly-once")
	got, ok = targetOf(rowKey{"W3", "update, exactly-once", "by-hand"}, "records_per_s")
	require.True(t, ok)
	require.True(t, got.atLeast)
}

func TestOtherModes(t *testing.T) {
	res := summaryOf(t, `{"workload":"W1","mode":"paced, latency, at-least-once","engine":"millstream","round":1,"verified":"yes","load":1,"figures":{"records":10,"p50_ms":4,"p99_ms":16,"cpu_us_per_record":6,"engine":"x"}}
{"workload":"W1","mode":"paced, latency, at-least-once","engine":"kafka-streams","round":1,"verified":"yes","load":1,"figures":{"p50_ms":8,"p99_ms":8,"cpu_us_per_record":10}}
{"workload":"recovery","mode":"killed","engine":"millstream","round":1,"verified":"no","load":1,"figures":{"first_ms":400,"first_cpu_s":0.1}}`, "millstream", "kafka-streams")
	require.Equal(t, []string{"recovery, killed, millstream: the output is not verified (no)"}, res.Failures)
	met := map[string]bool{}
	for _, q := range res.Ratios {
		if q.Met != nil {
			met[q.Mode+" "+q.Against+" "+q.Metric] = *q.Met
		}
	}
	require.Equal(t, map[string]bool{
		"paced, latency, at-least-once nothing p50_ms":                  true,
		"paced, latency, at-least-once nothing p99_ms":                  false,
		"paced, latency, at-least-once kafka-streams cpu_us_per_record": true,
		"killed nothing first_ms":                                       true,
	}, met)
	require.Contains(t, res.markdown(), "| W1 | paced, latency, at-least-once | millstream | 4.0 (4.0 – 4.0) | 16.0 (16.0 – 16.0) |")
	require.Contains(t, res.markdown(), "| recovery | killed | millstream | 400 (400 – 400) |")
}

// What is compared with a row of another mode, and how figures are bounded that are no ratios.
func TestComparisons(t *testing.T) {
	run := func(workload, mode, engine, figures string) string {
		return `{"workload":"` + workload + `","mode":"` + mode + `","engine":"` + engine + `","round":1,"verified":"yes","load":1,"figures":{` + figures + "}}\n"
	}
	res := summaryOf(t, run("recovery", "snapshot", "millstream", `"first_ms":300`)+run("recovery", "wiped", "kafka-streams", `"first_ms":3000`)+
		run("scaling nexmark-q5", "1 worker", "millstream", `"size":1,"records_per_s":1000`)+run("scaling nexmark-q5", "2 workers", "millstream", `"size":2,"records_per_s":1400`)+
		run("scaling keys", "10,000 keys", "millstream", `"size":10000,"cpu_us_per_record":1`)+run("scaling keys", "100,000 keys", "millstream", `"size":100000,"cpu_us_per_record":1.5`)+
		run("scaling keys", "1,000,000 keys", "millstream", `"size":1000000,"cpu_us_per_record":3`)+
		run("idle", "W2, exactly-once", "millstream", `"cpu_percent":0.5,"rss_mib":40`)+run("idle", "W2, exactly-once", "kafka-streams", `"cpu_percent":6,"rss_mib":150`)+
		run("W2 large", "update, exactly-once", "millstream", `"peak_rss_mib":320,"cpu_us_per_record":10,"records_per_s":100`)+
		run("W2 large", "update, exactly-once", "kafka-streams", `"peak_rss_mib":900,"cpu_us_per_record":40,"records_per_s":20`), "millstream", "kafka-streams")
	require.Empty(t, res.Failures)
	met := map[string]bool{}
	for _, q := range res.Ratios {
		if q.Met != nil {
			met[q.Workload+", "+q.Mode+" | "+q.Against+" | "+q.Metric] = *q.Met
		}
	}
	require.Equal(t, map[string]bool{
		"recovery, snapshot | kafka-streams, wiped | first_ms":               true,
		"scaling nexmark-q5, 2 workers | 1 worker | records_per_s":           false,
		"scaling keys, 100,000 keys | 10,000 keys | cpu_us_per_record":       true,
		"scaling keys, 1,000,000 keys | 10,000 keys | cpu_us_per_record":     false,
		"idle, W2, exactly-once | nothing | cpu_percent":                     true,
		"idle, W2, exactly-once | kafka-streams | rss_mib":                   false,
		"W2 large, update, exactly-once | nothing | peak_rss_mib":            false,
		"W2 large, update, exactly-once | kafka-streams | cpu_us_per_record": true,
		"W2 large, update, exactly-once | kafka-streams | records_per_s":     true,
	}, met)
	require.Equal(t, 100000.0, res.Rows[5].Size)
	table := res.markdown()
	require.Contains(t, table, "| idle | W2, exactly-once | millstream | 0.50 (0.50 – 0.50) | 40 (40 – 40) |")
	require.Contains(t, table, "| scaling keys | 100,000 keys | millstream | 1.500 (1.500 – 1.500) |")

	dir := t.TempDir()
	require.NoError(t, res.writePlots(dir))
	for file, has := range map[string]string{"scaling-keys.svg": ">1,000,000 keys</text>", "scaling-workers.svg": ">q5</text>"} {
		svg, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		require.NoError(t, xml.Unmarshal(svg, new(struct{})), "an XML document")
		require.Contains(t, string(svg), has)
	}
	require.NoFileExists(t, filepath.Join(dir, "scaling-operators.svg"), "no figures, no curve")
}

func TestPlots(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, summaryOf(t, w1).writePlots(dir))
	svg, err := os.ReadFile(filepath.Join(dir, "cpu.svg"))
	require.NoError(t, err)
	require.NoError(t, xml.Unmarshal(svg, new(struct{})), "an XML document")
	require.Contains(t, string(svg), ">millstream</text>")
	require.NoFileExists(t, filepath.Join(dir, "recovery.svg"), "no figures, no plot")
}

func TestTable(t *testing.T) {
	table := summaryOf(t, w1).markdown()
	require.Contains(t, table, "| W1 | exactly-once | by-hand | 1.50 (1.00 – 2.00) |")
	require.Contains(t, table, "| cpu_us_per_record | 1.60 (1.50 – 1.70) | at most 1.4 | **no** |")
}
