package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// report is the last line of the output.
type report struct {
	Plant      string         `json:"plant,omitempty"`
	Caught     *bool          `json:"caught,omitempty"`
	Guarantee  string         `json:"guarantee"`
	Seed       uint64         `json:"seed"`
	Kills      int            `json:"kills"`
	Zombies    int            `json:"zombies"`
	Records    int            `json:"records"`
	Lost       int            `json:"lost"`
	Duplicated int            `json:"duplicated"`
	Wrong      int            `json:"wrong"`
	Wiped      int            `json:"wiped"`
	Steps      map[string]int `json:"steps"`
	RestoreMS  struct {
		P50 int64 `json:"p50"`
		P99 int64 `json:"p99"`
	} `json:"restore_ms"`
	Plants map[string]bool `json:"plants,omitempty"`
	Growth *growth         `json:"growth,omitempty"`
}

type settings struct {
	brokers   []string
	bins      string // directory of the builds, by plant
	dir       string
	kills     int
	seed      uint64
	rate      int
	guarantee string
	plant     string
	parallel  int
	standbys  int
	growth    *growth
}

func runTests(ctx context.Context, args []string) (status int, err error) {
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	var s settings
	brokers := fs.String("brokers", "", "addresses")
	fs.StringVar(&s.bins, "bins", "", "directory of the builds: killtest, and killtest-PLANT")
	fs.StringVar(&s.dir, "dir", "", "directory for state and logs")
	fs.IntVar(&s.kills, "kills", 20, "number of kills")
	fs.Uint64Var(&s.seed, "seed", 1, "of input and kills")
	fs.IntVar(&s.rate, "rate", 1500, "records per second")
	fs.StringVar(&s.guarantee, "guarantee", "exactly-once", "exactly-once, at-least-once or at-most-once")
	fs.StringVar(&s.plant, "plant", "", "a planted bug, or all")
	fs.IntVar(&s.standbys, "standbys", 0, "copies of each task's state on other instances")
	grow := fs.Bool("growth", false, "let the topics, the workers and the instances grow, instead of the kills")
	fs.IntVar(&s.parallel, "parallel", 2, "planted bugs that run at the same time")
	if err := fs.Parse(args); err != nil {
		return statusFailed, err
	}
	s.brokers = strings.Split(*brokers, ",")
	if _, ok := guarantees[s.guarantee]; !ok {
		return statusFailed, fmt.Errorf("there is no guarantee %q", s.guarantee)
	}
	if s.kills < 1 || s.rate < 1 {
		return statusFailed, fmt.Errorf("%d kills at %d records per second: both must be at least 1", s.kills, s.rate)
	}
	if err := checkPlant(s.plant); err != nil {
		return statusFailed, err
	}
	if *grow {
		s.growth = &growth{Topics: []string{topicIn, topicKeyed}, From: 4, To: 12}
	}
	if s.plant == "all" {
		return s.allPlants(ctx)
	}
	v, err := s.test(ctx)
	if err != nil {
		return statusFailed, err
	}
	r := s.report(v)
	if s.plant == "" && s.growth == nil {
		if err := s.enough(v); err != nil {
			return statusFailed, err
		}
	}
	for _, e := range v.examples {
		fmt.Println(e)
	}
	fmt.Println(line(r))
	if s.faulty(v) {
		return statusFault, nil
	}
	return statusCorrect, nil
}

// faulty says that a run breaks the guarantee.
func (s settings) faulty(v *verdict) bool {
	lost, doubled := v.Lost > 0, v.Duplicated > 0
	switch s.guarantee {
	case "at-least-once":
		doubled = false
	case "at-most-once":
		lost = false
	}
	return lost || doubled || v.Wrong > 0 || v.Wiped > 0
}

// enough says that there were as many kills as asked for, and at every place.
func (s settings) enough(v *verdict) error {
	var errs []error
	if v.Kills < s.kills {
		errs = append(errs, fmt.Errorf("only %d kills of %d counted", v.Kills, s.kills))
	}
	for _, p := range places(s.guarantee) {
		if n := v.Steps[p]; n < least(s.kills) {
			errs = append(errs, fmt.Errorf("only %d kills at %s, %d were wanted", n, p, least(s.kills)))
		}
	}
	return errors.Join(errs...)
}

