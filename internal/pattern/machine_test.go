package pattern

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/pattern"
)

// Events of the tests are texts such as "a1@20": what they are, and their time; without one the place in the list.

func is(letters string) func(string) bool {
	return func(v string) bool { return strings.Contains(letters, v[:1]) }
}

func at(t *testing.T, event string, i int) (v string, ms int64) {
	v, s, ok := strings.Cut(event, "@")
	if !ok {
		return v, int64(i)
	}
	ms, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err)
	return v, ms
}

// show is a match as text: its events, those of one step next to each other.
func show(m pattern.Match[string]) string {
	var b strings.Builder
	for i, e := range m.Events {
		switch {
		case i == 0:
		case m.Events[i-1].Step == e.Step:
			b.WriteByte(',')
		default:
			b.WriteByte(' ')
		}
		b.WriteString(e.Value)
	}
	return b.String()
}

func text(b []byte, v string) ([]byte, error) { return append(b, v...), nil }
func untext(b []byte) (string, error)         { return string(b), nil }

// again writes and reads a state.
func again(t require.TestingT, m *Machine[string], s *State[string]) *State[string] {
	b, err := m.Append(nil, s, text)
	require.NoError(t, err)
	due, err := Due(b)
	require.NoError(t, err)
	require.Equal(t, m.Due(s), due)
	c, err := m.Decode(b, untext)
	require.NoError(t, err)
	twice, err := m.Append(nil, c, text)
	require.NoError(t, err)
	require.Equal(t, b, twice)
	return c
}

// find shows events to a pattern, and at last lets all time pass. "T:" are those that have timed out.
func find(t *testing.T, p pattern.Pattern[string], events ...string) (list []string) {
	require.Empty(t, p.Check())
	m := Compile(p)
	s := m.New()
	advance := func(to int64) {
		for due := m.Due(s); due <= to && due < never; due = m.Due(s) {
			found, out, _ := m.Advance(s, due, true)
			for _, f := range found {
				list = append(list, fmt.Sprintf("%s@%d", show(f), due))
			}
			for _, o := range out {
				list = append(list, fmt.Sprintf("T:%s@%d", show(o.Match), o.At))
			}
		}
	}
	for i, e := range events {
		s = again(t, m, s)
		v, ms := at(t, e, i)
		advance(ms)
		found, _ := m.Process(s, ms, v)
		for _, f := range found {
			list = append(list, show(f))
		}
	}
	advance(1 << 40)
	if m.within > 0 {
		assert.True(t, s.Empty())
		e, n, r := s.Size()
		assert.Equal(t, []int{0, 0, 1}, []int{e, n, r}, "something is left behind")
	}
	return list
}

