package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// ticking counts the records of each letter, and tells at intervals of all it has; "z" is never told of, but forgotten.
func ticking(when stream.Schedule) func(*stream.Topology) {
	return func(topo *stream.Topology) {
		onRecord := func(p *stream.Process[string, int, string], s string) { *p.State()++ }
		onTick := func(t *stream.Tick[string, int, string]) {
			told := ""
			for k, n := range t.All() {
				if k == "z" {
					t.Clear(k)
					continue
				}
				told += fmt.Sprint(k, n)
				t.Set(k, n*10)
				t.Set("nobody", 1)
			}
			_, nobody := t.Get("nobody")
			t.Emit("tick", fmt.Sprint(t.Time().Sub(noon).Milliseconds(), " ", told, " ", nobody))
		}
		texts(topo).KeyBy(letter).ProcessEvery("p", onRecord, nil, when, onTick).To(to("out"))
	}
}

func TestProcessEvery(t *testing.T) {
	streamtest.EveryWay(t, made(ticking(stream.Schedule{Every: time.Second})), func(t *testing.T, d *streamtest.Driver) {
		for _, r := range []struct {
			text string
			at   int64
		}{{"a", -500}, {"a", 100}, {"b", 999}, {"z", 400}, {"c", 1000}, {"b", 900}, {"a", 5400}, {"a", 5999}, {"a", 6000}} {
			d.PipeTo("in", streamtest.Record{Value: []byte(r.text), Time: noon.Add(time.Duration(r.at) * time.Millisecond)})
		}
		var got []string
		for _, r := range d.Records("out") {
			assert.Equal(t, "tick", string(r.Key))
			got = append(got, fmt.Sprint(r.Time.Sub(noon).Milliseconds(), ": ", string(r.Value)))
		}
		// The first comes with the first watermark; one for the times that are passed together.
		assert.Equal(t, []string{"-500: -500 a1 false", "100: 100 a11 false", "1000: 1000 a110b1c1 false", "5400: 5400 a1101b11c10 false",
			"6000: 6000 a11012b110c100 false"}, got)
	}, streamtest.Start(noon), streamtest.KeyGroups(1))
}

func TestProcessEveryByTheWallClock(t *testing.T) {
	streamtest.EveryWay(t, made(ticking(stream.Schedule{Every: time.Second, Wall: true})), func(t *testing.T, d *streamtest.Driver) {
		for _, by := range []int64{400, 600, 1, 4000, 999} {
			d.AdvanceWall(time.Duration(by) * time.Millisecond)
			d.PipeTo("in", streamtest.Record{Value: []byte("a"), Time: ms(100 + by)})
		}
		got := d.Records("out")
		want := []struct {
			text string
			at   time.Time
		}{
			{"1000 a1 false", ms(500)},
			{"5001 a12 false", ms(700)},
			{"6000 a121 false", ms(4100)},
		}
		require.Len(t, got, len(want))
		for i, w := range want {
			assert.Equal(t, w.text, string(got[i].Value))
			assert.Equal(t, w.at, got[i].Time, "results have the watermark as their time")
		}
	}, streamtest.Start(noon))
}

// Each partition has a call of its own, for the keys that it has, more of them than are read at a time.
func TestProcessEveryGoesOverAllKeysOfATask(t *testing.T) {
	const keys = 700
	topology := made(func(topo *stream.Topology) {
		onRecord := func(p *stream.Process[string, int, string], _ string) { *p.State()++ }
		onTick := func(t *stream.Tick[string, int, string]) {
			for k, n := range t.All() {
				t.Emit(k, fmt.Sprint(k, " ", n))
				t.Set(k, n+1)
			}
		}
		texts(topo).KeyBy(func(s string) string { return s }).ProcessEvery("p", onRecord, nil, stream.Schedule{Every: time.Hour, Wall: true}, onTick).To(to("out"))
	})
	for name, opts := range map[string][]streamtest.Option{"held": nil, "in the store": {streamtest.CacheSize(0), streamtest.CommitEvery(50)}} {
		t.Run(name, func(t *testing.T) {
			d := streamtest.New(t, topology(), append(opts, streamtest.Start(noon), streamtest.Partitions(2))...)
			for i := range keys {
				d.Pipe("in", noon, fmt.Sprintf("k%03d", i))
			}
			d.Commit()
			for i := 0; i < keys; i += 3 {
				d.Pipe("in", noon, fmt.Sprintf("k%03d", i))
			}
			for round := range 3 {
				d.AdvanceWall(time.Hour)
				seen := map[string]int{}
				for _, s := range d.Drain[string]("out") {
					seen[s]++
				}
				assert.Len(t, seen, keys)
				for i := range keys {
					n := 1 + round
					if i%3 == 0 {
						n++
					}
					assert.Equal(t, 1, seen[fmt.Sprintf("k%03d %d", i, n)])
				}
				d.Restart()
			}
		})
	}
}

