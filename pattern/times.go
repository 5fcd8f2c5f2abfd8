package pattern

import (
	"slices"
	"time"
)

// last changes the last step; what is the method, for mistakes.
func (p Pattern[V]) last(what string, change func(s *Step[V]) (fault string)) Pattern[V] {
	if len(p.Spec.Steps) == 0 {
		return p.fault("%s has no step: begin the pattern with pattern.Begin", what)
	}
	p.Spec.Steps = slices.Clone(p.Spec.Steps)
	s := &p.Spec.Steps[len(p.Spec.Steps)-1]
	fault := ""
	if s.Not() && what != "Where" {
		fault = "it must not happen, so it cannot have it"
	} else {
		fault = change(s)
	}
	if fault != "" {
		return p.fault("step %s: %s: %s", s.label(), what, fault)
	}
	return p
}

// Where adds to the condition of the last step: one that also looks at what has been matched before the event.
func (p Pattern[V]) Where(cond func(v V, so Match[V]) bool) Pattern[V] {
	return p.last("Where", func(s *Step[V]) string {
		switch {
		case cond == nil:
			return "its condition is nil: give it one"
		case s.Group != nil:
			return "a group has no condition: say it of a step in it"
		}
		s.Where = append(slices.Clone(s.Where), cond)
		return ""
	})
}

// Times says that the last step happens n times. What lies between the repetitions is ignored, unless Consecutive or
// AllowCombinations say otherwise.
func (p Pattern[V]) Times(n int) Pattern[V] { return p.repeated("Times", n, n, n >= 1) }

// TimesBetween says that the last step happens from times to to times, each number a match. From 0 it is optional.
func (p Pattern[V]) TimesBetween(from, to int) Pattern[V] {
	return p.repeated("TimesBetween", from, to, from >= 0 && to >= 1 && from <= to)
}

// TimesOrMore says that the last step happens at least n times; each number is a match.
func (p Pattern[V]) TimesOrMore(n int) Pattern[V] { return p.repeated("TimesOrMore", n, 0, n >= 1) }

// OneOrMore says that the last step happens at least once; each number of times is a match.
func (p Pattern[V]) OneOrMore() Pattern[V] { return p.repeated("OneOrMore", 1, 0, true) }

// most is how often a step may be made to happen: it becomes part of the automaton as often.
const most = 1000

func (p Pattern[V]) repeated(what string, from, to int, ok bool) Pattern[V] {
	return p.last(what, func(s *Step[V]) string {
		switch {
		case s.Repeated:
			return "it has a number of times already"
		case !ok || from > most || to > most:
			return "use numbers from 1 to 1000, the smaller one first"
		}
		s.Repeated, s.Min, s.Max = true, max(from, 1), to
		s.Optional = s.Optional || from == 0
		return ""
	})
}

// Optional says that the last step may be missing.
func (p Pattern[V]) Optional() Pattern[V] {
	return p.last("Optional", func(s *Step[V]) string {
		s.Optional = true
		return ""
	})
}

// Greedy says that the last step, which is repeated, takes all events that it can: one that meets its condition is not
// taken by the next step.
func (p Pattern[V]) Greedy() Pattern[V] {
	return p.last("Greedy", func(s *Step[V]) string {
		switch {
		case s.Group != nil:
			return "a group cannot be greedy"
		case !s.Repeated:
			return "it happens once: call Times or OneOrMore first"
		}
		s.Greedy = true
		return ""
	})
}

// Consecutive says that the repetitions of the last step follow each other directly.
func (p Pattern[V]) Consecutive() Pattern[V] { return p.inner("Consecutive", Strict) }

// AllowCombinations says that events that the last step could take may also be ignored between its repetitions: each
// choice is a match. Their number grows exponentially with that of the events.
func (p Pattern[V]) AllowCombinations() Pattern[V] { return p.inner("AllowCombinations", Any) }

func (p Pattern[V]) inner(what string, link Link) Pattern[V] {
	return p.last(what, func(s *Step[V]) string {
		switch {
		case !s.Repeated:
			return "it happens once: call Times or OneOrMore first"
		case s.innerSet && s.Inner != link:
			return "Consecutive and AllowCombinations exclude each other"
		}
		s.Inner, s.innerSet = link, true
		return ""
	})
}

// Until ends the repetitions of the last step, which has no largest number of times: from an event that meets the
// condition on it takes none.
func (p Pattern[V]) Until(cond func(V) bool) Pattern[V] {
	return p.until("Until", cond == nil, func(s *Step[V]) { s.Until = cond })
}

// UntilWhere is Until with a condition that also looks at what has been matched before the event, as Where does: by a
// partial match itself, so that the same event may end one of two and be taken by the other.
func (p Pattern[V]) UntilWhere(cond func(v V, so Match[V]) bool) Pattern[V] {
	return p.until("UntilWhere", cond == nil, func(s *Step[V]) { s.UntilWhere = cond })
}

func (p Pattern[V]) until(what string, missing bool, set func(*Step[V])) Pattern[V] {
	return p.last(what, func(s *Step[V]) string {
		switch {
		case missing:
			return "its condition is nil: give it one"
		case !s.Repeated || s.Max != 0:
			return "it has an end: call OneOrMore or TimesOrMore first"
		case s.Ends():
			return "it has an Until already"
		}
		set(s)
		return ""
	})
}

// WithinPrevious is the time in which each event of the last step must follow the one that was matched before it, up to
// but not including d after it. In whole milliseconds. For NotFollowedBy as the last step it does what Within does.
//
// It holds wherever the step is reached from. Flink, where it is the window of PREVIOUS_AND_CURRENT, looks at it only while
// a partial match waits in the very state of the step: not where a repeated step before it may still go on, or an optional
// one may still happen, so that the step may come any time after those.
func (p Pattern[V]) WithinPrevious(d time.Duration) Pattern[V] {
	if n := len(p.Spec.Steps); n > 0 && p.Spec.Steps[n-1].Link == NotFollowedBy && d >= time.Millisecond && d%time.Millisecond == 0 {
		p.Spec.Steps = slices.Clone(p.Spec.Steps)
		p.Spec.Steps[n-1].SincePrior = d
		return p
	}
	return p.last("WithinPrevious", func(s *Step[V]) string {
		switch {
		case s.Group != nil:
			return "a group cannot have it: say it of the steps in it"
		case d < time.Millisecond || d%time.Millisecond != 0:
			return "it is " + d.String() + ": use at least 1ms, in whole milliseconds"
		}
		s.SincePrior = d
		return ""
	})
}
