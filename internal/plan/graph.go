// Package plan is the topology as a value: a graph of operators with their names and the places where they were
// declared. It finds mistakes, cuts the graph into subtopologies, and describes it. The typed functions of the
// operators are not in it; they are kept by package stream.
package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millstream-go/millstream/source"
)

// Kind is what an operator does.
type Kind string

// The kinds that the plan itself must tell apart. Others are only shown.
const (
	Source      Kind = "source"
	Repartition Kind = "repartition"
	Sink        Kind = "sink"
)

// Node is one operator.
type Node struct {
	ID     int
	Kind   Kind
	Name   string // given by the user, or the kind
	Site   string // file:line of the declaration
	Detail string // parameters, for people
	Inputs []*Node
	Type   string // what it hands on: a value type, or key and value
	Keyed  bool   // it hands on keyed records

	Input     *Input     // of a source or repartition
	Store     *Store     // of an operator with state
	Topics    []string   // that a sink or a dead-letter policy writes
	System    string     // of a sink
	Aligned   bool       // inputs must have equal numbers of partitions
	EventTime *EventTime // of an operator that makes event time
}

// Input is where a subtopology reads.
type Input struct {
	Spec       source.Spec
	EventTime  *EventTime
	Partitions int32 // of a repartition topic; 0: as many as the inputs before it
}

// EventTime says how watermarks are made. In milliseconds.
type EventTime struct {
	Bound, Idle int64
	Node        *Node
}

// Store is state that lasts.
type Store struct {
	Name, Kind, Key, Value, Window string
}

// Graph is a topology.
type Graph struct {
	Name  string
	Nodes []*Node
	Errs  []error
}

// Add adds an operator.
func (g *Graph) Add(n *Node) *Node {
	n.ID = len(g.Nodes)
	g.Nodes = append(g.Nodes, n)
	return n
}

// Errorf notes a mistake at an operator.
func (g *Graph) Errorf(n *Node, format string, args ...any) {
	g.Errs = append(g.Errs, &Error{Operator: n.Name, Kind: n.Kind, Site: n.Site, Text: fmt.Sprintf(format, args...)})
}

// Error is a mistake in a topology.
type Error struct {
	Operator string
	Kind     Kind
	Site     string
	Text     string
}

func (e *Error) Error() string {
	name := string(e.Kind)
	if e.Operator != "" && e.Operator != name {
		name += fmt.Sprintf(" %q", e.Operator)
	}
	return fmt.Sprintf("%s: %s: %s", e.Site, name, e.Text)
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

// Check returns every mistake in the graph.
func (g *Graph) Check() []error {
	errs := slices.Clone(g.Errs)
	note := func(n *Node, format string, args ...any) {
		errs = append(errs, &Error{n.Name, n.Kind, n.Site, fmt.Sprintf(format, args...)})
	}
	topics, stores, lasting := map[string]*Node{}, map[string]*Node{}, map[string]*Node{}
	used := map[*Node]bool{}
	for _, n := range g.Nodes {
		for _, in := range n.Inputs {
			used[in] = true
		}
		if n.Kind == Source {
			if o := topics[n.Input.Spec.Name]; o != nil {
				note(n, "topic %q is read at %s already; read it once and use the stream twice", n.Input.Spec.Name, o.Site)
			}
			topics[n.Input.Spec.Name] = n
			if n.Input.Spec.Name == "" {
				note(n, "the topic has no name")
			}
		}
		if n.Kind == Sink && len(n.Topics) > 0 && n.Topics[0] == "" {
			note(n, "the topic has no name")
		}
		for name, m := range map[string]map[string]*Node{storeName(n): stores, repartitionName(n): lasting} {
			if name == "-" {
				continue
			}
			if !ValidName(name) {
				note(n, "the name %q cannot be part of a topic's name: use 1 to 100 of the characters a-z A-Z 0-9 . _ -", name)
			} else if o := m[name]; o != nil {
				note(n, "the name %q is taken by %s; state would be mixed up", name, o.Site)
			}
			m[name] = n
		}
	}
	for _, n := range g.Nodes {
		if !used[n] && n.Kind != Sink && n.Store == nil && n.Kind != "peek" && n.Kind != "split" {
			note(n, "nothing uses its result; end it with To, or remove it")
		}
	}
	if len(topics) == 0 {
		errs = append(errs, fmt.Errorf("topology %q reads nothing: begin it with From", g.Name))
	}
	if len(errs) == 0 {
		errs = append(errs, g.collisions()...)
	}
	return errs
}

func storeName(n *Node) string {
	if n.Store == nil {
		return "-"
	}
	return n.Store.Name
}

func repartitionName(n *Node) string {
	if n.Kind != Repartition {
		return "-"
	}
	return n.Name
}

// collisions finds names of subtopologies that are not unique, and names whose hashes are the same.
func (g *Graph) collisions() (errs []error) {
	names := map[string]bool{}
	for _, s := range g.Subtopologies() {
		if names[s.Name] {
			errs = append(errs, fmt.Errorf("%s: the topic %q and a repartition have one name: rename the repartition", s.Inputs[0].Site, s.Name))
		}
		names[s.Name] = true
	}
	return errs
}

// ValidName says whether a name can be part of a topic's name.
func ValidName(s string) bool {
	if s == "" || len(s) > 100 || s == "." || s == ".." {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
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
		for _, in := range n.Inputs {
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
			s.Stores = append(s.Stores, n.Store)
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
