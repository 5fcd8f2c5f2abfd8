package stream_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

func suppressing(by stream.Suppression) func() *stream.Topology {
	return func() *stream.Topology {
		topo := stream.New("suppress")
		rows := rowsOf(topo, "in").Suppress("slow", by)
		rows.Updates(changed).To(strs("out"))
		direct(topo, "asks", time.Hour).LeftJoinTable("ask", rows, func(ask string, row *string) string { return ask + "+" + show(row) }).To(strs("answers"))
		return topo
	}
}

// The changes of a row within the limit are one; what is looked up is what was emitted.
func TestSuppress(t *testing.T) {
	streamtest.EveryWay(t, suppressing(stream.Suppression{Limit: duration(10)}), func(t *testing.T, d *streamtest.Driver) {
		set(d, "in", "b:1@0 a:1@0 a:2@3 c:1@4 a:3@2")
		put(d, "asks", "a:?@5")
		set(d, "in", "b:2@9")
		assert.Empty(t, drained(d, "out"))
		assert.Equal(t, []string{"a:?+-@5"}, drained(d, "answers"))
		set(d, "in", "d:1@10")
		assert.Equal(t, []string{"a ->a:3@2", "b ->b:2@9"}, drained(d, "out"), "in the order of (first, key), each with the time of its newest")
		put(d, "asks", "a:?@5 c:?@5")
		assert.Equal(t, []string{"a:?+a:3@5", "c:?+-@5"}, drained(d, "answers"))
		set(d, "in", "a:4@11 a@12 c@13")
		put(d, "asks", "a:?@5")
		assert.Equal(t, []string{"a:?+a:3@5"}, drained(d, "answers"))
		set(d, "in", "e:1@40")
		assert.Equal(t, []string{"d ->d:1@10", "a a:3>-@12"}, drained(d, "out"), "of c, which came and went, there is nothing")
		put(d, "asks", "a:?@5 b:?@5")
		assert.Equal(t, []string{"a:?+-@5", "b:?+b:2@5"}, drained(d, "answers"))
		set(d, "in", "f:1@30")
		assert.Equal(t, []string{"f ->f:1@30"}, drained(d, "out"), "its time is over already")
	})
}

// With more than MaxRows those that have waited longest go early.
func TestSuppressMaxRows(t *testing.T) {
	streamtest.EveryWay(t, suppressing(stream.Suppression{Limit: time.Hour, MaxRows: 2}), func(t *testing.T, d *streamtest.Driver) {
		set(d, "in", "b:1@5 a:1@7 b:2@8")
		assert.Empty(t, drained(d, "out"))
		set(d, "in", "c:1@6")
		assert.Equal(t, []string{"b ->b:2@8"}, drained(d, "out"))
		set(d, "in", "d:1@9")
		assert.Equal(t, []string{"c ->c:1@6"}, drained(d, "out"))
		set(d, "in", "e:1@1")
		assert.Equal(t, []string{"e ->e:1@1"}, drained(d, "out"), "the first by its time is the one that came last")
	})
}

// What follows does not take suppressed changes for late.
func TestSuppressTime(t *testing.T) {
	topo := stream.New("suppress")
	rowsOf(topo, "in").Suppress("slow", stream.Suppression{Limit: duration(10)}).ToStream().
		Window(tumbling(5, 0)).Count("n").OnClose(of).To(results("closes"))
	d := streamtest.New(t, topo)
	set(d, "in", "a:1@1 b:1@4 c:1@20 d:1@40")
	assert.Equal(t, "a[0,5)=1 b[0,5)=1 c[20,25)=1", closed(d.Drain[result]("closes")))
	assert.Zero(t, d.Counts("n").Late)
}

// The updates of windows that another application has made become one final result of each.
func TestSuppressUntil(t *testing.T) {
	ends := func(k, _ string) time.Time {
		var n int64
		fmt.Sscanf(k[1:], "%d", &n)
		return time.UnixMilli(n)
	}
	for name, read := range map[string]func(*stream.Topology, string, time.Duration) stream.Keyed[string, string]{"rekeyed": rekeyed, "direct": direct} {
		t.Run(name, func(t *testing.T) {
			topology := func() *stream.Topology {
				topo := stream.New("suppress")
				read(topo, "in", duration(5)).SuppressUntil("final", ends, 3).To(strs("out"))
				return topo
			}
			streamtest.EveryWay(t, topology, func(t *testing.T, d *streamtest.Driver) {
				put(d, "in", "b10:1@3 a10:1@4 a20:1@12 a10:2@2 b10:2@14")
				assert.Empty(t, drained(d, "out"))
				put(d, "in", "a20:2@15")
				assert.Equal(t, []string{"a10:2@9", "b10:2@14"}, drained(d, "out"))
				put(d, "in", "c10:1@4")
				assert.Equal(t, []string{"c10:1@9"}, drained(d, "out"), "its time is over already")
				put(d, "in", "a50:1@15 a40:1@15 a30:1@15")
				assert.Equal(t, []string{"a20:2@19"}, drained(d, "out"), "the fourth is one too many")
				put(d, "in", "z90:1@50")
				assert.Equal(t, []string{"a30:1@29", "a40:1@39"}, drained(d, "out"))
			})
		})
	}
}

