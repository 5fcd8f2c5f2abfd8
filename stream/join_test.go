package stream_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

func duration(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// anyWay draws a way of running a topology that must make no difference.
func anyWay(t *rapid.T) []streamtest.Option {
	opts := []streamtest.Option{streamtest.CacheSize(rapid.SampledFrom([]int64{0, 2000, 1 << 20}).Draw(t, "cache")), streamtest.KeyGroups(2)}
	if rapid.Bool().Draw(t, "early commits") {
		opts = append(opts, streamtest.CommitEvery(1))
	}
	if rapid.Bool().Draw(t, "overlap") {
		opts = append(opts, streamtest.Overlap())
	}
	if rapid.Bool().Draw(t, "memory") {
		opts = append(opts, streamtest.Exchange(stream.InMemory))
	}
	return opts
}

// disturb does, now and then, what must make no difference.
func disturb(t *rapid.T, d *streamtest.Driver) {
	switch rapid.IntRange(0, 11).Draw(t, "disturb") {
	case 0:
		d.Restart()
	case 1:
		d.Kill()
	case 2:
		d.WipeState()
	case 3, 4:
		d.Crash(rapid.SampledFrom(streamtest.Steps()).Draw(t, "step"))
	}
}

// joinKind is one of the joins, with its results as strings "l+r", and "-" for what is not there.
type joinKind string

func (kind joinKind) join(l, r stream.Keyed[string, string], w window.Join) stream.Joined[string, string, string, string] {
	or := func(s *string) string {
		if s == nil {
			return "-"
		}
		return *s
	}
	switch kind {
	case "left":
		return l.LeftJoin("j", r, w, func(l string, r *string) string { return l + "+" + or(r) })
	case "outer":
		return l.OuterJoin("j", r, w, func(l, r *string) string { return or(l) + "+" + or(r) })
	}
	return l.Join("j", r, w, func(l, r string) string { return l + "+" + r })
}

// rekeyed reads values whose key is what stands before the colon.
func rekeyed(topo *stream.Topology, topic string, bound time.Duration) stream.Keyed[string, string] {
	return topo.From(source.Kafka(topic, codec.String)).Watermark(stream.Watermark{OutOfOrder: bound}).KeyBy(prefix)
}

func prefix(s string) string { k, _, _ := strings.Cut(s, ":"); return k }

// direct reads the same, partitioned by its keys already.
func direct(topo *stream.Topology, topic string, bound time.Duration) stream.Keyed[string, string] {
	return topo.FromKeyed(source.KafkaKeyed(topic, codec.String, codec.String)).Watermark(stream.Watermark{OutOfOrder: bound})
}

func lateValue(_ string, l stream.LateRecord[string]) string {
	return fmt.Sprintf("%s@%d<%d", l.Value, l.Time.UnixMilli(), l.Watermark.UnixMilli())
}

func joining(kind joinKind, w window.Join, bound time.Duration, read func(*stream.Topology, string, time.Duration) stream.Keyed[string, string]) func() *stream.Topology {
	return func() *stream.Topology {
		topo := stream.New("join")
		j := kind.join(read(topo, "left", bound), read(topo, "right", bound), w)
		j.To(sink.Kafka("out", codec.String))
		j.LateLeft(lateValue).Merge(j.LateRight(lateValue)).To(sink.Kafka("late", codec.String))
		return topo
	}
}

// put writes "k:1@5" to a topic, with its key.
func put(d *streamtest.Driver, topic string, records string) {
	for _, r := range strings.Fields(records) {
		rec := at(r)
		rec.Key = []byte(prefix(string(rec.Value)))
		d.PipeTo(topic, rec)
	}
}

// drained are the records of a topic as "value@time", in their order.
func drained(d *streamtest.Driver, topic string) (list []string) {
	for _, r := range d.Records(topic) {
		v := string(r.Value)
		if r.Value == nil {
			v = "x"
		}
		list = append(list, fmt.Sprintf("%s@%d", v, r.Time.UnixMilli()))
	}
	return list
}

// The bounds are inclusive on both sides, whichever record comes first.
func TestJoinBounds(t *testing.T) {
	w := window.Join{Before: duration(10), After: duration(5)}
	streamtest.EveryWay(t, joining("inner", w, time.Hour, direct), func(t *testing.T, d *streamtest.Driver) {
		put(d, "left", "a:l@100")
		put(d, "right", "a:1@89 a:2@90 a:3@100 a:4@105 a:5@106 b:6@100")
		assert.Equal(t, []string{"a:l+a:2@100", "a:l+a:3@100", "a:l+a:4@105"}, drained(d, "out"))
		put(d, "left", "a:m@111 a:n@110 a:o@101")
		assert.Equal(t, []string{"a:m+a:4@111", "a:m+a:5@111", "a:n+a:3@110", "a:n+a:4@110", "a:n+a:5@110",
			"a:o+a:3@101", "a:o+a:4@105", "a:o+a:5@106"}, drained(d, "out"), "in the order of (time, arrival)")
	})
}

// Negative bounds make an interval that does not contain the record's own time.
func TestJoinInterval(t *testing.T) {
	streamtest.EveryWay(t, joining("left", window.Join{Before: duration(-2), After: duration(4), Grace: duration(1)}, 0, direct), func(t *testing.T, d *streamtest.Driver) {
		put(d, "left", "a:l@10")
		put(d, "right", "a:1@10 a:2@11 a:3@12 a:4@14 a:5@15")
		assert.Equal(t, []string{"a:l+a:3@12", "a:l+a:4@14"}, drained(d, "out"))
	})
	// It is over before the record's own time: without a match the record is emitted at once.
	streamtest.EveryWay(t, joining("left", window.Join{Before: duration(5), After: duration(-3)}, 0, direct), func(t *testing.T, d *streamtest.Driver) {
		put(d, "right", "a:1@5")
		put(d, "left", "a:l@8 a:m@10 a:n@11")
		assert.Equal(t, []string{"a:l+a:1@8", "a:m+a:1@10"}, drained(d, "out"))
		put(d, "right", "a:2@9")
		put(d, "left", "a:o@20")
		assert.Equal(t, []string{"a:n+-@11"}, drained(d, "out"))
		put(d, "right", "a:9@30")
		put(d, "left", "a:p@24")
		assert.Equal(t, []string{"a:o+-@20", "a:p+-@24"}, drained(d, "out"))
	})
}

// A record without a match is emitted once, when the watermark is beyond its window and grace; not, as elsewhere, as
// soon as a later record has passed its window.
func TestJoinUnmatched(t *testing.T) {
	w := window.Join{Before: duration(15), After: duration(15), Grace: duration(5)}
	streamtest.EveryWay(t, joining("left", w, 0, direct), func(t *testing.T, d *streamtest.Driver) {
		put(d, "right", "z:0@20")
		put(d, "left", "x:2@20 a:A@16")
		put(d, "right", "a:b@18")
		assert.Equal(t, []string{"a:A+a:b@18"}, drained(d, "out"))
		put(d, "left", "b:B@17")
		d.Advance(ms(37))
		assert.Empty(t, drained(d, "out"))
		d.Advance(ms(38))
		assert.Equal(t, []string{"b:B+-@17"}, drained(d, "out"))
		d.Advance(ms(40))
		assert.Empty(t, drained(d, "out"), "20 + 15 + 5 is not beyond it")
		put(d, "right", "x:9@35")
		assert.Equal(t, []string{"x:2+x:9@35"}, drained(d, "out"))
		put(d, "right", "x:9@34")
		put(d, "left", "x:3@34")
		assert.Equal(t, []string{"x:9@34<40", "x:3@34<40"}, values(drained(d, "late")))
		d.Advance(ms(1000))
		assert.Empty(t, drained(d, "out"))
	})
	streamtest.EveryWay(t, joining("outer", w, 0, rekeyed), func(t *testing.T, d *streamtest.Driver) {
		put(d, "left", "a:1@10 b:2@10 c:3@10")
		put(d, "right", "b:4@12 d:5@10 a:6@26")
		assert.Equal(t, []string{"b:2+b:4@12"}, drained(d, "out"))
		d.Advance(ms(1000))
		assert.Equal(t, []string{"a:1+-@10", "c:3+-@10", "-+d:5@10", "-+a:6@26"}, drained(d, "out"))
	})
}

func values(list []string) (vs []string) {
	for _, s := range list {
		vs = append(vs, s[:strings.LastIndex(s, "@")])
	}
	return vs
}

// What follows a left join does not take its results for late.
func TestJoinHoldsTimeBack(t *testing.T) {
	topology := func() *stream.Topology {
		topo := stream.New("join")
		w := joinKind("left").join(direct(topo, "left", 0), direct(topo, "right", 0), window.Join{After: duration(50), Grace: duration(7)}).
			Window(window.Tumbling{Size: duration(10)}).Fold("w", func(s *string, v string) { *s += v + " " })
		w.OnClose(of).To(results("closes"))
		w.Late(lateOf).To(results("late"))
		return topo
	}
	streamtest.EveryWay(t, topology, func(t *testing.T, d *streamtest.Driver) {
		put(d, "left", "a:1@3 a:2@8 a:3@12")
		put(d, "right", "b:0@66")
		put(d, "left", "c:0@66")
		put(d, "right", "a:4@62")
		d.Advance(ms(66))
		assert.Empty(t, d.Drain[result]("closes"))
		d.Advance(ms(67))
		assert.Equal(t, `a[0,10)=a:1+- a:2+- `, closed(d.Drain[result]("closes")))
		d.Advance(ms(5000))
		assert.Equal(t, "a[60,70)=a:3+a:4  c[60,70)=c:0+- ", closed(d.Drain[result]("closes")))
		assert.Empty(t, d.Drain[result]("late"))
	})
}

// The sides meet, whatever the numbers of partitions of their sources.
func TestJoinAligned(t *testing.T) {
	scenario := func(t *testing.T, d *streamtest.Driver) {
		for i := range 20 {
			k := fmt.Sprintf("k%d", i)
			d.PipeKeyed("left", k, ms(1), k+":l")
			d.PipeKeyed("right", k, ms(1), k+":r")
		}
		assert.Len(t, drained(d, "out"), 20)
	}
	w := window.Join{Before: time.Second, After: time.Second}
	reads := map[string]func(*stream.Topology, string, time.Duration) stream.Keyed[string, string]{"rekeyed": rekeyed, "direct": direct}
	for ln, lr := range reads {
		for rn, rr := range reads {
			topology := func() *stream.Topology {
				topo := stream.New("join")
				joinKind("inner").join(lr(topo, "left", time.Hour), rr(topo, "right", time.Hour), w).To(sink.Kafka("out", codec.String))
				return topo
			}
			for _, x := range []stream.Exchange{stream.ThroughTopic, stream.InMemory} {
				t.Run(fmt.Sprint(ln, rn, x), func(t *testing.T) {
					left, right := 3, 5
					if ln == "direct" && rn == "direct" {
						right = 3
					}
					scenario(t, streamtest.New(t, topology(), streamtest.Exchange(x), streamtest.Topic("left", left), streamtest.Topic("right", right)))
				})
			}
		}
	}
}

// modelJoin is a join by the definition: it remembers everything.
type modelJoin struct {
	kind                 joinKind
	before, after, grace int64
	bound                int64
	seen                 [2]int64 // by side
	recs                 [2][]modelRecord
}

type modelRecord struct {
	key, value string
	time       int64
	matched    bool
	done       bool
}

const none = int64(-1) << 60

func (m *modelJoin) watermark() int64 { return min(m.seen[0], m.seen[1]) - m.bound }

// take returns what a record makes.
func (m *modelJoin) take(side int, key, value string, t int64) (out, late []string) {
	w := m.watermark()
	if w > t+m.grace {
		late = append(late, fmt.Sprintf("%s@%d<%d", value, t, w))
	} else {
		r := modelRecord{key: key, value: value, time: t}
		for i := range m.recs[1-side] {
			o := &m.recs[1-side][i]
			d := o.time - t // right - left
			if side == 1 {
				d = t - o.time
			}
			if o.key == key && -m.before <= d && d <= m.after {
				if o.done {
					out = append(out, "matched after it was emitted alone")
				}
				o.matched, r.matched = true, true
				pair := value + "+" + o.value
				if side == 1 {
					pair = o.value + "+" + value
				}
				out = append(out, fmt.Sprintf("%s@%d", pair, max(t, o.time)))
			}
		}
		m.recs[side] = append(m.recs[side], r)
	}
	m.seen[side] = max(m.seen[side], t)
	return append(out, m.release()...), late
}

func (m *modelJoin) release() (out []string) {
	w := m.watermark()
	for side, reach := range []int64{m.after, m.before} {
		for i := range m.recs[side] {
			r := &m.recs[side][i]
			if r.matched || r.done || w <= r.time+reach+m.grace {
				continue
			}
			r.done = true
			switch {
			case side == 0 && m.kind != "inner":
				out = append(out, fmt.Sprintf("%s+-@%d", r.value, r.time))
			case side == 1 && m.kind == "outer":
				out = append(out, fmt.Sprintf("-+%s@%d", r.value, r.time))
			}
		}
	}
	return out
}

func TestJoinAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &modelJoin{kind: rapid.SampledFrom([]joinKind{"inner", "left", "outer"}).Draw(t, "kind"), seen: [2]int64{none, none},
			grace: rapid.SampledFrom([]int64{0, 0, 5, 3000}).Draw(t, "grace"), bound: rapid.SampledFrom([]int64{0, 10, 2000}).Draw(t, "bound")}
		scale := rapid.SampledFrom([]int64{1, 300}).Draw(t, "scale") // within a bucket, and over many
		m.before = rapid.Int64Range(-10, 20).Draw(t, "before") * scale
		m.after = max(rapid.Int64Range(-10, 20).Draw(t, "after")*scale, -m.before)
		w := window.Join{Before: duration(m.before), After: duration(m.after), Grace: duration(m.grace)}
		d := streamtest.New(t, joining(m.kind, w, duration(m.bound), direct)(), anyWay(t)...)
		now := int64(0)
		var out, late, gotOut, gotLate []string
		for i := range rapid.IntRange(5, 40).Draw(t, "records") {
			disturb(t, d)
			now += rapid.Int64Range(0, 8).Draw(t, "step") * scale
			at := now - rapid.Int64Range(0, 15).Draw(t, "back")*scale
			side := rapid.IntRange(0, 1).Draw(t, "side")
			key := rapid.SampledFrom([]string{"a", "b", "longer"}).Draw(t, "key")
			value := fmt.Sprintf("%s:%d", key, i)
			o, l := m.take(side, key, value, at)
			out, late = append(out, o...), append(late, l...)
			put(d, []string{"left", "right"}[side], fmt.Sprintf("%s@%d", value, at))
			gotOut, gotLate = append(gotOut, drained(d, "out")...), append(gotLate, values(drained(d, "late"))...)
			require.ElementsMatch(t, out, gotOut, "after record %d, %s@%d", i, value, at)
			require.ElementsMatch(t, late, gotLate)
		}
		d.Advance(ms(now + 1_000_000))
		m.seen = [2]int64{now + 1_000_000, now + 1_000_000}
		require.ElementsMatch(t, append(out, m.release()...), append(gotOut, drained(d, "out")...))
	})
}

