package main

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// present waits until all processes run and have committed.
func (d *driver) present() error {
	if !d.fleet.Until(60*time.Second, func() bool { return d.fleet.epochs > 0 && d.all((*instance).counts) }) {
		if err := d.fleet.Trouble(); err != nil {
			return err
		}
		return fmt.Errorf("not all processes committed an epoch within 60 s; see %s", d.dir)
	}
	return nil
}

// outlived waits until the session of processes that have stopped is over and the others have restored tasks of theirs.
func (d *driver) outlived(ctx context.Context, stopped time.Time, zombies ...*instance) error {
	if err := pause(ctx, session-700*time.Millisecond-time.Since(stopped)); err != nil {
		return err
	}
	d.fleet.Lock()
	n := d.restored(zombies)
	d.fleet.Unlock()
	d.fleet.Until(4*time.Second, func() bool { return d.restored(zombies) > n })
	return pause(ctx, session+500*time.Millisecond-time.Since(stopped))
}

// restored counts the tasks that processes other than these have restored. The fleet is locked.
func (d *driver) restored(not []*instance) (n int) {
	for _, x := range d.fleet.instances {
		if !slices.Contains(not, x) {
			n += x.tasks
		}
	}
	return n
}

func (d *driver) zombie(ctx context.Context) error {
	if err := d.present(); err != nil {
		return err
	}
	z, err := d.pick()
	if err != nil {
		return err
	}
	heir, err := d.pick(z)
	if err != nil {
		return err
	}
	wanted := d.wanted()
	killHeir, killZombie := wanted > 0, wanted > 1
	if killZombie {
		z.Tell("die %s 1", inRestore)
		d.fleet.Until(2*time.Second, func() bool { return z.armed == inRestore })
	}
	z.Signal(syscall.SIGSTOP)
	stopped := time.Now()
	d.note("zombie %s stops", z.Name)
	if killHeir {
		heir.Tell("die %s 1", inRestore)
		if !d.dead(heir, inRestore, session+4*time.Second) {
			d.note("no task moved to %s", heir.Name)
		}
	}
	if err := d.outlived(ctx, stopped, z); err != nil {
		return err
	}
	// The heirs commit something that the zombie does not know of.
	n := d.epochs()
	d.fleet.Until(2*time.Second, func() bool { return d.fleet.total > n+5 })
	z.Signal(syscall.SIGCONT)
	d.zombies++
	d.note("zombie %s goes on after %v", z.Name, time.Since(stopped).Round(time.Millisecond))
	if killZombie && !d.dead(z, inRestore, 8*time.Second) {
		d.note("%s restored nothing", z.Name)
	}
	return d.fleet.Trouble()
}

// wanted is how many kills in a restore are still to happen.
func (d *driver) wanted() int { return d.inRestores - d.steps[inRestore] }

func (d *driver) timers(ctx context.Context) error {
	if err := d.present(); err != nil {
		return err
	}
	d.load.pause(true)
	defer d.load.pause(false)
	if err := d.load.flush(ctx); err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil { // alarms of the load
		return err
	}
	if err := d.settled(ctx); err != nil {
		return err
	}
	due := time.Now().Add(session)
	d.load.alarms(ctx, 40, due)
	if err := d.load.flush(ctx); err != nil {
		return err
	}
	if err := d.settled(ctx); err != nil {
		return err
	}
	z := d.fleet.instances[d.rng.IntN(len(d.fleet.instances))]
	second := d.fleet.instances[d.rng.IntN(len(d.fleet.instances))]
	z.Signal(syscall.SIGSTOP)
	second.Signal(syscall.SIGSTOP) // often another one
	stopped := time.Now()
	d.note("zombie %s (%s) stops with nothing but timers, due in %v", z.Name, second.Name, time.Until(due).Round(time.Millisecond))
	if err := d.outlived(ctx, stopped, z, second); err != nil {
		return err
	}
	// The heirs fire what is due.
	if err := pause(ctx, max(0, time.Until(due))+800*time.Millisecond); err != nil {
		return err
	}
	z.Signal(syscall.SIGCONT)
	d.zombies++
	if second != z {
		second.Signal(syscall.SIGCONT)
		d.zombies++
	}
	d.note("zombie goes on after %v", time.Since(stopped).Round(time.Millisecond))
	if err := pause(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	return d.fleet.Trouble()
}

func (d *driver) leave(ctx context.Context) error {
	if err := d.present(); err != nil {
		return err
	}
	z, err := d.pick()
	if err != nil {
		return err
	}
	heir, err := d.pick(z)
	if err != nil {
		return err
	}
	pid := z.Pid
	z.Tell("stop after-flush 1")
	if !d.fleet.Until(5*time.Second, func() bool { return z.at == "after-flush" || z.Pid != pid }) {
		z.Tell("forget")
		return d.fleet.Trouble()
	}
	d.fleet.Lock()
	z.Frozen = true
	d.fleet.Unlock()
	stopped := time.Now()
	d.note("zombie %s stops in a commit", z.Name)
	if err := d.outlived(ctx, stopped, z); err != nil {
		return err
	}
	n := d.epochs()
	d.fleet.Until(2*time.Second, func() bool { return d.fleet.total > n+8 })
	if err := d.leaves(heir, 10*time.Second); err != nil {
		return err
	}
	if err := pause(ctx, 1500*time.Millisecond); err != nil {
		return err
	}
	z.Signal(syscall.SIGCONT)
	d.zombies++
	d.note("zombie %s goes on after %v", z.Name, time.Since(stopped).Round(time.Millisecond))
	if err := d.fleet.Trouble(); err != nil {
		return err
	}
	return heir.Start()
}