func TestPatterns(t *testing.T) {
	a, ac := pattern.Begin("a", is("a")), pattern.Begin("a", is("ac"))
	ab := a.FollowedBy("b", is("b"))
	for name, c := range map[string]struct {
		p      pattern.Pattern[string]
		events string
		want   []string
	}{
		"next":             {a.Next("b", is("b")), "a1 b1 a2 c b2", []string{"a1 b1"}},
		"followed by":      {ab, "a1 c b1 b2 a2 b3", []string{"a1 b1", "a2 b3"}},
		"followed by any":  {a.FollowedByAny("b", is("b")), "a1 b1 b2", []string{"a1 b1", "a1 b2"}},
		"not next":         {a.NotNext("n", is("n")).FollowedBy("b", is("b")), "a1 n b1 a2 c b2", []string{"a2 b2"}},
		"not next, at end": {a.NotNext("n", is("n")), "a1 n a2 c", []string{"a2"}},
		"not followed by":  {a.NotFollowedBy("n", is("n")).FollowedBy("b", is("b")), "a1 c n b1 a2 c b2", []string{"a2 b2"}},
		"not followed by, at end": {a.NotFollowedBy("n", is("n")).Within(10 * time.Millisecond), "a1@0 c@2 n@5 a2@20 n@30 a3@31",
			[]string{"a2@30", "a3@41"}},
		"not followed by, at end, since the previous": {ab.NotFollowedBy("n", is("n")).WithinPrevious(10 * time.Millisecond), "a1@0 b1@50 n@60 a2@70 b2@75 n@84",
			[]string{"a1 b1@60"}},
		"times":         {a.Times(2).FollowedBy("b", is("b")), "a1 a2 c a3 b", []string{"a1,a2 b", "a2,a3 b"}},
		"consecutive":   {a.Times(2).Consecutive(), "a1 a2 c a3 a4 a5", []string{"a1,a2", "a3,a4", "a4,a5"}},
		"combinations":  {a.Times(2).AllowCombinations(), "a1 a2 a3", []string{"a1,a2", "a1,a3", "a2,a3"}},
		"times between": {a.TimesBetween(1, 2).Next("b", is("b")), "a1 a2 a3 b", []string{"a2,a3 b", "a3 b"}},
		"from zero":     {a.FollowedBy("b", is("b")).TimesBetween(0, 1).Next("c", is("c")), "a1 c1 a2 b c2", []string{"a1 c1", "a1 b c2", "a2 b c2"}},
		"one or more":   {a.OneOrMore().FollowedBy("b", is("b")), "a1 a2 b", []string{"a1 b", "a1,a2 b", "a2 b"}},
		"or more":       {a.TimesOrMore(2).FollowedBy("b", is("b")), "a1 a2 a3 b", []string{"a1,a2 b", "a1,a2,a3 b", "a2,a3 b"}},
		"until":         {a.OneOrMore().Until(is("b")), "a1 c a2 b a3", []string{"a1", "a1,a2", "a2", "a3"}},
		"until, by what it has matched": {a.OneOrMore().UntilWhere(func(v string, so pattern.Match[string]) bool {
			return so.Count("a") >= 2 || v == "b"
		}), "a1 c a2 a3 b a4", []string{"a1", "a1,a2", "a2", "a2,a3", "a3", "a4"}},
		"until, by the group so far": {pattern.BeginGroup(ab).OneOrMore().UntilWhere(func(v string, so pattern.Match[string]) bool {
			last, ok := so.Last("b")
			return ok && v[1:] < last[1:]
		}), "a1 b5 a2 b6 a7 b8", []string{"a1 b5", "a2 b6", "a2 b6 a7 b8", "a7 b8"}},
		"optional":     {ab.Optional().FollowedBy("c", is("c")), "a1 b1 c1", []string{"a1 c1", "a1 b1 c1"}},
		"optional end": {ab.Optional(), "a1 b1", []string{"a1", "a1 b1"}},
		"greedy":       {ac.OneOrMore().Greedy().Next("b", is("bc")), "a1 c1 b1", []string{"a1,c1 b1", "c1 b1"}},
		"not greedy":   {ac.OneOrMore().Next("b", is("bc")), "a1 c1 b1", []string{"a1 c1", "a1,c1 b1", "c1 b1"}},
		"greedy until": {ac.OneOrMore().Greedy().Until(is("d")).FollowedBy("b", is("bd")), "a1 c1 d1",
			[]string{"a1,c1 d1", "c1 d1"}},
		"group": {pattern.BeginGroup(ab).Times(2).FollowedBy("c", is("c")), "a1 b1 a2 b2 c1", []string{"a1 b1 a2 b2 c1"}},
		"group, one or more": {pattern.BeginGroup(ab).OneOrMore().FollowedBy("c", is("c")), "a1 b1 a2 b2 c1",
			[]string{"a1 b1 c1", "a1 b1 a2 b2 c1", "a2 b2 c1"}},
		"group, one or more, with something between": {pattern.BeginGroup(ab).OneOrMore().FollowedBy("c", is("c")), "a1 b1 x a2 x b2 x c1",
			[]string{"a1 b1 c1", "a1 b1 a2 b2 c1", "a2 b2 c1"}},
		"group that begins with an optional step": {pattern.Begin("s", is("s")).NextGroup(pattern.Begin("a", is("a")).Optional().Next("b", is("b"))), "s1 b1 s2 a2 b2",
			[]string{"s1 b1", "s2 a2 b2"}},
		"group, optional": {pattern.Begin("s", is("s")).FollowedByGroup(ab).Optional().FollowedBy("c", is("c")), "s1 a1 b1 c1",
			[]string{"s1 c1", "s1 a1 b1 c1"}},
		"group, until": {pattern.BeginGroup(ab).OneOrMore().Until(is("x")), "a1 b1 x a2 b2", []string{"a1 b1", "a2 b2"}},
		"within":       {ab.Within(10 * time.Millisecond), "a1@0 b1@10 a2@20 b2@29", []string{"T:a1@10", "a2 b2"}},
		"within the previous": {ab.FollowedBy("c", is("c")).WithinPrevious(5 * time.Millisecond).Within(100 * time.Millisecond),
			"a1@0 b1@50 c1@54 a2@60 b2@65 c2@70", []string{"a1 b1 c1", "T:a2 b2@70"}},
		"where": {a.FollowedBy("b", is("b")).Where(func(v string, so pattern.Match[string]) bool {
			first, ok := so.First("a")
			return ok && first[1:] == v[1:] && so.Count("a") == 1 && so.Count("b") == 0
		}), "a1 a2 b2 b1", []string{"a2 b2", "a1 b1"}},
		"where, of its own step": {ac.OneOrMore().Where(func(v string, so pattern.Match[string]) bool {
			last, ok := so.Last("a")
			return !ok || v[1:] > last[1:]
		}).FollowedBy("b", is("b")), "a3 c1 a5 b", []string{"a3 b", "a3,a5 b", "c1 b", "c1,a5 b", "a5 b"}},
		"not, behind an optional step": {a.NotFollowedBy("n", is("n")).FollowedBy("c", is("c")).Optional().FollowedBy("d", is("d")), "a1 c1 n d1 a2 n d2",
			[]string{"a1 c1 d1"}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.ElementsMatch(t, c.want, find(t, c.p, strings.Fields(c.events)...))
		})
	}
}

