package stream_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// event is a record of a property test. Its text is its name, of one character.
type event struct {
	key  string
	at   int64
	name string
}

func (e event) String() string { return fmt.Sprintf("%s%s@%d", e.key, e.name, e.at) }

// model is what a kind of window means, said with the records themselves: nothing is kept but those that were accepted,
// and every window is computed anew.
type model interface {
	// take accepts a record at a watermark, or finds it late.
	take(e event, w int64) bool
	// close returns the windows that close when the watermark goes from one time to another, in any order.
	close(from, to int64) []texted
}

const noTime = -1 << 40

// expect runs the records through a model; bound is the disorder that the watermark allows for.
func expect(m model, events []event, bound, end int64) (closes []string, late []string) {
	w := int64(noTime)
	advance := func(to int64) {
		if to <= w {
			return
		}
		list := m.close(w, to)
		slices.SortFunc(list, func(a, b texted) int {
			return cmp.Or(cmp.Compare(a.To, b.To), cmp.Compare(a.Key, b.Key), cmp.Compare(a.From, b.From))
		})
		for _, r := range list {
			closes = append(closes, r.String())
		}
		w = to
	}
	for _, e := range events {
		if !m.take(e, w) {
			late = append(late, e.String())
		}
		for _, r := range inOrder(m) {
			closes = append(closes, r.String())
		}
		advance(e.at - bound)
	}
	advance(end - bound)
	return closes, late
}

// inOrder are the windows that have closed with a record.
func inOrder(m model) []texted {
	if c, ok := m.(*countModel); ok {
		full := c.full
		c.full = nil
		return full
	}
	return nil
}

func (r texted) String() string {
	b := []byte(r.Text)
	slices.Sort(b)
	return fmt.Sprintf("%s[%d,%d)=%s", r.Key, r.From, r.To, b)
}

// gather is the window [from, to) of a key's records.
func gather(records []event, key string, from, to int64) texted {
	r := texted{Key: key, From: from, To: to}
	for _, e := range records {
		if e.key == key && from <= e.at && e.at < to {
			r.Text += e.name
		}
	}
	return r
}

// sessionModel: the records of a key, in time order, part where two are further from one another than the gap.
type sessionModel struct {
	gap, grace int64
	open       []event
}

func (m *sessionModel) take(e event, w int64) bool {
	ok := e.at+m.gap+m.grace > w
	for _, o := range m.open {
		ok = ok || o.key == e.key && max(o.at-e.at, e.at-o.at) <= m.gap
	}
	if ok {
		m.open = append(m.open, e)
	}
	return ok
}

func (m *sessionModel) close(_, to int64) (closing []texted) {
	sorted := slices.Clone(m.open)
	slices.SortStableFunc(sorted, func(a, b event) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.at, b.at)) })
	m.open = nil
	for i := 0; i < len(sorted); {
		j := i + 1
		for j < len(sorted) && sorted[j].key == sorted[i].key && sorted[j].at-sorted[j-1].at <= m.gap {
			j++
		}
		first, last := sorted[i].at, sorted[j-1].at
		if end := last + m.gap; end+m.grace <= to {
			closing = append(closing, texted{Key: sorted[i].key, From: first, To: end, Text: gather(sorted[i:j], sorted[i].key, first, end).Text})
		} else {
			m.open = append(m.open, sorted[i:j]...)
		}
		i = j
	}
	return closing
}

// alignedModel: windows that are the same for all keys; of says which ones a time is in.
type alignedModel struct {
	of    func(t int64) [][2]int64
	grace int64
	all   []event
	judge map[string]bool // windows that a record was accepted for
}

func (m *alignedModel) take(e event, w int64) bool {
	ok := false
	for _, s := range m.of(e.at) {
		if s[1]+m.grace > w {
			ok = true
			m.judge[fmt.Sprint(e, s)] = true
		}
	}
	m.all = append(m.all, e)
	return ok
}

func (m *alignedModel) close(from, to int64) (closing []texted) {
	seen := map[string]bool{}
	for _, e := range m.all {
		for _, s := range m.of(e.at) {
			id := fmt.Sprint(e.key, s)
			if c := s[1] + m.grace; c <= from || c > to || seen[id] || !m.judge[fmt.Sprint(e, s)] {
				continue
			}
			seen[id] = true
			r := texted{Key: e.key, From: s[0], To: s[1]}
			for _, o := range m.all {
				if o.key == e.key && m.judge[fmt.Sprint(o, s)] {
					r.Text += o.name
				}
			}
			closing = append(closing, r)
		}
	}
	return closing
}