// Mistakes of joins, each found when the topology is built.
func TestBadJoins(t *testing.T) {
	w := window.Join{Before: time.Second}
	both := func(l, r string) string { return l + r }
	for want, build := range map[string]func(*stream.Topology){
		`so that equal keys would not meet: use one codec for both`: func(topo *stream.Topology) {
			l := topo.FromKeyed(source.KafkaKeyed("l", codec.JSON[string](), codec.String))
			l.Join("j", direct(topo, "r", 0), w, both).To(strs("out"))
		},
		`its other side is of another topology`: func(topo *stream.Topology) {
			direct(topo, "l", 0).Join("j", direct(stream.New("other"), "r", 0), w, both).To(strs("out"))
		},
		`window: the bounds Before -2s and After 1s: their sum must not be negative`: func(topo *stream.Topology) {
			direct(topo, "l", 0).Join("j", direct(topo, "r", 0), window.Join{Before: -2 * time.Second, After: time.Second}, both).To(strs("out"))
		},
		`its function is nil`: func(topo *stream.Topology) {
			direct(topo, "l", 0).Join("j", direct(topo, "r", 0), w, (func(l, r string) string)(nil)).To(strs("out"))
		},
		`both sides come from the store "l-rows"`: func(topo *stream.Topology) {
			l := rowsOf(topo, "l")
			l.Join(l.Filter(func(_, v string) bool { return v != "" }), both).To(strs("out"))
		},
		`it is read as a table, in which the last record of a key counts, and between a key's records of before and after a growth Kafka has no order: leave out OnGrowth`: func(topo *stream.Topology) {
			topo.Table(source.KafkaKeyed("l", codec.String, codec.String, source.OnGrowth(source.GrowthRekeys)), "l").To(strs("out"))
		},
		`it is read as a table, in which a null value deletes a row: leave out OnTombstone`: func(topo *stream.Topology) {
			topo.Table(source.KafkaKeyed("l", codec.String, codec.String, source.OnTombstone(onerror.Fail)), "l").To(strs("out"))
		},
		`its horizon is 0s: use at least 1ms`: func(topo *stream.Topology) {
			direct(topo, "l", 0).Deduplicate("d", idOf, 0).To(strs("out"))
		},
	} {
		topo := stream.New("bad")
		build(topo)
		require.Regexp(t, regexp.QuoteMeta(want), strings.Join(mistakes(t, topo, goodConfig(t)), "\n"))
	}
}
