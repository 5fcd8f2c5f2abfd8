package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// session is the session timeout of the processes, which zombies must outlive.
const session = 3 * time.Second

// options is what a run is about.
type options struct {
	brokers   []string
	bin       string // of the processes
	dir       string
	seed      uint64
	rate      int
	guarantee string
	profile   string
	plan      []action
	// inRestores is how many kills in a restore are to happen beside those of the plan.
	inRestores int
	planted    bool
	standbys   int
	churn      *churn  // instead of the plan
	growth     *growth // instead of either
	log        io.Writer
}

// processes are how many run from the start.
const processes = 3

// driver does a plan to the processes of one application.
type driver struct {
	options
	fleet   *fleet
	load    *load
	cluster *cluster
	rng     *rand.Rand

	kills, zombies int
	steps          map[string]int
}

// runOne runs one application through a plan, and checks what it has left.
func runOne(ctx context.Context, o options) (*verdict, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	prefix := filepath.Base(o.dir)
	c, err := connectTo(o.brokers, prefix)
	if err != nil {
		return nil, err
	}
	defer c.adm.Close()
	if o.growth != nil {
		c.parts[topicIn], c.parts[topicKeyed] = o.growth.From, o.growth.From
	}
	if err := c.createTopics(ctx); err != nil {
		return nil, err
	}
	defer c.deleteTopics(context.WithoutCancel(ctx))
	l, err := newLoad(o.brokers, profiles[o.profile], c.topic, o.seed)
	if err != nil {
		return nil, err
	}
	defer func() { l.cl.Close() }()
	l.parts = c.parts[topicIn]
	n := processes
	if o.churn != nil {
		n++ // one that comes later
	}
	args := []string{"-brokers", strings.Join(o.brokers, ","), "-prefix", prefix, "-profile", o.profile,
		"-guarantee", o.guarantee, "-session", session.String(), "-standbys", strconv.Itoa(o.standbys)}
	if o.growth != nil {
		args = append(args, "-metadata", "1s", "-rekeys")
	}
	f := newFleet(ctx, o.bin, o.dir, n, args)
	defer f.KillAll()
	d := &driver{options: o, fleet: f, load: l, cluster: c, rng: rand.New(rand.NewPCG(o.seed, 2)), steps: map[string]int{}}
	if err := d.run(ctx); err != nil {
		if t := f.Trouble(); t != nil {
			err = t
		}
		if o.planted && f.noticed() {
			d.note("the application has noticed: %v", err)
			return &verdict{Kills: d.kills, Zombies: d.zombies, Records: int(l.next - 1), Wrong: 1, Steps: d.steps}, nil
		}
		return nil, fmt.Errorf("%s: %w", prefix, err)
	}
	d.note("checking")
	v, err := check(ctx, c, profiles[o.profile], o.guarantee)
	if err != nil {
		return nil, err
	}
	if len(v.examples) > 0 && !o.planted {
		if err := c.dump(ctx, filepath.Join(o.dir, "topics")); err != nil {
			d.note("write the topics to files: %v", err)
		}
	}
	v.Kills, v.Zombies, v.Steps, v.Wiped, v.restores = d.kills, d.zombies, d.steps, f.wiped, f.restores
	return v, nil
}

func (d *driver) note(format string, args ...any) {
	fmt.Fprintf(d.log, "%s %s: %s\n", time.Now().Format("15:04:05.000"), filepath.Base(d.dir), fmt.Sprintf(format, args...))
}

func (d *driver) run(ctx context.Context) error {
	first := processes
	if d.growth != nil {
		first = 1
	}
	for _, x := range d.fleet.instances[:first] {
		if err := x.Start(); err != nil {
			return err
		}
	}
	sending, stop := context.WithCancel(ctx)
	defer stop()
	d.load.pace(d.rate)
	go d.load.run(sending)
	if !d.fleet.Until(60*time.Second, func() bool { return d.all(func(x *instance) bool { return !x.Alive || x.epochs > 2 }) }) {
		return fmt.Errorf("the processes did not commit an epoch each within 60 s; see %s", d.dir)
	}
	if d.churn != nil {
		if err := d.churn.run(ctx, d); err != nil {
			return err
		}
	}
	if d.growth != nil {
		if err := d.growth.run(ctx, d); err != nil {
			return err
		}
	}
	for _, a := range d.plan {
		if err := d.do(ctx, a); err != nil {
			return err
		}
	}
	for try := 0; d.wanted() > 0 && try < 10; try++ {
		if err := d.zombie(ctx); err != nil {
			return err
		}
	}
	stop()
	return d.finish(ctx)
}

