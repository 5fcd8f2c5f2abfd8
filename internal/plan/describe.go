package plan

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
)

// Format is a form of Describe.
type Format uint8

// The formats.
const (
	Text    Format = iota // for people, and for comparing two versions
	DOT                   // for Graphviz
	Mermaid               // for Markdown pages
	JSON                  // for programs
)

// appID stands for Config.AppID, which a topology does not know.
const appID = "{AppID}"

// description is what all formats show, and the JSON itself. Fields are added, never renamed.
type description struct {
	Topology      string            `json:"topology"`
	Subtopologies []describedPart   `json:"subtopologies"`
	Destinations  []describedTarget `json:"destinations"` // topics outside of the application that it writes
}

type describedPart struct {
	Name      string          `json:"name"`
	Changelog string          `json:"changelog,omitempty"`
	Operators []describedNode `json:"operators"`
}

type describedNode struct {
	ID          int               `json:"id"`
	Kind        Kind              `json:"kind"`
	Name        string            `json:"name"`
	Site        string            `json:"site"`
	Type        string            `json:"type"`
	Detail      string            `json:"detail,omitempty"`
	Reads       string            `json:"reads,omitempty"`  // topic
	Writes      string            `json:"writes,omitempty"` // topic
	DeadLetters []string          `json:"deadLetters,omitempty"`
	Store       *describedStore   `json:"store,omitempty"`
	Handles     []*describedStore `json:"handles,omitempty"`
	To          []int             `json:"to"` // operators that take its records
}

type describedStore struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Key    string `json:"key"`   // codec
	Value  string `json:"value"` // codec
	Window string `json:"window,omitempty"`
}

type describedTarget struct {
	System string `json:"system"`
	Topic  string `json:"topic"`
}

// Describe describes the graph. The same topology has the same description, byte for byte.
func (g *Graph) Describe(f Format) string {
	d := g.description()
	switch f {
	case DOT:
		return d.dot()
	case Mermaid:
		return d.mermaid()
	case JSON:
		b, err := json.Marshal(d, jsontext.WithIndent("  "), json.FormatNilSliceAsNull(false))
		if err != nil {
			return err.Error() // a name that is not UTF-8
		}
		return string(b) + "\n"
	}
	return d.text()
}

func (g *Graph) description() *description {
	d := &description{Topology: g.Name}
	to := map[*Node][]int{}
	for _, n := range g.Nodes {
		for _, in := range slices.Concat(n.Inputs, n.Tables) {
			to[in] = append(to[in], n.ID)
		}
		if n.Kind == Sink && len(n.Topics) > 0 {
			if t := (describedTarget{n.System, n.Topics[0]}); !slices.Contains(d.Destinations, t) {
				d.Destinations = append(d.Destinations, t)
			}
		}
	}
	for _, s := range g.Subtopologies() {
		part := describedPart{Name: s.Name, Changelog: s.Changelog(appID)}
		for _, n := range s.Nodes {
			x := describedNode{ID: n.ID, Kind: n.Kind, Name: n.Name, Site: n.Site, Type: n.Type, Detail: n.detail(), To: to[n]}
			switch {
			case n.Input != nil:
				x.Reads = n.Topic(appID)
				x.DeadLetters = n.Topics
			case n.Kind == Sink && len(n.Topics) > 0:
				x.Writes, x.DeadLetters = n.Topics[0], n.Topics[1:]
			default:
				x.DeadLetters = n.Topics
			}
			if st := n.Store; st != nil {
				x.Store = st.described()
			}
			for _, h := range n.Handles {
				x.Handles = append(x.Handles, h.described())
			}
			part.Operators = append(part.Operators, x)
		}
		d.Subtopologies = append(d.Subtopologies, part)
	}
	return d
}

