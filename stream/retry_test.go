package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// outage is a service that may be down for values that contain a word.
type outage struct {
	down  string
	calls int
}

func (o *outage) call(s string) (string, error) {
	o.calls++
	if o.down != "" && strings.Contains(s, o.down) {
		return "", errors.New("service is down")
	}
	return strings.ToUpper(s), nil
}

// asking is a codec that asks a service.
type asking struct {
	codec.Codec[string]
	of *outage
}

func (a asking) Decode(b []byte) (string, error) { return a.of.call(string(b)) }

func upperCall(_ context.Context, s string) (string, error) { return strings.ToUpper(s), nil }

var patiently = onerror.Retry{Attempts: 1000, Backoff: time.Second}

// What fails for a while waits, with all that is behind it in its partition; then everything goes on, in order, counted once.
func TestRetry(t *testing.T) {
	var o outage
	build := func(topo *stream.Topology) {
		s := texts(topo).Watermark(stream.Watermark{Idle: time.Minute})
		s.Map(func(v string) string { return "before " + v }).To(to("before"))
		s.TryMap(o.call, patiently.Then(onerror.Fail)).To(to("out"))
		// Behind it there may be any state.
		s.TryMap(o.call, patiently.Then(onerror.Skip)).KeyBy(letter).Count("n").Changes(func(k string, n int64) string { return fmt.Sprint(k, n) }).To(to("counts"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		o = outage{}
		pipe(d, "a@1 b@2")
		o.down = "c"
		pipe(d, "c@3 a@4")
		assert.Equal(t, []string{"A", "B"}, d.Drain[string]("out"))
		assert.Equal(t, []string{"before a", "before b"}, d.Drain[string]("before"), "nothing stays of an attempt that failed")
		d.AdvanceWall(5 * time.Minute)
		assert.Empty(t, d.Drain[string]("out"))
		assert.Equal(t, ms(2), d.Watermark("in"), "it is not idle, and time has not moved")
		o.down = ""
		d.AdvanceWall(20 * time.Second)
		assert.Equal(t, []string{"C", "A"}, d.Drain[string]("out"))
		assert.Equal(t, []string{"before c", "before a"}, d.Drain[string]("before"))
		assert.Equal(t, []string{"A1", "B1", "C1", "A2"}, d.Drain[string]("counts"))
		assert.Empty(t, d.Bad())
	}, streamtest.Start(noon))
}

// After the last attempt its policy applies. Meanwhile other partitions go on.
func TestRetryEnds(t *testing.T) {
	o := outage{down: "bad"}
	build := func(topo *stream.Topology) {
		texts(topo).TryMap(o.call, onerror.Retry{Attempts: 3, Backoff: time.Second}.Then(onerror.DeadLetter("dead"))).To(to("out"))
	}
	d := streamtest.New(t, made(build)(), streamtest.Topic("in", 2), streamtest.Start(noon))
	d.PipeTo("in", streamtest.Record{Value: []byte("bad"), Time: noon})
	d.PipeTo("in", streamtest.Record{Value: []byte("next"), Time: noon})
	d.PipeTo("in", streamtest.Record{Partition: 1, Value: []byte("other"), Time: noon})
	assert.Equal(t, []string{"OTHER"}, d.Drain[string]("out"))
	assert.Equal(t, 2, o.calls)
	d.AdvanceWall(499 * time.Millisecond)
	assert.Equal(t, 2, o.calls, "half of the backoff at least")
	d.AdvanceWall(501 * time.Millisecond)
	assert.Equal(t, 3, o.calls)
	assert.Empty(t, d.Records("dead"))
	d.AdvanceWall(2 * time.Second)
	assert.Equal(t, []string{"NEXT"}, d.Drain[string]("out"))
	assert.Equal(t, 5, o.calls)
	dead := d.Records("dead")
	require.Len(t, dead, 1)
	assert.Equal(t, "bad", string(dead[0].Value))
	assert.Equal(t, "attempt 3 of 3: service is down", string(dead[0].Headers[0].Value))
	require.Len(t, d.Bad(), 1)
	assert.Equal(t, uint64(2), d.Counts("trymap").Retried)

	// The next record begins with the first attempt.
	d.PipeTo("in", streamtest.Record{Value: []byte("bad too"), Time: noon})
	assert.Equal(t, 6, o.calls)
	assert.Empty(t, d.Records("dead"))
}

// A source's policy holds for its codec, and for what is behind it; a panic is not tried again.
func TestRetryOfASource(t *testing.T) {
	o := outage{down: "down"}
	topo := stream.New("test")
	topo.From(source.Kafka("in", asking{codec.String, &o}, source.OnError(onerror.Retry{Attempts: 5}.Then(onerror.Skip)))).
		Map(func(v string) string { return strings.TrimSuffix(explode(strings.ToLower(v)), "!") }).To(to("out"))
	d := streamtest.New(t, topo, streamtest.Start(noon))
	for _, v := range []string{"bad", "down", "a"} {
		d.PipeTo("in", streamtest.Record{Value: []byte(v), Time: noon})
	}
	require.Len(t, d.Bad(), 1, "the panic")
	assert.Empty(t, d.Drain[string]("out"))
	o.down = ""
	d.AdvanceWall(time.Second)
	assert.Equal(t, []string{"down", "a"}, d.Drain[string]("out"))
}

// A clock that is wrong does not agree with itself because its record is tried again.
func TestRetryOfADoubtedTime(t *testing.T) {
	o := outage{down: "far"}
	build := func(topo *stream.Topology) {
		texts(topo, source.MaxJump(time.Minute, 2), source.MaxAhead(-1)).TryMap(o.call, patiently.Then(onerror.Skip)).To(to("out"))
	}
	d := streamtest.New(t, made(build)(), streamtest.Start(noon))
	d.PipeTo("in", streamtest.Record{Value: []byte("a"), Time: noon})
	d.PipeTo("in", streamtest.Record{Value: []byte("far"), Time: noon.Add(24 * time.Hour)})
	for range 5 {
		d.AdvanceWall(20 * time.Second)
	}
	o.down = ""
	d.AdvanceWall(20 * time.Second)
	assert.Equal(t, []string{"A", "FAR"}, d.Drain[string]("out"))
	assert.Equal(t, noon, d.Watermark("in"))
}

func TestRetryMistakes(t *testing.T) {
	var o outage
	again := patiently.Then(onerror.Skip)
	for name, c := range map[string]struct {
		build func(topo *stream.Topology)
		want  string
	}{
		"state before": {func(topo *stream.Topology) {
			topo.FromKeyed(source.KafkaKeyed("in", codec.String, codec.String)).Count("n").Changes(func(k string, n int64) string { return k }).TryMap(o.call, again).To(to("out"))
		}, `it tries records again, and "n" (at `},
		"state beside": {func(topo *stream.Topology) {
			s := texts(topo)
			s.Async("calls", upperCall, stream.Async[string, string]{Capacity: 1}).To(to("out"))
			s.TryMap(o.call, again).To(to("out"))
		}, `it tries records again, and "calls"`},
		"state behind a source": {func(topo *stream.Topology) {
			topo.FromKeyed(source.KafkaKeyed("in", codec.String, codec.String, source.OnError(again))).Count("n").Changes(func(k string, n int64) string { return k }).To(to("out"))
		}, `it tries records again, and "n"`},
		"behind a repartition": {func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Repartition("r", stream.Repartitioning{}).Map(func(_, v string) string { return v }).TryMap(o.call, again).To(to("out"))
		}, `behind the repartition "r"`},
		"one attempt": {func(topo *stream.Topology) {
			texts(topo).TryMap(o.call, onerror.Retry{Attempts: 1}.Then(onerror.Skip)).To(to("out"))
		}, "its Retry has 1 attempts: use 2 or more"},
		"no attempts": {func(topo *stream.Topology) {
			texts(topo, source.OnError(onerror.Retry{Backoff: time.Second}.Then(onerror.Skip))).To(to("out"))
		}, "its Retry has 0 attempts"},
		"negative": {func(topo *stream.Topology) {
			texts(topo).TryMap(o.call, onerror.Retry{Attempts: 2, Backoff: -1}.Then(onerror.Skip)).To(to("out"))
		}, "a negative number"},
		"null keys": {func(topo *stream.Topology) {
			topo.FromKeyed(source.KafkaKeyed("in", codec.String, codec.String, source.OnNullKey(again))).To(to("out"))
		}, "which does not change"},
		"sink": {func(topo *stream.Topology) { texts(topo).To(sink.Kafka("out", codec.String).OnError(again)) }, "leave out the Retry"},
		"async": {func(topo *stream.Topology) {
			texts(topo).Async("calls", upperCall, stream.Async[string, string]{Capacity: 1}, again).To(to("out"))
		}, "use the Retry of the call"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := made(c.build)().Build(stream.Config{AppID: "app"})
			require.ErrorContains(t, err, c.want)
		})
	}
	// State of its own tasks, behind a repartition, is none of it.
	_, err := made(func(topo *stream.Topology) {
		texts(topo, source.OnError(again)).KeyBy(letter).Count("n").Changes(func(k string, n int64) string { return k }).To(to("out"))
	})().Build(stream.Config{AppID: "app"})
	assert.NotContains(t, err.Error(), "again")
}

// A service that is down for a moment costs no record, and no order.
func ExampleStream_TryMap_retry() {
	o := outage{down: "rome"}
	topo := stream.New("weather")
	topo.From(source.Kafka("cities", codec.String)).
		TryMap(o.call, onerror.Retry{Attempts: 10, Backoff: time.Second}.Then(onerror.DeadLetter("cities.dead"))).
		To(to("out"))
	d := start(topo)
	d.Pipe("cities", noon, "oslo", "rome", "bonn")
	fmt.Println(d.Drain[string]("out"))
	o.down = ""
	d.AdvanceWall(time.Second)
	fmt.Println(d.Drain[string]("out"))
	// Output:
	// [OSLO]
	// [ROME BONN]
}
