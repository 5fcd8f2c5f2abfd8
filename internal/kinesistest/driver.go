package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// options is what a run is about.
type options struct {
	access
	bin     string // of the processes
	dir     string
	args    []string // more of them
	seed    uint64
	rate    int
	plan    []action
	planted bool
	quiet   func() error // ends the faults of the service
	log     io.Writer
}

// patience is how long the processes may take to read what there is, when nothing is done to them any more. A planted mistake has less.
const (
	patience        = 90 * time.Second
	patiencePlanted = 8 * time.Second
)

// driver does a plan to the processes of one application.
type driver struct {
	options
	streams
	fleet *fleet
	load  *load
	rng   *rand.Rand

	kills, disks, frozen, reshards int
	steps                          map[string]int

	mu     sync.Mutex
	counts map[string]int // by key, what has been counted, as the output says
}

// runOne runs one application through a plan, and checks what it has left.
func runOne(ctx context.Context, o options) (*verdict, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	s := streams{o.kinesis(), fmt.Sprintf("%s-%d", filepath.Base(o.dir), os.Getpid())}
	shards := map[string]int32{streamIn: 3, streamRefined: 2, streamTrace: 1, streamOnce: 4, streamTotals: 4}
	for name, n := range shards {
		if err := s.create(ctx, name, n); err != nil {
			return nil, err
		}
		defer func() { _ = s.delete(context.WithoutCancel(ctx), name) }() // what is left goes with the service
	}
	args := append([]string{"-kinesis", o.kinesisURL, "-dynamodb", o.dynamodbURL, "-prefix", s.prefix}, o.args...)
	d := &driver{options: o, streams: s, load: newLoad(s, o.seed), rng: rand.New(rand.NewPCG(o.seed, 2)), steps: map[string]int{}, counts: map[string]int{},
		fleet: newFleet(ctx, o.bin, o.dir, args, roleRefine, roleRefine, roleRefine, roleCount)}
	defer func() {
		_, _ = o.dynamodb().DeleteTable(context.WithoutCancel(ctx), &dynamodb.DeleteTableInput{TableName: aws.String(s.name(roleRefine) + "-" + s.name(streamIn))})
	}()
	defer d.fleet.KillAll()
	following, stop := context.WithCancel(ctx)
	defer stop()
	go d.follow(following)
	if err := d.run(ctx); err != nil {
		if t := d.fleet.Trouble(); t != nil {
			err = t
		}
		return nil, fmt.Errorf("%s: %w", filepath.Base(o.dir), err)
	}
	d.note("checking")
	v, err := check(ctx, s)
	if err != nil {
		return nil, err
	}
	v.Kills, v.Disks, v.Reshards, v.Frozen, v.Retried, v.Steps = d.kills, d.disks, d.reshards, d.frozen, d.load.again, d.steps
	return v, nil
}

func (d *driver) note(format string, args ...any) {
	fmt.Fprintf(d.log, "%s %s: %s\n", time.Now().Format("15:04:05.000"), filepath.Base(d.dir), fmt.Sprintf(format, args...))
}

// run does the plan, lets the processes read everything, and starts them once more on what they have left, the one that counts on
// its snapshots alone: the last record of each key shows that state.
func (d *driver) run(ctx context.Context) error {
	if err := d.fleet.StartAll(); err != nil {
		return err
	}
	sending, stop := context.WithCancel(ctx)
	defer stop()
	sent := make(chan error, 1)
	go func() { sent <- d.load.run(sending, d.rate) }()
	if !d.fleet.Until(60*time.Second, func() bool {
		return !slices.ContainsFunc(d.fleet.instances, func(x *instance) bool { return x.epochs == 0 })
	}) {
		return fmt.Errorf("the processes did not commit an epoch each within 60 s; see %s", d.dir)
	}
	for _, a := range d.plan {
		if err := d.do(ctx, a); err != nil {
			return err
		}
	}
	if err := d.quiet(); err != nil {
		return err
	}
	stop()
	if err := <-sent; err != nil {
		return err
	}
	d.note("closing: %d kills, %d reshards", d.kills, d.reshards)
	if err := d.load.all(ctx); err != nil {
		return err
	}
	if err := d.drained(ctx); err != nil {
		return err
	}
	if err := d.fleet.StopAll(30 * time.Second); err != nil {
		return err
	}
	for _, x := range d.fleet.instances {
		d.lose(x, action{disk: x.role == roleCount})
	}
	if err := d.fleet.StartAll(); err != nil {
		return err
	}
	if err := d.load.all(ctx); err != nil {
		return err
	}
	if err := d.drained(ctx); err != nil {
		return err
	}
	return d.fleet.StopAll(30 * time.Second)
}

