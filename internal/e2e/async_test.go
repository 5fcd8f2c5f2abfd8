package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// Calls that are under way when the application stops are made again by the next one; each result is there once. A run
// with an end waits for them.
func TestAsyncCallsOutliveTheInstance(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]int32{"in": 1, "out": 1})
	var want []string
	var recs []kafkatest.Record
	for i := range 50 {
		v := fmt.Sprint("value ", i)
		want = append(want, strings.ToUpper(v))
		recs = append(recs, kafkatest.Record{Topic: "in", Value: []byte(v)})
	}
	b.write(t, recs...)
	called := make(chan struct{}, 100)
	topology := func(wait bool) *stream.Topology {
		topo := stream.New("async")
		call := func(ctx context.Context, v string) (string, error) {
			if called <- struct{}{}; wait {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return strings.ToUpper(v), nil
		}
		topo.From(source.Kafka(b.name("in"), codec.String, source.EndAtNow())).
			Async("calls", call, stream.Async[string, string]{Capacity: 10}).
			To(sink.Kafka(b.name("out"), codec.String))
		return topo
	}
	dir := t.TempDir()
	in := run(t, topology(true), b.config(dir))
	for range 10 {
		<-called
	}
	in.stop(t)
	assert.Empty(t, called, "no more than the capacity")
	require.NoError(t, run(t, topology(false), b.config(dir)).wait(t))
	var got []string
	for _, r := range b.read(t, "out", len(want)) {
		got = append(got, string(r.Value))
	}
	assert.ElementsMatch(t, want, got)
	b.noMore(t, "out", len(want))
}
