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
	step         *pattern.Step[string]
	link         pattern.Link
	not, notNext *pattern.Step[string] // of a repetition: that must not happen before it, or as the next event
}

// rows are the plain rows of steps, repeated at most limit times.
func rows(steps []pattern.Step[string], limit int) [][]plain {
	if len(steps) == 0 {
		return [][]plain{nil}
	}
	s := &steps[0]
	// What must not happen after it, must not between its repetitions; what must not be next, not once it could be over.
	var not, notNext *pattern.Step[string]
	if len(steps) > 1 {
		switch steps[1].Link {
		case pattern.NotFollowedBy:
			not = &steps[1]
		case pattern.NotNext:
			notNext = &steps[1]
		}
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
			row := []plain{{step: s, link: s.Link}}
			for k := 1; k < n; k++ {
				x := plain{step: s, link: s.Inner, not: not}
				if k >= s.Min {
					x.notNext = notNext
				}
				row = append(row, x)
			}
			out = append(out, append(row, rest...))
		}
	}
	return out
}

type timed struct {
	v  string
	at int64
}

// matches are the matches of a row in the events.
func matches(row []plain, events []timed, within int64) (list []string) {
	var try func(i, last int, so []string)
	first := 0
	try = func(i, last int, so []string) {
		if i == len(row) {
			list = append(list, strings.Join(so, " "))
			return
		}
		var nots []*pattern.Step[string] // that must not happen before the step
		strictNot := (*pattern.Step[string])(nil)
		j := i
		for ; row[j].step.Not(); j++ {
			if row[j].link == pattern.NotNext {
				strictNot = row[j].step
			} else {
				nots = append(nots, row[j].step)
			}
		}
		p := row[j]
		if p.not != nil {
			nots = append(nots, p.not)
		}
		if p.notNext != nil {
			strictNot = p.notNext
		}
		for k := last + 1; k < len(events); k++ {
			e := events[k]
			if last >= 0 && within > 0 && e.at-events[first].at >= within {
				return
			}
			if strictNot != nil && k == last+1 && strictNot.If(e.v) {
				return
			}
			if slices.ContainsFunc(nots, func(s *pattern.Step[string]) bool { return s.If(e.v) }) {
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
	cond := func() func(string) bool {
		return is(rapid.SampledFrom([]string{"a", "b", "c", "ab", "bc"}).Draw(t, "if"))
	}
	p := pattern.Begin("0", cond())
	n := rapid.IntRange(1, 3).Draw(t, "steps")
	for i := range n + 1 {
		name := fmt.Sprint(i)
		if i > 0 {
			optional := p.Spec.Steps[len(p.Spec.Steps)-1].Optional
			switch k := rapid.IntRange(0, 7).Draw(t, "link"); {
			case k < 2:
				p = p.Next(name, cond())
			case k < 5 || optional || i == n:
				p = p.FollowedBy(name, cond())
			case k == 5:
				p = p.FollowedByAny(name, cond())
			case k == 6:
				p = p.NotFollowedBy(name, is("n")).FollowedBy(name+"'", cond())
			default:
				p = p.NotNext(name, is("n")).FollowedByAny(name+"'", cond())
			}
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
		// What must not happen before an optional step, and may once that has happened, the model does not know; nor an
		// optional beginning.
		before := len(p.Spec.Steps) - 2
		if i > 0 && i < n && !p.Spec.Steps[before].Not() && rapid.IntRange(0, 3).Draw(t, "optional") == 0 {
			p = p.Optional()
		}
	}
	if rapid.Bool().Draw(t, "timed") {
		p = p.Within(time.Duration(rapid.IntRange(1, 12).Draw(t, "within")) * time.Millisecond)
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
		for _, row := range rows(p.Spec.Steps, len(events)) {
			want = append(want, matches(row, events, p.Spec.Within.Milliseconds())...)
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
