// Package plan is the topology as a value: a graph of operators with their names and the places where they were
// declared. It finds mistakes, cuts the graph into subtopologies, and describes it. The typed functions of the
// operators are not in it; they are kept by package stream.
package plan

import (
	"slices"

	"github.com/millstream-go/millstream/source"
)

// Kind is what an operator does.
type Kind string

// The kinds that the plan itself must tell apart. Others are only shown.
const (
	Source      Kind = "source"
	Repartition Kind = "repartition"
	Sink        Kind = "sink"
	Async       Kind = "async"
)

// Node is one operator.
type Node struct {
	ID     int
	Kind   Kind
	Name   string // given by the user, or the kind
	Site   string // file:line of the declaration
	Detail string // parameters, for people
	Inputs []*Node
	// Tables are what it looks up rows in. They are in its subtopology, but make no event time for it.
	Tables []*Node
	Type   string // what it hands on: a value type, or key and value
	Keyed  bool   // it hands on keyed records

	Input   *Input   // of a source or repartition
	Store   *Store   // of an operator with state
	Handles []*Store // of one with state handles, beside its Store
	Topics  []string // that a sink or a dead-letter policy writes
	System  string   // of a sink
	Retries int      // how often it tries a record, if its policy says that
	Aligned bool     // inputs must have equal numbers of partitions
	Implied string   // of a repartition that nobody asked for: what it is there for
	// Holds: it emits results when time moves that it has held back. Delay is by how much their times may lie behind the
	// watermark at which the one before it was not yet enough, in ms; what comes after sees so much less of the time.
	Holds     bool
	Delay     int64
	EventTime *EventTime // of an operator that makes event time
}

// Input is where a subtopology reads.
type Input struct {
	Spec       source.Spec
	EventTime  *EventTime
	Partitions int32 // of a repartition topic; 0: as many as the inputs before it
	Table      bool  // rows, to be read to the end seen at start before anything else
	Nulls      bool  // of a repartition: records without a key are wanted behind it
	// Gathers says, of a repartition, that aggregates of records are written to it instead of the records; nil: they are not.
	Gathers func() bool
}

// EventTime says how watermarks are made. In milliseconds.
type EventTime struct {
	Bound, Idle int64
	Proven      int64
	Align       int64
	Node        *Node
}

// Store is state that lasts.
type Store struct {
	Name   string
	Kind   string // table, window or process
	Key    string // names of codecs
	Value  string
	Window string // kind and parameters
	// Evolves: it knows with which codecs its values were written.
	Evolves bool
}

// Graph is a topology.
type Graph struct {
	Name  string
	Nodes []*Node
	Errs  []error
}

// Topic is the topic that a source or repartition reads. A repartition's belongs to the application app.
func (n *Node) Topic(app string) string {
	if n.Kind == Repartition {
		return app + "-" + n.Name + "-repartition"
	}
	return n.Name
}

// Changelog is the topic that holds what the subtopology keeps; "" if it keeps nothing.
func (s *Subtopology) Changelog(app string) string {
	if !s.Timed {
		return ""
	}
	return app + "-" + s.Name + "-changelog"
}

// Add adds an operator.
func (g *Graph) Add(n *Node) *Node {
	n.ID = len(g.Nodes)
	g.Nodes = append(g.Nodes, n)
	return n
}

// Subtopology is a part of the graph that is connected without a repartition topic. It becomes one task per partition.
type Subtopology struct {
	Name   string
	Inputs []*Node // sources and repartitions it reads
	Nodes  []*Node
	Stores []*Store
	Writes []*Node // repartitions it writes
	Timed  bool    // it needs a changelog
	Level  int     // number of repartitions before it
}

// Sources returns the inputs of a node within its subtopology: the sources and repartitions that its records come from.
func Sources(n *Node) []*Node {
	seen := map[*Node]bool{}
	var list []*Node
	var walk func(*Node)
	walk = func(n *Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		if n.Input != nil {
			list = append(list, n)
			return
		}
		for _, in := range n.Inputs {
			walk(in)
		}
	}
	walk(n)
	slices.SortFunc(list, func(a, b *Node) int { return a.ID - b.ID })
	return list
}

