package stream_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// scripted is a process whose records say what to do: "k:set@5", "k:clear@5" (a timer of event time, in ms), "k:wall@5",
// "k:nowall@5" (of the wall clock, in seconds after noon), "k:forget", "k:dump", "k:watermark", "k:time". What else they
// say is kept in the key's state.
func scripted(topo *stream.Topology) {
	type proc = stream.Process[string, []string, string]
	onTimer := func(p *proc, tm stream.Timer) {
		clock, at := "event", tm.At.UnixMilli()
		if tm.Wall {
			clock, at = "wall", int64(tm.At.Sub(noon)/time.Second)
		}
		p.Emit(fmt.Sprintf("%s %s %d %d", p.Key(), clock, at, len(*p.State())))
	}
	onRecord := func(p *proc, s string) {
		_, do, _ := strings.Cut(s, ":")
		do, arg, _ := strings.Cut(do, "@")
		n, _ := strconv.ParseInt(arg, 10, 64)
		second := noon.Add(time.Duration(n) * time.Second)
		switch do {
		case "set":
			p.SetTimer(ms(n))
		case "clear":
			p.ClearTimer(ms(n))
		case "wall":
			p.SetWallTimer(second)
		case "nowall":
			p.ClearWallTimer(second)
		case "forget":
			p.Clear()
			return
		case "time":
			return
		case "dump":
			state, ok := p.Get()
			p.Emit(fmt.Sprint(p.Key(), " ", ok, " ", state))
			return
		case "watermark":
			p.Emit(fmt.Sprint(p.Key(), " ", p.Watermark().UnixMilli(), " ", p.Time().UnixMilli()))
			return
		}
		*p.State() = append(*p.State(), do)
	}
	texts(topo).KeyBy(letter).Process("p", onRecord, onTimer).To(to("out"))
}

func TestProcess(t *testing.T) {
	for name, c := range map[string]struct {
		in   string // "time@n" moves the watermark to n, nothing else moves it
		want []string
	}{
		"state":                               {"a:x a:y b:z a:dump b:dump c:dump", []string{"a true [x y]", "b true [z]", "c false []"}},
		"state that is cleared":               {"a:x a:forget a:dump a:y a:dump a:forget a:forget a:dump", []string{"a false []", "a true [y]", "a false []"}},
		"a timer fires when w is beyond it":   {"a:set@5 z:time@5 z:watermark z:time@6", []string{"z 5 -1000", "a event 5 1"}},
		"timers fire in the order of times":   {"a:set@9 a:set@5 b:set@7 z:time@50", []string{"a event 5 2", "b event 7 1", "a event 9 2"}},
		"then of keys":                        {"b:set@5 a:set@5 c:set@5 z:time@50", []string{"a event 5 1", "b event 5 1", "c event 5 1"}},
		"one timer for each key and time":     {"a:set@5 a:set@5 z:time@50", []string{"a event 5 2"}},
		"a timer that is taken back":          {"a:set@5 a:set@6 a:clear@5 z:time@50", []string{"a event 6 3"}},
		"taken back and set again":            {"a:set@5 a:clear@5 a:set@5 z:time@50", []string{"a event 5 3"}},
		"taking back what is not there":       {"a:clear@5 z:time@50", nil},
		"set again after it has fired":        {"a:set@5 z:time@6 a:set@5 z:time@50", []string{"a event 5 1", "a event 5 2"}},
		"timers of a key without state":       {"a:set@5 a:forget z:time@50", []string{"a event 5 0"}},
		"a timer before 1970":                 {"z:time@-20 a:set@-5 z:time@-4", []string{"a event -5 1"}},
		"a timer in the past fires next time": {"z:time@50 a:set@5 z:time@51", []string{"a event 5 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			streamtest.EveryWay(t, made(scripted), func(t *testing.T, d *streamtest.Driver) {
				for _, r := range strings.Fields(c.in) {
					n := int64(-1000)
					if _, when, ok := strings.Cut(r, "time@"); ok {
						n, _ = strconv.ParseInt(when, 10, 64)
					}
					d.PipeTo("in", streamtest.Record{Value: []byte(r), Time: ms(n)})
				}
				assert.Equal(t, c.want, d.Drain[string]("out"))
			}, streamtest.Start(noon))
		})
	}
}

