package pattern

import (
	"slices"

	"github.com/millstream-go/millstream/pattern"
)

// Compile makes the automaton of a pattern, which has been checked.
//
// It is built from the end: the states of a step know the state behind it, the sink. A step that must not happen has no
// state of its own (but as the last one): it adds an edge to a stop state where it would be seen. What is optional adds an
// edge that proceeds. A step that is repeated is written out as often as it must happen, and as it may; one without an
// end has a state that takes to itself. A group is written out likewise.
//
// Where there is a choice of taking and proceeding, what follows an ignored event must not offer to proceed again, or a
// match would be found twice: such a state ignores to a twin without that edge. A twin keeps only what ends the run.
//
// There it differs from Flink, whose twins forget some of what must not happen, and remember what may again; and in that
// a head of a group has its own repetitions, and that one of a group that repeats without an end has a twin.
func Compile[V any](p pattern.Pattern[V]) *Machine[V] {
	m := &Machine[V]{within: p.Spec.Within.Milliseconds(), skip: p.Spec.Skip, target: -1}
	c := &compiler[V]{Machine: m, conds: map[*pattern.Step[V]]test[V]{}, untils: map[*pattern.Step[V]]test[V]{}, ids: map[*pattern.Step[V]]int32{},
		stops: map[*pattern.Step[V]]int32{}, originals: map[int32]int32{}, notNext: map[int32]bool{}}
	c.number(p.Spec.Steps)
	m.start = c.row(&chain[V]{steps: p.Spec.Steps}, c.state(nil, final))
	for _, x := range c.twins {
		c.stopAs(x[0], x[1])
	}
	m.at.known = make([]int8, len(m.ifs))
	return m
}

type compiler[V any] struct {
	*Machine[V]
	conds, untils map[*pattern.Step[V]]test[V]
	ids           map[*pattern.Step[V]]int32
	stops         map[*pattern.Step[V]]int32
	twins         [][2]int32      // each with the state that it is the twin of
	notNext       map[int32]bool  // the states of steps that must not be next
	originals     map[int32]int32 // sinks as they were before a greedy step narrowed them
}

// number gives each step its number, and its conditions.
func (c *compiler[V]) number(steps []pattern.Step[V]) {
	for i := range steps {
		s := &steps[i]
		switch {
		case s.Until != nil:
			c.untils[s] = c.cond(s.Until)
		case s.UntilWhere != nil:
			c.untils[s] = c.where(s.UntilWhere)
		}
		if s.Group != nil {
			c.number(s.Group)
			continue
		}
		c.ids[s] = int32(len(c.steps))
		if s.Name == c.skip.Step && c.skip.Step != "" {
			c.target = c.ids[s]
		}
		c.steps = append(c.steps, s.Name)
		t := c.cond(s.If)
		for _, f := range s.Where {
			t = and(t, c.where(f))
		}
		c.conds[s] = t
	}
}

// chain is a row of steps: the pattern, or a group in it.
type chain[V any] struct {
	steps []pattern.Step[V]
	group *pattern.Step[V] // nil: it is the pattern
	first bool             // of the repetitions of the group, this is the first
	// leaves: the first state of the group also proceeds to what is behind it.
	leaves bool
}

func (ch *chain[V]) head(i int) bool { return ch.group != nil && i == 0 }

func (c *compiler[V]) state(s *pattern.Step[V], k kind) int32 {
	x := state[V]{kind: k, step: -1}
	if s != nil {
		if id, ok := c.ids[s]; ok {
			x.step = id
		}
		if x.gap = s.SincePrior.Milliseconds(); x.gap > 0 && k != stop {
			c.gaps = true
		}
	}
	c.states = append(c.states, x)
	return int32(len(c.states) - 1)
}

func (c *compiler[V]) edge(a action, from, to int32, ok test[V]) {
	c.states[from].edges = append(c.states[from].edges, edge[V]{a, from, to, ok})
}

// The conditions of edges. Those in a group hold until the group ends.