// detail is an operator's parameters, and of a source what differs from the defaults.
func (n *Node) detail() string {
	if n.Kind == Repartition && n.Input.Gathers != nil && n.Input.Gathers() {
		return n.Detail + ", sent as aggregates"
	}
	if n.Kind != Source {
		return n.Detail
	}
	parts := []string{n.Detail}
	s := n.Input.Spec
	if s.Files != nil {
		parts = append(parts, "after the files "+s.Files.Pattern)
	}
	parts = append(parts, extent(s.Range)...)
	if s.MaxJump > 0 {
		parts = append(parts, fmt.Sprintf("times more than %v ahead are doubted until %d others agree", s.MaxJump, s.Confirm))
	}
	for _, p := range []struct {
		what   string
		policy onerror.Policy
	}{{"bad records", s.OnError}, {"records without a key", s.NoKey}, {"tombstones", s.OnTombstone}} {
		if n := p.policy.Retry.Attempts; n > 0 {
			parts = append(parts, fmt.Sprintf("%s are tried %d times", p.what, n))
		}
		switch p.policy.Action {
		case onerror.ActionFail:
			parts = append(parts, p.what+" stop it")
		case onerror.ActionDeadLetter:
			parts = append(parts, p.what+" to "+p.policy.Topic)
		}
	}
	return strings.Join(parts, ", ")
}

// extent says which part of a source is read, as far as that is not all.
func extent(r source.Range) (parts []string) {
	switch r.Start {
	case source.Latest:
		parts = append(parts, "from the latest record")
	case source.StartTime:
		parts = append(parts, "from "+r.From.UTC().Format(time.RFC3339))
	}
	if n := len(r.Positions); n > 0 {
		parts = append(parts, fmt.Sprintf("%d partitions from given positions", n))
	}
	switch r.End {
	case source.EndNow:
		parts = append(parts, "to its present end")
	case source.EndTime:
		parts = append(parts, "to "+r.Until.UTC().Format(time.RFC3339))
	}
	switch r.Deleted {
	case source.DeletedSkips:
		parts = append(parts, "deleted records are passed over")
	case source.DeletedLatest:
		parts = append(parts, "after deleted records from the latest")
	}
	return parts
}

// label is an operator in one line: kind, name, and what a reader must know.
func (n *describedNode) label() string {
	s := string(n.Kind)
	if n.Name != s && n.Name != "" {
		s += fmt.Sprintf(" %q", n.Name)
	}
	if n.Kind == "peek" && n.Name == "branch" {
		s = "branch"
	}
	if d := n.Detail; d != "" {
		s += ": " + d
	}
	return s
}

func (s *Store) described() *describedStore {
	return &describedStore{s.Name, s.Kind, s.Key, s.Value, s.Window}
}

func (s *describedStore) label() string {
	l := fmt.Sprintf("%s store %q, key %s", s.Kind, s.Name, s.Key)
	if s.Value != "" {
		l += ", value " + s.Value
	}
	if s.Window != "" {
		l += ", " + s.Window
	}
	return l
}

func (d *description) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "topology %q\n", d.Topology)
	for _, p := range d.Subtopologies {
		fmt.Fprintf(&b, "\nsubtopology %s\n", p.Name)
		for i := range p.Operators {
			n := &p.Operators[i]
			fmt.Fprintf(&b, "  %3d  %s", n.ID, n.label())
			if len(n.To) > 0 {
				fmt.Fprintf(&b, " → %s", strings.Trim(strings.Join(strings.Fields(fmt.Sprint(n.To)), ", "), "[]"))
			}
			fmt.Fprintf(&b, "  (%s)\n", n.Site)
			if n.Kind == Repartition {
				fmt.Fprintf(&b, "       reads %s\n", n.Reads)
			}
			if n.Store != nil {
				fmt.Fprintf(&b, "       %s\n", n.Store.label())
			}
			for _, h := range n.Handles {
				fmt.Fprintf(&b, "       %s\n", h.label())
			}
			if n.Kind != Source && len(n.DeadLetters) > 0 {
				fmt.Fprintf(&b, "       bad records to %s\n", strings.Join(n.DeadLetters, ", "))
			}
		}
		if p.Changelog != "" {
			fmt.Fprintf(&b, "       changelog %s\n", p.Changelog)
		}
	}
	return b.String()
}

