package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/lease"
	"github.com/millstream-go/millstream/snapshot"
	"github.com/millstream-go/millstream/stream"
)

// The driver and a process talk by lines.
//
// To the process:   die PLACE N     SIGKILL yourself when you are at PLACE for the N-th time from now
//                   forget          do not
// From the process: at PLACE        it comes now
//                   epoch           an epoch was committed and applied

// The parts of the application.
const (
	roleRefine = "refine"
	roleCount  = "count"
)

// failover is how long a lease stays with a silent process. It is short, so that others take over soon.
const failover = 2 * time.Second

func runApp(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("app", flag.ExitOnError)
	var a access
	a.flags(fs)
	prefix := fs.String("prefix", "", "of the streams; also of the applications' ids")
	role := fs.String("role", roleRefine, "refine or count")
	instance := fs.String("instance", "", "name of this instance")
	dir := fs.String("state", "", "state directory")
	copies := fs.String("snapshots", "", "where the process that counts keeps snapshots")
	unordered := fs.Bool("unordered", false, "write without regard to the order of keys (a planted mistake)")
	dedup := fs.Bool("dedup", true, "drop what comes twice (without it a planted mistake)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	name := func(s string) string { return *prefix + "-" + s }
	// The end of an epoch does not wait for the linger. A commit that does not wait for the epoch's records has a loss to show.
	c := kinesis.Streams{Client: a.kinesis(), PollEvery: 50 * time.Millisecond, CallsPerSecond: 20, Tasks: 4, DiscoverEvery: time.Second,
		Write: kinesis.Write{Linger: 200 * time.Millisecond, Unordered: *unordered}}
	cfg := stream.Config{AppID: name(*role), InstanceID: *instance, StateDir: *dir, CommitInterval: 100 * time.Millisecond, Workers: 2, MemoryBudget: 64 << 20,
		Exchange: stream.InMemory, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	topo := counting(name, *dedup)
	if *role == roleRefine {
		topo = refining(name)
		cfg.Exchange = stream.ThroughTopic
		c.Leases = lease.Table{Client: a.dynamodb(), Failover: failover, HandOver: 5 * time.Second}
	}
	if *role == roleCount {
		cfg.Snapshots = snapshot.Config{Store: snapshot.NewDirectory(*copies), Every: 500 * time.Millisecond}
	}
	cfg.Connect = []connect.Connector{c}
	app, err := topo.Build(cfg)
	if err != nil {
		return err
	}
	h := &hook{}
	if err := onFault(h.at); err != nil {
		return err
	}
	go h.listen()
	return app.Run(ctx)
}

// hook is called at every step of a commit.
type hook struct {
	mu    sync.Mutex
	place string
	left  int
}

func (h *hook) at(place string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if place == h.place {
		if h.left--; h.left == 0 {
			say("at %s", place)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
	if place == "after-apply" {
		say("epoch")
	}
}

func (h *hook) listen() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		f := strings.Fields(in.Text())
		h.mu.Lock()
		switch {
		case len(f) == 3 && f[0] == "die":
			h.place = f[1]
			_, _ = fmt.Sscan(f[2], &h.left)
		case len(f) == 1 && f[0] == "forget":
			h.place = ""
		}
		h.mu.Unlock()
	}
}

// say writes a line at once, so that it is out before the process dies.
func say(format string, args ...any) { fmt.Fprintf(os.Stdout, format+"\n", args...) }