func (c *compiler[V]) inGroup(ch *chain[V], t test[V]) test[V] {
	if ch.group == nil || !ch.group.Ends() {
		return t
	}
	return and(not(c.untils[ch.group]), t)
}

func (c *compiler[V]) takes(ch *chain[V], s *pattern.Step[V]) test[V] {
	return c.inGroup(ch, c.conds[s])
}

// timely narrows the condition for taking an event to the time that its step has for it.
func (c *compiler[V]) timely(s *pattern.Step[V], t test[V]) test[V] {
	if s.SincePrior == 0 {
		return t
	}
	return and(since[V](s.SincePrior.Milliseconds()), t)
}

func (c *compiler[V]) always(ch *chain[V]) test[V] { return c.inGroup(ch, nil) }

// passes is the condition for ignoring an event; ok is false if none may be.
func (c *compiler[V]) passes(ch *chain[V], s *pattern.Step[V], link pattern.Link) (t test[V], ok bool) {
	switch link {
	case pattern.Relaxed:
		return c.inGroup(ch, not(c.conds[s])), true
	case pattern.Any:
		return c.inGroup(ch, nil), true
	}
	return nil, false
}

// between is the condition for ignoring an event before a step; inside, between its repetitions.
func (c *compiler[V]) between(ch *chain[V], i int) (test[V], bool) {
	s, link := &ch.steps[i], ch.steps[i].Link
	if ch.head(i) {
		if link = ch.group.Link; !ch.first {
			link = ch.group.Inner
		}
	}
	return c.passes(ch, s, link)
}

func (c *compiler[V]) inside(ch *chain[V], i int) (test[V], bool) {
	return c.passes(ch, &ch.steps[i], ch.steps[i].Inner)
}

// until narrows a condition to before the end of a step's repetitions.
func (c *compiler[V]) until(s *pattern.Step[V], t test[V]) test[V] {
	if !s.Ends() {
		return t
	}
	return and(not(c.untils[s]), t)
}

// row makes the states of a chain, from its last step to its first, and returns the first one.
func (c *compiler[V]) row(ch *chain[V], sink int32) int32 {
	for i := len(ch.steps) - 1; i >= 0; i-- {
		s := &ch.steps[i]
		switch {
		case s.Link == pattern.NotFollowedBy:
			if c.states[sink].kind == final { // the last step
				wait := c.state(s, pending)
				c.edge(proceed, wait, c.stopped(ch, s), c.takes(ch, s))
				c.edge(ignore, wait, wait, not(c.takes(ch, s)))
				sink = wait
			}
		case s.Link == pattern.NotNext:
			next := c.state(s, normal)
			c.notNext[next] = true
			a := proceed
			if c.states[sink].kind == final {
				a = ignore // not at once: it takes an event to know
			}
			c.edge(a, next, sink, not(c.takes(ch, s)))
			c.edge(proceed, next, c.stopped(ch, s), c.takes(ch, s))
			sink = next
		default:
			sink = c.step(ch, i, sink)
		}
	}
	return sink
}

// step makes the states of a step that happens.
func (c *compiler[V]) step(ch *chain[V], i int, sink int32) (first int32) {
	s := &ch.steps[i]
	switch {
	case s.Repeated && s.Max == 0:
		first = c.times(ch, i, c.loop(ch, i, c.withoutNots(ch, i, sink)), sink, s.Min, s.Min)
	case s.Repeated:
		first = c.times(ch, i, sink, sink, s.Min, s.Max)
	default:
		pass, ok := c.between(ch, i)
		first = c.once(ch, i, sink, sink, once[V]{c.takes(ch, s), pass, ok, s.Optional, true})
	}
	c.stopOn(ch, i, first)
	return first
}

// stopped is the stop state of a step that must not happen.
func (c *compiler[V]) stopped(ch *chain[V], s *pattern.Step[V]) int32 {
	i, ok := c.stops[s]
	if !ok {
		i = c.state(s, stop)
		c.edge(take, i, i, c.takes(ch, s))
		c.stops[s] = i
	}
	return i
}

