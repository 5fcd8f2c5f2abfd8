// report turns the runs of benchmarks/run.sh into results.json, Markdown tables and SVG plots: medians, spread, and
// Millstream's ratios to the other engines, each beside its target.
//
// It ends with status 1 when an engine failed or is missing, or when an output is not what the input demands. A missed
// target is shown and is not a failure: figures of one machine and one hour are not a test.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	runs := flag.String("runs", "", "file of runs, one JSON object a line")
	jsonOut := flag.String("json", "", "where to write the results as JSON")
	plotDir := flag.String("plots", "", "folder for the plots")
	mdOut := flag.String("md", "", "where to write the table; it is also printed")
	expect := flag.String("expect", "millstream,by-hand", "engines that must have run")
	versions := pairs{}
	flag.Var(versions, "version", "name=value, may be repeated: what was measured")
	flag.Parse()
	if err := run(*runs, *jsonOut, *mdOut, *plotDir, strings.Split(*expect, ","), versions); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(runsFile, jsonOut, mdOut, plotDir string, expect []string, versions pairs) error {
	f, err := os.Open(runsFile)
	if err != nil {
		return fmt.Errorf("opening the runs: %w", err)
	}
	defer f.Close()
	all, err := readRuns(f)
	if err != nil {
		return err
	}
	res := summarize(all, expect)
	res.Machine, res.Versions = thisMachine(), versions
	table := res.markdown()
	fmt.Print(table)
	if jsonOut != "" {
		b, err := json.MarshalIndent(res, "", "  ")
		if err != nil {
			return fmt.Errorf("encoding the results: %w", err)
		}
		if err := os.WriteFile(jsonOut, append(b, '\n'), 0o644); err != nil {
			return fmt.Errorf("writing the results: %w", err)
		}
	}
	if mdOut != "" {
		if err := os.WriteFile(mdOut, []byte(table), 0o644); err != nil {
			return fmt.Errorf("writing the table: %w", err)
		}
	}
	if plotDir != "" {
		if err := res.writePlots(plotDir); err != nil {
			return err
		}
	}
	if len(res.Failures) > 0 {
		return fmt.Errorf("%d failures:\n  %s", len(res.Failures), strings.Join(res.Failures, "\n  "))
	}
	return nil
}

// pairs is a repeatable name=value flag.
type pairs map[string]string

func (p pairs) String() string { return "" }

func (p pairs) Set(s string) error {
	k, v, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("%q is not name=value", s)
	}
	p[k] = v
	return nil
}
