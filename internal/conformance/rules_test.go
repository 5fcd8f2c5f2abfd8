package conformance

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rules are the differences between the default rules and Kafka Streams', as docs/semantics.md lists them, each with what
// a case has that it can show in.
var rules = map[string]func(c *Case, n Node, f fields) bool{
	"time": func(_ *Case, n Node, _ fields) bool {
		return n.Op == "suppress" || n.Op == "punctuate"
	},
	"nulls": func(c *Case, n Node, _ fields) bool {
		return slices.Contains([]string{"aggregate", "cogroup", "to_table", "stream_stream_join", "stream_table_join", "stream_global_join"}, n.Op) && c.nulls()
	},
	"tumbling, hopping":  func(_ *Case, _ Node, f fields) bool { return f.window("tumbling", "hopping") },
	"sessions":           func(_ *Case, _ Node, f fields) bool { return f.window("session") },
	"sliding":            func(_ *Case, _ Node, f fields) bool { return f.window("sliding") },
	"OnClose":            func(_ *Case, _ Node, f fields) bool { return f.Emit == "on_window_close" },
	"cogroup in windows": func(_ *Case, n Node, f fields) bool { return n.Op == "cogroup" && f.Window != nil },
	"joins of streams":   func(_ *Case, n Node, _ fields) bool { return n.Op == "stream_stream_join" },
	"joins as of a time": func(c *Case, n Node, f fields) bool {
		return n.Op == "stream_table_join" && (f.GraceMS != nil || c.versioned())
	},
	"tables": func(_ *Case, n Node, _ fields) bool {
		return slices.Contains([]string{"source_table", "to_table", "table_table_join", "fk_join", "table_aggregate"}, n.Op)
	},
	"versioned tables":    func(_ *Case, _ Node, f fields) bool { return f.Versioned },
	"`ProcessEvery`":      func(_ *Case, n Node, _ fields) bool { return n.Op == "punctuate" },
	"`GroupBy` of tables": func(_ *Case, n Node, _ fields) bool { return n.Op == "table_aggregate" },
}

// fields are those of a node that rules look at.
type fields struct {
	Window    *struct{ Type string }
	Emit      string
	GraceMS   *int64 `json:"grace_ms"`
	Versioned bool
}

func (f fields) window(types ...string) bool {
	return f.Window != nil && slices.Contains(types, f.Window.Type)
}

// nulls says that a record of the case has a null key or value.
func (c *Case) nulls() bool {
	return slices.ContainsFunc(c.Steps, func(s Step) bool { return s.Topic != "" && (s.Key == nil || s.Value.IsNull()) })
}

// nulls says that a result has a null key or value.
func (r *Result) nulls() bool {
	for _, list := range r.Out {
		if slices.ContainsFunc(list, func(o Output) bool { return o.Key == nil || o.Value.IsNull() }) {
			return true
		}
	}
	return false
}

func (c *Case) versioned() bool {
	return slices.ContainsFunc(c.Topology.Nodes, func(n Node) bool { return fieldsOf(n).Versioned })
}

func fieldsOf(n Node) (f fields) {
	if err := json.Unmarshal(n.raw, &f); err != nil {
		return fields{}
	}
	return f
}

// may are the rules that a case can differ by under the default rules.
func (c *Case) may() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		if slices.ContainsFunc(c.Topology.Nodes, func(n Node) bool { return rules[name](c, n, fieldsOf(n)) }) {
			names = append(names, name)
		}
	}
	return names
}

// Under the default rules Kafka Streams' cases differ only where a rule that is listed in docs/semantics.md says so, and
// the rest have the same results.
func TestDefaultRulesDifferOnlyByName(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "semantics.md"))
	require.NoError(t, err)
	var listed []string
	for line := range strings.Lines(string(doc[strings.Index(string(doc), "## Kafka Streams' semantics"):])) {
		if name, ok := strings.CutPrefix(line, "| **"); ok {
			name, _, _ = strings.Cut(name, "**")
			listed = append(listed, name)
		}
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(rules)), listed, "the rules that docs/semantics.md lists")

	files := some(t, filepath.Join("testdata", "vectors", "kafka-streams"))
	same, differ := 0, map[string]int{}
	for _, path := range files {
		c, err := Load(path)
		require.NoError(t, err, path)
		if c.Compare.Quirk {
			continue // Kafka Streams' own results are wrong there
		}
		r, err := c.run(way{name: "default rules", plainly: true}, 1)
		if err == nil {
			err = c.Check(r)
		}
		if err != nil && len(c.may()) == 0 {
			t.Errorf("%s differs, and has nothing that a rule is about: %v", path, err)
		}
		// Nearly all cases have nulls, so that one rule could be the reason for anything. Without them there must be another.
		c.Steps = slices.DeleteFunc(c.Steps, func(s Step) bool { return s.Topic != "" && (s.Key == nil || s.Value.IsNull()) })
		kafka, err := c.run(way{name: "Kafka Streams' rules"}, 1)
		require.NoError(t, err, path)
		r, err = c.run(way{name: "default rules", plainly: true}, 1)
		if err == nil {
			err = c.Same(r, kafka)
		}
		if err == nil {
			same++
			continue
		}
		names := c.may()
		if len(names) == 0 && (kafka.nulls() || r != nil && r.nulls()) {
			names = []string{"nulls"} // a function has made them
		}
		if len(names) == 0 {
			t.Errorf("%s differs without nulls, and has nothing that a rule is about: %v", path, err)
		}
		for _, name := range names {
			differ[name]++
		}
	}
	assert.Positive(t, same)
	for _, name := range slices.Sorted(maps.Keys(differ)) {
		t.Logf("%-24s %3d cases that differ have what it is about", name, differ[name])
	}
	t.Logf("%d cases of %d do not differ", same, len(files))
}