// nots are the steps before step i that must not happen before it does: those next to it, also across optional ones.
func (ch *chain[V]) nots(i int) (list []*pattern.Step[V]) {
	for i--; i >= 0 && (ch.steps[i].Optional || ch.steps[i].Link == pattern.NotFollowedBy); i-- {
		if ch.steps[i].Link == pattern.NotFollowedBy {
			list = append(list, &ch.steps[i])
		}
	}
	return list
}

func (c *compiler[V]) stopOn(ch *chain[V], i int, at int32) {
	for _, s := range ch.nots(i) {
		c.edge(proceed, at, c.stopped(ch, s), c.takes(ch, s))
	}
}

// stopLoop makes what must not happen after a step end its repetitions.
func (c *compiler[V]) stopLoop(ch *chain[V], i int, at int32) {
	if i+1 < len(ch.steps) && ch.steps[i+1].Link == pattern.NotFollowedBy {
		s := &ch.steps[i+1]
		c.edge(proceed, at, c.stopped(ch, s), c.takes(ch, s))
	}
}

// stopAs makes a twin stop on what its state stops on where it could proceed: what must not happen then, must not either
// when something has been ignored.
func (c *compiler[V]) stopAs(twin, of int32) {
	seen := map[int32]bool{}
	var look func(at int32, when test[V])
	look = func(at int32, when test[V]) {
		if seen[at] || c.notNext[at] {
			return
		}
		seen[at] = true
		for _, e := range c.states[at].edges {
			switch {
			case e.action != proceed:
			case c.states[e.to].kind == stop:
				c.edge(proceed, twin, e.to, and(when, e.ok))
			default:
				look(e.to, and(when, e.ok))
			}
		}
	}
	look(of, nil)
}

// withoutNots is the state behind an optional step that has happened: what must not happen before it may now. It is a copy
// of the states that can be reached from there without an event.
func (c *compiler[V]) withoutNots(ch *chain[V], i int, sink int32) int32 {
	nots := ch.nots(i)
	if len(nots) == 0 || !ch.steps[i].Optional {
		return sink
	}
	copies := map[int32]int32{}
	var clone func(from int32) int32
	clone = func(from int32) int32 {
		if to, ok := copies[from]; ok {
			return to
		}
		to := c.twin(from)
		copies[from] = to
		for _, e := range c.states[from].edges {
			if e.action == proceed {
				if c.states[e.to].kind == stop {
					if slices.ContainsFunc(nots, func(s *pattern.Step[V]) bool { return c.stops[s] == e.to }) {
						continue
					}
				} else {
					e.to = clone(e.to)
				}
			}
			c.edge(e.action, to, self(e, to), e.ok)
		}
		return to
	}
	return clone(sink)
}

// twin is a state like another, without edges.
func (c *compiler[V]) twin(of int32) int32 {
	x := c.states[of]
	x.edges = nil
	c.states = append(c.states, x)
	return int32(len(c.states) - 1)
}

// self is where an edge leads in a copy of its state.
func self[V any](e edge[V], to int32) int32 {
	if e.to == e.from {
		return to
	}
	return e.to
}

// narrow keeps a state from doing anything with an event that the greedy step before it takes.
func (c *compiler[V]) narrow(at int32, taken test[V]) {
	for j := range c.states[at].edges {
		e := &c.states[at].edges[j]
		e.ok = and(e.ok, not(taken))
	}
}

// remember keeps a state as it is before it is narrowed, for events that end the greedy step.
func (c *compiler[V]) remember(at int32) int32 {
	to := c.twin(at)
	for _, e := range c.states[at].edges {
		c.edge(e.action, to, self(e, to), e.ok)
	}
	c.originals[at] = to
	return to
}

