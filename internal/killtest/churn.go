package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// churn is what happens to the application in the cluster test: its processes are ended, killed, frozen, and leave the
// group, others join, and at the same time one broker of three after the other is stopped or killed.
type churn struct {
	kafka  string // the script that runs the brokers
	dir    string // and its directory
	nodes  int
	length time.Duration

	bounces, leaves int
	standstill      time.Duration
	rolling         rolling
	warm            warm
}

// clusterReport is the last line of its output.
type clusterReport struct {
	report
	BrokerBounces int     `json:"broker_bounces"`
	Leaves        int     `json:"leaves"`
	StandstillS   float64 `json:"standstill_s"`
	Rolling       rolling `json:"rolling"`
	Warm          warm    `json:"warm"`
	// Missed are the figures that are not what they should be.
	Missed []string `json:"missed,omitempty"`
}

// maxStandstill is how long the application may go without a committed result, whatever happens to it.
const maxStandstill = 30 * time.Second

func (c *churn) missed() (list []string) {
	list = c.rolling.missed()
	if c.standstill > maxStandstill {
		list = append(list, fmt.Sprintf("standstill_s: more than %v", maxStandstill.Seconds()))
	}
	return list
}

func runCluster(ctx context.Context, args []string) (status int, err error) {
	fs := flag.NewFlagSet("cluster", flag.ContinueOnError)
	s := settings{guarantee: "exactly-once"}
	c := &churn{nodes: 3}
	brokers := fs.String("brokers", "", "addresses")
	bin := fs.String("bin", "", "the processes' program")
	minutes := fs.Float64("minutes", 15, "how long")
	fs.StringVar(&s.dir, "dir", "", "directory for state and logs")
	fs.Uint64Var(&s.seed, "seed", 1, "of input and faults")
	fs.IntVar(&s.rate, "rate", 1000, "records per second")
	standbys := fs.Int("standbys", 1, "copies of each task's state on other instances")
	fs.StringVar(&c.kafka, "kafka", "scripts/kafka.sh", "script that runs the brokers")
	fs.StringVar(&c.dir, "kafka-dir", "", "its directory")
	if err := fs.Parse(args); err != nil {
		return statusFailed, err
	}
	c.length = time.Duration(*minutes * float64(time.Minute))
	name := "ct" + strconv.FormatUint(s.seed, 10)
	v, err := runOne(ctx, options{brokers: strings.Split(*brokers, ","), bin: *bin, dir: filepath.Join(s.dir, name), seed: s.seed, rate: s.rate,
		guarantee: s.guarantee, profile: "mixed", standbys: *standbys, churn: c, log: os.Stderr})
	if err != nil {
		return statusFailed, err
	}
	for _, e := range v.examples {
		fmt.Println(e)
	}
	b, err := json.Marshal(clusterReport{s.report(v), c.bounces, c.leaves, c.standstill.Seconds(), c.rolling, c.warm, c.missed()})
	if err != nil {
		return statusFailed, err
	}
	fmt.Println(string(b))
	if c.bounces == 0 || v.Kills == 0 || v.Zombies == 0 || c.leaves == 0 || c.warm.Copied == 0 {
		return statusFailed, errors.New("not everything that should happen has happened: give it more minutes")
	}
	if s.faulty(v) || len(c.missed()) > 0 {
		return statusFault, nil
	}
	return statusCorrect, nil
}

func (c *churn) run(ctx context.Context, d *driver) error {
	ctx, cancel := context.WithTimeout(ctx, c.length+5*time.Minute)
	defer cancel()
	if err := c.rolling.run(ctx, d); err != nil {
		return err
	}
	f := d.fleet
	f.Lock()
	f.timed, f.lastEpoch = true, time.Now()
	f.Unlock()
	end := time.Now().Add(c.length)
	var brokers sync.WaitGroup
	var bounced error
	bouncing, enough := context.WithCancel(ctx)
	defer enough()
	brokers.Go(func() { bounced = c.brokers(bouncing, d, end) })
	err := c.instances(ctx, d, end)
	if err != nil {
		enough()
	}
	brokers.Wait()
	f.Lock()
	f.stood()
	f.timed = false
	c.standstill = f.standstill
	f.Unlock()
	if err := errors.Join(err, bounced); err != nil {
		return err
	}
	return c.warm.run(ctx, d)
}

