package stream_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// ms is a time close to the epoch, before it if negative.
func ms(n int64) time.Time { return time.UnixMilli(n).UTC() }

// result is what a window emits.
type result struct {
	Key        string
	From, To   int64
	Value      string
	Revision   uint64
	Final      bool
	Watermark  int64 // of a late record
	RecordTime int64
}

func of[A any](k string, s window.Span, a A) result {
	return result{Key: k, From: s.From, To: s.To, Value: fmt.Sprint(a), Revision: s.Revision, Final: s.Final}
}

func lateOf(k string, l stream.LateRecord[string]) result {
	return result{Key: k, From: l.Span.From, To: l.Span.To, Value: l.Value, Watermark: l.Watermark.UnixMilli(), RecordTime: l.Time.UnixMilli()}
}

func results(topic string) sink.Sink[result] { return sink.Kafka(topic, codec.JSON[result]()) }

// windowed counts letters in windows, and emits whatever can be emitted.
func windowed(w window.Window, bound time.Duration) func(topo *stream.Topology) {
	return func(topo *stream.Topology) {
		a := texts(topo).Watermark(stream.Watermark{OutOfOrder: bound}).KeyBy(letter).Window(w).Count("n")
		a.OnUpdate(of).To(results("updates"))
		a.OnCommit(of).To(results("commits"))
		a.OnClose(of).To(results("closes"))
		a.Late(lateOf).To(results("late"))
	}
}

// pipe writes "a@5 b@7": values with their times in milliseconds.
func pipe(d *streamtest.Driver, records string) {
	for _, r := range strings.Fields(records) {
		d.PipeTo("in", at(r))
	}
}

func at(r string) streamtest.Record {
	var n int64
	v, when, _ := strings.Cut(r, "@")
	if _, err := fmt.Sscan(when, &n); err != nil {
		panic(err)
	}
	return streamtest.Record{Value: []byte(v), Time: ms(n)}
}

// closed prints results as "a[0,10)=2".
func closed(rs []result) string {
	var list []string
	for _, r := range rs {
		list = append(list, fmt.Sprintf("%s[%d,%d)=%s", r.Key, r.From, r.To, r.Value))
	}
	return strings.Join(list, " ")
}

func tumbling(size, grace int64) window.Window {
	return window.Tumbling{Size: time.Duration(size) * time.Millisecond, Grace: time.Duration(grace) * time.Millisecond}
}

func hopping(size, advance, grace int64) window.Window {
	return window.Hopping{Size: time.Duration(size) * time.Millisecond, Advance: time.Duration(advance) * time.Millisecond, Grace: time.Duration(grace) * time.Millisecond}
}