// times makes a step from times to times; the last of them leads to sink, and where no more are needed it proceeds to
// behind.
func (c *compiler[V]) times(ch *chain[V], i int, sink, behind int32, from, to int) int32 {
	s := &ch.steps[i]
	taken := c.until(s, c.takes(ch, s))
	inner, innerOK := c.inside(ch, i)
	inner = c.until(s, inner)
	if s.Greedy && from != to {
		if s.Ends() {
			c.remember(sink)
		}
		c.narrow(sink, taken)
	}
	for range to - from {
		sink = c.once(ch, i, sink, behind, once[V]{taken, inner, innerOK, true, false})
		c.stopLoop(ch, i, sink)
	}
	for range from - 1 {
		sink = c.once(ch, i, sink, -1, once[V]{taken, inner, innerOK, false, false})
		c.stopLoop(ch, i, sink)
	}
	pass, ok := c.between(ch, i)
	return c.once(ch, i, sink, behind, once[V]{taken, pass, ok, s.Optional, true})
}

// once is how a step happens one time.
type once[V any] struct {
	take     test[V]
	pass     test[V] // for ignoring an event before it
	passes   bool    // one may be ignored
	optional bool    // it may be left out
	first    bool    // of its repetitions
}

// once makes a step that happens one time.
func (c *compiler[V]) once(ch *chain[V], i int, sink, behind int32, o once[V]) int32 {
	s := &ch.steps[i]
	if s.Group != nil {
		first := c.row(&chain[V]{steps: s.Group, group: s, first: o.first, leaves: o.optional}, sink)
		if o.optional {
			c.edge(proceed, first, behind, c.always(ch))
		}
		return first
	}
	at := c.state(s, normal)
	to := c.withoutNots(ch, i, sink)
	c.edge(take, at, to, c.timely(s, o.take))
	if o.optional {
		c.leave(ch, s, at, behind)
	}
	if !o.passes {
		return at
	}
	ignoring := at
	if o.optional || o.first && ch.head(i) && ch.leaves {
		ignoring = c.state(s, normal)
		c.edge(take, ignoring, to, c.timely(s, o.take))
		c.edge(ignore, ignoring, ignoring, o.pass)
		c.twins = append(c.twins, [2]int32{ignoring, at})
	}
	c.edge(ignore, at, ignoring, o.pass)
	return at
}

// leave proceeds from a step to what is behind it. If the step is greedy and has an end, what is behind is narrowed only
// until then.
func (c *compiler[V]) leave(ch *chain[V], s *pattern.Step[V], at, behind int32) {
	if !s.Greedy || !s.Ends() {
		c.edge(proceed, at, behind, c.always(ch))
		return
	}
	original, ok := c.originals[behind]
	if !ok {
		original = behind
	}
	c.edge(proceed, at, original, and(c.always(ch), c.untils[s]))
	c.edge(proceed, at, behind, and(c.always(ch), not(c.untils[s])))
}

// loop makes a step that happens again and again.
func (c *compiler[V]) loop(ch *chain[V], i int, sink int32) int32 {
	s := &ch.steps[i]
	if s.Group != nil {
		end := c.state(s, normal)
		first := c.row(&chain[V]{steps: s.Group, group: s, leaves: true}, end)
		c.edge(proceed, first, sink, c.always(ch))
		c.edge(proceed, end, first, c.always(ch))
		return first
	}
	taken := c.until(s, c.takes(ch, s))
	pass, passes := c.inside(ch, i)
	pass = c.until(s, pass)
	at := c.state(s, normal)
	if s.Greedy && s.Ends() {
		c.remember(sink)
	}
	c.leave(ch, s, at, sink)
	if s.Greedy {
		c.narrow(sink, c.takes(ch, s))
	}
	c.edge(take, at, at, c.timely(s, taken))
	c.stopLoop(ch, i, at)
	if passes {
		ignoring := c.state(s, normal)
		c.edge(take, ignoring, at, c.timely(s, taken))
		c.edge(ignore, ignoring, ignoring, pass)
		c.edge(ignore, at, ignoring, pass)
		c.twins = append(c.twins, [2]int32{ignoring, at})
	}
	return at
}
