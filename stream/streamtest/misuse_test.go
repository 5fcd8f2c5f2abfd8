package streamtest_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// failing is a TB that notes with what a test was ended.
type failing struct{ says string }

func (*failing) Helper()          {}
func (*failing) Cleanup(f func()) {}
func (f *failing) Fatalf(format string, args ...any) {
	f.says = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// fails runs f as a test does, and returns with what it was ended.
func fails(f func(t streamtest.TB)) string {
	t := &failing{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(t)
	}()
	<-done
	return t.says
}

func echo() *stream.Topology {
	topo := stream.New("echo")
	topo.From(source.Kafka("in", codec.String)).Map(func(s string) string {
		if s == "boom" {
			panic(s)
		}
		return s
	}).To(sink.Kafka("out", codec.String))
	topo.FromKeyed(source.KafkaKeyed("keyed", codec.Int64, codec.String, source.OnError(onerror.Fail))).Map(func(_ int64, s string) string {
		if s == "boom" {
			panic(s)
		}
		return s
	}).To(sink.Kafka("out", codec.String))
	return topo
}

func TestMisuse(t *testing.T) {
	for name, c := range map[string]struct {
		f    func(d *streamtest.Driver)
		says string
	}{
		"unknown source":         {func(d *streamtest.Driver) { d.Pipe("inn", noon, "x") }, `does not read the topic "inn"; it reads in, keyed`},
		"a sink is no source":    {func(d *streamtest.Driver) { d.Pipe("out", noon, "x") }, `does not read the topic "out"`},
		"wrong type":             {func(d *streamtest.Driver) { d.Pipe("in", noon, 7) }, `values of topic "in" have a codec.stringCodec, not a codec of int`},
		"wrong key type":         {func(d *streamtest.Driver) { d.PipeKeyed("keyed", "k", noon, "x") }, `keys of topic "keyed" have a codec.int64Codec, not a codec of string`},
		"no key":                 {func(d *streamtest.Driver) { d.Pipe("keyed", noon, "x") }, `topic "keyed" is read with keys: use PipeKeyed`},
		"no codec for a key":     {func(d *streamtest.Driver) { d.PipeKeyed("in", struct{ N int }{1}, noon, "x") }, "no key codec for struct"},
		"no such partition":      {func(d *streamtest.Driver) { d.PipeTo("in", streamtest.Record{Partition: 1}) }, `topic "in" has no partition 1: it has 1`},
		"negative partition":     {func(d *streamtest.Driver) { d.PipeTo("in", streamtest.Record{Partition: -1}) }, `no partition -1`},
		"drain an unknown topic": {func(d *streamtest.Driver) { d.Drain[string]("outt") }, `no topic "outt"; it has in, keyed, out`},
		"drain as another type":  {func(d *streamtest.Driver) { d.Drain[int]("out") }, `values of topic "out" have a codec.stringCodec`},
		"drain what has no sink": {func(d *streamtest.Driver) { d.Drain[string]("in") }, "use Records"},
		"unknown operator":       {func(d *streamtest.Driver) { d.Counts("nap") }, `no operator of the name "nap"`},
		"unknown step":           {func(d *streamtest.Driver) { d.Crash("now") }, "there is no such step"},
		"watermark of a sink":    {func(d *streamtest.Driver) { d.Watermark("out") }, `does not read the topic "out"`},
		"the application stops":  {func(d *streamtest.Driver) { d.PipeKeyed("keyed", int64(1), noon, "boom") }, "the application has stopped: operator map (declared at streamtest/misuse_test.go:"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, fails(func(tb streamtest.TB) { c.f(streamtest.New(tb, echo())) }), c.says)
		})
	}
	t.Run("mistakes in the topology", func(t *testing.T) {
		assert.Contains(t, fails(func(tb streamtest.TB) { streamtest.New(tb, stream.New("empty")) }), "the topology has mistakes:\n")
	})
}

func TestMayStop(t *testing.T) {
	d := streamtest.New(t, echo(), streamtest.MayStop())
	d.PipeKeyed("keyed", int64(1), noon, "a", "boom", "b")
	assert.ErrorContains(t, d.Err(), "panic: boom")
	d.Pipe("in", noon, "waits")
	assert.Empty(t, d.Drain[string]("out"), "nothing was committed")
	d.Restart()
	assert.ErrorContains(t, d.Err(), "panic: boom")
}

func TestManualCommit(t *testing.T) {
	d := streamtest.New(t, echo(), streamtest.ManualCommit())
	d.Pipe("in", noon, "a")
	assert.Empty(t, d.Drain[string]("out"))
	d.Kill()
	d.Pipe("in", noon, "b")
	d.Commit()
	assert.Equal(t, []string{"a", "b"}, d.Drain[string]("out"))
	d.Pipe("in", noon, "c")
	d.Restart()
	assert.Equal(t, []string{"c"}, d.Drain[string]("out"))
}

func TestClock(t *testing.T) {
	d := streamtest.New(t, echo())
	d.Pipe("in", noon, "a")
	assert.Equal(t, noon, d.Now())
	d.Pipe("in", noon.Add(-time.Hour), "a")
	assert.Equal(t, noon, d.Now(), "it does not go back")
	d.AdvanceWall(time.Minute)
	assert.Equal(t, noon.Add(time.Minute), d.Now())
	d.Advance(noon.Add(time.Hour))
	assert.Equal(t, noon.Add(time.Hour), d.Now())
	d.PipeTo("in", streamtest.Record{Value: []byte("x"), Time: noon.Add(2 * time.Hour)})
	assert.Equal(t, noon.Add(time.Hour), d.Now())
	d = streamtest.New(t, echo(), streamtest.Start(noon))
	assert.Equal(t, noon, d.Now())
}

// What was restored from the local copy is brought up to date from the changelog; an old copy is discarded.
func TestOldLocalState(t *testing.T) {
	d := streamtest.New(t, spending(), streamtest.Partitions(2))
	d.Pipe("txns", noon, txn{"a", 1, noon})
	d.Crash(streamtest.AfterCommit)
	d.Pipe("txns", noon, txn{"a", 2, noon})
	d.AdvanceWall(13 * time.Hour)
	d.Restart()
	d.Pipe("txns", noon, txn{"a", 4, noon})
	got := d.Drain[spend]("updates")
	assert.Equal(t, []spend{{"a", noon, 1, 1}, {"a", noon, 3, 2}, {"a", noon, 7, 3}}, got)
}