// The records, in order, and what the windows have closed with, and what was late.
var windowCases = map[string]struct {
	w            window.Window
	bound        int64
	in           string
	closes, late string
}{
	"tumbling": {tumbling(10, 0), 0, "a@0 a@9 b@5 a@10 a@20", "a[0,10)=2 b[0,10)=1 a[10,20)=1", ""},
	"the end is exclusive, the start inclusive": {tumbling(10, 0), 0, "a@10 a@19 a@20 a@30", "a[10,20)=2 a[20,30)=1", ""},
	"a window closes when w reaches its end":    {tumbling(10, 0), 0, "a@5 b@10", "a[0,10)=1", ""},
	"not before":                                {tumbling(10, 0), 0, "a@5 b@9", "", ""},
	"late at w = end":                           {tumbling(10, 0), 0, "b@10 a@9", "", "a[0,10)=a"},
	"accepted at w = end - 1":                   {tumbling(10, 0), 0, "b@9 a@0 c@10", "a[0,10)=1 b[0,10)=1", ""},
	"accepted at w = end + grace - 1":           {tumbling(10, 5), 0, "b@14 a@9 c@15", "a[0,10)=1", ""},
	"late at w = end + grace":                   {tumbling(10, 5), 0, "b@15 a@9", "", "a[0,10)=a"},
	"the bound holds the watermark back":        {tumbling(10, 0), 3, "b@12 a@9 c@13 d@9", "a[0,10)=1", "d[0,10)=d"},
	"grace and bound":                           {tumbling(10, 5), 3, "a@9 b@17 a@8 c@18 a@7", "a[0,10)=2", "a[0,10)=a"},
	"before 1970":                               {tumbling(10, 0), 0, "a@-20 a@-11 a@-10 a@-1 a@0", "a[-20,-10)=2 a[-10,0)=2", ""},
	"across 1970":                               {tumbling(10, 0), 0, "a@-1 a@0 a@10", "a[-10,0)=1 a[0,10)=1", ""},
	"offset":                                    {window.Tumbling{Size: 10 * time.Millisecond, Offset: 3 * time.Millisecond}, 0, "a@2 a@3 a@12 a@13", "a[-7,3)=1 a[3,13)=2", ""},
	"negative offset":                           {window.Tumbling{Size: 10 * time.Millisecond, Offset: -3 * time.Millisecond}, 0, "a@6 a@7 a@17", "a[-3,7)=1 a[7,17)=1", ""},
	"many windows close in order of their ends, then of keys": {tumbling(10, 20), 0, "b@25 c@15 a@15 b@5 a@5 z@60",
		"a[0,10)=1 b[0,10)=1 a[10,20)=1 c[10,20)=1 b[20,30)=1", ""},
	"hopping":                                  {hopping(10, 5, 0), 0, "a@0 a@7 a@12 z@30", "a[-5,5)=1 a[0,10)=2 a[5,15)=2 a[10,20)=1", ""},
	"hopping, late for some windows only":      {hopping(10, 5, 0), 0, "b@7 a@4 c@20", "a[0,10)=1 b[0,10)=1 b[5,15)=1", ""},
	"hopping, late for all":                    {hopping(10, 5, 0), 0, "b@10 a@4", "", "a[0,10)=a"},
	"hopping, size no multiple of the advance": {hopping(10, 4, 0), 0, "a@8 z@30", "a[0,10)=1 a[4,14)=1 a[8,18)=1", ""},
	"hopping before 1970":                      {hopping(10, 5, 0), 0, "a@-7 z@30", "a[-15,-5)=1 a[-10,0)=1", ""},
}

func TestWindows(t *testing.T) {
	for name, c := range windowCases {
		t.Run(name, func(t *testing.T) {
			build := windowed(c.w, time.Duration(c.bound)*time.Millisecond)
			streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
				pipe(d, c.in)
				got, late := d.Drain[result]("closes"), d.Drain[result]("late")
				assert.Equal(t, c.closes, closed(got), "closes")
				assert.Equal(t, c.late, closed(late), "late")
				for _, r := range got {
					assert.True(t, r.Final)
				}
			})
		})
	}
}

// Updates of a key and window are numbered from 1 without a hole, and the last one equals the close.
func TestRevisions(t *testing.T) {
	streamtest.EveryWay(t, made(windowed(hopping(10, 5, 3), 0)), func(t *testing.T, d *streamtest.Driver) {
		pipe(d, "a@7 a@8 b@9 a@3 b@12 a@11 z@50")
		type id struct {
			key  string
			from int64
		}
		last := map[id]result{}
		for _, r := range d.Drain[result]("updates") {
			k := id{r.Key, r.From}
			assert.Equal(t, last[k].Revision+1, r.Revision, "%v", r)
			assert.False(t, r.Final)
			last[k] = r
		}
		closes := d.Drain[result]("closes")
		assert.Len(t, closes, len(last)-2, "two windows of z are open")
		for _, r := range closes {
			u := last[id{r.Key, r.From}]
			assert.Equal(t, u.Value, r.Value)
			assert.Equal(t, u.Revision, r.Revision)
		}
	})
}

