package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
)

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

// Errorf notes a mistake at an operator.
func (g *Graph) Errorf(n *Node, format string, args ...any) {
	g.Errs = append(g.Errs, Errorf(n, format, args...))
}

// Errorf is a mistake at an operator.
func Errorf(n *Node, format string, args ...any) error {
	return &Error{Operator: n.Name, Kind: n.Kind, Site: n.Site, Text: fmt.Sprintf(format, args...)}
}

const (
	validNames  = "use 1 to 100 of the characters a-z A-Z 0-9 . _ -"
	nameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
)

// ValidName says whether a name can be part of a topic's name.
func ValidName(s string) bool {
	if s == "" || len(s) > 100 || s == "." || s == ".." {
		return false
	}
	return strings.Trim(s, nameLetters) == ""
}

// Check returns every mistake in the graph, those that were noted while it was built first. app is the name that the
// application's own topics begin with.
func (g *Graph) Check(app string) []error {
	c := checker{app: app, errs: slices.Clone(g.Errs), topics: map[string]*Node{}, stores: map[string]*Node{}, repartitions: map[string]*Node{}}
	used := map[*Node]bool{}
	for _, n := range g.Nodes {
		for _, in := range slices.Concat(n.Inputs, n.Tables) {
			used[in] = true
		}
	}
	for _, n := range g.Nodes {
		switch n.Kind {
		case Source:
			c.source(n)
		case Sink:
			c.sink(n)
		case Repartition:
			c.repartition(n)
		}
		if n.Store != nil {
			c.name(n, n.Store.Name, "store", c.stores)
			for _, h := range n.Handles {
				c.handle(n, h.Name)
			}
		}
		if n.Aligned {
			c.aligned(n)
		}
		c.time(n)
		if n.Retries != 0 {
			c.retries(g, n)
		}
		if !used[n] && n.Kind != Sink && n.Store == nil && n.Kind != "peek" && n.Kind != "split" {
			c.note(n, "nothing uses its result: end it with To, or remove it")
		}
	}
	if len(c.topics) == 0 {
		c.errs = append(c.errs, fmt.Errorf("topology %q reads nothing: begin it with From", g.Name))
	}
	c.internal(g)
	return c.errs
}

type checker struct {
	app                          string
	errs                         []error
	topics, stores, repartitions map[string]*Node
}

func (c *checker) note(n *Node, format string, args ...any) {
	c.errs = append(c.errs, Errorf(n, format, args...))
}

func (c *checker) source(n *Node) {
	s := n.Input.Spec
	switch o := c.topics[s.Name]; {
	case s.Name == "":
		c.note(n, "the topic has no name: give it one in the description of the source")
	case o != nil:
		c.note(n, "topic %q is read at %s already: read it once, and use the stream as often as needed", s.Name, o.Site)
	}
	if s.System == "" {
		c.note(n, "it does not say which system it is on: make it with source.Kafka or source.KafkaKeyed")
	}
	switch r := s.Range; {
	case r.End != source.Never && r.Start == source.Latest:
		c.note(n, "it begins with the latest record and has an end, so there would be nothing to read: leave out source.StartAt(source.Latest), or the end")
	case r.End == source.EndTime && r.Start == source.StartTime && !r.From.Before(r.Until):
		c.note(n, "it begins at %v and ends at %v: the end must be later", r.From, r.Until)
	}
	if et := n.Input.EventTime; s.Files != nil && (et == nil || et.Node.Kind != "event time") {
		c.note(n, "its records in files have no timestamps, and the topology takes no time from their values: call EventTime")
	}
	if et := n.Input.EventTime; s.Files != nil && et != nil && et.Align > 0 {
		c.note(n, "its watermark has Align, by which the partition that reads its files would wait for those that wait for it: leave Align out")
	}
	for _, p := range []onerror.Policy{s.OnError, s.NoKey, s.OnTombstone} {
		if p.Action == onerror.ActionDeadLetter && p.Topic == "" {
			c.note(n, "the dead-letter topic has no name: give onerror.DeadLetter one")
			break
		}
	}
	c.topics[s.Name] = n
}

// retries checks that nothing stays of an attempt that has failed: no state may change before the operator that fails, or
// beside it. Of a source, any operator behind it may be the one that fails.
func (c *checker) retries(g *Graph, n *Node) {
	reached := map[*Node]bool{}
	for _, s := range Sources(n) {
		if s.Kind == Repartition {
			c.note(n, "it tries records again, behind the repartition %q: put it before that, or use Async, which has a Retry of its own", s.Name)
			return
		}
		reached[s] = true
	}
	for _, o := range g.Nodes { // one is declared after those before it
		for _, in := range slices.Concat(o.Inputs, o.Tables) {
			reached[o] = reached[o] || o.Kind != Repartition && reached[in] && (in != n || n.Kind == Source)
		}
		if reached[o] && o != n && (o.Store != nil || o.Holds) {
			c.note(n, "it tries records again, and %q (at %s), which has state, sees them before: it would see them with each attempt. Put it before that, with a repartition between them, or use Async, which has a Retry of its own", o.Name, o.Site)
			return
		}
	}
}

func (c *checker) sink(n *Node) {
	if len(n.Topics) > 0 && n.Topics[0] == "" {
		c.note(n, "the topic has no name: give it one in the description of the sink")
	}
	if n.System == "" {
		c.note(n, "it does not say which system it is on: make it with sink.Kafka")
	}
}

