// Package pattern describes patterns of events: what happens one after the other, for one key. It knows nothing of
// streams or state; Keyed.Detect of package stream looks for a pattern.
//
//	pattern.Begin("small", func(p Payment) bool { return p.Amount < 100 }).Times(3).
//		FollowedBy("large", func(p Payment) bool { return p.Amount > 50_000 }).
//		Within(10 * time.Minute)
//
// A pattern is a row of steps. A step has a name, a condition, how it is linked to the step before it, and how often it
// happens. Patterns are values: a method returns a longer one, and leaves the one that it was called on as it is. Mistakes
// are collected, and returned by Check, all of them; so does Build of a topology with the pattern in it.
//
// The language and its rules are those of Flink's CEP library.
package pattern

import (
	"fmt"
	"slices"
	"time"
)

// Pattern is a pattern of events of type V.
type Pattern[V any] struct {
	// Spec is what has been noted down, for the engine.
	Spec Spec[V]
}

// Spec is a pattern as it is written down.
type Spec[V any] struct {
	Steps  []Step[V]
	Within time.Duration // from the first event to the last, which lies before it; 0: any time
	Skip   Skip
	faults []error
}

// Step is a step of a pattern: a condition that an event must meet, or a group of steps.
type Step[V any] struct {
	Name  string
	Link  Link
	If    func(V) bool
	Where []func(V, Match[V]) bool // further conditions
	Group []Step[V]                // of a group, which has no name and no condition

	Min, Max   int  // how often it happens, if Repeated; Max 0 is without end
	Repeated   bool // it has a number of times
	Optional   bool
	Greedy     bool
	Inner      Link // how its repetitions are linked
	innerSet   bool
	Until      func(V) bool // what ends the repetitions: one of the two, or nil
	UntilWhere func(V, Match[V]) bool
	SincePrior time.Duration // how long after the event before it; 0: any time
}

// Ends says that a condition ends the repetitions.
func (s *Step[V]) Ends() bool { return s.Until != nil || s.UntilWhere != nil }

// Not says that the step is one that must not happen.
func (s *Step[V]) Not() bool { return s.Link == NotNext || s.Link == NotFollowedBy }

// Link is how a step is linked to the one before it, or its repetitions to each other.
type Link int

// The links. Those of repetitions are the first three.
const (
	Relaxed       Link = iota // what lies between and does not meet the condition is ignored
	Strict                    // nothing lies between
	Any                       // what lies between is ignored, and events that meet the condition may be, too
	NotNext                   // the next event does not meet the condition
	NotFollowedBy             // no event until the next step meets the condition
)

var linkNames = [...]string{"followedBy", "next", "followedByAny", "notNext", "notFollowedBy"}

// String is the link's name.
func (l Link) String() string { return linkNames[l] }

// Begin begins a pattern with an event that meets a condition.
func Begin[V any](name string, cond func(V) bool) Pattern[V] {
	return Pattern[V]{}.step(Step[V]{Name: name, Link: Strict, If: cond})
}

// BeginGroup begins a pattern with another one as its first step, to be repeated or left out as a whole. Within and
// AfterMatch are said of the whole pattern, not of a group.
func BeginGroup[V any](group Pattern[V]) Pattern[V] { return Pattern[V]{}.group(Strict, group) }

func (p Pattern[V]) step(s Step[V]) Pattern[V] {
	p.Spec.Steps = append(slices.Clone(p.Spec.Steps), s)
	if s.Group == nil && s.If == nil {
		return p.fault("step %q: its condition is nil: give it one", s.Name)
	}
	return p
}

func (p Pattern[V]) group(link Link, g Pattern[V]) Pattern[V] {
	p.Spec.faults = append(slices.Clone(p.Spec.faults), g.Spec.faults...)
	if len(g.Spec.Steps) == 0 {
		return p.fault("a group has no steps: begin it with pattern.Begin")
	}
	if g.Spec.Within > 0 || g.Spec.Skip != (Skip{}) {
		p = p.fault("the group of step %q has a Within or an AfterMatch: say them of the whole pattern", g.Spec.Steps[0].Name)
	}
	return p.step(Step[V]{Link: link, Group: g.Spec.Steps})
}

