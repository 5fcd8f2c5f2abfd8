package pattern

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/pattern"
)

// The model looks at all events of a key at once. It knows a part of the language: links, steps that must not happen,
// numbers of times, optional steps, Within; without a Skip. A pattern stands for the plain rows of steps that come of
// writing out its numbers of times, each the same pattern without any.

type plain struct {
	step *pattern.Step[string]
	link pattern.Link
	not  *pattern.Step[string] // that must not happen before it
}

// rows are the plain rows of steps, repeated at most limit times.
func rows(steps []pattern.Step[string], limit int) [][]plain {
	if len(steps) == 0 {
		return [][]plain{nil}
	}
	s := &steps[0]
	var not *pattern.Step[string] // what must not happen after it, must not between its repetitions
	if len(steps) > 1 && steps[1].Link == pattern.NotFollowedBy {
		not = &steps[1]
	}
	lo, hi := 1, 1
	if s.Repeated {
		if lo, hi = s.Min, s.Max; hi == 0 {
			hi = limit
		}
	}
	var out [][]plain
	for _, rest := range rows(steps[1:], limit) {
		if s.Optional {
			out = append(out, rest)
		}
		for n := lo; n <= hi; n++ {
			for _, row := range repeated(s, not, n, limit) {
				if row = append(row, rest...); events(row) <= limit {
					out = append(out, row)
				}
			}
		}
	}
	return out
}

// repeated are the plain rows of a step that happens n times.
func repeated(s, not *pattern.Step[string], n, limit int) [][]plain {
	if n == 0 {
		return [][]plain{nil}
	}
	link := s.Inner
	if n == 1 {
		link = s.Link
	}
	once := [][]plain{{{step: s, link: link}}}
	if s.Group != nil {
		once = nil
		for _, row := range rows(s.Group, limit) {
			if row[0].step == &s.Group[0] { // it is there
				row[0].link = link
			}
			once = append(once, row)
		}
	}
	var out [][]plain
	for _, before := range repeated(s, not, n-1, limit) {
		for _, row := range once {
			row = append(slices.Clone(before), row...)
			if n > 1 {
				row[len(before)].not = not
			}
			if events(row) <= limit {
				out = append(out, row)
			}
		}
	}
	return out
}

// events is how many events a row takes.
func events(row []plain) (n int) {
	for _, x := range row {
		if !x.step.Not() {
			n++
		}
	}
	return n
}

type timed struct {
	v  string
	at int64
}

// matches are the matches of one of the rows in the events. A partial match stands for all rows that agree so far: what
// must not happen next in one of them, ends it.
func matches(row []plain, all [][]plain, events []timed, within int64) (list []string) {
	var try func(i, last int, so []string)
	first := 0
	try = func(i, last int, so []string) {
		if i == len(row) {
			list = append(list, strings.Join(so, " "))
			return
		}
		var nots, notNext []*pattern.Step[string]
		for _, other := range all {
			if len(other) <= i || !slices.Equal(other[:i], row[:i]) {
				continue
			}
			for k := i; other[k].step.Not(); k++ {
				if other[k].link == pattern.NotNext {
					notNext = append(notNext, other[k].step)
				} else {
					nots = append(nots, other[k].step)
				}
			}
		}
		j := i
		for row[j].step.Not() {
			j++
		}
		p := row[j]
		if p.not != nil {
			nots = append(nots, p.not)
		}
		for k := last + 1; k < len(events); k++ {
			e := events[k]
			if last >= 0 && within > 0 && e.at-events[first].at >= within {
				return
			}
			met := func(s *pattern.Step[string]) bool { return s.If(e.v) }
			if slices.ContainsFunc(nots, met) || k == last+1 && slices.ContainsFunc(notNext, met) {
				return
			}
			if p.step.If(e.v) {
				if last < 0 {
					first = k
				}
				try(j+1, k, append(slices.Clone(so), p.step.Name+":"+e.v))
			}
			switch {
			case last < 0, p.link == pattern.Any:
			case p.link == pattern.Strict, p.step.If(e.v):
				return
			}
		}
	}
	try(0, -1, nil)
	return list
}

