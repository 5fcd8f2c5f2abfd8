package main

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// rolling is what a new version of the service costs the application while nothing fails: one process after the other
// is ended and started again, and then one leaves.
type rolling struct {
	Moved     int     `json:"moved"`       // tasks that went to another process meanwhile
	CaughtUpS float64 `json:"caught_up_s"` // from the start of a process until the lag is no more than fewRecords, the longest
	LeaveS    float64 `json:"leave_s"`     // from the end of one that left until the others have a task of its and commit
}

const fewRecords = 1000

func (r *rolling) run(ctx context.Context, d *driver) error {
	f := d.fleet
	for _, x := range f.instances[:processes] {
		if err := d.running(); err != nil {
			return err
		}
		before := d.elsewhere(x)
		d.note("%s is replaced", x.name)
		x.signal(syscall.SIGTERM)
		if err := d.awaited(20*time.Second, "end", x, func() bool { return !x.alive }); err != nil {
			return err
		}
		if err := x.start(); err != nil {
			return err
		}
		began := time.Now()
		if err := d.awaited(30*time.Second, "commit", x, func() bool { return x.epochs > 0 }); err != nil {
			return err
		}
		for {
			lag, _, err := d.cluster.lag(ctx)
			if err != nil {
				return err
			}
			if lag <= fewRecords {
				break
			}
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
		r.CaughtUpS = max(r.CaughtUpS, time.Since(began).Seconds())
		r.Moved += d.elsewhere(x) - before
	}
	if err := d.running(); err != nil {
		return err
	}
	x := f.instances[d.rng.IntN(processes)]
	before := d.elsewhere(x)
	if err := d.leaves(x, 20*time.Second); err != nil {
		return err
	}
	left := time.Now()
	if err := d.awaited(20*time.Second, "be followed", x, func() bool { return d.restored([]*instance{x}) > before }); err != nil {
		return err
	}
	total := d.epochs()
	if err := d.awaited(20*time.Second, "be followed", x, func() bool { return f.total > total }); err != nil {
		return err
	}
	r.LeaveS = time.Since(left).Seconds()
	return x.start()
}

// elsewhere counts what all processes but this one have restored since their first start.
func (d *driver) elsewhere(not *instance) int {
	d.fleet.mu.Lock()
	defer d.fleet.mu.Unlock()
	return d.restored([]*instance{not})
}

// running waits until the processes that run from the start have committed.
func (d *driver) running() error {
	return d.awaited(60*time.Second, "commit", nil, func() bool {
		for _, x := range d.fleet.instances[:processes] {
			if !x.counts() {
				return false
			}
		}
		return true
	})
}

// leaves lets a process leave the group and end.
func (d *driver) leaves(x *instance, limit time.Duration) error {
	d.note("%s leaves", x.name)
	d.fleet.mu.Lock()
	x.ending = true
	d.fleet.mu.Unlock()
	x.tell("leave")
	return d.awaited(limit, "leave", x, func() bool { return !x.alive })
}

// awaited waits for something that processes say or do.
func (d *driver) awaited(limit time.Duration, what string, x *instance, cond func() bool) error {
	if d.fleet.until(limit, cond) {
		return nil
	}
	if err := d.fleet.trouble(); err != nil {
		return err
	}
	name := "a process"
	if x != nil {
		name = "process " + x.name
	}
	return fmt.Errorf("%s did not %s within %v; see %s", name, what, limit, d.dir)
}
