package stream_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// emission is what the results of windows are wanted by, all of it at once.
type emission struct {
	trigger window.Trigger // the zero one: none
	nth     int            // of OnUpdateNth
	every   int64          // of OnUpdateEvery
	ttl     int64          // of a global window; -1: windows are aligned
	grace   int64
}

// emitting emits the texts of windows in every way.
func emitting(w window.Window, e emission, bound int64) func(*stream.Topology) {
	return func(topo *stream.Topology) {
		windows := texts(topo).Watermark(stream.Watermark{OutOfOrder: millis(bound)}).KeyBy(letter).Window(w)
		if e.trigger != (window.Trigger{}) {
			windows = windows.Trigger(e.trigger)
		}
		a := windows.FoldMerge("texts", func(a *string, v string) { *a += v[1:] }, func(a *string, b string) { *a += b })
		a.OnUpdate(textOf).To(resultsOf[texted]("updates"))
		a.OnUpdateNth(e.nth, textOf).To(resultsOf[texted]("nth"))
		a.OnUpdateEvery(millis(e.every), textOf).To(resultsOf[texted]("paced"))
		a.OnCommit(textOf).To(resultsOf[texted]("commits"))
		if e.trigger != (window.Trigger{}) {
			a.OnFire(textOf).To(resultsOf[texted]("fires"))
		}
		a.OnClose(textOf).To(resultsOf[texted]("closes"))
		a.Late(lateOf).To(results("late"))
	}
}

// Early results of each kind, those on each update, corrections behind the end, the final one and the late records go
// together: each is what follows, naively, from the records and the watermarks that they were read at, as if it were the
// only one; with its window, its revision, and whether it is final. Whatever the disorder, and whatever happens in between.
func TestEmissionModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := emission{nth: rapid.IntRange(1, 3).Draw(t, "nth"), every: rapid.Int64Range(1, 20).Draw(t, "pace"),
			grace: rapid.Int64Range(0, 12).Draw(t, "grace"), ttl: -1}
		triggers := []window.Trigger{{}, {End: true}, {Count: 2}, {Every: millis(3)}, {Every: millis(5), End: true}, {End: true, Count: 2},
			{End: true, Purge: true}, {Count: 2, Purge: true}, {Every: millis(4), Purge: true}}
		var w window.Window
		var of func(t int64) [][2]int64
		number := rapid.Int64Range(1, 12)
		a, b, bound := number.Draw(t, "a"), number.Draw(t, "b"), rapid.Int64Range(0, 8).Draw(t, "bound")
		switch kind := rapid.SampledFrom([]string{"tumbling", "hopping", "cumulate", "global"}).Draw(t, "kind"); kind {
		case "global":
			e.ttl = rapid.Int64Range(0, 20).Draw(t, "ttl")
			w, of = window.Global{TTL: millis(e.ttl)}, func(int64) [][2]int64 { return [][2]int64{{math.MinInt64, math.MaxInt64}} }
			triggers = []window.Trigger{{Count: 2}, {Every: millis(3)}, {Count: 3, Every: millis(7)}, {Count: 2, Purge: true}, {Every: millis(4), Purge: true}}
		default:
			var m model
			w, m = kinds[kind](a, b, e.grace)
			of = m.(*alignedModel).of
		}
		e.trigger = rapid.SampledFrom(triggers).Draw(t, "trigger")
		events := draw(t)

		d := streamtest.New(t, made(emitting(w, e, bound))(), ways(t)...)
		for _, x := range events {
			pipe(d, x.String())
			happen(t, d)
		}
		d.Advance(ms(1000))
		happen(t, d)

		want := e.of(of, events, bound, 1000)
		drain := func(topic string) (list []string) {
			for _, r := range d.Drain[texted](topic) {
				list = append(list, whole(r))
			}
			return list
		}
		about := fmt.Sprintf("%v, %+v, records %v", w, e, events)
		require.Equal(t, want.closes, drain("closes"), "closes: %s", about)
		require.Equal(t, want.paced, drain("paced"), "paced: %s", about)
		require.Equal(t, sorted(want.updates), sorted(drain("updates")), "updates: %s", about)
		require.Equal(t, sorted(want.nth), sorted(drain("nth")), "nth: %s", about)
		if e.trigger != (window.Trigger{}) {
			require.Equal(t, sorted(want.fires), sorted(drain("fires")), "fires: %s", about)
		}
		var late []string
		for _, r := range d.Drain[result]("late") {
			late = append(late, fmt.Sprintf("%s@%d", r.Value, r.RecordTime))
		}
		require.Equal(t, want.late, late, "late: %s", about)
		last := map[string]uint64{}
		for _, r := range d.Drain[texted]("commits") { // which of the updates a commit shows is not said
			require.Contains(t, want.updates, whole(r), "commits: %s", about)
			id := fmt.Sprint(r.Key, r.From, r.To)
			if e.ttl <= 0 { // else another window of the key may have begun
				require.Greater(t, r.Revision, last[id], "commits: %s", about)
			}
			last[id] = r.Revision
		}
		for _, id := range want.updated {
			require.True(t, last[id] > 0 || e.trigger.Purge, "nothing of %s was committed: %s", id, about)
		}
	})
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