// follow reads what has been counted, as it is written.
func (d *driver) follow(ctx context.Context) {
	var tails []*tail
	for pause(ctx, 100*time.Millisecond) == nil {
		if tails == nil {
			list, _ := d.shards(ctx, streamTotals) // tried again
			for _, sh := range list {
				tails = append(tails, &tail{streams: d.streams, stream: streamTotals, shard: aws.ToString(sh.ShardId)})
			}
		}
		for _, t := range tails {
			for more := true; more; {
				var recs []read
				recs, more, _ = t.next(ctx) // what fails is read again
				d.counted(recs)
			}
		}
	}
}

func (d *driver) counted(recs []read) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range recs {
		var c total
		if json.Unmarshal(r.data, &c) == nil {
			d.counts[c.Key] = max(d.counts[c.Key], c.Count)
		}
	}
}

// drained waits until as much is counted as was sent. If nothing more comes for long it is the checker that says what is missing.
func (d *driver) drained(ctx context.Context) error {
	limit := patience
	if d.planted {
		limit = patiencePlanted
	}
	want := d.load.numbers()
	least, deadline := math.MaxInt, time.Time{}
	for {
		d.mu.Lock()
		missing := 0
		for k, n := range want {
			missing += max(0, n-d.counts[k])
		}
		d.mu.Unlock()
		if missing == 0 {
			return nil
		}
		if missing < least {
			least, deadline = missing, time.Now().Add(limit)
		} else if time.Now().After(deadline) {
			d.note("%d records have not been counted, and no more were for %v", missing, limit)
			return nil
		}
		if err := d.fleet.Trouble(); err != nil {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (d *driver) do(ctx context.Context, a action) error {
	switch a.kind {
	case kill:
		return d.kill(ctx, a)
	case freeze:
		return d.freeze(ctx)
	case reshape:
		return d.reshard(ctx, streamRefined)
	default:
		if err := d.reshard(ctx, streamIn); err != nil {
			return err
		}
		d.reshards++
		return nil
	}
}

// pick chooses a process of a role whose end would count, and waits for one.
func (d *driver) pick(role string) (*instance, error) {
	from := d.rng.IntN(len(d.fleet.instances))
	var got *instance
	if !d.fleet.Until(60*time.Second, func() bool {
		for i := range d.fleet.instances {
			if x := d.fleet.instances[(from+i)%len(d.fleet.instances)]; x.role == role && x.counts() {
				got = x
				return true
			}
		}
		return false
	}) {
		return nil, fmt.Errorf("no process that can %s committed an epoch for 60 s; see %s", role, d.dir)
	}
	return got, nil
}

// kill ends a process at a place.
func (d *driver) kill(ctx context.Context, a action) error {
	for try := 0; ; try++ {
		x, err := d.pick(a.role)
		if err != nil {
			return err
		}
		if a.place == random {
			if err := pause(ctx, time.Duration(d.rng.IntN(500))*time.Millisecond); err != nil {
				return err
			}
			d.fleet.Lock()
			ok := x.counts()
			d.fleet.Unlock()
			if !ok {
				continue
			}
			d.lose(x, a)
			x.Signal(syscall.SIGKILL)
			d.died(x, a)
			return nil
		}
		d.fleet.Lock()
		pid := x.Pid
		d.fleet.Unlock()
		nth := 1 + d.rng.IntN(3)
		if strings.HasSuffix(a.place, "checkpoint") {
			nth = 1 // they come every five seconds only
		}
		d.lose(x, a)
		x.Tell("die %s %d", a.place, nth)
		if d.fleet.Until(20*time.Second, func() bool { return x.Pid != pid || x.at == a.place || !x.Alive }) {
			d.died(x, a)
			return nil
		}
		x.Tell("forget")
		if err := d.fleet.Trouble(); err != nil {
			return err
		}
		if try == 5 {
			return fmt.Errorf("no process came to %s", a.place)
		}
	}
}

// lose makes a process begin on an empty disk when it is started the next time, if the action says so.
func (d *driver) lose(x *instance, a action) {
	if a.disk {
		d.fleet.Lock()
		x.disks++
		d.fleet.Unlock()
	}
}

// died counts a kill.
func (d *driver) died(x *instance, a action) {
	d.kills++
	d.steps[a.place]++
	if a.disk {
		d.disks++
	}
	d.fleet.Lock()
	d.fleet.epochs = 0
	d.fleet.Unlock()
	d.note("kill %d: %s%s at %s", d.kills, x.Name, map[bool]string{true: " and its disk"}[a.disk], a.place)
}

// freeze stops a process, so that others take its shards, and lets it go on.
func (d *driver) freeze(ctx context.Context) error {
	x, err := d.pick(roleRefine)
	if err != nil {
		return err
	}
	d.note("%s stands still", x.Name)
	x.Signal(syscall.SIGSTOP)
	err = pause(ctx, failover+time.Duration(500+d.rng.IntN(1000))*time.Millisecond)
	x.Signal(syscall.SIGCONT)
	d.frozen++
	return err
}

// The number of open shards stays between these.
const (
	fewest = 2
	most   = 8
)

// reshard splits or merges shards of a stream. A call whose answer was lost may have been done.
func (d *driver) reshard(ctx context.Context, stream string) error {
	for try := 0; ; try++ {
		if err := d.active(ctx, stream); err != nil {
			return err
		}
		list, err := d.shards(ctx, stream)
		if err != nil {
			return err
		}
		now := open(list)
		slices.SortFunc(now, func(a, b types.Shard) int {
			return hash(a.HashKeyRange.StartingHashKey).Cmp(hash(b.HashKeyRange.StartingHashKey))
		})
		i := d.rng.IntN(len(now))
		if len(now) < most && (len(now) <= fewest || d.rng.IntN(2) == 0) {
			err = d.split(ctx, stream, now[i])
		} else {
			i = min(i, len(now)-2)
			err = d.merge(ctx, stream, now[i], now[i+1])
		}
		if err == nil {
			d.note("%s had %d open shards", stream, len(now))
			return d.active(ctx, stream)
		}
		var busy *types.ResourceInUseException
		var often *types.LimitExceededException
		if try == 20 || !errors.As(err, &busy) && !errors.As(err, &often) {
			return fmt.Errorf("reshard %s: %w", stream, err)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// add sums up verdicts.
func (v *verdict) add(w *verdict) {
	v.Kills += w.Kills
	v.Disks += w.Disks
	v.Reshards += w.Reshards
	v.Frozen += w.Frozen
	v.Records += w.Records
	v.Retried += w.Retried
	v.Lost += w.Lost
	v.Duplicated += w.Duplicated
	v.Wrong += w.Wrong
	v.OutOfOrder += w.OutOfOrder
	v.Skipped += w.Skipped
	if v.Steps == nil {
		v.Steps = map[string]int{}
	}
	for p := range maps.Keys(w.Steps) {
		v.Steps[p] += w.Steps[p]
	}
}
