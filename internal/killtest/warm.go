package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// warm is what happens when an instance joins without state, while another one has much: it makes itself copies of the
// state of what it is to have, the other one works on meanwhile, and it asks for the tasks when the copies are near.
type warm struct {
	Asked  int     `json:"asked"`  // how often it asked
	Copied int     `json:"copied"` // tasks with state that came to it when it had a copy of that
	TookS  float64 `json:"took_s"` // from its start until the first of them did
}

// warmFrom is how long a changelog must be for its task to wait for a copy: below 10,000 changes every copy is near.
const warmFrom = 12_000

// run lets all instances but one leave, and starts one of them anew without its state: half of the tasks are to move to
// it. Before that it waits until so many of them have much state that some of those must be among them.
func (w *warm) run(ctx context.Context, d *driver) error {
	if err := d.muchState(ctx); err != nil {
		return err
	}
	f := d.fleet
	if err := f.StartAll(); err != nil {
		return err
	}
	d.load.pace(min(d.rate, calmRate))
	defer d.load.pace(d.rate)
	if err := d.calm(ctx); err != nil {
		return err
	}
	stays := d.rng.IntN(processes)
	x := f.instances[(stays+1)%processes]
	for i, y := range f.instances {
		if i == stays {
			continue
		}
		if err := d.leaves(y, patience); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(d.dir, x.Name)); err != nil {
		return err
	}
	f.Lock()
	clear(x.local)
	asked := x.warm
	f.Unlock()
	d.note("%s joins without state", x.Name)
	if err := x.Start(); err != nil {
		return err
	}
	began := time.Now()
	copied := func() (n int) {
		for task, had := range x.has {
			if had && x.local[task] {
				n++
			}
		}
		return n
	}
	// It need not ask: copies that were near when the others had given up their tasks bring it some at once.
	if err := d.awaited(patience, "get what it has copied", x, func() bool { return copied() > 0 }); err != nil {
		return err
	}
	w.TookS = time.Since(began).Seconds()
	f.Lock()
	defer f.Unlock()
	w.Asked, w.Copied = x.warm-asked, copied()
	return nil
}

// muchState sends records faster until more than half of all tasks have much state.
func (d *driver) muchState(ctx context.Context) error {
	c := d.cluster
	tasks := int(c.parts[topicIn]) + int(c.parts[topicKeyed]) + 2*repartitions
	d.load.pace(3 * d.rate)
	defer d.load.pace(d.rate)
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); {
		ends, err := ask(ctx, "list the ends of the changelogs", offsets(ctx, c.adm.ListEndOffsets, c.topic("by-key-changelog"), c.topic("totals-by-key-changelog"), c.topic(c.prefix+"-keyed-changelog")))
		if err != nil {
			return err
		}
		much := 0
		ends.Each(func(o kadm.ListedOffset) {
			if o.Offset >= warmFrom {
				much++
			}
		})
		if much > tasks/2 {
			return nil
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("in three minutes, not half of the tasks had changelogs of %d records: this machine is too slow", warmFrom)
}