// Time is what a node's event time comes from: its Sources, each with by how much less of its watermark the node sees,
// and the number of nodes on the way, at most, that hold results back. With itself, the node's own results count too.
func Time(n *Node, itself bool) (sources []*Node, delays []int64, stage int) {
	type way struct {
		delay int64
		stage int
	}
	longest := map[*Node]way{}
	order := []*Node{n}
	seen := map[*Node]bool{n: true}
	for i := 0; i < len(order); i++ {
		if order[i].Input != nil {
			continue
		}
		for _, in := range order[i].Inputs {
			if !seen[in] {
				seen[in] = true
				order = append(order, in)
			}
		}
	}
	slices.SortFunc(order, func(a, b *Node) int { return b.ID - a.ID }) // a node is declared after its inputs
	for _, at := range order {
		w := longest[at]
		if at.Holds && (at != n || itself) {
			w.delay, w.stage = w.delay+at.Delay, w.stage+1
		}
		if at.Input != nil {
			continue
		}
		for _, in := range at.Inputs {
			longest[in] = way{max(longest[in].delay, w.delay), max(longest[in].stage, w.stage)}
		}
	}
	sources = Sources(n)
	for _, s := range sources {
		delays = append(delays, longest[s].delay)
		stage = max(stage, longest[s].stage)
	}
	return sources, delays, stage
}

// Asyncs are the nodes before a node, within its subtopology, that keep records while calls are made for them. With itself,
// the node counts too.
func Asyncs(n *Node, itself bool) (list []*Node) {
	seen := map[*Node]bool{}
	var walk func(*Node)
	walk = func(at *Node) {
		if seen[at] {
			return
		}
		seen[at] = true
		if at.Kind == Async && (at != n || itself) {
			list = append(list, at)
		}
		if at.Input == nil {
			for _, in := range at.Inputs {
				walk(in)
			}
		}
	}
	walk(n)
	slices.SortFunc(list, func(a, b *Node) int { return a.ID - b.ID })
	return list
}

// behind is like Sources, but looks through tables too.
func behind(n *Node) (list []*Node) {
	seen := map[*Node]bool{}
	var walk func(*Node)
	walk = func(n *Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		if n.Input != nil {
			list = append(list, n)
			return
		}
		for _, in := range slices.Concat(n.Inputs, n.Tables) {
			walk(in)
		}
	}
	walk(n)
	slices.SortFunc(list, func(a, b *Node) int { return a.ID - b.ID })
	return list
}

// Rows are the tables with state that the rows of a node are made from.
func Rows(n *Node) (list []*Node) {
	if n.Store != nil || n.Input != nil {
		return []*Node{n}
	}
	for _, in := range n.Inputs {
		for _, r := range Rows(in) {
			if !slices.Contains(list, r) {
				list = append(list, r)
			}
		}
	}
	return list
}

// Subtopologies cuts the graph, upstream parts first.
func (g *Graph) Subtopologies() []*Subtopology {
	part := make([]int, len(g.Nodes)) // union-find
	for i := range part {
		part[i] = i
	}
	var find func(int) int
	find = func(i int) int {
		if part[i] != i {
			part[i] = find(part[i])
		}
		return part[i]
	}
	for _, n := range g.Nodes {
		if n.Kind == Repartition {
			continue // its inputs are in another part
		}
		for _, in := range slices.Concat(n.Inputs, n.Tables) {
			a, b := find(n.ID), find(in.ID)
			part[max(a, b)] = min(a, b)
		}
	}
	of := map[int]*Subtopology{}
	var list []*Subtopology
	for _, n := range g.Nodes {
		r := find(n.ID)
		s := of[r]
		if s == nil {
			s = &Subtopology{}
			of[r] = s
			list = append(list, s)
		}
		s.Nodes = append(s.Nodes, n)
		if n.Input != nil {
			s.Inputs = append(s.Inputs, n)
			if s.Name == "" {
				s.Name = n.Name
			}
		}
		if n.Store != nil {
			s.Stores = append(append(s.Stores, n.Store), n.Handles...)
			s.Timed = true
		}
	}
	for _, n := range g.Nodes {
		if n.Kind == Repartition {
			for _, in := range n.Inputs {
				up := of[find(in.ID)]
				if !slices.Contains(up.Writes, n) {
					up.Writes = append(up.Writes, n)
				}
			}
		}
	}
	for changed, rounds := true, 0; changed && rounds <= len(list); rounds++ {
		changed = false
		for _, up := range list {
			for _, w := range up.Writes {
				if down := of[find(w.ID)]; down.Level <= up.Level {
					down.Level, changed = up.Level+1, true
				}
			}
		}
	}
	slices.SortStableFunc(list, func(a, b *Subtopology) int { return a.Level - b.Level })
	return list
}