func whole(r texted) string {
	s := fmt.Sprintf("%s[%d,%d)=%s #%d", r.Key, r.From, r.To, r.Text, r.Revision)
	if r.Final {
		s += " final"
	}
	return s
}

// emissions are the expected results of all windows, late records, and the windows that were updated.
type emissions struct{ updates, nth, paced, fires, closes, late, updated []string }

// moment is a result with its place among others: which move of time it comes with, the end of its window, its key.
type moment struct {
	move int
	to   int64
	key  string
	from int64
	text string
}

func inTurn(list []moment) (texts []string) {
	slices.SortStableFunc(list, func(a, b moment) int {
		return cmp.Or(cmp.Compare(a.move, b.move), cmp.Compare(a.to, b.to), cmp.Compare(a.key, b.key), cmp.Compare(a.from, b.from))
	})
	for _, m := range list {
		texts = append(texts, m.text)
	}
	return texts
}

// of is the model: window by window, it goes through all records again.
func (e emission) of(windows func(t int64) [][2]int64, events []event, bound, end int64) (x emissions) {
	var paced, closes []moment
	seen := map[string]bool{}
	for _, first := range events {
		for _, span := range windows(first.at) {
			id := fmt.Sprint(first.key, span[0], span[1])
			if seen[id] {
				continue
			}
			seen[id] = true
			p, c := e.walk(&x, first.key, span[0], span[1], events, bound, end)
			paced, closes = append(paced, p...), append(closes, c...)
		}
	}
	x.paced, x.closes = inTurn(paced), inTurn(closes)
	w := int64(noTime)
	for _, r := range events {
		open := e.ttl >= 0
		for _, span := range windows(r.at) {
			open = open || span[1]+e.grace > w
		}
		if !open {
			x.late = append(x.late, r.String())
		}
		w = max(w, r.at-bound)
	}
	return x
}

// walk goes through the records of one key and window.
func (e emission) walk(x *emissions, key string, from, to int64, events []event, bound, end int64) (paced, closes []moment) {
	text, revision, newest := "", uint64(0), int64(math.MinInt64)
	empty, waits, ending, armed := true, false, false, false
	sinceFired, next, due := 0, int64(math.MinInt64), int64(math.MinInt64)
	every := e.trigger.Every.Milliseconds()
	w := int64(noTime)
	shown := func(final bool) string {
		return whole(texted{Key: key, From: from, To: to, Text: text, Revision: revision, Final: final})
	}
	at := func(move int, final bool) moment { return moment{move, to, key, from, shown(final)} }
	fire := func() {
		if empty {
			return
		}
		x.fires = append(x.fires, shown(false))
		if e.trigger.Purge {
			text, empty, waits = "", true, false
		}
	}
	move := func(i int, t int64) {
		if t <= w {
			return
		}
		w = t
		if waits && due <= w {
			paced, waits = append(paced, at(i, false)), false
		}
		for ; armed && next < min(w, to); next += every {
			if !ending || next != to-1 { // else it fires for both reasons at once
				fire()
			}
		}
		if ending && to <= w {
			ending = false
			fire()
		}
		closing := to+e.grace <= w
		if e.ttl >= 0 {
			closing = e.ttl > 0 && newest+e.ttl <= w
		}
		if revision == 0 || !closing {
			return
		}
		if waits {
			paced = append(paced, at(i, false))
		}
		if !empty {
			closes = append(closes, at(i, true))
		}
		text, revision, newest, empty, waits, armed, sinceFired = "", 0, math.MinInt64, true, false, false, 0
	}
	for i, r := range events {
		if r.key == key && from <= r.at && r.at < to && (e.ttl >= 0 || to+e.grace > w) {
			text, empty, newest = text+r.name, false, max(newest, r.at)
			revision++
			over := e.ttl < 0 && to <= w
			if every > 0 && !over && !armed {
				next, armed = r.at-mod(r.at, every)+every, true
			}
			if !waits {
				waits, due = true, math.MinInt64 // as soon as there is a watermark
				if w != noTime {
					due = w - mod(w, e.every) + e.every
				}
			}
			x.updates = append(x.updates, shown(false))
			if revision == 1 {
				x.updated = append(x.updated, fmt.Sprint(key, from, to))
			}
			if revision%uint64(e.nth) == 0 {
				x.nth = append(x.nth, shown(false))
			}
			ending = ending || e.trigger.End && !over
			sinceFired++
			full := e.trigger.Count > 0 && sinceFired >= e.trigger.Count
			if full {
				sinceFired = 0
			}
			if full || e.trigger.End && over {
				fire()
			}
		}
		move(i, r.at-bound)
	}
	move(len(events), end-bound)
	return paced, closes
}
