package kinesis_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/connect/kinesis/lease"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// byKey brings the records of a stream to a topic, each to the partition of its key.
func byKey() *stream.Topology {
	topo := stream.New("by key")
	topo.From(source.Kinesis("in", codec.JSON[reading]())).KeyBy(func(r reading) string { return r.Key }).
		To(sink.Kafka("by-key", codec.JSON[reading]()))
	return topo
}

// counted reads that topic, with state.
func counted() *stream.Topology {
	topo := stream.New("counted")
	topo.FromKeyed(source.KafkaKeyed("by-key", codec.String, codec.JSON[reading]())).
		Fold("tallies", func(a *tally, r reading) { a.add(r) }, codec.JSON[tally]()).
		Changes(func(_ string, a tally) tally { return a }).To(sink.Kafka("out", codec.JSON[tally]()))
	return topo
}

// pair runs both applications in this process. It is one of several that share the stream's shards and the topic's partitions.
func pair(streams kinesis.Streams, client *api.Client, url string, brokers []string, dir, name string) error {
	o := client.Options()
	streams.Leases = lease.Table{Failover: time.Second, Client: dynamodb.New(dynamodb.Options{Region: o.Region, BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})}
	cluster := kafka.Cluster{Brokers: brokers}
	first, err := byKey().Build(stream.Config{AppID: "by-key", InstanceID: name, StateDir: filepath.Join(dir, "by-key"), CommitInterval: 10 * time.Millisecond, MemoryBudget: 64 << 20,
		Connect: []connect.Connector{streams, cluster}})
	if err != nil {
		return err
	}
	second, err := counted().Build(stream.Config{AppID: "counted", InstanceID: name, StateDir: filepath.Join(dir, "counted"), CommitInterval: 10 * time.Millisecond, MemoryBudget: 64 << 20,
		SessionTimeout: 6 * time.Second, Connect: []connect.Connector{cluster}})
	if err != nil {
		return err
	}
	go func() { // it says so when both have something to do
		for range time.Tick(20 * time.Millisecond) {
			if running(first) && running(second) {
				fmt.Println("both")
				return
			}
		}
	}()
	return runBoth(context.Background(), first, second)
}

func running(app *stream.App) bool {
	s, err := app.Status(context.Background())
	return err == nil && slices.ContainsFunc(s.Tasks, func(k stream.TaskStatus) bool { return k.State == "running" })
}

// runBoth runs applications until ctx or one of them ends.
func runBoth(ctx context.Context, apps ...*stream.App) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error)
	for _, app := range apps {
		go func() { ended <- app.Run(ctx) }()
	}
	var errs []error
	for range apps {
		errs = append(errs, <-ended)
		cancel()
	}
	return errors.Join(errs...)
}

// State on several instances: each runs two applications, from Kinesis to a topic by key, and from the topic on. They are killed again and
// again, half the time with the loss of their disks, while shards are split and merged. Every record is counted once, in the order
// of its key, and so is every result.
func TestStateOnSeveralInstances(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("not in a -short run")
	}
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	b, err := kafkatest.Start("", map[string]int32{"by-key": 4, "out": 3})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	keys := names(30)
	names, dirs, processes := []string{"a", "b"}, []string{t.TempDir(), t.TempDir()}, make([]*exec.Cmd, 2)
	works := make(chan int, 8) // which of them has a shard, and a part of the topic
	begin := func(i int) {
		p := exec.Command(os.Args[0])
		p.Env = append(os.Environ(), childURL+"="+f.URL(), childDir+"="+dirs[i], childBrokers+"="+strings.Join(b.Addrs(), ","), childOfTwo+"="+names[i])
		p.Stderr = os.Stderr
		out, err := p.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, p.Start())
		processes[i] = p
		go func() {
			if line, _ := bufio.NewReader(out).ReadString('\n'); line == "both\n" {
				works <- i
			}
		}()
	}
	kill := func(i int) {
		require.NoError(t, processes[i].Process.Kill())
		require.Error(t, processes[i].Wait())
		processes[i] = nil
	}
	t.Cleanup(func() {
		for i, p := range processes {
			if p != nil {
				kill(i)
			}
		}
	})
	results := func(n int) (list []tally) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		recs, err := b.Consume(ctx, "out", n)
		require.NoError(t, err, "%d of %d", len(recs), n)
		for _, r := range recs {
			var a tally
			require.NoError(t, json.Unmarshal(r.Value, &a))
			require.Equal(t, a.Key, string(r.Key))
			list = append(list, a)
		}
		return list
	}
	begin(0)
	begin(1)
	for seen := map[int]bool{}; len(seen) < 2; {
		select {
		case i := <-works:
			seen[i] = true
		case <-time.After(patience):
			require.FailNow(t, "the work is not shared", "%v", seen)
		}
	}
	written := 0
	for round := range 4 {
		f.put("in", 20, keys...)
		if open := f.Shards("in"); round%2 == 1 {
			require.NoError(t, f.Merge("in", open[0], open[1]))
		} else {
			require.NoError(t, f.Split("in", open[round%len(open)]))
		}
		f.put("in", 5, keys...)
		results(written + rand.IntN(25*len(keys)) + 1)
		written += 25 * len(keys)
		i := round % 2
		kill(i)
		if round >= 2 {
			dirs[i] = t.TempDir()
		}
		begin(i)
	}
	results(written)
	f.put("in", 1, keys...) // behind what was written twice, if anything was
	written += len(keys)
	last := map[string]int{}
	for _, a := range results(written) {
		last[a.Key]++
		require.Equal(t, tally{a.Key, last[a.Key], last[a.Key], nil}, a)
	}
	require.Equal(t, f.numbers, last)
}
