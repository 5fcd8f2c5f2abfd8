package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/metrics"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/snapshot"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// What an application does when the disk of its state fails. Operations of one kind fail in a run, from the n-th on: once,
// from then on for ever, or for want of space until there is some. In each run the process lives, and within five
// seconds the application has stopped with an error that says why, says that the disk is full and waits, or has not
// needed what failed. Then the disk works again: the application goes on by itself or is started again, and what it has
// written and holds is right.

var (
	diskFaults = flag.Int("faults", 0, "TestDiskFaults: how many operations of each kind fail in each way, one in a run; 0: a sample")
	diskSeed   = flag.Uint64("faultseed", 1, "TestDiskFaults: which ones")
)

// The ways in which an operation fails.
const (
	failsOnce = iota
	failsForEver
	findsNoSpace
	endsWithoutSpace
)

var failsHow = [...]string{"once", "for ever", "no space", "no space until the end"}

// diskOps are the kinds of operations. Where torn is set half of what is to be written is.
var diskOps = []struct {
	name  string
	kinds []errorfs.OpKind
	torn  bool
	waits bool // a running application waits for space, and stops for nothing else
}{
	{"create", []errorfs.OpKind{errorfs.OpCreate}, false, true},
	{"write", []errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpFileWriteAt}, false, true},
	{"short write", []errorfs.OpKind{errorfs.OpFileWrite}, true, true},
	{"sync", []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}, false, false},
	{"rename", []errorfs.OpKind{errorfs.OpRename, errorfs.OpReuseForWrite}, false, false},
	{"link", []errorfs.OpKind{errorfs.OpLink}, false, false},
	{"remove", []errorfs.OpKind{errorfs.OpRemove, errorfs.OpRemoveAll}, false, false},
	{"make directory", []errorfs.OpKind{errorfs.OpMkdirAll}, false, false},
	{"lock", []errorfs.OpKind{errorfs.OpLock}, false, false},
	{"open", []errorfs.OpKind{errorfs.OpOpen, errorfs.OpOpenDir}, false, false},
	{"list", []errorfs.OpKind{errorfs.OpList}, false, false},
	{"stat", []errorfs.OpKind{errorfs.OpStat, errorfs.OpFileStat}, false, false},
	{"read", []errorfs.OpKind{errorfs.OpFileRead, errorfs.OpFileReadAt}, false, false},
}

// leftByDisks are the goroutines of stores that were abandoned, which stay until the process ends.
var leftByDisks []goleak.Option

// TestDiskFaults is not parallel, so that what it leaves behind can be told from what others do.
func TestDiskFaults(t *testing.T) {
	slow(t)
	require.NoError(t, goleak.Find(mayStay...))
	var all, met atomic.Int64
	t.Cleanup(func() {
		leftByDisks = append(leftByDisks, goleak.IgnoreCurrent())
		t.Logf("%d runs, in %d of them something failed", all.Load(), met.Load())
		assert.Greater(t, 2*met.Load(), all.Load(), "most runs come to the operation that fails")
	})
	for i, op := range diskOps {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil, kfake.NumBrokers(1))
			clean := &failing{kinds: op.kinds, torn: op.torn}
			r := newDiskRun(t, b, "clean", clean)
			r.fail(t, false)
			r.check(t)
			require.Positive(t, clean.seen, "the application does this")
			for how, text := range failsHow {
				runs := *diskFaults
				if runs == 0 && how == (i+2)%len(failsHow) {
					runs = 1
				}
				for k := range runs {
					rng := rand.New(rand.NewPCG(*diskSeed, uint64(i*1_000_000+how*100_000+k)))
					f := &failing{kinds: op.kinds, torn: op.torn, how: how, nth: 1 + rng.Int64N(clean.seen), fails: true}
					name := fmt.Sprintf("%s, operation %d of about %d", text, f.nth, clean.seen)
					t.Run(name, func(t *testing.T) {
						r := newDiskRun(t, b, fmt.Sprintf("%d-%d", how, k), f)
						r.leaves = rng.IntN(2) == 0
						if rng.IntN(2) == 0 {
							r.keys = stream.StateKeys{Current: bytes.Repeat([]byte{7}, 32)}
						}
						all.Add(1)
						if r.fail(t, op.waits) {
							met.Add(1)
						}
						r.check(t)
					})
				}
			}
		})
	}
}

// diskRun is an application whose disk fails.
type diskRun struct {
	*broker
	app    string
	mem    vfs.FS
	disk   *failing
	prog   *runtime.Program
	all    []order
	snap   snapshot.Store
	keys   stream.StateKeys
	leaves bool // instead of being stopped
}

const diskUsers = 30