// finish closes all windows, ends the processes cleanly, and has every key's state shown by another start of them.
func (d *driver) finish(ctx context.Context) error {
	d.note("closing: %d kills, %d zombies, %d records", d.kills, d.zombies, d.load.next-1)
	d.load.pause(false)
	if err := d.fleet.StartAll(); err != nil { // those that have left
		return err
	}
	if err := d.load.flush(ctx); err != nil {
		return err
	}
	if err := d.cluster.drained(ctx, d.fleet, 60*time.Second); err != nil {
		return err
	}
	d.load.last(ctx)
	if err := d.load.flush(ctx); err != nil {
		return err
	}
	// Alarms are due within a second of their records.
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	if err := d.settled(ctx); err != nil {
		return err
	}
	if err := d.fleet.StopAll(20 * time.Second); err != nil {
		return err
	}
	if err := d.fleet.StartAll(); err != nil {
		return err
	}
	d.load.probe(ctx)
	if err := d.load.flush(ctx); err != nil {
		return err
	}
	if err := d.settled(ctx); err != nil {
		return err
	}
	return d.fleet.StopAll(20 * time.Second)
}

// settled waits until all is processed and nothing is committed any more.
func (d *driver) settled(ctx context.Context) error {
	for {
		if err := d.cluster.drained(ctx, d.fleet, 60*time.Second); err != nil {
			return err
		}
		before := d.epochs()
		if err := pause(ctx, 400*time.Millisecond); err != nil {
			return err
		}
		if d.epochs() == before {
			return nil
		}
	}
}

func (d *driver) epochs() int {
	d.fleet.Lock()
	defer d.fleet.Unlock()
	return d.fleet.total
}

func (d *driver) all(ok func(*instance) bool) bool {
	for _, x := range d.fleet.instances {
		if !ok(x) {
			return false
		}
	}
	return true
}

// pick chooses a process, other than some, and waits until its end would count: it has committed since its start, and
// somebody since the last kill.
func (d *driver) pick(not ...*instance) (*instance, error) {
	var able []*instance
	for _, x := range d.fleet.instances {
		ok := true
		for _, n := range not {
			ok = ok && n != x
		}
		if ok {
			able = append(able, x)
		}
	}
	from := d.rng.IntN(len(able))
	var got *instance
	if !d.fleet.Until(60*time.Second, func() bool {
		if d.fleet.epochs == 0 {
			return false
		}
		for i := range able {
			// One that is away or slow is passed over.
			if x := able[(from+i)%len(able)]; x.counts() {
				got = x
				return true
			}
		}
		return false
	}) {
		return nil, fmt.Errorf("no process committed an epoch for 60 s; see %s", d.dir)
	}
	return got, nil
}

// counts says that the end of this process would count. The fleet is locked.
func (x *instance) counts() bool { return x.Alive && !x.Frozen && !x.Ending && x.epochs > 0 }

// died counts a kill. The fleet is not locked.
func (d *driver) died(x *instance, place string) {
	d.kills++
	d.steps[place]++
	d.fleet.Lock()
	d.fleet.epochs = 0
	d.fleet.Unlock()
	d.note("kill %d: %s at %s", d.kills, x.Name, place)
}

func (d *driver) do(ctx context.Context, a action) error {
	switch a.kind {
	case kill:
		return d.kill(ctx, a.place)
	case away:
		return d.away(ctx)
	case zombie:
		return d.zombie(ctx)
	case timers:
		return d.timers(ctx)
	default:
		return d.leave(ctx)
	}
}

// kill ends a process at a place.
func (d *driver) kill(ctx context.Context, place string) error {
	for try := 0; ; try++ {
		x, err := d.pick()
		if err != nil {
			return err
		}
		if place == random {
			if err := pause(ctx, time.Duration(d.rng.IntN(150))*time.Millisecond); err != nil {
				return err
			}
			d.fleet.Lock()
			ok := x.counts() && d.fleet.epochs > 0
			d.fleet.Unlock()
			if !ok {
				continue
			}
			x.Signal(syscall.SIGKILL)
			d.died(x, random)
			return nil
		}
		if d.dies(x, place, 1+d.rng.IntN(3), 5*time.Second) {
			return nil
		}
		if err := d.fleet.Trouble(); err != nil {
			return err
		}
		if try == 5 {
			return fmt.Errorf("no process came to %s", place)
		}
	}
}

// dies makes a process end at a place, and counts that if it counts.
func (d *driver) dies(x *instance, place string, nth int, limit time.Duration) bool {
	x.Tell("die %s %d", place, nth)
	return d.dead(x, place, limit)
}

func (d *driver) dead(x *instance, place string, limit time.Duration) bool {
	pid := x.Pid
	if !d.fleet.Until(limit, func() bool { return x.Pid != pid || x.at == place || !x.Alive }) {
		x.Tell("forget")
		return false
	}
	d.fleet.Lock()
	ok := d.fleet.epochs > 0
	d.fleet.Unlock()
	if !ok {
		d.note("a kill of %s at %s does not count", x.Name, place)
		return false
	}
	d.died(x, place)
	return true
}

// away ends a process and starts it again when its session is over.
func (d *driver) away(ctx context.Context) error {
	x, err := d.pick()
	if err != nil {
		return err
	}
	d.fleet.Lock()
	x.Stays = true
	d.fleet.Unlock()
	x.Signal(syscall.SIGKILL)
	d.died(x, random)
	time.AfterFunc(session+time.Second+time.Duration(d.rng.IntN(1000))*time.Millisecond, func() {
		if ctx.Err() == nil {
			if err := x.Start(); err != nil {
				d.fleet.Fail(err)
			}
		}
	})
	return nil
}
