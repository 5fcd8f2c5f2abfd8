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
	if !d.fleet.until(60*time.Second, func() bool { return d.fleet.epochs > 0 && d.all((*instance).counts) }) {
		if err := d.fleet.trouble(); err != nil {
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
	d.fleet.mu.Lock()
	n := d.restored(zombies)
	d.fleet.mu.Unlock()
	d.fleet.until(4*time.Second, func() bool { return d.restored(zombies) > n })
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
		z.tell("die %s 1", inRestore)
		d.fleet.until(2*time.Second, func() bool { return z.armed == inRestore })
	}
	z.signal(syscall.SIGSTOP)
	stopped := time.Now()
	d.note("zombie %s stops", z.name)
	if killHeir {
		heir.tell("die %s 1", inRestore)
		if !d.dead(heir, inRestore, session+4*time.Second) {
			d.note("no task moved to %s", heir.name)
		}
	}
	if err := d.outlived(ctx, stopped, z); err != nil {
		return err
	}
	// The heirs commit something that the zombie does not know of.
	n := d.epochs()
	d.fleet.until(2*time.Second, func() bool { return d.fleet.total > n+5 })
	z.signal(syscall.SIGCONT)
	d.zombies++
	d.note("zombie %s goes on after %v", z.name, time.Since(stopped).Round(time.Millisecond))
	if killZombie && !d.dead(z, inRestore, 8*time.Second) {
		d.note("%s restored nothing", z.name)
	}
	return d.fleet.trouble()
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
	z.signal(syscall.SIGSTOP)
	second.signal(syscall.SIGSTOP) // often another one
	stopped := time.Now()
	d.note("zombie %s (%s) stops with nothing but timers, due in %v", z.name, second.name, time.Until(due).Round(time.Millisecond))
	if err := d.outlived(ctx, stopped, z, second); err != nil {
		return err
	}
	// The heirs fire what is due.
	if err := pause(ctx, max(0, time.Until(due))+800*time.Millisecond); err != nil {
		return err
	}
	z.signal(syscall.SIGCONT)
	d.zombies++
	if second != z {
		second.signal(syscall.SIGCONT)
		d.zombies++
	}
	d.note("zombie goes on after %v", time.Since(stopped).Round(time.Millisecond))
	if err := pause(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	return d.fleet.trouble()
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
	pid := z.pid
	z.tell("stop after-flush 1")
	if !d.fleet.until(5*time.Second, func() bool { return z.at == "after-flush" || z.pid != pid }) {
		z.tell("forget")
		return d.fleet.trouble()
	}
	d.fleet.mu.Lock()
	z.stopped = true
	d.fleet.mu.Unlock()
	stopped := time.Now()
	d.note("zombie %s stops in a commit", z.name)
	if err := d.outlived(ctx, stopped, z); err != nil {
		return err
	}
	n := d.epochs()
	d.fleet.until(2*time.Second, func() bool { return d.fleet.total > n+8 })
	if err := d.leaves(heir, 10*time.Second); err != nil {
		return err
	}
	if err := pause(ctx, 1500*time.Millisecond); err != nil {
		return err
	}
	z.signal(syscall.SIGCONT)
	d.zombies++
	d.note("zombie %s goes on after %v", z.name, time.Since(stopped).Round(time.Millisecond))
	if err := d.fleet.trouble(); err != nil {
		return err
	}
	return heir.start()
}