func (c *checker) repartition(n *Node) {
	c.name(n, n.Name, "repartition", c.repartitions)
	if n.Input.Partitions < 0 {
		c.note(n, "Partitions is %d: use 1 or more, or 0 for as many as the largest source before it", n.Input.Partitions)
	}
}

// name checks a name that lasts: two operators of one name would mix up their data, and so would two names of one
// number, which is what data on disk and in changelogs are marked with.
func (c *checker) name(n *Node, name, what string, taken map[string]*Node) {
	switch o := taken[name]; {
	case !ValidName(name):
		if what == "repartition" && n.Implied != "" {
			break // said of the store that it is named after
		}
		c.note(n, "the %s's name %q cannot be part of a topic's name: %s", what, name, validNames)
	case o != nil && what == "repartition" && n.Implied != "" && n.Implied == o.Implied: // said of the stores
	case o != nil:
		c.note(n, "the name %q is taken by the %s at %s, and their data would be mixed up: choose another name", name, what, o.Site)
	default:
		if what == "store" {
			c.collides(n, name)
		}
		taken[name] = n
	}
}

// handle checks the name of a state handle, "store/handle": of one store there must not be two.
func (c *checker) handle(n *Node, name string) {
	store, own, _ := strings.Cut(name, "/")
	switch o := c.stores[name]; {
	case !ValidName(own):
		c.note(n, "the handle's name %q is not one: %s", own, validNames)
	case o == n:
		c.note(n, "it has two handles of the name %q, and their data would be mixed up: choose another name", own)
	case o != nil: // said of the stores, which are both named store
	default:
		if ValidName(store) {
			c.collides(n, name)
		}
		c.stores[name] = n
	}
}

// collides notes that the name of a store has the number of another.
func (c *checker) collides(n *Node, name string) {
	for _, other := range sorted(c.stores) {
		if task.ID(other) == task.ID(name) {
			c.note(n, "the names %q and %q (at %s) have the same hash, and their data would be mixed up: change one of them a little", name, other, c.stores[other].Site)
		}
	}
}

// aligned checks that the inputs of an operator that reads them side by side can have equal numbers of partitions. The
// numbers of sources are not known yet.
func (c *checker) aligned(n *Node) {
	var first *Node
	for _, in := range behind(n) {
		switch {
		case in.Kind != Repartition || in.Input.Partitions <= 0:
		case first == nil:
			first = in
		case in.Input.Partitions != first.Input.Partitions:
			c.note(n, "the repartitions %q and %q have %d and %d partitions, so that equal keys would not meet: give both the same number",
				first.Name, in.Name, first.Input.Partitions, in.Input.Partitions)
		}
	}
}

// time checks that an operator that goes by event time gets its records with the time that their source's watermark is
// made from. An EventTime on one branch does not change the records of another.
func (c *checker) time(n *Node) {
	if n.Store == nil || n.Store.Kind == "table" || n.Kind == Async {
		return
	}
	seen := map[*Node]bool{}
	var walk func(*Node)
	walk = func(at *Node) {
		if seen[at] || at.EventTime != nil {
			return
		}
		seen[at] = true
		if at.Kind == Source && at.Input.EventTime != nil && at.Input.EventTime.Node.Kind == "event time" {
			c.note(n, "its records from source %q have the broker's time, but the source's watermark is made from the event times of another branch (%s): call EventTime before the branches part",
				at.Name, at.Input.EventTime.Node.Site)
			return
		}
		for _, in := range at.Inputs {
			walk(in)
		}
	}
	walk(n)
}

// internal checks the names of subtopologies, and of the topics that belong to the application.
func (c *checker) internal(g *Graph) {
	own, subs := map[string]*Node{}, map[string]*Node{}
	add := func(n *Node, topic string) {
		if topic == "" {
			return
		}
		own[topic] = n
		if len(topic) > 249 {
			c.note(n, "the name of the application's topic %q has %d characters, Kafka allows 249: shorten Config.AppID or the operator's name", topic, len(topic))
		}
	}
	for _, s := range g.Subtopologies() {
		if len(s.Inputs) == 0 {
			continue
		}
		n := s.Inputs[0]
		for _, other := range sorted(subs) {
			switch o := subs[other]; {
			case o.Kind == n.Kind && other == s.Name: // said already
			case other == s.Name:
				c.note(n, "source and repartition are both named %q (the other at %s): rename the repartition", s.Name, o.Site)
			case task.ID(other) == task.ID(s.Name):
				c.note(n, "the names %q and %q (at %s) have the same hash, and what is kept for them would be mixed up: name or rename a repartition", s.Name, other, o.Site)
			}
		}
		subs[s.Name] = n
		add(n, s.Changelog(c.app))
		for _, in := range s.Inputs {
			if in.Kind == Repartition {
				add(in, in.Topic(c.app))
			}
		}
	}
	for _, n := range g.Nodes {
		topics := n.Topics
		if n.Kind == Source {
			topics = append(slices.Clone(topics), n.Input.Spec.Name)
		}
		for _, t := range topics {
			if o := own[t]; o != nil {
				c.note(n, "topic %q belongs to the application itself, for the operator at %s: choose another topic", t, o.Site)
			}
		}
	}
}

func sorted(m map[string]*Node) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
