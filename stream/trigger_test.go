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

	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// firing gathers what records say in windows with a trigger.
func firing(w window.Window, t window.Trigger, bound int64) func(*stream.Topology) {
	return func(topo *stream.Topology) {
		a := texts(topo).Watermark(stream.Watermark{OutOfOrder: millis(bound)}).KeyBy(letter).Window(w).Trigger(t).
			FoldMerge("texts", func(a *string, v string) { *a += v[1:] }, func(a *string, b string) { *a += b })
		a.OnFire(textOf).To(resultsOf[texted]("fires"))
		a.OnClose(textOf).To(resultsOf[texted]("closes"))
		a.OnUpdate(textOf).To(resultsOf[texted]("updates"))
		a.Late(lateOf).To(results("late"))
	}
}

// The records, what the windows fire with, and what they close with.
var triggerCases = map[string]struct {
	w                   window.Window
	t                   window.Trigger
	in                  string
	fires, closes, late string
}{
	"at the end": {tumbling(10, 0), window.Trigger{End: true}, "a1@1 a2@9 z@10", "a[0,10)=12", "a[0,10)=12", ""},
	"corrections until it closes": {tumbling(10, 5), window.Trigger{End: true}, "a1@1 z@10 a2@9 a3@8 z@15 a4@9",
		"a[0,10)=1 a[0,10)=12 a[0,10)=123", "a[0,10)=123", "a[0,10)=a4"},
	"a window that is new behind its end": {tumbling(10, 5), window.Trigger{End: true}, "z@11 a1@9 z@20", "a[0,10)=1 z[10,20)=", "a[0,10)=1", ""},
	"the later window first":              {hopping(20, 10, 50), window.Trigger{End: true}, "a1@12 z@40 a2@15", "a[0,20)=1 a[10,30)=1 a[10,30)=12 a[0,20)=12", "", ""},
	"and begins anew":                     {tumbling(10, 20), window.Trigger{End: true, Purge: true}, "a1@1 a2@2 z@10 a3@3 z@30", "a[0,10)=12 a[0,10)=3 z[10,20)=", "", ""},
	"by count":                            {tumbling(10, 0), window.Trigger{Count: 2}, "a1@1 b1@1 a2@2 a3@3 a4@4 z@10", "a[0,10)=12 a[0,10)=1234", "a[0,10)=1234 b[0,10)=1", ""},
	"by count, anew":                      {tumbling(10, 0), window.Trigger{Count: 2, Purge: true}, "a1@1 a2@2 a3@3 a4@4 a5@5 z@10", "a[0,10)=12 a[0,10)=34", "a[0,10)=5", ""},
	"by count or at the end":              {tumbling(10, 0), window.Trigger{Count: 2, End: true}, "a1@1 a2@2 a3@3 z@10", "a[0,10)=12 a[0,10)=123", "a[0,10)=123", ""},
	"at a pace, changed or not": {tumbling(100, 0), window.Trigger{Every: millis(10)}, "a1@3 a2@11 z@35",
		"a[0,100)=12 a[0,100)=12 a[0,100)=12", "", ""},
	"at a pace and at the end": {tumbling(25, 0), window.Trigger{Every: millis(10), End: true}, "a1@13 z@60 z@61",
		"a[0,25)=1 a[0,25)=1", "a[0,25)=1", ""},
	"at a pace, anew":             {tumbling(100, 0), window.Trigger{Every: millis(10), Purge: true}, "a1@3 z@35 a2@36 z@41", "a[0,100)=1 a[0,100)=2 z[0,100)=", "", ""},
	"a session":                   {session(5, 10), window.Trigger{End: true}, "a1@1 a2@4 z@9 a3@7 z@12", "a[1,9)=12 a[1,12)=123", "", ""},
	"a session that was merged":   {session(5, 20), window.Trigger{End: true}, "a1@10 a2@18 z@30 a3@14 z@31", "a[10,15)=1 a[18,23)=2 -a[18,23)=2 a[10,23)=123", "", ""},
	"a session, anew":             {session(5, 20), window.Trigger{End: true, Purge: true}, "a1@10 z@20 a2@12 z@21", "a[10,15)=1 a[10,17)=2", "", ""},
	"a session of purged ones":    {session(5, 20), window.Trigger{End: true, Purge: true}, "a1@10 a2@17 z@30 a3@14", "a[10,15)=1 a[17,22)=2 a[10,22)=3", "", ""},
	"a global window":             {window.Global{}, window.Trigger{Count: 3}, "a1@50 a2@1 b1@7 a3@3 a4@4 a5@5 a6@6", "a=123 a=123456", "", ""},
	"a global window, anew":       {window.Global{}, window.Trigger{Count: 3, Purge: true}, "a1@50 a2@1 a3@3 a4@4 a5@5 a6@6", "a=123 a=456", "", ""},
	"a global window that closes": {window.Global{TTL: millis(10)}, window.Trigger{Count: 2}, "a1@1 z@11 a2@5 a3@6 z@21", "a=23 z=", "a=1 a=23", ""},
	"a global window, at a pace":  {window.Global{}, window.Trigger{Every: millis(10)}, "a1@1 z@11 a2@12 z@22", "a=1 a=12 z=", "", ""},
}

