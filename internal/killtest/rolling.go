package main

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// rolling is what a new version of the service costs the application while nothing fails: one process after the other
// is ended and started again. Then one is killed, and one leaves. All of it happens at a calm rate, since what is
// measured is how work is handed over, not how many records a second brokers that have just started can take.
type rolling struct {
	Moved     int     `json:"moved"`       // tasks that went to another process meanwhile
	CaughtUpS float64 `json:"caught_up_s"` // from the start of a process until the lag is no more than fewRecords, the longest
	TakeoverS float64 `json:"takeover_s"`  // from the end of a process by SIGKILL until the others have its tasks and commit
	Cold      int     `json:"cold"`        // tasks of its that others had to read from the changelog, for want of a copy
	LeaveS    float64 `json:"leave_s"`     // from the end of one that left until the others have a task of its and commit

	standbys bool
}

const (
	fewRecords = 1000
	calmRate   = 100

	maxCaughtUp = 5 * time.Second
	maxTakeover = session + time.Second
	maxLeave    = time.Second
)

// missed lists the figures that are not what they should be.
func (r *rolling) missed() (list []string) {
	if r.Moved > 0 {
		list = append(list, "rolling.moved: not 0")
	}
	for _, f := range []struct {
		name string
		is   float64
		max  time.Duration
	}{{"caught_up_s", r.CaughtUpS, maxCaughtUp}, {"takeover_s", r.TakeoverS, maxTakeover}, {"leave_s", r.LeaveS, maxLeave}} {
		if f.is > f.max.Seconds() {
			list = append(list, fmt.Sprintf("rolling.%s: more than %v", f.name, f.max.Seconds()))
		}
	}
	if r.standbys && r.Cold > 0 {
		list = append(list, "rolling.cold: not 0")
	}
	return list
}

func (r *rolling) run(ctx context.Context, d *driver) error {
	r.standbys = d.standbys > 0
	d.load.pace(min(d.rate, calmRate))
	defer d.load.pace(d.rate)
	for _, x := range d.fleet.instances[:processes] {
		if err := r.replace(ctx, d, x); err != nil {
			return err
		}
	}
	if err := r.kill(ctx, d, d.fleet.instances[d.rng.IntN(processes)]); err != nil {
		return err
	}
	return r.leave(ctx, d, d.fleet.instances[d.rng.IntN(processes)])
}

// replace ends a process and starts it again.
func (r *rolling) replace(ctx context.Context, d *driver, x *instance) error {
	if err := d.calm(ctx); err != nil {
		return err
	}
	before := d.elsewhere(x)
	d.note("%s is replaced", x.Name)
	x.Signal(syscall.SIGTERM)
	if err := d.awaited(20*time.Second, "end", x, func() bool { return !x.Alive }); err != nil {
		return err
	}
	if err := x.Start(); err != nil {
		return err
	}
	began := time.Now()
	if err := d.awaited(30*time.Second, "commit", x, func() bool { return x.epochs > 0 }); err != nil {
		return err
	}
	if err := d.lagBelow(ctx, fewRecords); err != nil {
		return err
	}
	r.CaughtUpS = max(r.CaughtUpS, time.Since(began).Seconds())
	r.Moved += d.elsewhere(x) - before
	return nil
}

// kill kills a process, of whose tasks others have copies, and leaves it away until they go on with all of them.
func (r *rolling) kill(ctx context.Context, d *driver, x *instance) error {
	if err := d.calm(ctx); err != nil {
		return err
	}
	f := d.fleet
	f.Lock()
	x.Stays = true
	left := map[string]bool{} // it was replaced and nothing has moved since, so that these are its tasks
	for t := range x.has {
		left[t] = true
	}
	for _, y := range f.instances {
		clear(y.has)
	}
	f.Unlock()
	x.Signal(syscall.SIGKILL)
	d.died(x, "gone")
	began := time.Now()
	if err := d.awaited(60*time.Second, "be followed", x, func() bool {
		for _, y := range f.instances {
			for t := range y.has {
				delete(left, t)
			}
		}
		return len(left) == 0
	}); err != nil {
		return err
	}
	total := d.epochs()
	if err := d.awaited(20*time.Second, "be followed", x, func() bool { return f.total > total }); err != nil {
		return err
	}
	r.TakeoverS = time.Since(began).Seconds()
	f.Lock()
	for _, y := range f.instances {
		for _, copied := range y.has {
			if !copied {
				r.Cold++
			}
		}
	}
	f.Unlock()
	return x.Start()
}

func (r *rolling) leave(ctx context.Context, d *driver, x *instance) error {
	if err := d.calm(ctx); err != nil {
		return err
	}
	before := d.elsewhere(x)
	if err := d.leaves(x, 20*time.Second); err != nil {
		return err
	}
	left := time.Now()
	if err := d.awaited(20*time.Second, "be followed", x, func() bool { return d.restored([]*instance{x}) > before }); err != nil {
		return err
	}
	total := d.epochs()
	if err := d.awaited(20*time.Second, "be followed", x, func() bool { return d.fleet.total > total }); err != nil {
		return err
	}
	r.LeaveS = time.Since(left).Seconds()
	return x.Start()
}

// elsewhere counts what all processes but this one have restored since their first start.
func (d *driver) elsewhere(not *instance) int {
	d.fleet.Lock()
	defer d.fleet.Unlock()
	return d.restored([]*instance{not})
}

// calm waits until the processes that run from the start have committed, and the lag is and stays small.
func (d *driver) calm(ctx context.Context) error {
	if err := d.awaited(60*time.Second, "commit", nil, func() bool {
		for _, x := range d.fleet.instances[:processes] {
			if !x.counts() {
				return false
			}
		}
		return true
	}); err != nil {
		return err
	}
	ctx, done := context.WithTimeoutCause(ctx, 90*time.Second, fmt.Errorf("the lag does not come below %d records with nothing happening: this machine is too slow", fewRecords))
	defer done()
	for range 5 {
		if err := d.lagBelow(ctx, fewRecords/2); err != nil {
			return err
		}
		if err := pause(ctx, 300*time.Millisecond); err != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

func (d *driver) lagBelow(ctx context.Context, n int64) error {
	for {
		lag, _, err := d.cluster.lag(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case lag <= n:
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return context.Cause(ctx)
		}
	}
}

// leaves lets a process leave the group and end.
func (d *driver) leaves(x *instance, limit time.Duration) error {
	d.note("%s leaves", x.Name)
	d.fleet.Lock()
	x.Ending = true
	d.fleet.Unlock()
	x.Tell("leave")
	return d.awaited(limit, "leave", x, func() bool { return !x.Alive })
}

// awaited waits for something that processes say or do.
func (d *driver) awaited(limit time.Duration, what string, x *instance, cond func() bool) error {
	if d.fleet.Until(limit, cond) {
		return nil
	}
	if err := d.fleet.Trouble(); err != nil {
		return err
	}
	name := "a process"
	if x != nil {
		name = "process " + x.Name
		d.fleet.Lock()
		x.Ending = true // by us: what it did not do is the error
		d.fleet.Unlock()
		x.Signal(syscall.SIGQUIT) // so that its log tells what it was at
		d.fleet.Until(5*time.Second, func() bool { return !x.Alive })
	}
	return fmt.Errorf("%s did not %s within %v; see %s", name, what, limit, d.dir)
}