// Next adds a step: the very next event meets the condition.
func (p Pattern[V]) Next(name string, cond func(V) bool) Pattern[V] {
	return p.step(Step[V]{Name: name, Link: Strict, If: cond})
}

// FollowedBy adds a step: the next event that meets the condition. Those that do not are ignored.
func (p Pattern[V]) FollowedBy(name string, cond func(V) bool) Pattern[V] {
	return p.step(Step[V]{Name: name, Link: Relaxed, If: cond})
}

// FollowedByAny adds a step: any later event that meets the condition, each of them in a match of its own.
func (p Pattern[V]) FollowedByAny(name string, cond func(V) bool) Pattern[V] {
	return p.step(Step[V]{Name: name, Link: Any, If: cond})
}

// NotNext adds a step that must not happen: the very next event does not meet the condition.
func (p Pattern[V]) NotNext(name string, cond func(V) bool) Pattern[V] {
	return p.step(Step[V]{Name: name, Link: NotNext, If: cond})
}

// NotFollowedBy adds a step that must not happen: no event before that of the next step meets the condition. As the last
// step it takes a Within, at whose end the match is found.
func (p Pattern[V]) NotFollowedBy(name string, cond func(V) bool) Pattern[V] {
	return p.step(Step[V]{Name: name, Link: NotFollowedBy, If: cond})
}

// NextGroup adds a pattern as a step; see Next and BeginGroup.
func (p Pattern[V]) NextGroup(group Pattern[V]) Pattern[V] { return p.group(Strict, group) }

// FollowedByGroup adds a pattern as a step; see FollowedBy and BeginGroup.
func (p Pattern[V]) FollowedByGroup(group Pattern[V]) Pattern[V] { return p.group(Relaxed, group) }

// FollowedByAnyGroup adds a pattern as a step; see FollowedByAny and BeginGroup.
func (p Pattern[V]) FollowedByAnyGroup(group Pattern[V]) Pattern[V] { return p.group(Any, group) }

// Within is the time in which the whole pattern must happen: from the first event, up to but not including d after it. It
// also bounds the state of a key. In whole milliseconds.
func (p Pattern[V]) Within(d time.Duration) Pattern[V] {
	if d < time.Millisecond || d%time.Millisecond != 0 {
		return p.fault("its Within is %v: use at least 1ms, in whole milliseconds", d)
	}
	p.Spec.Within = d
	return p
}

// AfterMatch says what becomes of other matches when one has been found; the default is NoSkip.
func (p Pattern[V]) AfterMatch(s Skip) Pattern[V] {
	p.Spec.Skip = s
	return p
}

func (p Pattern[V]) fault(format string, args ...any) Pattern[V] {
	p.Spec.faults = append(slices.Clone(p.Spec.faults), fmt.Errorf(format, args...))
	return p
}

// Skip is what becomes of other matches when one has been found. Where matches exclude each other, the one that begins
// first is found, of those that begin with the same event the one that was complete first; so a complete match waits
// until all that began before it are complete or dead.
type Skip struct {
	Kind SkipKind
	Step string // of SkipToFirst and SkipToLast
}

// SkipKind is a kind of Skip.
type SkipKind int

// The kinds of Skip, by the functions that make them.
const (
	SkipNone SkipKind = iota
	SkipNext
	SkipPast
	SkipFirst
	SkipLast
)

var skipNames = [...]string{"no skip", "skip to next", "skip past last", "skip to first", "skip to last"}

// NoSkip: every match is found.
func NoSkip() Skip { return Skip{} }

// SkipToNext: no other match that begins with the same event.
func SkipToNext() Skip { return Skip{Kind: SkipNext} }

// SkipPastLast: no other match that begins before the end of this one.
func SkipPastLast() Skip { return Skip{Kind: SkipPast} }

// SkipToFirst: no other match that begins before the first event of the step. Without such an event nothing is skipped.
func SkipToFirst(step string) Skip { return Skip{Kind: SkipFirst, Step: step} }

// SkipToLast: no other match that begins before the last event of the step. Without such an event nothing is skipped.
func SkipToLast(step string) Skip { return Skip{Kind: SkipLast, Step: step} }
