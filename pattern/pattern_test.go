package pattern_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/millstream-go/millstream/pattern"
)

func yes(string) bool { return true }

func begin(name string) pattern.Pattern[string] { return pattern.Begin(name, yes) }

// Every mistake is told, and how to mend it.
func TestMistakes(t *testing.T) {
	a := begin("a")
	ab := a.FollowedBy("b", yes)
	for name, c := range map[string]struct {
		p    pattern.Pattern[string]
		says []string
	}{
		"none":                    {a.Where(func(string, pattern.Match[string]) bool { return true }).Times(2).FollowedByGroup(begin("b")).OneOrMore().Until(yes).Optional(), nil},
		"empty":                   {pattern.Pattern[string]{}, []string{"no steps"}},
		"quantifier of nothing":   {pattern.Pattern[string]{}.OneOrMore(), []string{"OneOrMore has no step", "no steps"}},
		"no condition":            {a.Next("b", nil), []string{`step "b": its condition is nil`}},
		"no further condition":    {a.Where(nil), []string{"its condition is nil"}},
		"no name":                 {a.Next("", yes), []string{"no name"}},
		"one name twice":          {a.Next("a", yes).FollowedByGroup(begin("a")), []string{`3 steps have the name "a"`}},
		"not, at the end":         {a.NotFollowedBy("n", yes), []string{`step "n": as the last step it needs a Within`}},
		"not, after optional":     {a.FollowedBy("b", yes).Optional().NotNext("n", yes).Next("c", yes), []string{`step "n": the step before it is optional`}},
		"not, optional":           {a.NotNext("n", yes).Optional(), []string{`step "n": Optional: it must not happen`}},
		"not, repeated":           {a.NotNext("n", yes).Times(2), []string{"it must not happen"}},
		"greedy once":             {a.Greedy(), []string{"Greedy: it happens once"}},
		"greedy combinations":     {ab.OneOrMore().AllowCombinations().Greedy(), []string{"exclude each other"}},
		"greedy group":            {a.FollowedByGroup(begin("g")).Times(2).Greedy(), []string{`step ("g" …): Greedy: a group cannot be greedy`}},
		"both inner":              {a.Times(2).Consecutive().AllowCombinations(), []string{"exclude each other"}},
		"inner of one":            {a.Consecutive(), []string{"Consecutive: it happens once"}},
		"until of one":            {a.Times(3).Until(yes), []string{"Until: it has an end"}},
		"until twice":             {a.OneOrMore().Until(yes).Until(yes), []string{"an Until already"}},
		"until where":             {a.OneOrMore().UntilWhere(func(string, pattern.Match[string]) bool { return true }), nil},
		"until where, and until":  {a.OneOrMore().UntilWhere(func(string, pattern.Match[string]) bool { return true }).Until(yes), []string{"an Until already"}},
		"until where, of one":     {a.UntilWhere(func(string, pattern.Match[string]) bool { return true }), []string{"UntilWhere: it has an end"}},
		"until where nothing":     {a.OneOrMore().UntilWhere(nil), []string{"UntilWhere: its condition is nil"}},
		"until nothing":           {a.OneOrMore().Until(nil), []string{"its condition is nil"}},
		"times twice":             {a.Times(2).OneOrMore(), []string{"a number of times already"}},
		"times nothing":           {a.Times(0), []string{"numbers from 1 to 1000"}},
		"times backwards":         {a.TimesBetween(3, 2), []string{"the smaller one first"}},
		"times too often":         {a.Times(1001), []string{"numbers from 1 to 1000"}},
		"within nothing":          {a.Within(0), []string{"its Within is 0s"}},
		"within a fraction":       {a.Within(time.Microsecond), []string{"whole milliseconds"}},
		"within the previous":     {ab.WithinPrevious(0), []string{"WithinPrevious: it is 0s"}},
		"skip to nowhere":         {a.AfterMatch(pattern.SkipToLast("x")), []string{`skips to step "x"`}},
		"all optional":            {a.Optional().Next("b", yes).TimesBetween(0, 2), []string{"every step is optional"}},
		"empty group":             {a.NextGroup(pattern.Pattern[string]{}), []string{"a group has no steps"}},
		"group with within":       {a.NextGroup(begin("g").Within(time.Second)), []string{`the group of step "g" has a Within`}},
		"group's mistakes":        {a.NextGroup(begin("g").Greedy()), []string{"Greedy"}},
		"group of nothing":        {a.NextGroup(begin("g").Optional().Next("h", yes).Optional()), []string{`group of step "g": every step of it is optional`}},
		"not, before optional":    {a.NotFollowedBy("n", yes).NextGroup(begin("g")).Optional().Next("c", yes), []string{`step "n": the group ("g" …) after it is optional`}},
		"group begins with group": {a.NextGroup(pattern.BeginGroup(begin("g"))), []string{"a group begins with a group"}},
		"group ends with not":     {a.NextGroup(begin("g").NotNext("n", yes)), []string{`step "n": a group cannot end with`}},
		"group's condition":       {a.NextGroup(begin("g")).Where(func(string, pattern.Match[string]) bool { return true }), []string{"a group has no condition"}},
		"group since previous":    {a.NextGroup(begin("g")).WithinPrevious(time.Second), []string{"a group cannot have it"}},
		"too large":               {pattern.BeginGroup(a.Times(1000)).Times(11), []string{"are 11000 steps"}},
	} {
		t.Run(name, func(t *testing.T) {
			var have []string
			for _, err := range c.p.Check() {
				have = append(have, err.Error())
			}
			if assert.Len(t, have, len(c.says), "%q", have) {
				for i, s := range c.says {
					assert.Contains(t, have[i], s)
				}
			}
		})
	}
}

