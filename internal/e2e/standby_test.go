package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/metrics"
	"github.com/millstream-go/millstream/stream"
)

// Each task's state is kept by another instance as well. When one is lost, the others go on with its tasks, and read
// back next to nothing.
func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	for name, conf := range map[string]func(*stream.Config){
		"through topics": func(*stream.Config) {},
		"in memory":      func(c *stream.Config) { c.Exchange = stream.InMemory },
		"at least once":  func(c *stream.Config) { c.Guarantee = connect.AtLeastOnce },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, s := start(t, totalsTopics()), newShop(21)
			conf := func(c *stream.Config) { c.Standbys = 1; heartbeats(c); conf(c) }
			b.write(t, s.orders(t, 60)...)
			one := run(t, totals(b), b.config(t.TempDir(), conf))
			one.tasks(t, 6)
			two := run(t, totals(b), b.config(t.TempDir(), conf))
			if name != "in memory" {
				two.tasks(t, 3)
			}
			b.members(t, 2)
			b.write(t, s.orders(t, 60)...)
			s.check(t, b, false)
			var copies []string
			two.until(t, "copies of what the other one has", func(stream.Status) bool {
				copies = append(one.copies(t), two.copies(t)...)
				return len(copies) == 3
			})
			slices.Sort(copies)
			assert.Equal(t, []string{"totals_0", "totals_1", "totals_2"}, copies, "each with one of them")

			restores := len(two.log.find("task restored"))
			one.stop(t) // a static member: the group hears nothing of it
			two.tasks(t, 6)
			for _, l := range two.log.find("task restored")[restores:] {
				if l.attrs["changelog"].String() != "" {
					assert.True(t, l.attrs["local"].Bool(), "task %v finds its state", l.attrs["task"])
				}
				assert.LessOrEqual(t, l.attrs["records"].Int64(), int64(2), "task %v reads back next to nothing", l.attrs["task"])
			}
			b.write(t, s.orders(t, 60)...)
			b.write(t, s.end(t)...)
			s.check(t, b, true)
			two.stop(t)
			s.check(t, b, true)
		})
	}
}

// copies are the tasks of others of whose state the instance has a copy, if all that it keeps are up to date.
func (in *instance) copies(t *testing.T) (ids []string) {
	t.Helper()
	s, err := in.Status(t.Context())
	require.NoError(t, err)
	for _, k := range s.Standbys {
		if !k.Current || k.Lag > 0 {
			return nil
		}
		ids = append(ids, k.ID)
	}
	return ids
}

// An instance that is cut off from the brokers in the middle of its work leaves a transaction open. Its standbys go on with
// what it has committed, and what it has not they do again.
func TestStandbyOfAnInstanceThatIsCutOff(t *testing.T) {
	t.Parallel()
	b, s := start(t, totalsTopics()), newShop(22)
	conf := func(c *stream.Config) { c.Standbys = 1; heartbeats(c) }
	line := &wire{}
	one := run(t, totals(b), b.config(t.TempDir(), conf, func(c *stream.Config) {
		cluster := c.Connect[0].(kafka.Cluster)
		cluster.Dialer = line.dial
		c.Connect[0] = cluster
	}))
	one.tasks(t, 6)
	two := run(t, totals(b), b.config(t.TempDir(), conf))
	two.tasks(t, 3)
	b.write(t, s.orders(t, 300)...)
	s.check(t, b, false)
	two.until(t, "copies of what the other one has", func(stream.Status) bool { return len(one.copies(t))+len(two.copies(t)) == 3 })
	restores := len(two.log.find("task restored"))
	b.write(t, s.orders(t, 300)...)
	line.cut()
	two.tasks(t, 6)
	for _, l := range two.log.find("task restored")[restores:] {
		if l.attrs["changelog"].String() != "" {
			assert.True(t, l.attrs["local"].Bool(), "task %v finds its state", l.attrs["task"])
		}
		assert.LessOrEqual(t, l.attrs["records"].Int64(), int64(2), "task %v reads back next to nothing", l.attrs["task"])
	}
	one.cancel()
	b.write(t, s.orders(t, 60)...)
	b.write(t, s.end(t)...)
	s.check(t, b, true)
	two.stop(t)
	s.check(t, b, true)
}

// wire is a network that can be cut.
type wire struct {
	mu    sync.Mutex
	gone  bool
	conns []net.Conn
}

var errCut = errors.New("the line is cut")