// OnCommit emits each changed aggregate once per epoch, before the window's close.
func TestOnCommit(t *testing.T) {
	d := streamtest.New(t, made(func(topo *stream.Topology) {
		a := texts(topo).KeyBy(letter).Window(tumbling(10, 0)).Count("n")
		a.OnCommit(of).Merge(a.OnClose(of)).To(results("out"))
	})(), streamtest.ManualCommit())
	pipe(d, "a@1 b@2 a@3")
	d.Commit()
	assert.Equal(t, []result{{Key: "a", To: 10, Value: "2", Revision: 2}, {Key: "b", To: 10, Value: "1", Revision: 1}}, d.Drain[result]("out"))
	d.Commit()
	assert.Empty(t, d.Drain[result]("out"))
	pipe(d, "b@4 a@12 b@5") // b@5 is in time: the watermark follows the epoch's records through the repartition
	d.Commit()
	got := d.Drain[result]("out")
	assert.Equal(t, []result{{Key: "b", To: 10, Value: "3", Revision: 3}, {Key: "a", To: 10, Value: "2", Revision: 2, Final: true},
		{Key: "b", To: 10, Value: "3", Revision: 3, Final: true}, {Key: "a", From: 10, To: 20, Value: "1", Revision: 1}}, got)
}

// What OnCommit has emitted last for a key and window equals its close, whatever the epochs were.
func TestOnCommitAgreesWithClose(t *testing.T) {
	streamtest.EveryWay(t, made(windowed(tumbling(10, 5), 0)), func(t *testing.T, d *streamtest.Driver) {
		pipe(d, "a@1 b@2 a@3 a@11 b@9 c@12 a@4 z@50")
		last := map[string]result{}
		for _, r := range d.Drain[result]("commits") {
			k := fmt.Sprint(r.Key, r.From)
			assert.Greater(t, r.Revision, last[k].Revision)
			last[k] = r
		}
		closes := d.Drain[result]("closes")
		require.Len(t, closes, 4)
		for _, r := range closes {
			r.Final = false
			assert.Equal(t, r, last[fmt.Sprint(r.Key, r.From)])
		}
	})
}

