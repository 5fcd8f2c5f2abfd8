package main

import (
	"cmp"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pane is a key's window.
type pane struct {
	key   string
	start int64
}

// paneTotal is what is in one.
type paneTotal struct{ n, sum, rev int64 }

// windows compares the updates and the results with each other and with the input.
func (o *oracle) windows(updates, results [][]*kgo.Record) {
	replayed := o.updates(updates)
	o.closed("window", results, o.input(func(id int64) bool { return o.lates[id] == 0 }), func(p pane, r result, _ *paneTotal) {
		if u := replayed[p]; u == nil || u.rev != r.Rev {
			o.wrong("window %d of key %s has closed with revision %d, which is not that of its last update", r.Window, r.Key, r.Rev)
		}
	})
	for id := range o.events {
		n := o.counts[id] + o.lates[id]
		switch {
		case n == 0:
			o.lost("record %d is in no window and not among the late ones", id)
		case o.counts[id] > 0 && o.lates[id] > 0:
			o.twice("record %d is in a window and among the late ones", id)
		}
	}
}

// totals compares the results of the windows for which nothing is late, and whose records are added up before they are sent.
func (o *oracle) totals(results [][]*kgo.Record) {
	o.closed("total of window", results, o.input(func(int64) bool { return true }), func(_ pane, r result, want *paneTotal) {
		if r.Rev != want.n {
			o.wrong("total of window %d of key %s has closed with revision %d, after %d records", r.Window, r.Key, r.Rev, want.n)
		}
	})
}

// input is what the windows hold in the end, of the records that count.
func (o *oracle) input(counts func(id int64) bool) map[pane]*paneTotal {
	want := map[pane]*paneTotal{}
	for id, e := range o.events {
		if !counts(id) {
			continue
		}
		for _, s := range o.starts(e.At) {
			t := want[pane{e.Key, s}]
			if t == nil {
				t = &paneTotal{}
				want[pane{e.Key, s}] = t
			}
			t.n++
			t.sum += e.Value
		}
	}
	return want
}

// closed checks that each window has closed once, with what is wanted, and its revision.
func (o *oracle) closed(what string, results [][]*kgo.Record, want map[pane]*paneTotal, revision func(pane, result, *paneTotal)) {
	got := map[pane]int{}
	for _, recs := range results {
		for _, r := range recs {
			o.result(what, decode[result](o, r), want, got, revision)
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(want), comparePanes) {
		if got[p] == 0 && p.start < final {
			o.lost("%s %d of key %s, with %d records, has not closed", what, p.start, p.key, want[p].n)
		}
	}
}

func comparePanes(a, b pane) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.key, b.key))
}

func (o *oracle) result(what string, r result, want map[pane]*paneTotal, got map[pane]int, revision func(pane, result, *paneTotal)) {
	p := pane{r.Key, r.Window}
	if got[p]++; got[p] > 1 {
		o.twice("%s %d of key %s has closed %d times", what, r.Window, r.Key, got[p])
		return
	}
	w := want[p]
	switch {
	case w == nil && !o.exact(): // a record that was counted and then, once more, late
		return
	case w == nil:
		o.wrong("%s %d of key %s has closed with %d records, and none belongs to it", what, r.Window, r.Key, r.N)
		return
	case o.exact():
		if r.N != w.n || r.Sum != w.sum {
			o.wrong("%s %d of key %s has closed with %d records of sum %d, it should be %d and %d", what, r.Window, r.Key, r.N, r.Sum, w.n, w.sum)
		}
		revision(p, r, w)
	case r.N < w.n:
		o.v.Lost += int(w.n-r.N) - 1
		o.lost("%s %d of key %s has closed with %d of %d records", what, r.Window, r.Key, r.N, w.n)
	case r.N > w.n:
		o.v.Duplicated += int(r.N-w.n) - 1
		o.twice("%s %d of key %s has closed with %d records instead of %d", what, r.Window, r.Key, r.N, w.n)
	}
}

// updates replays the updates: each names the record that it has added.
func (o *oracle) updates(parts [][]*kgo.Record) map[pane]*paneTotal {
	replayed := map[pane]*paneTotal{}
	in := map[pane]map[int64]bool{}
	last := map[pane]map[string]int64{}
	for _, recs := range parts {
		for _, r := range recs {
			u := decode[update](o, r)
			p := pane{u.Key, u.Window}
			e, ok := o.events[u.Last]
			if !ok || e.Key != u.Key || !slices.Contains(o.starts(e.At), u.Window) {
				o.wrong("update %+v: its record (of the time %d) does not belong there", u, e.At)
				continue
			}
			t := replayed[p]
			if t == nil {
				t = &paneTotal{}
				replayed[p], in[p], last[p] = t, map[int64]bool{}, map[string]int64{}
			}
			if in[p][u.Last] {
				o.twice("record %d in window %d of key %s", u.Last, u.Window, u.Key)
			} else if u.Window == o.starts(e.At)[0] {
				o.counts[u.Last]++
			}
			in[p][u.Last] = true
			t.n++
			t.sum += e.Value
			t.rev++
			o.ordered("window", last[p], e)
			if o.exact() && (u.Rev != t.rev || u.N != t.n || u.Sum != t.sum) {
				o.wrong("update %+v should have revision %d, count %d and sum %d", u, t.rev, t.n, t.sum)
				t.rev, t.n, t.sum = u.Rev, u.N, u.Sum
			}
		}
	}
	return replayed
}