func TestMistakesAreToldTogether(t *testing.T) {
	errs := begin("a").Greedy().Next("a", nil).Within(-1).Check()
	assert.Len(t, errs, 4, "%v", errs)
}

// A pattern is a value: what is made from it does not change it.
func TestPatternsAreValues(t *testing.T) {
	a := begin("a").Next("b", yes)
	x, y := a.OneOrMore(), a.Optional()
	c, d := a.Next("c", yes), a.FollowedBy("d", yes)
	assert.Equal(t, "a next b", a.String())
	assert.Equal(t, "a next b{1,}", x.String())
	assert.Equal(t, "a next b optional", y.String())
	assert.Equal(t, "a next b next c", c.String())
	assert.Equal(t, "a next b followedBy d", d.String())
	assert.Empty(t, a.Greedy().Spec.Steps[1].Greedy)
	assert.Empty(t, a.Check())
}

func TestString(t *testing.T) {
	p := pattern.BeginGroup(begin("a").FollowedBy("b", yes).Times(2).Consecutive()).TimesBetween(1, 3).NotFollowedBy("n", yes).
		FollowedByAny("c", yes).TimesOrMore(2).AllowCombinations().Until(yes).Optional().Next("d", yes).WithinPrevious(time.Second).
		Within(time.Minute).AfterMatch(pattern.SkipToFirst("c"))
	assert.Equal(t, "(a followedBy b{2} consecutive){1,3} notFollowedBy n followedByAny c{2,} optional combinations until next d within 1s of the previous within 1m0s, skip to first c",
		p.String())
	assert.Empty(t, p.Check())
}

func TestMatch(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	m := pattern.Match[string]{Events: []pattern.Event[string]{{"a", at(1), "1"}, {"b", at(2), "2"}, {"a", at(3), "3"}}}
	var all []string
	for v := range m.All("a") {
		all = append(all, v)
	}
	first, ok := m.First("a")
	last, _ := m.Last("a")
	assert.Equal(t, "1 3", strings.Join(all, " "))
	assert.True(t, ok)
	assert.Equal(t, []string{"1", "3"}, []string{first, last})
	assert.Equal(t, []int{2, 1, 0}, []int{m.Count("a"), m.Count("b"), m.Count("c")})
	assert.Equal(t, []time.Time{at(1), at(3)}, []time.Time{m.Start(), m.End()})
	_, ok = m.First("c")
	assert.False(t, ok)
}
