package stream_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	engine "github.com/millstream-go/millstream/internal/pattern"
	"github.com/millstream-go/millstream/pattern"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// ofKind is a condition on the letter after the colon.
func ofKind(letters string) func(string) bool {
	return func(v string) bool {
		_, x, _ := strings.Cut(v, ":")
		return x != "" && strings.Contains(letters, x[:1])
	}
}

// digits are what stands behind the letter.
func digits(v string) string {
	_, x, _ := strings.Cut(v, ":")
	return x[1:]
}

// matched is a match as "key:first+second".
func matched(k string, m pattern.Match[string]) string {
	var list []string
	for _, e := range m.Events {
		_, x, _ := strings.Cut(e.Value, ":")
		list = append(list, x)
	}
	return k + ":" + strings.Join(list, "+")
}

func detecting(p pattern.Pattern[string], bound int64, read func(*stream.Topology, string, time.Duration) stream.Keyed[string, string]) func() *stream.Topology {
	return func() *stream.Topology {
		topo := stream.New("detect")
		m := read(topo, "in", duration(bound)).Detect("matches", p, matched)
		m.To(strs("out"))
		m.TimedOut(matched).To(strs("timed-out"))
		m.Late(lateValue).To(strs("late"))
		return topo
	}
}

var ab = pattern.Begin("a", ofKind("a")).FollowedBy("b", ofKind("b"))

// Records of a key are looked at in the order of their times; what is found does not depend on the order of reading.
func TestDetect(t *testing.T) {
	streamtest.EveryWay(t, detecting(ab.OneOrMore().Within(duration(100)), 20, rekeyed), func(t *testing.T, d *streamtest.Driver) {
		put(d, "in", "k:b1@1012 k:a1@1010 j:a2@1011 k:x@1005")
		assert.Empty(t, drained(d, "out"), "the watermark is 992")
		put(d, "in", "k:b2@1040 j:x@1034")
		assert.Equal(t, []string{"k:a1+b1@1012"}, drained(d, "out"))
		put(d, "in", "k:b3@1110 j:b4@1112 k:a3@1019")
		assert.Equal(t, []string{"k:a1+b1+b2@1040"}, drained(d, "out"))
		assert.Equal(t, []string{"k:a3@1019<1092"}, values(drained(d, "late")))
		put(d, "in", "x:x@1300")
		assert.Empty(t, drained(d, "out"), "both were 100 ms after the first")
		assert.Equal(t, []string{"k:a1+b1+b2@1110", "j:a2@1111"}, drained(d, "timed-out"))
		d.Advance(ms(10_000))
		assert.Empty(t, drained(d, "timed-out"))
	})
}

// A match that is found because nothing has come has the time at which nothing could come any more.
func TestDetectAbsence(t *testing.T) {
	p := pattern.Begin("a", ofKind("a")).NotFollowedBy("b", ofKind("b")).Within(duration(50))
	streamtest.EveryWay(t, detecting(p, 0, rekeyed), func(t *testing.T, d *streamtest.Driver) {
		put(d, "in", "k:a1@1000 j:a2@1010 j:b1@1020 i:a3@1020 h:a4@1020")
		assert.Empty(t, drained(d, "out"))
		put(d, "in", "k:x@1500")
		assert.Equal(t, []string{"k:a1@1050", "h:a4@1070", "i:a3@1070"}, drained(d, "out"))
		assert.Empty(t, drained(d, "timed-out"))
	})
}

// As in Flink, it has the time of the key's next record, or of the watermark.
func TestDetectAtWatermarks(t *testing.T) {
	topo := stream.New("detect")
	p := pattern.Begin("a", ofKind("a")).NotFollowedBy("b", ofKind("b")).Within(duration(50))
	direct(topo, "in", duration(1000)).Detect("matches", p, matched).AtWatermarks().To(strs("out"))
	d := streamtest.New(t, topo)
	put(d, "in", "k:a1@1000 k:a2@1200 k:x@1230 j:a3@1200 j:x@3000")
	assert.Equal(t, []string{"k:a1@1200", "j:a3@1999", "k:a2@1999"}, drained(d, "out"))
}

