package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// proven counts in windows of 10 ms, whose time goes on when the source has been silent for 20 ms.
func proven(bound int64) func(*stream.Topology) {
	return func(topo *stream.Topology) {
		a := texts(topo).Watermark(stream.Watermark{OutOfOrder: millis(bound), Proven: millis(20)}).KeyBy(letter).Window(tumbling(10, 0)).
			FoldMerge("texts", func(a *string, v string) { *a += v[1:] }, func(a *string, b string) { *a += b })
		a.OnClose(textOf).To(resultsOf[texted]("closes"))
		a.Late(lateOf).To(results("late"))
	}
}

// The last window closes although no record comes any more; what has been proven lasts, whatever happens meanwhile. (Not
// with EveryWay, which lets the process die at each move of the clock: after a start it must be silent for long again.)
func TestProven(t *testing.T) {
	wait := func(d *streamtest.Driver) {
		for range 4 {
			d.AdvanceWall(millis(20))
		}
	}
	for _, exchange := range []stream.Exchange{stream.ThroughTopic, stream.InMemory} {
		for _, step := range streamtest.Steps() {
			d := streamtest.New(t, made(proven(5))(), streamtest.Start(ms(1)), streamtest.Exchange(exchange))
			pipe(d, "a1@1 a2@9")
			d.Crash(step)
			wait(d)
			assert.Equal(t, "a[0,10)=12", shown(d.Drain[texted]("closes")), "%v", step)
			assert.Equal(t, d.Now().UnixMilli()-5, d.Watermark("in").UnixMilli(), "%v", step)
			d.WipeState()
			pipe(d, "a3@86 a4@3")
			d.Restart()
			wait(d)
			assert.Equal(t, "a[80,90)=3", shown(d.Drain[texted]("closes")), "%v", step)
			assert.Equal(t, "a[0,10)=a4", closed(d.Drain[result]("late")), "%v", step)
		}
	}
}

// A partition must have been silent for as long as it says.
func TestProvenAfter(t *testing.T) {
	d := streamtest.New(t, made(proven(5))(), streamtest.Start(ms(1)))
	pipe(d, "a1@1 a2@9")
	d.AdvanceWall(millis(19))
	require.Empty(t, d.Drain[texted]("closes"))
	d.AdvanceWall(millis(1))
	require.Equal(t, "a[0,10)=12", shown(d.Drain[texted]("closes")))
}

// A partition that is silent does not hold up those that speak, but goes on.
func TestProvenBesideOthers(t *testing.T) {
	d := streamtest.New(t, made(proven(0))(), streamtest.Start(ms(1)), streamtest.Topic("in", 2))
	put := func(partition int32, value string, at int64) {
		d.PipeTo("in", streamtest.Record{Partition: partition, Value: []byte(value), Time: ms(at)})
	}
	put(0, "a1", 1)
	put(1, "b1", 2)
	put(1, "b2", 30)
	require.Empty(t, d.Drain[texted]("closes"))
	d.AdvanceWall(millis(29))
	assert.Equal(t, "a[0,10)=1 b[0,10)=1", shown(d.Drain[texted]("closes")))
	assert.Empty(t, d.Drain[result]("late"))
}

// However long the gaps, and whatever happens in between: no record that is out of order by no more than the bound, by
// its event time and by the time at which it arrives, is late; and all windows close.
func TestProvenMakesNothingLate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.Int64Range(0, 10).Draw(t, "bound")
		d := streamtest.New(t, made(proven(bound))(), append(ways(t), streamtest.Start(ms(1)))...)
		at, n := int64(0), 0
		for range rapid.IntRange(1, 12).Draw(t, "records") {
			at += rapid.Int64Range(0, 60).Draw(t, "gap")
			d.AdvanceWall(max(0, ms(at).Sub(d.Now())))
			happen(t, d)
			pipe(d, fmt.Sprintf("ax@%d", at-rapid.Int64Range(0, bound).Draw(t, "delay")))
			n++
			happen(t, d)
		}
		for range 3 { // one may die
			d.AdvanceWall(millis(100))
		}
		require.Empty(t, d.Drain[result]("late"))
		for _, r := range d.Drain[texted]("closes") {
			n -= len(r.Text)
		}
		require.Zero(t, n, "records that are in no window that has closed")
	})
}

func TestProvenMistakes(t *testing.T) {
	for want, w := range map[string]stream.Watermark{
		"has Idle and Proven":      {Idle: time.Second, Proven: time.Second},
		"use whole milliseconds":   {Proven: time.Microsecond},
		"Proven is -1s: use whole": {Proven: -time.Second},
	} {
		topo := stream.New("mistake")
		texts(topo).Watermark(w).To(to("out"))
		_, err := topo.Build(stream.Config{AppID: "app"})
		require.ErrorContains(t, err, want)
	}
}

// The count of the last minute comes although nothing follows it.
func ExampleWatermark_proven() {
	topo := stream.New("quiet")
	texts(topo).Watermark(stream.Watermark{OutOfOrder: 5 * time.Second, Proven: 10 * time.Second}).
		KeyBy(letter).Window(window.Tumbling{Size: time.Minute}).Count("counts").
		OnClose(func(k string, s window.Span, n int64) string {
			return fmt.Sprintf("%s %s: %d", k, s.Start().Format("15:04"), n)
		}).
		To(to("out"))
	d := start(topo)
	d.Pipe("in", noon.Add(50*time.Second), "a")
	d.AdvanceWall(20 * time.Second)
	fmt.Println(d.Drain[string]("out"))
	// Output: [a 12:00: 1]
}