// What is emitted at the end of an epoch belongs to it, also where it goes on through a repartition.
func TestOnCommitThroughARepartition(t *testing.T) {
	build := func(topo *stream.Topology) {
		c := texts(topo).KeyBy(letter).Window(tumbling(10, 5)).Count("n").OnCommit(of)
		c.To(results("commits"))
		c.KeyBy(func(r result) string { return r.Key }).Count("m").Changes(func(_ string, n int64) string { return fmt.Sprint(n) }).To(to("counts"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		pipe(d, "a@1 a@2 a@3 a@11 a@9 a@12 a@4 a@50")
		d.Advance(ms(100))
		assert.Len(t, d.Drain[string]("counts"), len(d.Drain[result]("commits")))
	})
}

// A result's time is the largest of its records', or the last millisecond of the window that closes; its key is the
// aggregate's.
func TestWindowResultsCarryTimeAndKey(t *testing.T) {
	streamtest.EveryWay(t, made(windowed(tumbling(10, 5), 0)), func(t *testing.T, d *streamtest.Driver) {
		pipe(d, "a@7 a@3 z@40 b@2")
		for topic, want := range map[string][]int64{"updates": {7, 7, 40}, "closes": {9}, "late": {2}} {
			var times []int64
			for _, r := range d.Records(topic) {
				times = append(times, r.Time.UnixMilli())
				assert.Contains(t, []string{"a", "b", "z"}, string(r.Key))
				assert.Empty(t, r.Headers)
			}
			assert.Equal(t, want, times, topic)
		}
	})
}

// A late record names the watermark that it was judged by.
func TestLate(t *testing.T) {
	streamtest.EveryWay(t, made(windowed(tumbling(10, 5), 2*time.Millisecond)), func(t *testing.T, d *streamtest.Driver) {
		pipe(d, "z@17 a@9 a@20 b@3")
		late := d.Drain[result]("late")
		assert.Equal(t, []result{{Key: "a", From: 0, To: 10, Value: "a", Watermark: 15, RecordTime: 9}, {Key: "b", From: 0, To: 10, Value: "b", Watermark: 18, RecordTime: 3}}, late)
	}, streamtest.Start(noon))
	d := streamtest.New(t, made(windowed(tumbling(10, 5), 2*time.Millisecond))())
	pipe(d, "z@17 a@9 a@20 b@3")
	assert.Equal(t, uint64(2), d.Counts("n").Late)
}

// Advance closes windows without a record, at the same moment as a record would.
func TestAdvanceCloses(t *testing.T) {
	streamtest.EveryWay(t, made(windowed(tumbling(10, 5), 3*time.Millisecond)), func(t *testing.T, d *streamtest.Driver) {
		pipe(d, "a@5")
		d.Advance(ms(17))
		assert.Empty(t, d.Drain[result]("closes"))
		d.Advance(ms(18))
		assert.Equal(t, "a[0,10)=1", closed(d.Drain[result]("closes")))
		assert.Equal(t, ms(15), d.Watermark("in"))
		d.Advance(ms(10))
		assert.Equal(t, ms(15), d.Watermark("in"), "time does not go back")
		pipe(d, "a@5")
		assert.Equal(t, "a[0,10)=a", closed(d.Drain[result]("late")))
	})
}

// Window state of every shape, far more of it than the cache holds.
func TestManyWindows(t *testing.T) {
	build := func(topo *stream.Topology) {
		a := texts(topo).Watermark(stream.Watermark{OutOfOrder: 1000 * time.Millisecond}).KeyBy(func(s string) string { return s }).
			Window(hopping(20, 10, 0)).Fold("f", (*longest).add)
		a.OnClose(func(k string, s window.Span, l longest) result {
			return result{Key: k, From: s.From, To: s.To, Value: fmt.Sprint(l.N), Revision: s.Revision}
		}).To(results("closes"))
	}
	for _, opts := range [][]streamtest.Option{nil, {streamtest.CacheSize(0)}, {streamtest.CacheSize(2000), streamtest.Overlap()}} {
		d := streamtest.New(t, made(build)(), append(opts, streamtest.CommitEvery(7), streamtest.Partitions(2))...)
		const keys, steps = 50, 900
		for i := range steps {
			d.PipeTo("in", streamtest.Record{Partition: int32(i % 2), Value: fmt.Append(nil, i%keys), Time: ms(int64(i * 7 % 900))})
			if i%300 == 150 {
				d.Crash(streamtest.AfterCommit)
			}
		}
		d.Advance(ms(10_000))
		want := map[string]int{}
		for i := range steps {
			at := int64(i * 7 % 900)
			for from := at - at%10 - 10; from <= at; from += 10 {
				want[fmt.Sprint(i%keys, " ", from)]++
			}
		}
		got := d.Drain[result]("closes")
		assert.Len(t, got, len(want))
		for _, r := range got {
			assert.Equal(t, fmt.Sprint(want[fmt.Sprint(r.Key, " ", r.From)]), r.Value)
		}
		// Each task closes in the order of (end, key).
		for _, list := range split(got) {
			assert.True(t, slices.IsSortedFunc(list, func(a, b result) int {
				if a.To != b.To {
					return int(a.To - b.To)
				}
				return strings.Compare(a.Key, b.Key)
			}))
		}
	}
}

// split divides results at the places where order begins anew: each task closes all of its windows in one go.
func split(rs []result) (lists [][]result) {
	from := 0
	for i := 1; i <= len(rs); i++ {
		if i == len(rs) || rs[i].To < rs[i-1].To {
			lists = append(lists, rs[from:i])
			from = i
		}
	}
	return lists
}