// slidingModel: the windows of one length with different records in them; or only those that end with a record.
type slidingModel struct {
	size, grace int64
	trailing    bool
	all         []event
}

func (m *slidingModel) take(e event, w int64) bool {
	if e.at+m.size+m.grace <= w {
		return false
	}
	m.all = append(m.all, e)
	return true
}

func (m *slidingModel) close(from, to int64) (closing []texted) {
	seen := map[string]bool{}
	for _, e := range m.all {
		starts := []int64{e.at - m.size + 1, e.at + 1}
		if m.trailing {
			starts = starts[:1]
		}
		for _, s := range starts {
			id := fmt.Sprint(e.key, s)
			if c := s + m.size + m.grace; c <= from || c > to || seen[id] {
				continue
			}
			seen[id] = true
			if r := gather(m.all, e.key, s, s+m.size); r.Text != "" {
				closing = append(closing, r)
			}
		}
	}
	return closing
}

// countModel: n records each.
type countModel struct {
	size, ttl int64
	open      map[string][]event
	full      []texted
}

func (m *countModel) result(list []event) texted {
	r := texted{Key: list[0].key, From: list[0].at, To: list[0].at + 1}
	for _, e := range list {
		r.From, r.To, r.Text = min(r.From, e.at), max(r.To, e.at+1), r.Text+e.name
	}
	return r
}

func (m *countModel) take(e event, _ int64) bool {
	m.open[e.key] = append(m.open[e.key], e)
	if list := m.open[e.key]; len(list) == int(m.size) {
		m.full = append(m.full, m.result(list))
		delete(m.open, e.key)
	}
	return true
}

func (m *countModel) close(_, to int64) (closing []texted) {
	for key, list := range m.open {
		if r := m.result(list); r.To-1+m.ttl <= to {
			closing = append(closing, r)
			delete(m.open, key)
		}
	}
	return closing
}

// kinds make a window of each kind with its model, from numbers between 1 and 12.
var kinds = map[string]func(a, b, grace int64) (window.Window, model){
	"session": func(a, _, grace int64) (window.Window, model) {
		return session(a, grace), &sessionModel{gap: a, grace: grace}
	},
	"sliding": func(a, _, grace int64) (window.Window, model) {
		return sliding(a, grace), &slidingModel{size: a + 1, grace: grace}
	},
	"trailing": func(a, _, grace int64) (window.Window, model) {
		return trailing(a, grace), &slidingModel{size: a, grace: grace, trailing: true}
	},
	"count": func(a, b, _ int64) (window.Window, model) {
		return window.Count{Size: int(a%4 + 1), TTL: millis(b)}, &countModel{size: a%4 + 1, ttl: b, open: map[string][]event{}}
	},
	"tumbling": func(a, _, grace int64) (window.Window, model) {
		return tumbling(a, grace), alignedTo(grace, func(t int64) (list [][2]int64) {
			for s := t - a + 1; s <= t; s++ {
				if mod(s, a) == 0 {
					list = append(list, [2]int64{s, s + a})
				}
			}
			return list
		})
	},
	"hopping": func(a, b, grace int64) (window.Window, model) {
		size, advance := max(a, b), min(a, b)
		return hopping(size, advance, grace), alignedTo(grace, func(t int64) (list [][2]int64) {
			for s := t - size + 1; s <= t; s++ {
				if mod(s, advance) == 0 {
					list = append(list, [2]int64{s, s + size})
				}
			}
			return list
		})
	},
	"cumulate": func(a, b, grace int64) (window.Window, model) {
		step, size := a, a*(b%4+1)
		w := window.Cumulate{Size: millis(size), Step: millis(step), Offset: millis(b), Grace: millis(grace)}
		return w, alignedTo(grace, func(t int64) (list [][2]int64) {
			for s := t - size + 1; s <= t; s++ {
				for end := s + step; end <= s+size && mod(s-b, size) == 0; end += step {
					if t < end {
						list = append(list, [2]int64{s, end})
					}
				}
			}
			return list
		})
	},
}

func mod(t, n int64) int64 { return (t%n + n) % n }

func alignedTo(grace int64, of func(int64) [][2]int64) model {
	return &alignedModel{of: of, grace: grace, judge: map[string]bool{}}
}