// Suppressed changes, one after the other, lead to the same rows, and each waits no less than the limit.
func TestSuppressModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.Int64Range(0, 20).Draw(rt, "limit")
		d := streamtest.New(t, suppressing(stream.Suppression{Limit: duration(limit)})(), anyWay(rt)...)
		type wait struct{ first, last int64 }
		rows, waits, shown := map[string]string{}, map[string]wait{}, map[string]string{}
		now := int64(-1 << 62)
		for i := range rapid.IntRange(1, 40).Draw(rt, "records") {
			k := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "key")
			at := rapid.Int64Range(0, 60).Draw(rt, "time")
			var want []string
			release := func() {
				for _, k := range slices.SortedFunc(keysOf(waits), func(a, b string) int {
					if waits[a].first != waits[b].first {
						return int(waits[a].first - waits[b].first)
					}
					return strings.Compare(a, b)
				}) {
					if waits[k].first+limit > now {
						continue
					}
					old, new := "-", "-"
					if v, ok := shown[k]; ok {
						old = v
					}
					if v, ok := rows[k]; ok {
						new, shown[k] = v, v
					} else {
						delete(shown, k)
					}
					if old != "-" || new != "-" {
						want = append(want, fmt.Sprintf("%s %s>%s@%d", k, old, new, waits[k].last))
					}
					delete(waits, k)
				}
			}
			_, had := rows[k]
			deletes := rapid.IntRange(0, 3).Draw(rt, "delete") == 0
			if deletes {
				set(d, "in", fmt.Sprintf("%s@%d", k, at))
				delete(rows, k)
			} else {
				rows[k] = fmt.Sprintf("%s:%d", k, i)
				set(d, "in", fmt.Sprintf("%s@%d", rows[k], at))
			}
			if had || !deletes {
				w, ok := waits[k]
				if !ok {
					w.first = at
				}
				w.last = at
				waits[k] = w
			}
			release()
			now = max(now, at)
			release()
			require.Equal(rt, want, drained(d, "out"))
			disturb(rt, d)
			require.Empty(rt, drained(d, "out"))
		}
	})
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestBadSuppress(t *testing.T) {
	topo := stream.New("bad")
	rows := topo.Table(keyed(), "rows")
	rows.Suppress("a", stream.Suppression{Limit: -1})
	rows.Suppress("b", stream.Suppression{MaxRows: -1})
	rows.ToStream().SuppressUntil("c", nil, -1)
	got := mistakes(t, topo, goodConfig(t))
	want := []string{
		`suppress "a": its Limit is -1ns: use 0 or more, in whole milliseconds`,
		`suppress "b": MaxRows is -1: use 1 or more, or 0 for any number`,
		`suppressuntil "c": its function is nil: give it one`,
		`suppressuntil "c": it is to hold -1 keys: use 1 or more, or 0 for any number`,
	}
	require.Len(t, got, len(want), "%s", strings.Join(got, "\n"))
	for i, w := range want {
		assert.Contains(t, got[i], w)
	}
}

// A balance that changes with every payment is published once a minute at most.
func ExampleTable_Suppress() {
	topo := stream.New("balances")
	topo.FromKeyed(source.KafkaKeyed("payments", codec.String, codec.Int64)).
		Fold("balance", func(sum *int64, n int64) { *sum += n }).
		Suppress("slowly", stream.Suppression{Limit: time.Minute}).
		Changes(func(account string, sum int64) string { return fmt.Sprintf("%s has %d", account, sum) }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	for i := range 5 {
		d.PipeKeyed("payments", "ann", noon.Add(time.Duration(i)*10*time.Second), int64(10))
	}
	d.PipeKeyed("payments", "bob", noon.Add(time.Minute), int64(5))
	printed(d)
	// Output:
	// ann has 50
}

// Another application writes each change of its hourly counts. Here only the last of each hour goes on.
func ExampleKeyed_SuppressUntil() {
	type count struct {
		Shop string
		Hour window.Span
		N    int
	}
	topo := stream.New("final")
	topo.From(source.Kafka("counts", codec.JSON[count]())).
		KeyBy(func(c count) string { return c.Shop + " " + time.UnixMilli(c.Hour.From).UTC().Format("15:04") }).
		SuppressUntil("final-counts", func(_ string, c count) time.Time { return time.UnixMilli(c.Hour.To) }, 0).
		Map(func(hour string, c count) string { return fmt.Sprintf("%s: %d", hour, c.N) }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	hour := window.Span{From: noon.UnixMilli(), To: noon.Add(time.Hour).UnixMilli()}
	d.Pipe("counts", noon.Add(time.Minute), count{"north", hour, 1})
	d.Pipe("counts", noon.Add(2*time.Minute), count{"north", hour, 2})
	d.Advance(noon.Add(time.Hour))
	printed(d)
	// Output:
	// north 12:00: 2
}
