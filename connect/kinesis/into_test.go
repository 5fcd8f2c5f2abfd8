package kinesis_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/connect/kinesis/lease"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// feeds copies readings from Kinesis to Kafka, but for every fifth of a key, which is a bad one.
func feeds() *stream.Topology {
	topo := stream.New("feeds")
	topo.From(source.Kinesis("in", codec.JSON[reading](), source.OnError(onerror.DeadLetter("bad")))).TryMap(func(r reading) (reading, error) {
		if r.N%5 == 0 {
			return r, errors.New("it is a fifth")
		}
		return r, nil
	}).To(sink.Kafka("out", codec.JSON[reading]()))
	return topo
}

func broker(t *testing.T) *kafkatest.Broker {
	t.Helper()
	b, err := kafkatest.Start("", map[string]int32{"out": 3, "bad": 1})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

// into is an instance that writes to Kafka.
func into(brokers []string) func(*stream.Config) {
	return func(c *stream.Config) {
		c.Exchange = stream.ThroughTopic
		c.Connect = append(c.Connect, kafka.Cluster{Brokers: brokers})
	}
}

// fed waits until every record is in Kafka, to readers of what is committed: once, and in the order of its key.
func (f *fake) fed(b *kafkatest.Broker) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	good, bad := 0, 0
	for _, n := range f.numbers {
		good, bad = good+n-n/5, bad+n/5
	}
	for topic, n := range map[string]int{"out": good, "bad": bad} {
		recs, err := b.Consume(ctx, topic, n)
		require.NoError(f, err)
		require.Equal(f, n, len(recs), "records in %s", topic)
		last := map[string]int{}
		for _, r := range recs {
			var v reading
			require.NoError(f, json.Unmarshal(r.Value, &v))
			require.Equal(f, v.Key, string(r.Key))
			next := last[v.Key] + 1
			if topic == "bad" {
				next = last[v.Key] + 5
			} else if next%5 == 0 {
				next++
			}
			require.Equal(f, next, v.N, "of %s in %s", v.Key, topic)
			last[v.Key] = v.N
		}
	}
}

// Two instances share a stream and write to Kafka: what they read is there once, through splits, merges, handing over, and the
// end of one of them, whose disk nobody needs.
func TestIntoKafka(t *testing.T) {
	t.Parallel()
	f, b := start(t, kinesistest.Options{}), broker(t)
	f.CreateStream("in", 4)
	c := f.streams()
	c.Leases = lease.Table{Failover: time.Second, Client: f.dynamodb()}
	keys := names(20)
	f.put("in", 5, keys...)
	first := f.run(feeds(), t.TempDir(), c, into(b.Addrs()))
	f.fed(b)
	second := f.run(feeds(), t.TempDir(), c, into(b.Addrs()))
	require.Eventually(t, func() bool {
		s, err := second.Status(t.Context())
		return err == nil && len(s.Tasks) > 0 && s.Tasks[0].State == "running"
	}, patience, 10*time.Millisecond)
	f.putPacked("in", 1, keys...)
	open := f.Shards("in")
	require.NoError(t, f.Split("in", open[0]))
	require.NoError(t, f.Merge("in", open[2], open[3]))
	f.put("in", 5, keys...)
	f.fed(b)
	first.stop(t)
	f.put("in", 5, keys...)
	f.fed(b)
	second.stop(t)
}

// A process is killed again and again, and its disk is lost each time, while its stream is split and merged. Positions and results are
// of one transaction.
func TestKilledIntoKafka(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("not in a -short run")
	}
	f, b := start(t, kinesistest.Options{}), broker(t)
	f.CreateStream("in", 2)
	keys := names(30)
	for round := range 4 {
		self := exec.Command(os.Args[0])
		self.Env = append(os.Environ(), childURL+"="+f.URL(), childDir+"="+t.TempDir(), childBrokers+"="+strings.Join(b.Addrs(), ","))
		self.Stderr = os.Stderr
		require.NoError(t, self.Start())
		f.put("in", 30, keys...)
		if open := f.Shards("in"); round%3 == 2 {
			require.NoError(t, f.Merge("in", open[0], open[1]))
		} else {
			require.NoError(t, f.Split("in", open[round%len(open)]))
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := b.Consume(ctx, "out", (round*30*len(keys)+round*5*len(keys))*3/4+1)
		cancel()
		require.NoError(t, err)
		f.put("in", 5, keys...)
		require.NoError(t, self.Process.Kill())
		require.Error(t, self.Wait())
	}
	f.run(feeds(), t.TempDir(), f.streams(), into(b.Addrs()))
	f.fed(b)
	f.put("in", 5, keys...) // behind what was written twice, if anything was
	f.fed(b)
}

func TestIntoKafkaRefuses(t *testing.T) {
	f, b := start(t, kinesistest.Options{}), broker(t)
	f.CreateStream("in", 1)
	for says, change := range map[string]func(*stream.Config){
		"there is exactly-once only":   func(c *stream.Config) { c.Guarantee = connect.AtLeastOnce },
		"there is nothing to exchange": func(c *stream.Config) { c.Exchange = stream.InMemory },
	} {
		err := f.run(feeds(), t.TempDir(), f.streams(), into(b.Addrs()), change).wait(t)
		require.ErrorIs(t, err, connect.ErrStop)
		require.ErrorContains(t, err, says)
	}
	topo := stream.New("counts")
	topo.From(source.Kinesis("in", codec.JSON[reading]())).KeyBy(func(r reading) string { return r.Key }).Count("n").Changes(func(_ string, n int64) int64 { return n }).To(sink.Kafka("out", codec.JSON[int64]()))
	err := f.run(topo, t.TempDir(), f.streams(), into(b.Addrs())).wait(t)
	require.ErrorContains(t, err, "make two applications of it")

	same := stream.New("same")
	same.From(source.Kinesis("in", codec.Bytes)).To(sink.Kafka("in", codec.Bytes))
	require.ErrorContains(t, f.run(same, t.TempDir(), f.streams(), into(b.Addrs())).wait(t), "give one of them another name")

	back := stream.New("back")
	back.From(source.Kafka("in", codec.Bytes)).To(sink.Kinesis("out", codec.Bytes))
	_, err = back.Build(stream.Config{AppID: "test", StateDir: t.TempDir(), Connect: []connect.Connector{f.streams(), kafka.Cluster{Brokers: b.Addrs()}}})
	require.ErrorContains(t, err, "it is on kinesis, and the topology reads from kafka")
}