func withoutEnds(s string) string {
	return strings.ReplaceAll(s, "[-9223372036854775808,9223372036854775807)", "")
}

func TestTrigger(t *testing.T) {
	for name, c := range triggerCases {
		t.Run(name, func(t *testing.T) {
			streamtest.EveryWay(t, made(firing(c.w, c.t, 0)), func(t *testing.T, d *streamtest.Driver) {
				pipe(d, c.in)
				of := func(rs []texted) (list []texted) { // what z is for is to move time
					for _, r := range rs {
						if r.Key != "z" || strings.Contains(c.fires, "z") {
							list = append(list, r)
						}
					}
					return list
				}
				assert.Equal(t, c.fires, withoutEnds(shown(of(d.Drain[texted]("fires")))), "fires")
				closes := slices.DeleteFunc(d.Drain[texted]("closes"), func(r texted) bool { return r.Key == "z" })
				assert.Equal(t, c.closes, withoutEnds(shown(closes)), "closes")
				assert.Equal(t, c.late, closed(d.Drain[result]("late")), "late")
			})
		})
	}
}

// A firing has the time of the window's last millisecond; of a window without an end, that of its records or of the
// time to fire.
func TestTriggerTimes(t *testing.T) {
	for _, c := range []struct {
		w  window.Window
		t  window.Trigger
		at int64
	}{
		{tumbling(10, 0), window.Trigger{Count: 1}, 9},
		{tumbling(10, 0), window.Trigger{End: true}, 9},
		{session(10, 0), window.Trigger{End: true}, 13},
		{window.Global{}, window.Trigger{Count: 1}, 4},
		{window.Global{}, window.Trigger{Every: millis(10)}, 10},
	} {
		d := streamtest.New(t, made(firing(c.w, c.t, 0))())
		pipe(d, "a1@4 z@15")
		rs := d.Records("fires")
		require.NotEmpty(t, rs, "%v", c)
		assert.Equal(t, c.at, rs[0].Time.UnixMilli(), "%v", c)
		assert.Equal(t, "a", string(rs[0].Key), "%v", c)
	}
}

// Collect keeps the last records of a window.
func TestCollect(t *testing.T) {
	for n, want := range map[int]string{0: "a1 a2 a3", 2: "a2 a3"} {
		for _, w := range []window.Window{tumbling(100, 0), session(50, 0)} {
			build := func(topo *stream.Topology) {
				texts(topo).KeyBy(letter).Window(w).Collect("list", n).
					OnClose(func(_ string, _ window.Span, list []string) string { return strings.Join(list, " ") }).To(to("out"))
			}
			streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
				pipe(d, "a1@1 a2@2 a3@3 z@200")
				assert.Equal(t, []string{want}, d.Drain[string]("out"), "%v", w)
			})
		}
	}
}

// Whatever the disorder, and whatever happens in between: what windows fire with is what follows, naively, from the
// records and the watermarks that they were read at.
func TestTriggersEqualTheirModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 12).Draw(t, "size")
		advance := rapid.Int64Range(1, size).Draw(t, "advance")
		grace, bound := rapid.Int64Range(0, 12).Draw(t, "grace"), rapid.Int64Range(0, 8).Draw(t, "bound")
		tr := rapid.SampledFrom([]window.Trigger{{End: true}, {Count: 2}, {Count: 3}, {Every: millis(3)}, {Every: millis(5), End: true}, {End: true, Count: 2},
			{End: true, Purge: true}, {Count: 2, Purge: true}}).Draw(t, "trigger")
		events := draw(t)
		d := streamtest.New(t, made(firing(hopping(size, advance, grace), tr, bound))(), ways(t)...)
		for _, e := range events {
			pipe(d, e.String())
			happen(t, d)
		}
		d.Advance(ms(1000))
		happen(t, d)
		var got []string
		for _, r := range d.Drain[texted]("fires") {
			got = append(got, fmt.Sprintf("%s[%d,%d)=%s", r.Key, r.From, r.To, r.Text))
		}
		want := fires(tr, size, advance, grace, bound, 1000, events)
		slices.Sort(got)
		slices.Sort(want)
		require.Equal(t, want, got, "%v, %v", tr, events)
	})
}

