package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// Records that are read side by side are read in the order of their times, so some cannot be processed before those of another
// topic are there. They must not take the room in which these would come: here each answer of the broker is more than
// all that may be queued, and has records of one partition alone.
func TestRoom(t *testing.T) {
	const partitions, each = 4, 3000
	for _, c := range []struct {
		name  string
		merge func(left, right stream.Keyed[string, string]) stream.Keyed[string, string]
	}{
		{"two streams", func(left, right stream.Keyed[string, string]) stream.Keyed[string, string] { return left.Merge(right) }},
		{"a table and a stream", func(left, right stream.Keyed[string, string]) stream.Keyed[string, string] {
			return left.JoinTable("joined", right.ToTable("right"), func(l, _ string) string { return l })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, map[string]int32{"left": partitions, "right": partitions, "counts": 1})
			value := []byte(strings.Repeat("x", 1000)) // ten of them are as large as one when they are compressed
			at := time.UnixMilli(1_000_000)
			for _, topic := range []string{"right", "left"} {
				for p := range int32(partitions) {
					var recs []kafkatest.Record
					for i := range each {
						recs = append(recs, kafkatest.Record{Topic: topic, Partition: p, Key: fmt.Appendf(nil, "key-%d", p), Value: value, Time: at.Add(time.Duration(i) * time.Millisecond)})
					}
					b.write(t, recs...)
				}
			}
			topo := stream.New("room")
			left := topo.FromKeyed(source.KafkaKeyed(b.name("left"), codec.String, codec.String))
			right := topo.FromKeyed(source.KafkaKeyed(b.name("right"), codec.String, codec.String))
			c.merge(left, right).Count("counts").
				Changes(func(_ string, n int64) int64 { return n }).To(sink.Kafka(b.name("counts"), codec.Int64))
			in := run(t, topo, b.config(t.TempDir(), func(c *stream.Config) { c.MemoryBudget = 16 << 20 }))
			in.until(t, "all records are read", func(st stream.Status) bool { return lag(st) == 0 && sum(st, records) == 2*partitions*each })
			in.stop(t)
			assert.NotEmpty(t, b.read(t, "counts", 1))
		})
	}
}