func TestWallTimers(t *testing.T) {
	streamtest.EveryWay(t, made(scripted), func(t *testing.T, d *streamtest.Driver) {
		for _, s := range []string{"b:wall@7", "a:wall@7", "a:wall@5", "a:wall@5", "c:wall@6", "c:nowall@6"} {
			d.PipeTo("in", streamtest.Record{Value: []byte(s), Time: ms(100)})
		}
		d.AdvanceWall(4999 * time.Millisecond)
		assert.Empty(t, d.Drain[string]("out"))
		d.AdvanceWall(time.Millisecond)
		assert.Equal(t, []string{"a wall 5 3"}, d.Drain[string]("out"))
		d.AdvanceWall(time.Hour)
		got := d.Records("out")
		require.Len(t, got, 2)
		for i, want := range []string{"a wall 7 3", "b wall 7 1"} {
			assert.Equal(t, want, string(got[i].Value))
			assert.Equal(t, want[:1], string(got[i].Key))
			assert.Equal(t, ms(100), got[i].Time, "what a wall timer emits has the watermark as its time")
		}
		d.AdvanceWall(time.Hour)
		assert.Empty(t, d.Drain[string]("out"))
	}, streamtest.Start(noon))
}

// What a timer emits carries the timer's time and key, what a record emits the record's.
func TestProcessResultsCarryTimeAndKey(t *testing.T) {
	streamtest.EveryWay(t, made(scripted), func(t *testing.T, d *streamtest.Driver) {
		for i, v := range []string{"a:set@5", "a:watermark", "z:time"} {
			d.PipeTo("in", streamtest.Record{Value: []byte(v), Time: ms(int64(i + 4))})
		}
		got := d.Records("out")
		require.Len(t, got, 2)
		assert.Equal(t, "a 4 5", string(got[0].Value))
		assert.Equal(t, "a", string(got[0].Key))
		assert.Equal(t, ms(5), got[0].Time)
		assert.Equal(t, "a event 5 1", string(got[1].Value))
		assert.Equal(t, "a", string(got[1].Key))
		assert.Equal(t, ms(5), got[1].Time)
	}, streamtest.Start(noon))
}

// Timers that a timer sets fire in the same move of time, if they are before it.
func TestTimersThatSetTimers(t *testing.T) {
	build := func(topo *stream.Topology) {
		texts(topo).KeyBy(letter).Process("p",
			func(p *stream.Process[string, int, string], s string) {
				if s != "z" {
					p.SetTimer(ms(10))
				}
			},
			func(p *stream.Process[string, int, string], tm stream.Timer) {
				p.Emit(fmt.Sprint(p.Key(), tm.At.UnixMilli()))
				if *p.State()++; *p.State() < 5 {
					p.SetTimer(tm.At.Add(10 * time.Millisecond))
				}
			}).To(to("out"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		pipe(d, "a@1 b@2 z@31")
		assert.Equal(t, []string{"a10", "b10", "a20", "b20", "a30", "b30"}, d.Drain[string]("out"))
		pipe(d, "z@1000")
		assert.Equal(t, []string{"a40", "b40", "a50", "b50"}, d.Drain[string]("out"))
	})
}

// The watermark that a function sees does not fall when an idle partition speaks again, nor in a restart after that.
func TestProcessWatermarkNeverFalls(t *testing.T) {
	build := func(topo *stream.Topology) {
		a := topo.From(source.Kafka("a", codec.String)).Watermark(stream.Watermark{Idle: time.Minute})
		b := topo.From(source.Kafka("b", codec.String)).Watermark(stream.Watermark{Idle: time.Minute})
		a.Merge(b).KeyBy(letter).Process("p", func(p *stream.Process[string, int, string], _ string) {
			p.Emit(fmt.Sprint(p.Watermark().UnixMilli()))
		}, nil).To(to("out"))
	}
	for _, again := range []func(d *streamtest.Driver){func(*streamtest.Driver) {}, (*streamtest.Driver).Restart, (*streamtest.Driver).Kill, (*streamtest.Driver).WipeState} {
		d := streamtest.New(t, made(build)(), streamtest.Start(noon))
		in := func(topic, r string) { d.PipeTo(topic, at(r)) }
		in("a", "x@100")
		d.AdvanceWall(time.Hour) // both are idle now
		in("a", "x@200")
		in("b", "x@50")
		d.Drain[string]("out")
		in("b", "x@60")
		assert.Equal(t, []string{"200"}, d.Drain[string]("out"))
		again(d)
		in("b", "x@70")
		assert.Equal(t, []string{"200"}, d.Drain[string]("out"))
	}
}

// Headers reach the function and what it emits.
func TestProcessHeaders(t *testing.T) {
	build := func(topo *stream.Topology) {
		texts(topo).KeyBy(letter).Process("p", func(p *stream.Process[string, int, string], _ string) {
			p.Emit(fmt.Sprint(len(p.Headers()), " ", string(p.Headers()[0].Value)))
		}, nil).To(to("out"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		d.PipeTo("in", badRecord(around("a")))
		got := d.Records("out")
		require.Len(t, got, 1)
		assert.Equal(t, "1 7", string(got[0].Value))
		require.Len(t, got[0].Headers, 1)
		assert.Equal(t, "7", string(got[0].Headers[0].Value))
	})
}