// Under Kafka Streams' rules the time of a task is the largest among the records that it has read, also of those that
// did not get as far as the function.
func TestProcessEveryByStreamTime(t *testing.T) {
	topology := made(func(topo *stream.Topology) {
		onRecord := func(p *stream.Process[string, int, string], _ string) { *p.State()++ }
		onTick := func(t *stream.Tick[string, int, string]) { t.Emit("", fmt.Sprint(t.Time().UnixMilli())) }
		s := topo.FromKeyed(source.KafkaKeyed("in", codec.String, codec.String)).Filter(func(_, s string) bool { return s != "no" })
		s.ProcessEvery("p", onRecord, nil, stream.Schedule{Every: 10 * time.Millisecond}, onTick).To(to("out"))
	})
	streamtest.EveryWay(t, topology, func(t *testing.T, d *streamtest.Driver) {
		for _, r := range []struct {
			text string
			at   int64
		}{{"a", 5}, {"a", 3}, {"a", 9}, {"no", 25}, {"a", 12}, {"a", 29}, {"no", 30}} {
			d.PipeTo("in", streamtest.Record{Key: []byte("k"), Value: []byte(r.text), Time: ms(r.at)})
		}
		assert.Equal(t, []string{"5", "25", "30"}, d.Drain[string]("out"))
	}, streamtest.Semantics(stream.KafkaStreamsSemantics))
}

// Whatever the disorder, and whatever happens in between: there is one call for each move of the watermark to or past a
// multiple of the interval, and it sees all keys as the records before have left them.
func TestProcessEveryModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		every, bound := rapid.Int64Range(1, 20).Draw(t, "every"), rapid.Int64Range(0, 8).Draw(t, "bound")
		topology := made(func(topo *stream.Topology) {
			onRecord := func(p *stream.Process[string, int, string], _ string) { *p.State()++ }
			onTick := func(t *stream.Tick[string, int, string]) {
				for k, n := range t.All() {
					t.Emit(k, fmt.Sprint(k, n, "@", t.Time().UnixMilli()))
					if n%5 == 0 {
						t.Clear(k)
					} else if n%3 == 0 {
						t.Set(k, n+7)
					}
				}
			}
			texts(topo).Watermark(stream.Watermark{OutOfOrder: millis(bound)}).KeyBy(letter).
				ProcessEvery("p", onRecord, nil, stream.Schedule{Every: millis(every)}, onTick).To(to("out"))
		})
		d := streamtest.New(t, topology(), ways(t)...)
		counts, w, due := map[string]int{}, int64(noTime), int64(noTime)
		var want []string
		for _, e := range draw(t) {
			pipe(d, e.String())
			counts[e.key]++
			if w = max(w, e.at-bound); w >= due {
				for k, n := range counts {
					want = append(want, fmt.Sprint(k, n, "@", w))
					if n%5 == 0 {
						delete(counts, k)
					} else if n%3 == 0 {
						counts[k] += 7
					}
				}
				due = w - mod(w, every) + every
			}
			happen(t, d)
		}
		require.ElementsMatch(t, want, d.Drain[string]("out"))
	})
}

func TestProcessEveryFaults(t *testing.T) {
	for name, every := range map[string]time.Duration{"none": 0, "negative": -time.Second, "less than a millisecond": time.Microsecond} {
		t.Run(name, func(t *testing.T) {
			topo := stream.New("bad")
			ticking(stream.Schedule{Every: every})(topo)
			_, err := topo.Build(stream.Config{AppID: "app"})
			require.ErrorContains(t, err, "its Schedule is every "+every.String()+": use whole milliseconds, at least one")
		})
	}
	topo := stream.New("bad")
	texts(topo).KeyBy(letter).ProcessEvery("p", func(*stream.Process[string, int, string], string) {}, nil, stream.Schedule{Every: time.Second}, nil).To(to("out"))
	_, err := topo.Build(stream.Config{AppID: "app"})
	require.ErrorContains(t, err, "its function is nil")
}

func ExampleKeyed_ProcessEvery() {
	topo := stream.New("carts")
	onRecord := func(p *stream.Process[string, int, string], _ string) { *p.State()++ }
	report := func(t *stream.Tick[string, int, string]) {
		for customer, n := range t.All() {
			t.Emit(customer, fmt.Sprintf("%s has clicked %d times by %s", customer, n, t.Time().Format("15:04")))
		}
	}
	texts(topo).KeyBy(func(s string) string { return s }).ProcessEvery("clicks", onRecord, nil, stream.Schedule{Every: 10 * time.Minute}, report).To(to("out"))

	d := start(topo)
	for i, who := range []string{"ann", "ann", "ben"} {
		d.PipeTo("in", streamtest.Record{Value: []byte(who), Time: noon.Add(time.Duration(i*5+1) * time.Minute)})
	}
	printed(d)
	// Output:
	// ann has clicked 1 times by 12:01
	// ann has clicked 2 times by 12:11
	// ben has clicked 1 times by 12:11
}