// Whatever the disorder, and whatever happens to the process in between: what windows close with, and what is late, is
// what the records alone say; and who keeps the newest of the updates, the commits, or the corrections has it too.
func TestWindowKindsEqualTheirModels(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				number := rapid.Int64Range(1, 12)
				grace := rapid.Int64Range(0, 12).Draw(t, "grace")
				w, m := kind(number.Draw(t, "a"), number.Draw(t, "b"), grace)
				bound := rapid.Int64Range(0, 8).Draw(t, "bound")
				every := rapid.Int64Range(1, 20).Draw(t, "every")
				fires := slices.Contains([]string{"session", "tumbling", "hopping", "cumulate"}, name) && rapid.Bool().Draw(t, "trigger")
				events := draw(t)
				end := int64(1000)
				closes, late := expect(m, events, bound, end)

				d := streamtest.New(t, made(func(topo *stream.Topology) { everything(topo, w, bound, every, fires) })(), ways(t)...)
				for _, e := range events {
					pipe(d, e.String())
					happen(t, d)
				}
				d.Advance(ms(end))
				happen(t, d)

				var got []string
				for _, r := range d.Drain[texted]("closes") {
					got = append(got, r.String())
				}
				require.Equal(t, closes, got, "closes of %v, records %v", w, events)
				got = nil
				for _, r := range d.Drain[result]("late") {
					got = append(got, fmt.Sprintf("%s@%d", r.Value, r.RecordTime))
				}
				require.Equal(t, late, got, "late for %v, records %v", w, events)
				fixed := name != "session" && name != "count" // there the end of a window may move
				replay(t, d.Drain[texted]("updates"), fixed)
				replay(t, d.Drain[texted]("commits"), fixed)
				replay(t, d.Drain[texted]("paced"), fixed)
				if fires {
					replay(t, d.Drain[texted]("fires"), fixed)
				}
			})
		})
	}
}

func everything(topo *stream.Topology, w window.Window, bound, every int64, fires bool) {
	windows := texts(topo).Watermark(stream.Watermark{OutOfOrder: millis(bound)}).KeyBy(letter).Window(w)
	if fires {
		windows = windows.Trigger(window.Trigger{End: true})
	}
	a := windows.FoldMerge("texts", func(a *string, v string) { *a += v[1:] }, func(a *string, b string) { *a += b })
	a.OnUpdate(textOf).To(resultsOf[texted]("updates"))
	a.OnCommit(textOf).To(resultsOf[texted]("commits"))
	a.OnUpdateEvery(millis(every), textOf).To(resultsOf[texted]("paced"))
	closes := a.OnClose(textOf)
	topics := []string{"updates", "commits", "paced", "closes"}
	if fires { // at the end, and with each record from then on
		a.OnFire(textOf).To(resultsOf[texted]("fires"))
		topics = append(topics, "fires")
	}
	for _, topic := range topics {
		closes.To(resultsOf[texted](topic))
	}
	a.Late(lateOf).To(results("late"))
}

// draw makes records of two keys whose times go forward on the whole.
func draw(t *rapid.T) (events []event) {
	at := rapid.Int64Range(-20, 20).Draw(t, "start")
	for i, step := range rapid.SliceOfN(rapid.Int64Range(-12, 15), 1, 16).Draw(t, "steps") {
		at += step
		key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
		events = append(events, event{key: key, at: at, name: string(rune('A' + i))})
	}
	return events
}

// ways are options that must make no difference.
func ways(t *rapid.T) (opts []streamtest.Option) {
	if rapid.Bool().Draw(t, "no cache") {
		opts = append(opts, streamtest.CacheSize(0))
	}
	if rapid.Bool().Draw(t, "commit each record") {
		opts = append(opts, streamtest.CommitEvery(1))
	}
	if rapid.Bool().Draw(t, "overlap") {
		opts = append(opts, streamtest.Overlap())
	}
	return opts
}

// happen lets something happen to the process, or nothing.
func happen(t *rapid.T, d *streamtest.Driver) {
	switch what := rapid.IntRange(0, 12).Draw(t, "what happens"); what {
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

// replay keeps the newest result of each key and window, as a table that is written by both would. The start stands
// for the window, unless windows that start together are fixed by their ends; a final one must be
// what is there, and in the end nothing may be left.
func replay(t *rapid.T, rs []texted, fixed bool) {
	table := map[string]texted{}
	for _, r := range rs {
		id := fmt.Sprint(r.Key, " ", r.From)
		if fixed {
			id += fmt.Sprint(" ", r.To)
		}
		switch old, had := table[id]; {
		case r.Retracted:
			require.True(t, had, "%v retracted, but not there", r)
			delete(table, id)
		case r.Final:
			require.Equal(t, old.String(), r.String())
			require.Equal(t, old.Revision, r.Revision, "%v", r)
			delete(table, id)
		default:
			require.Greater(t, r.Revision, old.Revision, "%v", r)
			table[id] = r
		}
	}
	require.Empty(t, table)
}