// drawn is a random pattern.
func drawn(t *rapid.T) pattern.Pattern[string] {
	p := drawnRow(t, rapid.IntRange(1, 4).Draw(t, "steps"), "", 0)
	if rapid.Bool().Draw(t, "timed") {
		p = p.Within(time.Duration(rapid.IntRange(1, 12).Draw(t, "within")) * time.Millisecond)
	}
	return p
}

func drawnRow(t *rapid.T, n int, names string, depth int) (p pattern.Pattern[string]) {
	cond := func() func(string) bool {
		return is(rapid.SampledFrom([]string{"a", "b", "c", "ab", "bc"}).Draw(t, "if"))
	}
	for i := range n {
		name := names + fmt.Sprint(i)
		var last *pattern.Step[string]
		if i > 0 {
			last = &p.Spec.Steps[len(p.Spec.Steps)-1]
		}
		mayNot := i > 0 && !last.Optional
		not := false
		group := depth < 2 && !(depth > 0 && i == 0) && rapid.IntRange(0, 5).Draw(t, "group") == 0
		var g pattern.Pattern[string]
		if group {
			g = drawnRow(t, rapid.IntRange(1, 2).Draw(t, "steps of group"), name+".", depth+1)
		}
		switch k := rapid.IntRange(0, 7).Draw(t, "link"); {
		case i == 0 && group:
			p = pattern.BeginGroup(g)
		case i == 0:
			p = pattern.Begin(name, cond())
		case k < 2 && group:
			p = p.NextGroup(g)
		case k < 2:
			p = p.Next(name, cond())
		case k < 4 && group:
			p = p.FollowedByAnyGroup(g)
		case group:
			p = p.FollowedByGroup(g)
		case k == 5:
			p = p.FollowedByAny(name, cond())
		case k == 6 && mayNot:
			p, not = p.NotFollowedBy(name, is("n")).FollowedBy(name+"'", cond()), true
		case k == 7 && mayNot:
			p, not = p.NotNext(name, is("n")).FollowedByAny(name+"'", cond()), true
		default:
			p = p.FollowedBy(name, cond())
		}
		repeated := true
		switch rapid.IntRange(0, 6).Draw(t, "times") {
		case 0:
			p = p.Times(2)
		case 1:
			p = p.TimesBetween(1, 3)
		case 2:
			p = p.OneOrMore()
		default:
			repeated = false
		}
		if repeated {
			switch rapid.IntRange(0, 3).Draw(t, "inner") {
			case 0:
				p = p.Consecutive()
			case 1:
				p = p.AllowCombinations()
			}
		}
		// What must not happen before an optional step, and may once that has happened, the model does not know.
		if i < n-1 && !not && rapid.IntRange(0, 3).Draw(t, "optional") == 0 {
			p = p.Optional()
		}
	}
	return p
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawn(t)
		if errs := p.Check(); len(errs) > 0 {
			t.Fatalf("%s: %v", p, errs)
		}
		var events []timed
		now := int64(0)
		for i := range rapid.IntRange(1, 9).Draw(t, "events") {
			now += rapid.Int64Range(0, 4).Draw(t, "step")
			events = append(events, timed{fmt.Sprint(rapid.SampledFrom([]string{"a", "b", "c", "n"}).Draw(t, "kind"), i), now})
		}
		var want []string
		all := rows(p.Spec.Steps, len(events))
		for _, row := range all {
			want = append(want, matches(row, all, events, p.Spec.Within.Milliseconds())...)
		}
		var have []string
		m := Compile(p)
		s := m.New()
		for _, e := range events {
			m.Advance(s, e.at, false)
			found, _ := m.Process(s, e.at, e.v)
			for _, f := range found {
				var so []string
				for _, x := range f.Events {
					so = append(so, x.Step+":"+x.Value)
				}
				have = append(have, strings.Join(so, " "))
			}
			s = again(t, m, s)
		}
		slices.Sort(want)
		slices.Sort(have)
		if !slices.Equal(want, have) {
			t.Fatalf("%s in %v:\nhave %q\nwant %q", p, events, have, want)
		}
	})
}