// The examples of the documentation.
func TestDocumentedPatterns(t *testing.T) {
	a := pattern.Begin("a", is("a"))
	for _, c := range []struct {
		p    pattern.Pattern[string]
		want string
	}{
		{a.OneOrMore().Until(is("b")), "a1; a1,a2; a2; a3"},
		{a.FollowedBy("b", is("b")), "a1 b; a2 b"},
		{a.OneOrMore().FollowedBy("b", is("b")), "a1,a2 b; a1 b; a2 b"},
		{a.Next("b", is("b")), "a2 b"},
		{a.NotFollowedBy("c", is("c")).FollowedBy("b", is("b")), "a2 b"},
	} {
		found := find(t, c.p, strings.Fields("a1 c a2 b a3")...)
		assert.ElementsMatch(t, strings.Split(c.want, "; "), found, "%v", c.p)
	}
}

func TestSkip(t *testing.T) {
	p := pattern.Begin("a", is("a")).FollowedBy("b", is("b")).OneOrMore().FollowedBy("c", is("c")).Within(time.Second)
	events := strings.Fields("a1 b1 a2 b2 c1 b3 c2")
	for _, c := range []struct {
		skip pattern.Skip
		want []string
	}{
		{pattern.NoSkip(), []string{"a1 b1 c1", "a1 b1,b2 c1", "a2 b2 c1", "a1 b1,b2,b3 c2", "a2 b2,b3 c2"}},
		{pattern.SkipToNext(), []string{"a1 b1,b2 c1", "a2 b2 c1"}},
		{pattern.SkipPastLast(), []string{"a1 b1,b2 c1"}},
		{pattern.SkipToFirst("b"), []string{"a1 b1,b2 c1", "a2 b2 c1"}},
		{pattern.SkipToLast("b"), []string{"a1 b1,b2 c1"}},
	} {
		var found []string
		for _, x := range find(t, p.AfterMatch(c.skip), events...) {
			if !strings.HasPrefix(x, "T:") {
				found = append(found, x)
			}
		}
		assert.ElementsMatch(t, c.want, found, "%v", c.skip)
	}
}

// Where matches exclude each other, a complete one waits for those that began earlier.
func TestSkipWaits(t *testing.T) {
	p := pattern.Begin("a", is("ax")).FollowedBy("b", is("b")).Where(func(v string, so pattern.Match[string]) bool {
		first, _ := so.First("a")
		return first[:1] == "a" || v == "bx"
	}).Within(10 * time.Millisecond).AfterMatch(pattern.SkipPastLast())
	assert.Equal(t, []string{"T:x1@10", "T:a2@12"}, find(t, p, "x1@0", "a2@2")) // none is complete
	assert.Equal(t, []string{"a1 b1@10", "T:x1@10"}, find(t, p, "x1@0", "a1@1", "b1@2"))
	assert.Equal(t, []string{"x1 bx"}, find(t, p, "x1@0", "a1@1", "b1@2", "bx@3"), "the earlier one excludes it")
}

// A condition on the event alone is asked once for each event, however many runs there are.
func TestConditionsAreAskedOnce(t *testing.T) {
	asked := 0
	m := Compile(pattern.Begin("a", func(string) bool { asked++; return true }).FollowedByAny("b", func(string) bool { asked++; return true }))
	s := m.New()
	for i := range 10 {
		asked = 0
		m.Process(s, int64(i), "x")
		assert.LessOrEqual(t, asked, 2)
	}
}

// An event that changes nothing says so: the state need not be written.
func TestUnchanged(t *testing.T) {
	m := Compile(pattern.Begin("a", is("a")).FollowedBy("b", is("b")).Within(time.Second))
	s := m.New()
	for i, c := range []struct {
		event   string
		changed bool
	}{{"x", false}, {"a", true}, {"x", false}, {"b", true}, {"b", false}} {
		_, changed := m.Process(s, int64(i), c.event)
		assert.Equal(t, c.changed, changed, "%d: %s", i, c.event)
	}
	assert.True(t, s.Empty())
	_, _, changed := m.Advance(s, never-1, true)
	assert.False(t, changed)
}

func TestDecodeRefusesWhatIsDamaged(t *testing.T) {
	m := Compile(pattern.Begin("a", is("a")).OneOrMore().FollowedBy("b", is("b")).Within(time.Second))
	s := m.New()
	for i := range 4 {
		m.Process(s, int64(i), "a"+strconv.Itoa(i))
	}
	b, err := m.Append(nil, s, text)
	require.NoError(t, err)
	for n := range b {
		_, err := m.Decode(b[:n], untext)
		require.Error(t, err, "%d bytes of it", n)
	}
	_, err = m.Decode(append(slices.Clone(b), 0), untext)
	require.Error(t, err)
}