func newDiskRun(t *testing.T, b *broker, app string, f *failing) *diskRun {
	r := &diskRun{broker: &broker{addrs: b.addrs, fake: b.fake, suffix: "-" + app}, app: "app-" + app, mem: vfs.NewMem(), disk: f}
	for _, topic := range []string{"orders", "updates"} {
		require.NoError(t, b.fake.Cluster.CreateTopic(r.name(topic), 1, nil))
	}
	topology := stream.New("disk")
	topology.FromKeyed(source.KafkaKeyed(r.name("orders"), codec.String, codec.JSON[order]())).
		Fold("rows", (*wideRow).add).
		Changes(func(user string, row wideRow) total { return total{User: user, N: row.N, Sum: row.Sum} }).
		To(sink.Kafka(r.name("updates"), codec.JSON[total]()))
	var err error
	r.prog, _, err = topology.Program(r.app, stream.Semantics{})
	require.NoError(t, err)
	r.snap = snapshot.NewDirectory(t.TempDir())
	r.orders(t, 6)
	return r
}

// wideRow is a state so large that memtables are flushed and tables compacted while the application runs.
type wideRow struct {
	N, Sum int64
	Wide   []byte // cannot be compressed
}

func (w *wideRow) add(o order) {
	w.N++
	w.Sum += o.Amount
	rng := rand.New(rand.NewPCG(uint64(w.N), uint64(o.Amount)))
	w.Wide = make([]byte, 6<<10)
	for i := range w.Wide {
		w.Wide[i] = byte(rng.Uint32())
	}
}

// orders writes n more orders of each user.
func (r *diskRun) orders(t *testing.T, n int) {
	var recs []kafkatest.Record
	for range n {
		for u := range diskUsers {
			o := order{User: fmt.Sprintf("user-%02d", u), Amount: int64(len(r.all))}
			r.all = append(r.all, o)
			recs = append(recs, kafkatest.Record{Topic: "orders", Key: []byte(o.User), Value: encode(t, o), Time: time.Now()})
		}
	}
	r.write(t, recs...)
}

// diskApp is one life of the application.
type diskApp struct {
	*runtime.App
	log    *logs
	full   *watcher
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

func (r *diskRun) start(t *testing.T, disk vfs.FS) *diskApp {
	a := &diskApp{log: newLogs(), full: &watcher{all: map[string]bool{}}, ended: make(chan struct{})}
	a.App = runtime.NewApp(runtime.Config{AppID: r.app, InstanceID: "one", StateDir: "state", Disk: disk,
		Connector: kafka.Cluster{Brokers: r.addrs, Profile: kafka.Latency}, CommitEvery: 5 * time.Millisecond, SessionTimeout: 10 * time.Second, Static: true,
		Workers: 1, KeyGroups: 8, Memory: 512 << 10, Logger: slog.New(a.log), Metrics: []metrics.Receiver{a.full}, MetricsEvery: 10 * time.Millisecond,
		Guarantee: connect.ExactlyOnce, Keys: r.keys, Snapshots: snapshot.Config{Store: r.snap, Every: 5 * time.Millisecond, Keep: 2}}, r.prog)
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() {
		a.err = a.Run(ctx)
		close(a.ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-a.ended
		if t.Failed() {
			t.Log("log of the application:\n" + a.log.String())
		}
	})
	return a
}

// done says whether everything was processed.
func (r *diskRun) done(t *testing.T, a *diskApp) bool {
	for _, s := range a.Status(t.Context()) {
		if s.Positions[r.name("orders")+"/0"] == fmt.Sprint(len(r.all)) {
			return true
		}
	}
	return false
}

// until waits until cond holds or the application has ended, and says whether cond did.
func (a *diskApp) until(t *testing.T, what string, cond func() bool) bool {
	t.Helper()
	limit, tick := time.NewTimer(patience), time.NewTicker(2*time.Millisecond)
	defer limit.Stop()
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-a.ended:
			return cond()
		case <-limit.C:
			require.Fail(t, "neither the end of the application nor "+what)
		}
	}
	return true
}

func (r *diskRun) stop(t *testing.T, a *diskApp) {
	t.Helper()
	if r.leaves {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_ = a.Leave(ctx) // what matters is the end of Run
		cancel()
	} else {
		a.cancel()
	}
	select {
	case <-a.ended:
	case <-time.After(patience):
		require.Fail(t, "the application does not end", a.log.String())
	}
}

