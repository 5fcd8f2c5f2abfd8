package kinesis_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
)

// startQuick is a service whose clock runs twenty times as fast, so that a shard can be subscribed to again after a quarter of a
// second, and a consumer is active after half a one. Iterators last for fifteen.
func startQuick(t *testing.T) *fake {
	begin := time.Now()
	return start(t, kinesistest.Options{Creating: 10 * time.Second, Now: func() time.Time { return begin.Add(20 * time.Since(begin)) }})
}

func (f *fake) pushed() kinesis.Streams {
	c := kinesis.Hasty(f.streams())
	c.FanOut = "test"
	return c
}

// Shards are pushed: through connections that end with an error, without one, and that fall silent, through splits and
// merges, and a restart. Nothing is lost, nothing comes twice, and nothing is polled.
func TestFanOut(t *testing.T) {
	t.Parallel()
	f := startQuick(t)
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	f.Fault(kinesistest.Fault{Action: "SubscribeToShard", Error: "InternalFailure"})
	f.Fault(kinesistest.Fault{Action: "SubscribeToShard", Events: 1, Error: "InternalFailureException"})
	f.Fault(kinesistest.Fault{Action: "SubscribeToShard", Events: 2, LoseAnswer: true})
	f.Fault(kinesistest.Fault{Action: "SubscribeToShard", Events: 1, Delay: time.Hour}) // silence
	dir, keys := t.TempDir(), names(20)
	f.put("in", 5, keys...)
	in := f.run(copies(), dir, f.pushed())
	require.Zero(t, f.arrived(in))
	for range 5 {
		f.put("in", 1, keys...)
		f.putPacked("in", 1, keys...)
		require.Zero(t, f.arrived(in))
	}
	open := f.Shards("in")
	require.NoError(t, f.Split("in", open[0]))
	f.put("in", 5, keys...)
	open = f.Shards("in")
	require.NoError(t, f.Merge("in", open[1], open[2]))
	f.put("in", 5, keys...)
	require.Zero(t, f.arrived(in))
	require.Eventually(t, func() bool { return f.Pending() == 0 && f.events.of(kinesis.Resubscribed) >= 4 }, patience, time.Millisecond)
	in.stop(t)
	f.put("in", 5, keys...)
	in = f.run(copies(), dir, f.pushed())
	require.Zero(t, f.arrived(in))
	in.stop(t)
	require.Equal(t, 1, f.Calls()["RegisterStreamConsumer"], "it stays registered")
	require.Zero(t, f.events.of(kinesis.FellBack))
}

// A shard that is never pushed is polled.
func TestFanOutFallsBack(t *testing.T) {
	t.Parallel()
	f := startQuick(t)
	f.CreateStream("in", 1)
	f.CreateStream("out", 1)
	f.Fault(kinesistest.Fault{Action: "SubscribeToShard", Times: 1000, Error: "InternalFailure"})
	f.put("in", 5, "a", "b")
	w := &watcher{}
	in := f.run(copies(), t.TempDir(), f.pushed(), w.conf)
	require.Zero(t, f.arrived(in))
	w.until(t, "fallbacks_total{in}", is(1))
	w.until(t, "get_records_total{in}", over(0))
	require.Equal(t, 1, f.events.of(kinesis.FellBack))
	require.Contains(t, in.log.String(), "it is polled instead")
}
