package pattern

import (
	"fmt"
	"slices"
	"strings"
)

// Check returns what is wrong with the pattern, all of it.
func (p Pattern[V]) Check() []error {
	c := checker{names: map[string]int{}, errs: slices.Clone(p.Spec.faults)}
	if len(p.Spec.Steps) == 0 {
		return append(c.errs, fmt.Errorf("the pattern has no steps: begin it with pattern.Begin"))
	}
	check(&c, p.Spec.Steps, false)
	for _, name := range c.order {
		if n := c.names[name]; n > 1 {
			c.errorf("%d steps have the name %q: give each its own, for a match is read by them", n, name)
		}
	}
	if last := p.Spec.Steps[len(p.Spec.Steps)-1]; last.Link == NotFollowedBy && p.Spec.Within == 0 && last.SincePrior == 0 {
		c.errorf("step %s: as the last step it needs a Within, for it has happened only when time is over", last.label())
	}
	if s := p.Spec.Skip; (s.Kind == SkipFirst || s.Kind == SkipLast) && c.names[s.Step] == 0 {
		c.errorf("AfterMatch skips to step %q, which there is not", s.Step)
	}
	if n := weight(p.Spec.Steps); n > largest {
		c.errorf("written out, its repetitions are %d steps: use numbers of times that make at most %d", n, largest)
	}
	if possible(p.Spec.Steps) {
		c.errorf("every step is optional, so nothing would be a match: make one of them not optional")
	}
	return c.errs
}

// largest is the number of steps of a pattern with all repetitions written out.
const largest = 10_000

func weight[V any](steps []Step[V]) (n int) {
	for i := range steps {
		s := &steps[i]
		w := 1
		if s.Group != nil {
			w = weight(s.Group)
		}
		n += w * max(1, s.Min, s.Max)
	}
	return n
}

// possible says that a row may have no event at all.
func possible[V any](steps []Step[V]) bool {
	return slices.IndexFunc(steps, func(s Step[V]) bool { return !s.Optional && !s.Not() }) < 0
}

type checker struct {
	names map[string]int
	order []string
	errs  []error
}

func (c *checker) errorf(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

func check[V any](c *checker, steps []Step[V], group bool) {
	for i := range steps {
		s := &steps[i]
		if s.Not() && i > 0 && steps[i-1].Optional {
			c.errorf("step %s: the step before it is optional, so that what must not happen would have no beginning: make it not optional, or use two patterns", s.label())
		}
		if s.Link == NotFollowedBy {
			for j := i + 1; j < len(steps) && steps[j].Optional; j++ {
				if steps[j].Group != nil {
					c.errorf("step %s: the group %s after it is optional, so that it is not clear until when it must not happen: use two patterns", s.label(), steps[j].label())
				}
			}
		}
		if s.Greedy && s.Inner == Any {
			c.errorf("step %s: Greedy and AllowCombinations exclude each other", s.label())
		}
		if s.Group != nil {
			if group && i == 0 {
				c.errorf("step %s: a group begins with a group: write out its steps", s.label())
			}
			check(c, s.Group, true)
			continue
		}
		if s.Name == "" {
			c.errorf("a step has no name: give it one")
		}
		if c.names[s.Name]++; c.names[s.Name] == 1 {
			c.order = append(c.order, s.Name)
		}
	}
	if !group {
		return
	}
	if possible(steps) {
		c.errorf("group of step %s: every step of it is optional: make the group optional instead, and one of them not", steps[0].label())
	}
	if last := &steps[len(steps)-1]; last.Not() {
		c.errorf("step %s: a group cannot end with what must not happen: put it behind the group", last.label())
	}
}

// label is the step in mistakes.
func (s *Step[V]) label() string {
	if s.Group == nil {
		return fmt.Sprintf("%q", s.Name)
	}
	return "(" + s.Group[0].label() + " …)"
}

// String is the pattern without its conditions. It is stored with the state; a state of another pattern is refused.
func (p Pattern[V]) String() string {
	s := row(p.Spec.Steps)
	if p.Spec.Within > 0 {
		s += " within " + p.Spec.Within.String()
	}
	if k := p.Spec.Skip; k != (Skip{}) {
		s += ", " + skipNames[k.Kind]
		if k.Step != "" {
			s += " " + k.Step
		}
	}
	return s
}

func row[V any](steps []Step[V]) string {
	var b strings.Builder
	for i := range steps {
		s := &steps[i]
		if i > 0 {
			b.WriteString(" " + s.Link.String() + " ")
		}
		if s.Group != nil {
			b.WriteString("(" + row(s.Group) + ")")
		} else {
			b.WriteString(s.Name)
		}
		switch {
		case !s.Repeated:
		case s.Max == 0:
			fmt.Fprintf(&b, "{%d,}", s.Min)
		case s.Min == s.Max:
			fmt.Fprintf(&b, "{%d}", s.Min)
		default:
			fmt.Fprintf(&b, "{%d,%d}", s.Min, s.Max)
		}
		for _, x := range []struct {
			is   bool
			name string
		}{
			{s.Optional, " optional"}, {s.Greedy, " greedy"}, {s.Inner == Strict, " consecutive"}, {s.Inner == Any, " combinations"}, {s.Ends(), " until"},
		} {
			if x.is {
				b.WriteString(x.name)
			}
		}
		if s.SincePrior > 0 {
			b.WriteString(" within " + s.SincePrior.String() + " of the previous")
		}
	}
	return b.String()
}
