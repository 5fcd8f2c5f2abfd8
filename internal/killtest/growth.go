package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"
)

// growth lets an application grow and shrink while it works: instances 1 → 3 → 2, their workers 1 → 4 → 2, and the
// partitions of the topic that is read with new keys. Producers use the new partitions from the first moment, and a
// process is killed while the others take notice. What the application writes depends on none of it, so the checker is that
// of the other runs: it computes everything from the input.
type growth struct {
	From int32 `json:"from"` // partitions
	To   int32 `json:"to"`
	// NoticedS is the time from the change until something of each new partition was processed and committed.
	NoticedS  float64 `json:"noticed_s"`
	Instances []int   `json:"instances"`
	Workers   []int   `json:"workers"`
}

func (g *growth) run(ctx context.Context, d *driver) error {
	f := d.fleet
	for _, x := range f.instances {
		x.workers = 1
	}
	g.note(1, 1)
	if err := g.resize(ctx, d, f.instances, 4); err != nil {
		return err
	}
	if err := g.grow(ctx, d); err != nil {
		return err
	}
	gone := f.instances[2]
	if err := d.leaves(gone, 20*time.Second); err != nil {
		return err
	}
	f.Lock()
	f.instances = f.instances[:2]
	f.Unlock()
	if err := g.resize(ctx, d, f.instances, 2); err != nil {
		return err
	}
	return pause(ctx, 2*time.Second)
}

func (g *growth) note(instances, workers int) {
	g.Instances, g.Workers = append(g.Instances, instances), append(g.Workers, workers)
}

// resize gives all instances this many workers, one after the other, and waits until each of them works.
func (g *growth) resize(_ context.Context, d *driver, all []*instance, workers int) error {
	for _, x := range all {
		d.fleet.Lock()
		runs := x.Alive
		x.workers = workers
		d.fleet.Unlock()
		if runs {
			x.Signal(syscall.SIGTERM)
			if err := d.awaited(20*time.Second, "end", x, func() bool { return !x.Alive }); err != nil {
				return err
			}
		}
		d.note("%s starts with %d workers", x.Name, workers)
		if err := x.Start(); err != nil {
			return err
		}
		if err := d.awaited(60*time.Second, "commit", x, func() bool { return x.epochs > 0 }); err != nil {
			return err
		}
	}
	g.note(len(all), workers)
	return nil
}

// grow adds partitions, and kills a process at a moment before all instances work with them.
func (g *growth) grow(ctx context.Context, d *driver) error {
	d.note("partitions of the input: %d → %d", g.From, g.To)
	changed, err := d.cluster.adm.UpdatePartitions(ctx, int(g.To), d.cluster.topic(topicIn))
	if err == nil {
		err = changed.Error()
	}
	if err != nil {
		return fmt.Errorf("add partitions: %w", err)
	}
	began := time.Now()
	for known := 0; known < int(g.To); { // to the broker, which hears of it from the controller
		listed, err := d.cluster.adm.ListTopics(ctx, d.cluster.topic(topicIn))
		if err != nil {
			return err
		}
		known = len(listed[d.cluster.topic(topicIn)].Partitions)
	}
	if err := d.load.spread(ctx, d.cluster.brokers, g.To); err != nil {
		return err
	}
	if err := pause(ctx, time.Duration(d.rng.IntN(2500))*time.Millisecond); err != nil {
		return err
	}
	victim, err := d.pick()
	if err != nil {
		return err
	}
	victim.Signal(syscall.SIGKILL)
	d.died(victim, random)
	missing := map[int32]bool{}
	for p := g.From; p < g.To; p++ {
		missing[p] = true
	}
	for time.Since(began) < time.Minute {
		done, err := d.cluster.adm.FetchOffsets(ctx, d.cluster.prefix)
		if err != nil {
			return err
		}
		for p := range missing {
			if at, ok := done.Lookup(d.cluster.topic(topicIn), p); ok && at.Err == nil && at.At > 0 {
				delete(missing, p)
			}
		}
		if len(missing) == 0 {
			g.NoticedS = time.Since(began).Seconds()
			return nil
		}
		if err := d.fleet.Trouble(); err != nil {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("nothing of the new partitions %s was processed within a minute; see %s", strings.Trim(fmt.Sprint(slices.Sorted(maps.Keys(missing))), "[]"), d.dir)
}
