package pattern

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/pattern"
)

// choices makes choices of the bytes of a fuzz test.
type choices []byte

func (c *choices) next(n int) int {
	if len(*c) == 0 {
		return 0
	}
	x := int((*c)[0]) % n
	*c = (*c)[1:]
	return x
}

// chosen is a pattern that may have any mistake.
func chosen(c *choices, names *int, depth int) pattern.Pattern[string] {
	step := func() (string, func(string) bool) {
		*names += min(1, c.next(16))
		return fmt.Sprint(*names), is([]string{"a", "b", "c", "ab", "bc", "abc"}[c.next(6)])
	}
	var p pattern.Pattern[string]
	if depth < 2 && c.next(5) == 4 {
		p = pattern.BeginGroup(chosen(c, names, depth+1))
	} else {
		p = pattern.Begin(step())
	}
	for range 24 {
		switch k := c.next(32); {
		case k == 0:
			return p
		case k < 4:
			p = p.Next(step())
		case k < 8:
			p = p.FollowedBy(step())
		case k < 10:
			p = p.FollowedByAny(step())
		case k < 12:
			p = p.NotNext(step())
		case k < 14:
			p = p.NotFollowedBy(step())
		case k == 14:
			if depth < 2 {
				p = p.NextGroup(chosen(c, names, depth+1))
			}
		case k == 15:
			if depth < 2 {
				p = p.FollowedByGroup(chosen(c, names, depth+1))
			}
		case k == 16:
			if depth < 2 {
				p = p.FollowedByAnyGroup(chosen(c, names, depth+1))
			}
		case k == 17:
			p = p.Times(c.next(4))
		case k == 18:
			p = p.TimesBetween(c.next(3), c.next(4))
		case k == 19:
			p = p.TimesOrMore(c.next(4))
		case k == 20:
			p = p.OneOrMore()
		case k == 21:
			p = p.Optional()
		case k == 22:
			p = p.Greedy()
		case k == 23:
			p = p.Consecutive()
		case k == 24:
			p = p.AllowCombinations()
		case k == 25:
			p = p.Until(is("c"))
		case k == 26:
			p = p.Within(time.Duration(c.next(9)) * time.Millisecond)
		case k == 27:
			p = p.WithinPrevious(time.Duration(c.next(9)) * time.Millisecond)
		case k == 28:
			p = p.Where(func(v string, so pattern.Match[string]) bool { return len(so.Events)%2 == 0 || v[1]%2 == 0 })
		default:
			p = p.AfterMatch([]pattern.Skip{pattern.NoSkip(), pattern.SkipToNext(), pattern.SkipPastLast(), pattern.SkipToFirst("1"), pattern.SkipToLast("1")}[c.next(5)])
		}
	}
	return p
}

// Every pattern without a mistake can be compiled, and finds matches in which events follow each other within its time;
// what it keeps is what its runs hold, can be written and read, and makes no difference when it is.
func FuzzCompile(f *testing.F) {
	f.Add([]byte{0, 1, 0, 4, 1, 1, 20, 22, 26, 7, 0, 1, 2, 3, 4, 5})
	f.Add([]byte{4, 0, 1, 0, 5, 2, 1, 0, 17, 2, 6, 3, 2, 26, 8, 29, 2, 0, 9, 8, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := choices(b)
		p := chosen(&c, new(int), 0)
		_ = p.String()
		if len(p.Check()) > 0 {
			return
		}
		m, n := Compile(p), Compile(p)
		s, again := m.New(), n.New()
		now := int64(0)
		for i := 0; len(c) > 0 && i < 12; i++ {
			now += int64(c.next(4))
			v := fmt.Sprint([]string{"a", "b", "c", "d"}[c.next(4)], i)
			e1, _, _ := m.Advance(s, now, true)
			e2, _, _ := n.Advance(again, now, true)
			f1, _ := m.Process(s, now, v)
			f2, _ := n.Process(again, now, v)
			require.Equal(t, e1, e2)
			require.Equal(t, f1, f2)
			for _, x := range f1 {
				if p.Spec.Within > 0 {
					require.Less(t, x.End().Sub(x.Start()), p.Spec.Within)
				}
				for j := range x.Events[1:] {
					require.False(t, x.Events[j+1].Time.Before(x.Events[j].Time))
				}
			}
			if len(s.runs) > 2000 {
				return
			}
			held(t, s)
			b, err := n.Append(nil, again, text)
			require.NoError(t, err)
			again, err = n.Decode(b, untext)
			require.NoError(t, err)
		}
	})
}

// held checks that what is kept is what runs hold, no more and no less.
func held(t *testing.T, s *State[string]) {
	nodes, events := make([]int32, len(s.nodes)), make([]int32, len(s.events))
	for _, h := range []heap{s.runs, s.done} {
		for _, r := range h {
			if r.node >= 0 {
				nodes[r.node]++
			}
		}
	}
	for _, n := range s.nodes {
		if n.refs > 0 {
			events[n.event]++
			if n.prior >= 0 {
				nodes[n.prior]++
			}
		}
	}
	for i := range nodes {
		require.Equal(t, nodes[i], s.nodes[i].refs)
	}
	for i := range events {
		require.Equal(t, events[i], s.events[i].refs)
	}
}

// Bytes that are not those of a state are refused, or are those of one.
func FuzzDecode(f *testing.F) {
	p := pattern.Begin("a", is("a")).OneOrMore().FollowedBy("b", is("b")).Within(time.Second)
	m := Compile(p)
	s := m.New()
	for i := range 4 {
		m.Process(s, int64(i), fmt.Sprint("a", i))
		b, err := m.Append(nil, s, text)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := Compile(p)
		s, err := m.Decode(b, untext)
		if err != nil {
			return
		}
		held(t, s)
	})
}
