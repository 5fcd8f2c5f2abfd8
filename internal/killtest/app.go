package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
)

// The driver and a process talk by lines.
//
// To the process:   die PLACE N     SIGKILL yourself when you are at PLACE for the N-th time from now
//                   stop PLACE N    the same with SIGSTOP
//                   forget          neither
//                   leave           leave the group and end
// From the process: armed PLACE     heard
//                   at PLACE        it comes now
//                   epoch           an epoch was committed and applied
//                   restored TASK LOCAL FROM RECORDS
//                   warm            copies of what it is to have are near: it asks for that

var guarantees = map[string]connect.Guarantee{"exactly-once": connect.ExactlyOnce, "at-least-once": connect.AtLeastOnce, "at-most-once": connect.AtMostOnce}

func runApp(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("app", flag.ExitOnError)
	brokers := fs.String("brokers", "", "addresses")
	prefix := fs.String("prefix", "", "of the topics; also the application's id")
	name := fs.String("profile", "mixed", "mixed or strict")
	instance := fs.String("instance", "", "name of this instance")
	dir := fs.String("state", "", "state directory")
	guarantee := fs.String("guarantee", "exactly-once", "exactly-once, at-least-once or at-most-once")
	session := fs.Duration("session", 3*time.Second, "session timeout")
	commit := fs.Duration("commit", 100*time.Millisecond, "commit interval")
	age := fs.Duration("metadata", 0, "how old the knowledge of topics may get; 0: as it is by default")
	rekeys := fs.Bool("rekeys", false, "the keyed topic may grow")
	workers := fs.Int("workers", 2, "goroutines that run tasks")
	standbys := fs.Int("standbys", 0, "copies of each task's state on other instances")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var keyedBy []source.Option
	if *rekeys {
		keyedBy = append(keyedBy, source.OnGrowth(source.GrowthRekeys))
	}
	topo := topology(profiles[*name], func(t string) string { return *prefix + "-" + t }, keyedBy...)
	app, err := topo.Build(stream.Config{AppID: *prefix, InstanceID: *instance, StateDir: *dir, Guarantee: guarantees[*guarantee], SessionTimeout: *session,
		CommitInterval: *commit, Standbys: *standbys, Workers: *workers, MemoryBudget: 64 << 20, Connect: []connect.Connector{kafka.Cluster{Brokers: strings.Split(*brokers, ","), MetadataMaxAge: *age, ClientOptions: []kgo.Opt{kgo.WithHooks(&deaf{after: *session})}}},
		Logger: slog.New(reporter{slog.NewTextHandler(os.Stderr, nil)})})
	if err != nil {
		return err
	}
	h := &hook{}
	if err := onFault(h.at); err != nil {
		return err
	}
	go h.listen(app)
	return app.Run(ctx)
}

// hook is called at every step of the commit protocol.
type hook struct {
	mu     sync.Mutex
	place  string
	signal syscall.Signal
	left   int
}

func (h *hook) at(place string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if place == h.place {
		if h.left--; h.left == 0 {
			h.place = ""
			say("at %s", place)
			_ = syscall.Kill(os.Getpid(), h.signal)
			time.Sleep(20 * time.Millisecond) // the signal is on its way
		}
	}
	if place == "after-apply" {
		say("epoch")
	}
}

func (h *hook) listen(app *stream.App) {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		f := strings.Fields(in.Text())
		switch {
		case len(f) == 3 && (f[0] == "die" || f[0] == "stop"):
			h.mu.Lock()
			h.place, h.signal = f[1], syscall.SIGKILL
			if f[0] == "stop" {
				h.signal = syscall.SIGSTOP
			}
			_, _ = fmt.Sscan(f[2], &h.left)
			h.mu.Unlock()
			say("armed %s", f[1])
		case len(f) == 1 && f[0] == "forget":
			h.mu.Lock()
			h.place = ""
			h.mu.Unlock()
		case len(f) == 1 && f[0] == "leave":
			go func() {
				ctx, done := context.WithTimeout(context.Background(), 10*time.Second)
				defer done()
				if err := app.Leave(ctx); err != nil {
					fmt.Fprintln(os.Stderr, "killtest app: leave:", err)
					_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
				}
			}()
		}
	}
}

// say writes a line at once, so that it is out before the process dies.
func say(format string, args ...any) { fmt.Fprintf(os.Stdout, format+"\n", args...) }

// reporter passes the log on and tells the driver of restored tasks, and of copies that are near.
type reporter struct{ slog.Handler }

// WithAttrs implements slog.Handler.
func (r reporter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return reporter{r.Handler.WithAttrs(attrs)}
}

// Handle implements slog.Handler.
func (r reporter) Handle(ctx context.Context, rec slog.Record) error {
	if rec.Message == "task restored" {
		v := map[string]string{}
		rec.Attrs(func(a slog.Attr) bool { v[a.Key] = a.Value.String(); return true })
		say("restored %s %s %s %s", v["task"], v["local"], v["from"], v["records"])
	}
	if strings.HasSuffix(rec.Message, "asking the group to move them") {
		say("warm")
	}
	return r.Handler.Handle(ctx, rec)
}

// deaf makes a process that was stopped for longer than its session hear late that the group has gone on without it: the
// answer to its first heartbeat takes a while. So it is a zombie for long enough to commit something, if it can.
type deaf struct {
	after time.Duration
	mu    sync.Mutex
	last  time.Time
}

const (
	keyHeartbeat = 12
	deafness     = 400 * time.Millisecond
)

// OnBrokerRead implements kgo.HookBrokerRead; the client waits for it before it looks at an answer.
func (d *deaf) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key != keyHeartbeat {
		return
	}
	d.mu.Lock()
	silent := !d.last.IsZero() && time.Since(d.last) > d.after
	d.last = time.Now()
	d.mu.Unlock()
	if silent {
		time.Sleep(deafness)
	}
}
