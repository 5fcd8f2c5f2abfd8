package e2e_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/metrics"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// watcher keeps the newest sample, as values by name and labels.
type watcher struct {
	mu   sync.Mutex
	now  map[string]float64
	all  map[string]bool
	last metrics.Sample
	fell string // a counter that fell
}

func (w *watcher) Receive(s metrics.Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := map[string]float64{}
	for _, p := range s.Points {
		key := p.Metric.Name + "{" + strings.Join(p.Values, ",") + "}"
		now[key] = p.Value
		w.all[p.Metric.Name] = true
		if p.Metric.Kind == metrics.Counter && p.Value < w.now[key] {
			w.fell = key
		}
		if len(p.Values) != len(p.Metric.Labels) {
			w.fell = "labels of " + key
		}
	}
	w.now, w.last = now, s
}

func (w *watcher) get(key string) (float64, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.now[key]
	return v, ok
}

func (w *watcher) until(t *testing.T, key string, cond func(float64) bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		v, ok := w.get(key)
		return ok && cond(v)
	}, patience, 5*time.Millisecond, key)
}

func is(want float64) func(float64) bool { return func(v float64) bool { return v == want } }

// An application tells how it stands, in every metric, and of its end.
func TestMetrics(t *testing.T) {
	t.Parallel()
	b, s := start(t, totalsTopics()), newShop(3)
	b.write(t, s.orders(t, 50)...)
	b.write(t, kafkatest.Record{Topic: "orders", Partition: 0, Value: []byte("no JSON")})
	w := &watcher{all: map[string]bool{}}
	dir := t.TempDir()
	watched := func(c *stream.Config) {
		c.Metrics, c.MetricsInterval, c.InstanceID = []metrics.Receiver{w}, 10*time.Millisecond, "one"
	}
	twice := onerror.Retry{Attempts: 3, Backoff: time.Millisecond}.Then(onerror.Skip)
	in := run(t, totalsTo(b, "updates", "finals", source.OnError(twice)), b.config(dir, watched))
	b.read(t, "updates", s.updates())
	orders := b.name("orders") + ","
	w.until(t, "millstream_records_total{"+orders+"0}", is(51))
	w.until(t, "millstream_record_lag{"+orders+"1}", is(0))
	w.until(t, "millstream_time_lag_seconds{"+orders+"1}", is(0))
	w.until(t, "millstream_queued_bytes{"+orders+"2}", is(0))
	w.until(t, "millstream_watermark_seconds{"+orders+"0}", func(v float64) bool { return v > 0 && v < float64(s.at[0])/1000 })
	w.until(t, "millstream_tasks{running}", is(6))
	w.until(t, "millstream_tasks{restoring}", is(0))
	w.until(t, "millstream_epochs_total{}", func(v float64) bool { return v > 0 })
	w.until(t, "millstream_epoch_seconds_total{commit}", func(v float64) bool { return v > 0 })
	w.until(t, "millstream_state_disk_bytes{}", func(v float64) bool { return v > 0 })
	w.until(t, "millstream_sessions_total{}", func(v float64) bool { return v >= 1 })
	w.mu.Lock()
	assert.Equal(t, "one", w.last.Instance)
	assert.Equal(t, b.name("app"), w.last.App)
	sum := map[string]float64{}
	for key, v := range w.now {
		name, _, _ := strings.Cut(key, "{")
		sum[name] += v
	}
	assert.EqualValues(t, 1, sum[metrics.Skipped.Name], "the record that is no JSON")
	assert.EqualValues(t, 2, sum[metrics.Retries.Name], "it was tried again twice")
	w.mu.Unlock()
	in.stop(t)
	w.mu.Lock()
	assert.Empty(t, w.last.Points, "the last sample of a run")
	assert.Empty(t, w.fell)
	for _, m := range metrics.All() {
		if strings.HasPrefix(m.Name, "millstream_kinesis_") {
			assert.False(t, w.all[m.Name], "%s of an application on Kafka", m.Name)
			continue
		}
		switch m {
		case metrics.GapRecords, metrics.RestoreLeft, metrics.StandbyLag, metrics.StandbyRecords, metrics.Discarded, // only while it happens
			metrics.HotKeyShare: // these are too few records
		default:
			assert.True(t, w.all[m.Name], "%s was never reported", m.Name)
		}
	}
	w.mu.Unlock()
}

// A key that all records have is told of by metric and status.
func TestHotKeyIsTold(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]int32{"clicks": 1})
	recs := make([]kafkatest.Record, 6000)
	for i := range recs {
		recs[i] = kafkatest.Record{Topic: "clicks", Key: []byte("all"), Value: []byte("v")}
	}
	b.write(t, recs...)
	topo := stream.New("hot")
	topo.FromKeyed(source.KafkaKeyed(b.name("clicks"), codec.String, codec.String)).Count("clicks-by-page")
	w := &watcher{all: map[string]bool{}}
	in := run(t, topo, b.config(t.TempDir(), func(c *stream.Config) {
		c.Metrics, c.MetricsInterval = []metrics.Receiver{w}, 10*time.Millisecond
	}))
	id := in.tasks(t, 1)[0]
	w.until(t, "millstream_hot_key_share{"+id+","+b.name("clicks")+"}", is(1))
	in.until(t, "a hot key", func(s stream.Status) bool {
		return len(s.Tasks[0].HotKeys[b.name("clicks")+"/0"]) == 1 && s.Tasks[0].HotKeys[b.name("clicks")+"/0"][0] == 1
	})
	in.stop(t)
}

// Somebody is told that a partition lags, and that it does not any more.
func TestLagIsTold(t *testing.T) {
	t.Parallel()
	b, s := start(t, totalsTopics()), newShop(4)
	told := make(chan metrics.Lag, 100)
	in := run(t, totals(b), b.config(t.TempDir(), func(c *stream.Config) {
		c.Metrics, c.MetricsInterval = []metrics.Receiver{metrics.OnLag(metrics.LagLimit{Time: time.Hour}, func(l metrics.Lag) { told <- l })}, time.Millisecond
	}))
	var first metrics.Lag
	for deadline := time.After(patience); first.Topic == ""; {
		b.write(t, s.orders(t, 2000)...) // of 1970, so that whatever waits is old; more than one step reads
		select {
		case first = <-told:
		case <-deadline:
			t.Fatal("nobody was told of the lag")
		default:
		}
	}
	require.True(t, first.Over)
	require.Greater(t, first.Time, time.Hour)
	for back := false; !back; {
		select {
		case l := <-told:
			back = !l.Over && l.Topic == first.Topic && l.Partition == first.Partition
		case <-time.After(patience):
			t.Fatal("nobody was told that the lag is over")
		}
	}
	in.stop(t)
}
