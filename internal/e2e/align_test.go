package e2e_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// Four partitions hold more than the queues do, and wait for a fifth, of which little is there: what waits keeps that one
// neither from being fetched nor from being processed, and no partition runs ahead.
func TestAlignedPartitionsLeaveRoomForTheOneTheyWaitFor(t *testing.T) {
	t.Parallel()
	const n, align = 300, 10 * time.Second // of records, a second apart, in each partition
	b := start(t, map[string]int32{"fast": 4, "slow": 1, "out": 1})
	base := time.Now().Add(-time.Hour).Truncate(time.Second)
	write := func(topic string, partition int32, from, to, size int) {
		var recs []kafkatest.Record
		for i := from; i < to; i++ {
			recs = append(recs, kafkatest.Record{Topic: topic, Partition: partition, Time: base.Add(time.Duration(i) * time.Second),
				Value: fmt.Appendf(nil, "%d %d %s", partition, i, strings.Repeat("x", size))})
		}
		b.write(t, recs...)
	}
	for p := range int32(4) {
		write("fast", p, 0, n, 8<<10)
	}
	write("slow", 0, 0, 1, 1)

	var mu sync.Mutex
	newest := map[string]int{} // by topic and partition
	var ahead []string
	follow := func(topic string) func(string) {
		return func(v string) {
			var p, i int
			_, _ = fmt.Sscan(v, &p, &i)
			mu.Lock()
			defer mu.Unlock()
			id := fmt.Sprint(topic, p)
			if was, ok := newest[id]; ok && topic == "fast" && was > newest["slow0"]+int(align/time.Second) {
				ahead = append(ahead, fmt.Sprintf("%s read after %d while the slow one was at %d", v[:10], was, newest["slow0"]))
			}
			newest[id] = max(newest[id], i)
		}
	}
	topo := stream.New("aligned")
	for _, name := range []string{"fast", "slow"} {
		topo.From(source.Kafka(b.name(name), codec.String)).Watermark(stream.Watermark{Idle: time.Hour, Align: align}).
			Peek(follow(name)).Filter(func(v string) bool { return strings.Contains(v, fmt.Sprint(" ", n-1, " ")) }).
			To(sink.Kafka(b.name("out"), codec.String))
	}
	in := run(t, topo, b.config(t.TempDir()))
	in.until(t, "records of all partitions", func(s stream.Status) bool { return sum(s, records) >= 4*11+1 })
	write("slow", 0, 1, n, 1)
	b.read(t, "out", 5)
	in.stop(t)
	assert.Empty(t, ahead)
}