// A condition may look at what has been matched.
func TestDetectLooksBack(t *testing.T) {
	p := ab.Where(func(v string, so pattern.Match[string]) bool {
		a, _ := so.First("a")
		return digits(a) == digits(v)
	}).Within(duration(100))
	streamtest.EveryWay(t, detecting(p, 0, rekeyed), func(t *testing.T, d *streamtest.Driver) {
		put(d, "in", "k:a1@1000 k:a2@1001 k:b2@1002")
		put(d, "in", "k:b1@1003 k:x@2000")
		assert.Equal(t, []string{"k:a2+b2@1002", "k:a1+b1@1003"}, drained(d, "out"))
	})
}

// What follows does not take results for late, though they come when time moves.
func TestDetectHoldsTimeBack(t *testing.T) {
	topology := func() *stream.Topology {
		topo := stream.New("detect")
		m := rekeyed(topo, "in", 0).Detect("matches", ab.Within(duration(100)), matched)
		n := m.Window(tumbling(10, 0)).Count("n")
		n.OnClose(func(k string, _ window.Span, n int64) string { return fmt.Sprint(k, " ", n) }).To(strs("out"))
		n.Late(lateValue).To(strs("late"))
		return topo
	}
	streamtest.EveryWay(t, topology, func(t *testing.T, d *streamtest.Driver) {
		put(d, "in", "k:a1@1000 k:a2@1001 k:b1@1002 k:x@2000")
		assert.Equal(t, []string{"k 2@1009"}, drained(d, "out"))
		assert.Empty(t, drained(d, "late"))
	})
}

var detected = []pattern.Pattern[string]{
	ab.Within(duration(30)),
	ab.OneOrMore().FollowedBy("c", ofKind("c")).Within(duration(40)),
	pattern.Begin("a", ofKind("ab")).Times(2).Consecutive().Next("c", ofKind("bc")).Within(duration(25)),
	pattern.Begin("a", ofKind("a")).NotFollowedBy("n", ofKind("n")).FollowedBy("c", ofKind("bc")).Within(duration(60)),
	pattern.Begin("a", ofKind("a")).NotFollowedBy("n", ofKind("bn")).Within(duration(20)),
	pattern.BeginGroup(ab).TimesBetween(1, 2).FollowedByAny("c", ofKind("c")).Optional().Within(duration(50)),
	ab.OneOrMore().FollowedBy("c", ofKind("c")).Within(duration(40)).AfterMatch(pattern.SkipPastLast()),
	ab.OneOrMore().Greedy().Next("c", ofKind("bc")).Optional().Within(duration(35)).AfterMatch(pattern.SkipToLast("b")),
	pattern.Begin("a", ofKind("a")).FollowedBy("b", ofKind("b")).WithinPrevious(duration(8)).FollowedBy("c", ofKind("abc")).
		Where(func(v string, so pattern.Match[string]) bool {
			first, _ := so.First("a")
			return digits(v)[0]%2 == digits(first)[0]%2
		}).WithinPrevious(duration(15)),
}