// brokers stops and kills brokers in turn, each only when every partition has all its replicas in sync.
func (c *churn) brokers(ctx context.Context, d *driver, end time.Time) error {
	rng := rand.New(rand.NewPCG(d.seed, 5))
	for {
		if err := c.inSync(ctx, d); err != nil {
			return err
		}
		if err := pause(ctx, time.Duration(2000+rng.IntN(3000))*time.Millisecond); err != nil || time.Now().After(end) {
			return err
		}
		node, how := strconv.Itoa(1+rng.IntN(c.nodes)), "stop"
		if c.bounces%2 == 1 {
			how = "kill"
		}
		d.note("broker %s: %s", node, how)
		if err := c.script(ctx, how, node); err != nil {
			return err
		}
		if err := pause(ctx, time.Duration(1000+rng.IntN(6000))*time.Millisecond); err != nil {
			return err
		}
		if err := c.script(ctx, "restart", node); err != nil {
			return err
		}
		d.note("broker %s is back", node)
		c.bounces++
	}
}

func (c *churn) script(ctx context.Context, command, node string) error {
	out, err := exec.CommandContext(ctx, "bash", c.kafka, command, "--dir", c.dir, "--node", node).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s --node %s: %w: %s", c.kafka, command, node, err, out)
	}
	return nil
}

// inSync waits until no replica is missing anywhere.
func (c *churn) inSync(ctx context.Context, d *driver) error {
	for {
		missing := 1
		if topics, err := d.cluster.adm.ListTopicsWithInternal(ctx); err == nil {
			missing = 0
			topics.EachPartition(func(p kadm.PartitionDetail) {
				if p.Leader < 0 || len(p.ISR) < len(p.Replicas) {
					missing++
				}
			})
		}
		if missing == 0 {
			return nil
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return fmt.Errorf("%d partitions have replicas that are not in sync: %w", missing, err)
		}
	}
}

// instances does something to one process after the other.
func (c *churn) instances(ctx context.Context, d *driver, end time.Time) error {
	f := d.fleet
	faults := []func(context.Context, *driver, *instance) error{c.kill, c.gone, c.freeze, c.end, c.leave}
	turn, order := 0, d.rng.Perm(len(faults))
	for time.Now().Before(end) {
		if err := f.Trouble(); err != nil {
			return err
		}
		if err := pause(ctx, time.Duration(500+d.rng.IntN(2500))*time.Millisecond); err != nil {
			return err
		}
		x := f.instances[d.rng.IntN(len(f.instances))]
		f.Lock()
		alive, working := x.Alive, 0
		for _, y := range f.instances {
			if y != x && y.Alive && !y.Frozen && !y.Ending {
				working++
			}
		}
		f.Unlock()
		if !alive {
			d.note("%s joins", x.Name)
			if err := x.Start(); err != nil {
				return err
			}
			continue
		}
		if working < 2 {
			continue
		}
		if turn == len(order) { // each kind once before any comes again
			turn, order = 0, d.rng.Perm(len(faults))
		}
		if err := faults[order[turn]](ctx, d, x); err != nil {
			return err
		}
		turn++
	}
	return f.Trouble()
}

// kill kills a process, which starts again at once.
func (c *churn) kill(_ context.Context, d *driver, x *instance) error {
	x.Signal(syscall.SIGKILL)
	d.died(x, random)
	return nil
}

// gone kills a process and leaves it dead until its turn to join.
func (c *churn) gone(_ context.Context, d *driver, x *instance) error {
	d.fleet.Lock()
	x.Stays = true
	d.fleet.Unlock()
	x.Signal(syscall.SIGKILL)
	d.died(x, "gone")
	return nil
}

// freeze stops a process for longer than its session.
func (c *churn) freeze(ctx context.Context, d *driver, x *instance) error {
	d.note("zombie %s stops", x.Name)
	x.Signal(syscall.SIGSTOP)
	if err := pause(ctx, session+time.Duration(500+d.rng.IntN(3000))*time.Millisecond); err != nil {
		return err
	}
	x.Signal(syscall.SIGCONT)
	d.zombies++
	d.note("zombie %s goes on", x.Name)
	return nil
}

// patience is how long a process may take to end. With a broker away its last commit may have to wait for another.
const patience = 60 * time.Second

// end ends a process, which keeps its place in the group.
func (c *churn) end(_ context.Context, d *driver, x *instance) error {
	d.note("%s is ended", x.Name)
	x.Signal(syscall.SIGTERM)
	return d.awaited(patience, "end", x, func() bool { return !x.Alive })
}

func (c *churn) leave(_ context.Context, d *driver, x *instance) error {
	c.leaves++
	return d.leaves(x, patience)
}
