package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// report is the last line of the output.
type report struct {
	Plant         string          `json:"plant,omitempty"`
	Caught        *bool           `json:"caught,omitempty"`
	On            string          `json:"on"`
	Seed          uint64          `json:"seed"`
	Kills         int             `json:"kills"`
	Disks         int             `json:"disks"`
	Reshards      int             `json:"reshards"`
	Frozen        int             `json:"frozen"`
	Records       int             `json:"records"`
	Retried       int             `json:"retried"`
	Lost          int             `json:"lost"`
	Duplicated    int             `json:"duplicated"`
	Wrong         int             `json:"wrong"`
	OutOfOrder    int             `json:"out_of_order"`
	ShardsSkipped int             `json:"shards_skipped"`
	Steps         map[string]int  `json:"steps"`
	Plants        map[string]bool `json:"plants,omitempty"`
}

type settings struct {
	access
	bins     string // directory of the builds, by plant
	dir      string
	kills    int
	reshards int
	seed     uint64
	rate     int
	plant    string
}

func runTests(ctx context.Context, args []string) (status int, err error) {
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	var s settings
	s.flags(fs)
	fs.StringVar(&s.bins, "bins", "", "directory of the builds: kinesistest, and kinesistest-PLANT")
	fs.StringVar(&s.dir, "dir", "", "directory for state and logs")
	fs.IntVar(&s.kills, "kills", 20, "number of kills")
	fs.IntVar(&s.reshards, "reshards", 6, "number of splits and merges of the input")
	fs.Uint64Var(&s.seed, "seed", 1, "of input, kills and faults")
	fs.IntVar(&s.rate, "rate", 500, "records per second")
	fs.StringVar(&s.plant, "plant", "", "a planted mistake, or all")
	if err := fs.Parse(args); err != nil {
		return statusFailed, err
	}
	if s.kills < 1 || s.reshards < 0 || s.rate < 1 {
		return statusFailed, fmt.Errorf("%d kills and %d reshards at %d records per second: at least 1, 0 and 1 are needed", s.kills, s.reshards, s.rate)
	}
	if err := checkPlant(s.plant); err != nil {
		return statusFailed, err
	}
	if s.plant == "all" {
		return s.allPlants(ctx)
	}
	v, err := s.test(ctx)
	if err != nil {
		return statusFailed, err
	}
	if s.plant == "" && (v.Kills < s.kills || v.Reshards < s.reshards) {
		return statusFailed, fmt.Errorf("only %d kills and %d reshards counted", v.Kills, v.Reshards)
	}
	for _, e := range v.examples {
		fmt.Println(e)
	}
	fmt.Println(line(s.report(v)))
	if v.faulty() {
		return statusFault, nil
	}
	return statusCorrect, nil
}

func (s settings) report(v *verdict) report {
	r := report{On: "servers", Seed: s.seed, Kills: v.Kills, Disks: v.Disks, Reshards: v.Reshards, Frozen: v.Frozen, Records: v.Records, Retried: v.Retried,
		Lost: v.Lost, Duplicated: v.Duplicated, Wrong: v.Wrong, OutOfOrder: v.OutOfOrder, ShardsSkipped: v.Skipped, Steps: v.Steps}
	if s.kinesisURL == "" {
		r.On = "fake"
	}
	if s.plant != "" {
		caught := v.faulty()
		r.Plant, r.Caught = s.plant, &caught
	}
	return r
}

func line(r report) string {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// test does one plan: with a plant its own.
func (s settings) test(ctx context.Context) (*verdict, error) {
	o := options{access: s.access, bin: filepath.Join(s.bins, "kinesistest"), dir: filepath.Join(s.dir, "run"+fmt.Sprint(s.seed)), seed: s.seed, rate: s.rate,
		plan: makePlan(rand.New(rand.NewPCG(s.seed, 3)), s.kills, s.reshards), quiet: func() error { return nil }, log: os.Stderr}
	fake := o.bin
	if s.plant != "" {
		p := plants[s.plant]
		o.dir, o.plan, o.args, o.planted = o.dir+"-"+s.plant, p.plan, p.args, true
		if len(p.args) == 0 {
			o.bin += "-" + s.plant
		}
	}
	if o.kinesisURL == "" {
		url, quiet, stop, err := startFake(ctx, fake, s.seed)
		if err != nil {
			return nil, fmt.Errorf("start the service: %w", err)
		}
		defer stop()
		o.access, o.quiet = access{url, url}, quiet
	}
	return runOne(ctx, o)
}

// startFake starts a Kinesis in a process of its own. Quiet ends its faults.
func startFake(ctx context.Context, bin string, seed uint64) (url string, quiet func() error, stop func(), err error) {
	cmd := exec.CommandContext(ctx, bin, "fake", "-seed", fmt.Sprint(seed))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return "", nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, nil, err
	}
	stop = func() {
		_ = in.Close()
		_ = cmd.Wait() // it ends with its input
	}
	lines := bufio.NewReader(out)
	said, err := lines.ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(said), "listens ")
	if err != nil || !ok {
		stop()
		return "", nil, nil, fmt.Errorf("it says %q: %w", said, err)
	}
	quiet = func() error {
		if _, err := io.WriteString(in, "quiet\n"); err != nil {
			return err
		}
		_, err := lines.ReadString('\n')
		return err
	}
	return url, quiet, stop, nil
}

// allPlants runs every planted mistake, one after the other, and sums up.
func (s settings) allPlants(ctx context.Context) (int, error) {
	sum := &verdict{Steps: map[string]int{}}
	caught := map[string]bool{}
	all := true
	for _, name := range plantOrder {
		one := s
		one.plant = name
		began := time.Now()
		v, err := one.test(ctx)
		if err != nil {
			return statusFailed, err
		}
		r := one.report(v)
		caught[name] = *r.Caught
		all = all && *r.Caught
		fmt.Println(line(r))
		for _, e := range v.examples[:min(3, len(v.examples))] {
			fmt.Fprintf(os.Stderr, "%s: %s\n", name, e)
		}
		fmt.Fprintf(os.Stderr, "%s: %v, %v\n", name, *r.Caught, time.Since(began).Round(time.Second))
		sum.add(v)
	}
	s.plant = "all"
	r := s.report(sum)
	r.Caught, r.Plants = &all, maps.Clone(caught)
	fmt.Println(line(r))
	if !all {
		return statusFault, nil
	}
	return statusCorrect, nil
}