// dot draws each subtopology as a box, its stores as cylinders, and topics outside of it.
func (d *description) dot() string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"Helvetica\"];\n", quote(d.Topology))
	edge := func(from, to string) { fmt.Fprintf(&b, "  %s -> %s;\n", from, to) }
	for i, p := range d.Subtopologies {
		fmt.Fprintf(&b, "  subgraph cluster_%d {\n    label=%s;\n", i, quote(p.Name))
		for j := range p.Operators {
			n := &p.Operators[j]
			fmt.Fprintf(&b, "    n%d [label=%s, tooltip=%s];\n", n.ID, quote(n.label()), quote(n.Site))
			if n.Store != nil {
				fmt.Fprintf(&b, "    s%d [label=%s, shape=cylinder];\n    n%d -> s%d [dir=both, style=dashed];\n", n.ID, quote(n.Store.Name), n.ID, n.ID)
			}
			for k, h := range n.Handles {
				fmt.Fprintf(&b, "    s%d_%d [label=%s, shape=cylinder];\n    n%d -> s%d_%d [dir=both, style=dashed];\n", n.ID, k, quote(h.Name), n.ID, n.ID, k)
			}
		}
		b.WriteString("  }\n")
	}
	for _, t := range d.topics() {
		fmt.Fprintf(&b, "  %s [label=%s, shape=cds, style=solid];\n", t.id, quote(t.name))
	}
	d.edges(edge)
	b.WriteString("}\n")
	return b.String()
}

func (d *description) mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for i, p := range d.Subtopologies {
		fmt.Fprintf(&b, "  subgraph sub%d[%s]\n", i, entity(p.Name))
		for j := range p.Operators {
			n := &p.Operators[j]
			fmt.Fprintf(&b, "    n%d[%s]\n", n.ID, entity(n.label()))
			if n.Store != nil {
				fmt.Fprintf(&b, "    s%d[(%s)]\n    n%d <-.-> s%d\n", n.ID, entity(n.Store.Name), n.ID, n.ID)
			}
			for k, h := range n.Handles {
				fmt.Fprintf(&b, "    s%d_%d[(%s)]\n    n%d <-.-> s%d_%d\n", n.ID, k, entity(h.Name), n.ID, n.ID, k)
			}
		}
		b.WriteString("  end\n")
	}
	for _, t := range d.topics() {
		fmt.Fprintf(&b, "  %s>%s]\n", t.id, entity(t.name))
	}
	d.edges(func(from, to string) { fmt.Fprintf(&b, "  %s --> %s\n", from, to) })
	return b.String()
}

type topic struct{ id, name string }

// topics are all topics of a drawing, in the order in which operators name them.
func (d *description) topics() (list []topic) {
	d.walk(func(n *describedNode) {
		for _, name := range append([]string{n.Reads, n.Writes}, n.DeadLetters...) {
			if name != "" && !slices.ContainsFunc(list, func(t topic) bool { return t.name == name }) {
				list = append(list, topic{fmt.Sprintf("t%d", len(list)), name})
			}
		}
	})
	return list
}

// edges calls f for each edge of a drawing. A repartition is reached through its topic.
func (d *description) edges(f func(from, to string)) {
	ids, reads := map[string]string{}, map[int]string{}
	for _, t := range d.topics() {
		ids[t.name] = t.id
	}
	d.walk(func(n *describedNode) {
		if n.Reads != "" {
			reads[n.ID] = ids[n.Reads]
		}
	})
	d.walk(func(n *describedNode) {
		id := fmt.Sprintf("n%d", n.ID)
		if n.Reads != "" {
			f(ids[n.Reads], id)
		}
		for _, to := range n.To {
			if t := reads[to]; t != "" {
				f(id, t)
			} else {
				f(id, fmt.Sprintf("n%d", to))
			}
		}
		if n.Writes != "" {
			f(id, ids[n.Writes])
		}
		for _, t := range n.DeadLetters {
			f(id, ids[t])
		}
	})
}

func (d *description) walk(f func(*describedNode)) {
	for i := range d.Subtopologies {
		for j := range d.Subtopologies[i].Operators {
			f(&d.Subtopologies[i].Operators[j])
		}
	}
}

// quote is a string of the DOT language.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// entity is a string of the Mermaid language.
func entity(s string) string {
	return `"` + strings.NewReplacer(`#`, `#35;`, `"`, `#quot;`, "\n", " ", "<", "#lt;", ">", "#gt;").Replace(s) + `"`
}
