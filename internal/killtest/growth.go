package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"time"
)

// growth lets an application grow and shrink while it works: instances 1 → 3 → 2, their workers 1 → 4 → 2, and the
// partitions of both topics, that which is read with new keys and that which is read by its own (source.GrowthRekeys).
// Producers soon use the new partitions, so that keys change their place, and a process is killed while the others take
// notice. What the application writes depends on none of it, so the checker is that
// of the other runs: it computes everything from the input.
type growth struct {
	Topics []string `json:"topics"`
	From   int32    `json:"from"` // partitions of each
	To     int32    `json:"to"`
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

// added is a partition that was added.
type added struct {
	topic     string
	partition int32
}

// grow adds partitions, and kills a process a moment later: while instances notice, or when they have just begun with them.
func (g *growth) grow(ctx context.Context, d *driver) error {
	began := time.Now()
	missing := map[added]bool{}
	for _, topic := range g.Topics {
		d.note("partitions of %s: %d → %d", topic, g.From, g.To)
		changed, err := d.cluster.adm.UpdatePartitions(ctx, int(g.To), d.cluster.topic(topic))
		if err == nil {
			err = changed.Error()
		}
		if err != nil {
			return fmt.Errorf("add partitions to %s: %w", topic, err)
		}
		for p := g.From; p < g.To; p++ {
			missing[added{topic, p}] = true
		}
	}
	spread := make(chan error, 1)
	go func() {
		err := g.known(ctx, d)
		if err == nil {
			err = d.load.spread(ctx, d.cluster.brokers, g.To)
		}
		spread <- err
	}()
	if err := pause(ctx, time.Duration(d.rng.IntN(2500))*time.Millisecond); err != nil {
		return err
	}
	victim, err := d.pick()
	if err != nil {
		return err
	}
	victim.Signal(syscall.SIGKILL)
	d.died(victim, random)
	if err := <-spread; err != nil {
		return err
	}
	for time.Since(began) < time.Minute {
		done, err := d.cluster.adm.FetchOffsets(ctx, d.cluster.prefix)
		if err != nil {
			return err
		}
		for p := range missing {
			if at, ok := done.Lookup(d.cluster.topic(p.topic), p.partition); ok && at.Err == nil && at.At > 0 {
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
	return fmt.Errorf("nothing of the new partitions %v was processed within a minute; see %s", slices.Collect(maps.Keys(missing)), d.dir)
}

// known waits until the brokers, which hear of it from the controller, know of the new partitions.
func (g *growth) known(ctx context.Context, d *driver) error {
	for _, topic := range g.Topics {
		for n := 0; n < int(g.To); {
			listed, err := d.cluster.adm.ListTopics(ctx, d.cluster.topic(topic))
			if err != nil {
				return err
			}
			n = len(listed[d.cluster.topic(topic)].Partitions)
		}
	}
	return nil
}