func (w *wire) dial(ctx context.Context, network, host string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return nil, errCut
	}
	c, err := new(net.Dialer).DialContext(ctx, network, host)
	if err == nil {
		w.conns = append(w.conns, c)
	}
	return c, err
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = true
	for _, c := range w.conns {
		_ = c.Close()
	}
}

// A task with much state moves only when the instance that is to have it has made itself a copy. Until then the one that
// has it goes on.
func TestWarmUp(t *testing.T) {
	t.Parallel()
	slow(t)
	b := start(t, map[string]int32{"orders": 2, "updates": 1})
	const users = 30_000 // more than 10,000 for each task
	write := func() {
		recs := make([]kafkatest.Record, users)
		for i := range recs {
			recs[i] = ok(t, fmt.Sprint("user-", i))
			recs[i].Partition = -1 // by its key
		}
		b.write(t, recs...)
	}
	write()
	one := run(t, keyedCounts(b), b.config(t.TempDir(), heartbeats))
	b.read(t, "updates", users)
	two := run(t, keyedCounts(b), b.config(t.TempDir(), heartbeats))
	two.tasks(t, 1)
	one.tasks(t, 1)
	asked, got := two.log.find("asking the group to move them"), two.log.find("task restored")
	require.Len(t, asked, 1)
	require.Len(t, got, 1)
	assert.True(t, got[0].at.After(asked[0].at))
	assert.True(t, got[0].attrs["local"].Bool())
	assert.LessOrEqual(t, got[0].attrs["records"].Int64(), int64(2), "of %d", users/2)
	write()
	counts := map[string]int64{}
	for _, u := range decode[total](t, b.read(t, "updates", 2*users)) {
		counts[u.User]++
		require.Equal(t, counts[u.User], u.N, "each count of %s once and in order", u.User)
	}
	assert.Len(t, counts, users)
	one.stop(t)
	two.stop(t)
	b.noMore(t, "updates", 2*users)
}

// A copy whose changelog has deleted what would follow it is of no use. That is told and counted, and it is begun anew.
func TestCopyThatChangelogHasLeftBehind(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]int32{"orders": 1, "updates": 1}, kfake.NumBrokers(1))
	points := newPoints()
	conf := func(c *stream.Config) {
		c.Standbys, c.Dynamic = 1, true
		heartbeats(c)
		c.Metrics, c.MetricsInterval = []metrics.Receiver{points}, 20*time.Millisecond
	}
	b.write(t, ok(t, "ann"), ok(t, "bob"))
	one := run(t, keyedCounts(b), b.config(t.TempDir(), conf))
	b.read(t, "updates", 2)
	one.tasks(t, 1)
	two := run(t, keyedCounts(b), b.config(t.TempDir(), conf))
	two.until(t, "a copy", func(stream.Status) bool { return len(two.copies(t)) == 1 })
	require.Eventually(t, func() bool { return points.last(metrics.StandbyRecords) > 0 && points.has(metrics.StandbyLag) }, patience, 10*time.Millisecond)
	two.stop(t)
	b.write(t, ok(t, "ann"), ok(t, "bob"))
	b.read(t, "updates", 4)

	topic, adm := b.name("app")+"-"+b.name("orders")+"-changelog", b.admin(t)
	topics, err := adm.ListTopics(t.Context())
	require.NoError(t, err)
	for _, name := range topics.Names() {
		if strings.HasSuffix(name, "-changelog") {
			topic = name
		}
	}
	ends, err := adm.ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	deleted, err := adm.DeleteRecords(t.Context(), ends.Offsets())
	require.NoError(t, err)
	require.NoError(t, deleted.Error())

	two.start(t)
	line := two.log.wait(t, "a local copy of a task's state was discarded")
	assert.Equal(t, topic, line.attrs["changelog"].String())
	assert.Contains(t, line.attrs["why"].String(), "copy of the state does not fit its changelog")
	two.until(t, "a copy", func(stream.Status) bool { return len(two.copies(t)) == 1 })
	require.Eventually(t, func() bool { return points.last(metrics.Discarded) == 1 }, patience, 10*time.Millisecond)
	two.stop(t)
	one.stop(t)
}

// points keeps the last values of metrics that have one label.
type points struct {
	mu   sync.Mutex
	seen map[*metrics.Metric]float64
}

func newPoints() *points { return &points{seen: map[*metrics.Metric]float64{}} }

func (p *points) Receive(s metrics.Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range s.Points {
		p.seen[x.Metric] = x.Value
	}
}

func (p *points) has(m *metrics.Metric) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.seen[m]
	return ok
}

func (p *points) last(m *metrics.Metric) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[m]
}