// fail runs the application until what failed is known, and then until everything is processed if it can. It says whether
// something failed while it ran.
func (r *diskRun) fail(t *testing.T, waits bool) (met bool) {
	const limit = 5 * time.Second
	f := r.disk
	waits = waits && f.how >= findsNoSpace
	a := r.start(t, f.on(r.mem))
	isFull := func() bool {
		v, ok := a.full.get("millstream_store_disk_full{}")
		return ok && v == 1
	}
	done := func() bool { // with a snapshot, which links, lists and removes files
		return r.done(t, a) && len(a.log.find("snapshot made"))+len(a.log.find("no snapshot was made")) > 0
	}
	known := func() bool { return done() || f.how >= findsNoSpace && isFull() }
	a.until(t, "a state that says what is wrong", known)
	took, hit := f.since()
	if !hit { // the operation comes when the application ends, or did not come at all in this run
		r.stop(t, a)
	} else {
		assert.Less(t, took, limit, "until the failure was named, or everything was done without what failed")
	}
	if f.how == findsNoSpace && hit {
		f.heal()
		if !r.ended(a) {
			room := time.Now()
			if a.until(t, "the end of the work", done) {
				assert.Less(t, time.Since(room), 2*limit, "until it has gone on by itself")
			}
		}
	}
	if !r.ended(a) {
		end := time.Now()
		r.stop(t, a)
		assert.Less(t, time.Since(end), limit, "until it has ended")
		if a.err != nil {
			assert.ErrorContains(t, a.err, "close state")
		}
	}
	if a.err == nil {
		return hit
	}
	t.Log(a.err)
	assert.ErrorContains(t, a.err, "state", "it says where")
	assert.ErrorContains(t, a.err, f.cause().Error(), "and why")
	if waits && hit {
		assert.Regexp(t, "^(open|close) state", a.err.Error(), "a running application waits for space")
	}
	return hit
}

func (r *diskRun) ended(a *diskApp) bool {
	select {
	case <-a.ended:
		return true
	default:
		return false
	}
}

// check runs the application on a disk that works, to the end and on, and compares what it has written with what it must be:
// each sum of each user once and in order, so that the state after the failure is the one before it.
func (r *diskRun) check(t *testing.T) {
	for range 2 {
		var a *diskApp
		require.Eventually(t, func() bool { // the lock of a disk that has failed is free when no write is under way
			a = r.start(t, r.mem)
			a.until(t, "the end of the work", func() bool { return r.done(t, a) })
			return !errors.Is(a.err, stream.ErrInUse)
		}, patience, 10*time.Millisecond)
		r.stop(t, a)
		require.NoError(t, a.err)
		r.orders(t, 1)
	}
	r.all = r.all[:len(r.all)-diskUsers] // nobody has read them
	last := map[string]total{}
	for _, u := range decode[total](t, r.read(t, "updates", len(r.all))) {
		require.Equal(t, last[u.User].N+1, u.N, "%s: none is missing or there twice", u.User)
		last[u.User] = u
	}
	want := map[string]total{}
	for _, o := range r.all {
		want[o.User] = total{User: o.User, N: want[o.User].N + 1, Sum: want[o.User].Sum + o.Amount}
	}
	assert.Equal(t, want, last)
	r.noMore(t, "updates", len(r.all))
}

// failing lets the operations of a file system fail.
type failing struct {
	kinds []errorfs.OpKind
	torn  bool
	fails bool // else they are counted only
	how   int
	nth   int64

	mu     sync.Mutex
	seen   int64
	first  time.Time // of the failures
	healed bool
}

func (f *failing) on(fs vfs.FS) vfs.FS {
	if f.torn {
		return tearing{fs, f}
	}
	return errorfs.Wrap(fs, f)
}

func (f *failing) cause() error {
	if f.how >= findsNoSpace {
		return syscall.ENOSPC
	}
	return syscall.EIO
}

func (f *failing) String() string { return "failing" }

func (f *failing) MaybeError(op errorfs.Op) error {
	for _, k := range f.kinds {
		if k == op.Kind {
			return f.next()
		}
	}
	return nil
}

func (f *failing) next() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen++
	if !f.fails || f.healed || f.seen < f.nth || f.how == failsOnce && f.seen > f.nth {
		return nil
	}
	if f.first.IsZero() {
		f.first = time.Now()
	}
	return f.cause()
}

func (f *failing) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.healed = true
}

// since returns the time since the first failure, if there was one.
func (f *failing) since() (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.first), !f.first.IsZero()
}

// tearing is a file system on which half of what is to be written is when it fails.
type tearing struct {
	vfs.FS
	f *failing
}

func (d tearing) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.open(d.FS.Create(name, c))
}

func (d tearing) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.open(d.FS.ReuseForWrite(from, to, c))
}

func (d tearing) open(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return tornFile{f, d.f}, nil
}

type tornFile struct {
	vfs.File
	f *failing
}

func (t tornFile) Write(p []byte) (int, error) {
	err := t.f.next()
	if err == nil {
		return t.File.Write(p)
	}
	n, werr := t.File.Write(append([]byte(nil), p[:len(p)/2]...))
	return n, errors.Join(werr, err)
}

var _ io.Writer = tornFile{}