// What is found in records that come in disorder, with restarts and crashes, is what the pattern finds in the same
// records one after the other.
func TestDetectAgainstModel(t *testing.T) {
	type record struct {
		value string
		at    int64
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(detected).Draw(t, "pattern")
		bound := rapid.SampledFrom([]int64{0, 10, 30}).Draw(t, "bound")
		d := streamtest.New(t, detecting(p, bound, direct)(), anyWay(t)...)
		seen, now := none, int64(0)
		records := map[string][]record{}
		var have, timedOut, late, gotLate []string
		read := func() {
			have, timedOut = append(have, drained(d, "out")...), append(timedOut, drained(d, "timed-out")...)
			gotLate = append(gotLate, values(drained(d, "late"))...)
		}
		for i := range rapid.IntRange(5, 40).Draw(t, "records") {
			disturb(t, d)
			now += rapid.Int64Range(0, 6).Draw(t, "step")
			at := now - rapid.Int64Range(0, 25).Draw(t, "back")
			k := rapid.SampledFrom([]string{"j", "k"}).Draw(t, "key")
			v := fmt.Sprintf("%s:%s%d", k, rapid.SampledFrom([]string{"a", "b", "c", "n"}).Draw(t, "kind"), i)
			if w := seen - bound; at < w {
				late = append(late, fmt.Sprintf("%s@%d<%d", v, at, w))
			} else {
				records[k] = append(records[k], record{v, at})
			}
			seen = max(seen, at)
			put(d, "in", fmt.Sprintf("%s@%d", v, at))
			read()
		}
		d.Advance(ms(now + 1_000_000))
		read()

		var want, wantTimedOut []string
		for k, list := range records {
			slices.SortStableFunc(list, func(a, b record) int { return int(a.at - b.at) })
			m := engine.Compile(p)
			s := m.New()
			pass := func(to int64) {
				for t := m.Due(s); t <= to && t < math.MaxInt64; t = m.Due(s) {
					found, out, _ := m.Advance(s, t, true)
					for _, f := range found {
						want = append(want, fmt.Sprintf("%s@%d", matched(k, f), t))
					}
					for _, o := range out {
						wantTimedOut = append(wantTimedOut, fmt.Sprintf("%s@%d", matched(k, o.Match), o.At))
					}
				}
			}
			for _, r := range list {
				pass(r.at)
				found, _ := m.Process(s, r.at, r.value)
				for _, f := range found {
					want = append(want, fmt.Sprintf("%s@%d", matched(k, f), r.at))
				}
			}
			pass(now + 500_000)
		}
		require.ElementsMatch(t, want, have, "%v", p)
		require.ElementsMatch(t, wantTimedOut, timedOut, "%v", p)
		require.Equal(t, late, gotLate)
		require.True(t, slices.IsSortedFunc(have, func(a, b string) int { return int(timeOf(a) - timeOf(b)) }), "%v", have)
	})
}

// A condition that panics stops the application, and says where: there is no record to give up on.
func TestDetectPanics(t *testing.T) {
	d := streamtest.New(t, made(func(topo *stream.Topology) {
		texts(topo).KeyBy(letter).Detect("matches", pattern.Begin("a", func(string) bool { panic("boom") }), func(k string, _ pattern.Match[string]) string { return k }).To(strs("out"))
	})(), streamtest.MayStop())
	d.Pipe("in", noon, "a")
	d.Advance(noon.Add(time.Hour))
	require.ErrorContains(t, d.Err(), "panic: boom")
	assert.ErrorContains(t, d.Err(), "operator matches (declared at stream/pattern_test.go:")
}

// Mistakes in a pattern are mistakes of the topology.
func TestBadPatterns(t *testing.T) {
	topo := stream.New("bad")
	in := topo.FromKeyed(source.KafkaKeyed("in", codec.String, codec.String))
	in.Detect("m", ab.Greedy().Next("a", ofKind("a")).AfterMatch(pattern.SkipToFirst("x")), matched).To(strs("out"))
	in.Detect[string]("n", ab, nil).TimedOut[string](nil).To(strs("out"))
	got := mistakes(t, topo, goodConfig(t))
	for _, want := range []string{`detect "m": step "b": Greedy: it happens once`, `detect "m": 2 steps have the name "a"`, `detect "m": AfterMatch skips to step "x"`,
		`detect "n": its function is nil`, "timed out: its function is nil"} {
		assert.Contains(t, strings.Join(got, "\n"), want)
	}
	assert.Len(t, got, 5, "%q", got)
}

// A description shows the pattern; a state of another one is refused.
func TestDescribePattern(t *testing.T) {
	topo := detecting(ab.Within(time.Minute), 0, rekeyed)()
	text := topo.Describe(stream.Text)
	assert.Contains(t, text, "a followedBy b within 1m0s")
	assert.Contains(t, text, "timed out")
}