func (s settings) report(v *verdict) report {
	r := report{Guarantee: s.guarantee, Seed: s.seed, Kills: v.Kills, Zombies: v.Zombies, Records: v.Records, Lost: v.Lost, Duplicated: v.Duplicated,
		Wrong: v.Wrong, Wiped: v.Wiped, Steps: v.Steps, Growth: s.growth}
	slices.Sort(v.restores)
	if n := len(v.restores); n > 0 {
		r.RestoreMS.P50 = v.restores[(n-1)/2].Milliseconds()
		r.RestoreMS.P99 = v.restores[(n-1)*99/100].Milliseconds()
	}
	if s.plant != "" {
		caught := s.faulty(v)
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

// test does one plan: with a plant its own, otherwise one of as many kills as asked for, most of them in a mixed run and
// the rest in a strict one.
func (s settings) test(ctx context.Context) (*verdict, error) {
	name := "kt" + fmt.Sprint(s.seed)
	o := options{brokers: s.brokers, bin: filepath.Join(s.bins, "killtest"), dir: filepath.Join(s.dir, name), seed: s.seed, rate: s.rate,
		guarantee: s.guarantee, profile: "mixed", standbys: s.standbys, log: os.Stderr}
	if s.plant != "" {
		o.bin += "-" + s.plant
		o.dir += "-" + s.plant
		o.plan, o.planted = plants[s.plant], true
		return runOne(ctx, o)
	}
	if s.growth != nil {
		o.dir, o.growth = o.dir+"-growth", s.growth
		return runOne(ctx, o)
	}
	plan, inRestores := makePlan(rand.New(rand.NewPCG(s.seed, 3)), s.guarantee, s.kills)
	cut := len(plan) * 3 / 4
	mixed, strict := o, o
	mixed.dir, mixed.plan = o.dir+"-mixed", plan[:cut]
	mixed.inRestores = min(inRestores, 2*zombiesIn(plan[:cut]))
	strict.dir, strict.plan, strict.profile = o.dir+"-strict", plan[cut:], "strict"
	strict.seed++
	strict.inRestores = inRestores - mixed.inRestores
	v, err := runOne(ctx, mixed)
	if err != nil {
		return nil, err
	}
	w, err := runOne(ctx, strict)
	if err != nil {
		return nil, err
	}
	v.add(w)
	return v, nil
}

func zombiesIn(plan []action) (n int) {
	for _, a := range plan {
		if a.kind == zombie {
			n++
		}
	}
	return n
}

func (v *verdict) add(w *verdict) {
	v.Kills += w.Kills
	v.Zombies += w.Zombies
	v.Records += w.Records
	v.Lost += w.Lost
	v.Duplicated += w.Duplicated
	v.Wrong += w.Wrong
	v.Wiped += w.Wiped
	for p, n := range w.Steps {
		v.Steps[p] += n
	}
	v.restores = append(v.restores, w.restores...)
	v.examples = append(v.examples, w.examples...)
}

// allPlants runs every planted bug, some at the same time, and sums up.
func (s settings) allPlants(ctx context.Context) (int, error) {
	names := plantNames()
	sum := &verdict{Steps: map[string]int{}}
	caught := map[string]bool{}
	var errs []error
	var mu sync.Mutex
	var wg sync.WaitGroup
	turn := make(chan struct{}, max(1, s.parallel))
	for _, name := range names {
		wg.Go(func() {
			if err := s.built(ctx, name); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				return
			}
			turn <- struct{}{}
			defer func() { <-turn }()
			one := s
			one.plant = name
			began := time.Now()
			v, err := one.test(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			r := one.report(v)
			caught[name] = *r.Caught
			fmt.Println(line(r))
			fmt.Fprintf(os.Stderr, "%s: %v, %v\n", name, *r.Caught, time.Since(began).Round(time.Second))
			sum.add(v)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return statusFailed, err
	}
	s.plant = "all"
	r := s.report(sum)
	all := !slices.Contains(slices.Collect(maps.Values(caught)), false)
	r.Caught, r.Plants = &all, caught
	fmt.Println(line(r))
	if !all {
		return statusFault, nil
	}
	return statusCorrect, nil
}

// built waits for a build: those of other plants run meanwhile.
func (s settings) built(ctx context.Context, plant string) error {
	for {
		if _, err := os.Stat(filepath.Join(s.bins, "killtest-"+plant)); err == nil {
			return nil
		}
		if _, err := os.Stat(filepath.Join(s.bins, "failed")); err == nil {
			return fmt.Errorf("plant %s was not built", plant)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