// fires is the model: window by window, it goes through all records again.
func fires(tr window.Trigger, size, advance, grace, bound, end int64, events []event) (list []string) {
	var places []int64
	for n := int64(-100); n < 400; n++ {
		places = append(places, n*advance)
	}
	for _, key := range []string{"a", "b"} {
		for _, from := range places {
			to := from + size
			text, revision, n := "", 0, 0
			next := int64(-1 << 40) // what it fires at, by pace
			ended, empty := true, true
			fire := func() {
				if empty {
					return
				}
				revision++
				list = append(list, fmt.Sprintf("%s[%d,%d)=%s", key, from, to, text))
				if tr.Purge {
					text, empty = "", true
				}
			}
			w := int64(-1 << 40)
			move := func(to_ int64) {
				if to_ <= w {
					return
				}
				w = to_
				every := tr.Every.Milliseconds()
				for every > 0 && next > -1<<40 && next < w && next < to && (!tr.End || next < to-1) {
					fire()
					next += every
				}
				if tr.End && !ended && to <= w {
					ended = true
					fire()
				}
			}
			for _, e := range events {
				if e.key == key && from <= e.at && e.at < to && to+grace > w {
					text, empty = text+e.name, false
					over, once := to <= w, false
					if tr.Every > 0 && !over && next == -1<<40 {
						every := tr.Every.Milliseconds()
						next = e.at - mod(e.at, every) + every
					}
					switch {
					case tr.End && over:
						once = true
					case tr.End:
						ended = false
					}
					if n++; tr.Count > 0 && n%tr.Count == 0 {
						once = true
					}
					if once {
						fire()
					}
				}
				move(e.at - bound)
			}
			move(end - bound)
		}
	}
	return list
}

func TestTriggerMistakes(t *testing.T) {
	for want, build := range map[string]func(k stream.Keyed[string, string]){
		"it needs a Trigger": func(k stream.Keyed[string, string]) {
			k.Window(window.Global{}).Count("n").OnUpdate(func(k string, _ window.Span, _ int64) string { return k }).To(to("out"))
		},
		"it never fires: give it one": func(k stream.Keyed[string, string]) {
			k.Window(tumbling(10, 0)).Count("n").OnFire(func(k string, _ window.Span, _ int64) string { return k }).To(to("out"))
		},
		"the trigger never fires": func(k stream.Keyed[string, string]) {
			k.Window(tumbling(10, 0)).Trigger(window.Trigger{Purge: true}).Count("n").OnFire(func(k string, _ window.Span, _ int64) string { return k }).To(to("out"))
		},
		"the trigger's Count is -1": func(k stream.Keyed[string, string]) {
			k.Window(tumbling(10, 0)).Trigger(window.Trigger{Count: -1}).Count("n").OnFire(func(k string, _ window.Span, _ int64) string { return k }).To(to("out"))
		},
		"event time has whole milliseconds": func(k stream.Keyed[string, string]) {
			k.Window(tumbling(10, 0)).Trigger(window.Trigger{Every: time.Microsecond}).Count("n").OnFire(func(k string, _ window.Span, _ int64) string { return k }).To(to("out"))
		},
		"cannot have a Trigger": func(k stream.Keyed[string, string]) {
			k.Window(sliding(10, 0)).Trigger(window.Trigger{End: true}).Count("n").OnFire(func(k string, _ window.Span, _ int64) string { return k }).To(to("out"))
		},
		"has no end to fire at": func(k stream.Keyed[string, string]) {
			k.Window(window.Global{}).Trigger(window.Trigger{End: true}).Count("n").OnFire(func(k string, _ window.Span, _ int64) string { return k }).To(to("out"))
		},
		"n is -1": func(k stream.Keyed[string, string]) {
			k.Window(tumbling(10, 0)).Collect("n", -1).OnClose(func(k string, _ window.Span, _ []string) string { return k }).To(to("out"))
		},
	} {
		topo := stream.New("mistake")
		build(texts(topo).KeyBy(letter))
		_, err := topo.Build(stream.Config{AppID: "app"})
		require.ErrorContains(t, err, want)
	}
}

// A result at the end of each hour, and a corrected one for each order that comes up to a day later.
func ExampleWindowed_Trigger() {
	topo := stream.New("orders")
	a := texts(topo).KeyBy(letter).
		Window(window.Tumbling{Size: time.Hour, Grace: 24 * time.Hour}).
		Trigger(window.Trigger{End: true}).
		Count("orders")
	print := func(what string) func(string, window.Span, int64) string {
		return func(k string, s window.Span, n int64) string {
			return fmt.Sprintf("%s %s-%s: %d, revision %d, %s", k, s.Start().Format("15:04"), s.End().Format("15:04"), n, s.Revision, what)
		}
	}
	a.OnFire(print("for now")).To(to("out"))
	a.OnClose(print("final")).To(to("out"))

	d := start(topo)
	for _, minute := range []int{5, 10, 61, 50} {
		d.Pipe("in", noon.Add(time.Duration(minute)*time.Minute), "a")
	}
	d.Advance(noon.Add(25 * time.Hour))
	for _, s := range d.Drain[string]("out") {
		fmt.Println(s)
	}
	// Output:
	// a 12:00-13:00: 2, revision 2, for now
	// a 12:00-13:00: 3, revision 3, for now
	// a 13:00-14:00: 1, revision 1, for now
	// a 12:00-13:00: 3, revision 3, final
}
