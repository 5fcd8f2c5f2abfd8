package metrics_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/metrics"
)

var named = regexp.MustCompile(`millstream_[a-z_]+`)

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../docs/" + name)
	require.NoError(t, err)
	return string(b)
}

// unknown returns the names in a text that are no metric's.
func unknown(text string) (names []string) {
	known := map[string]bool{}
	for _, m := range metrics.All() {
		known[m.Name] = true
	}
	for _, n := range named.FindAllString(text, -1) {
		if !known[n] {
			names = append(names, n)
		}
	}
	return names
}

// Rules, dashboard and documentation speak of the metrics that there are, by the names that they have.
func TestNamesInDocuments(t *testing.T) {
	require.Equal(t, []string{"millstream_lag"}, unknown("sum(millstream_lag) / millstream_epochs_total"), "the check itself")
	alerts, dashboard, doc := document(t, "alerts.yaml"), document(t, "dashboard.json"), document(t, "metrics.md")
	for name, text := range map[string]string{"alerts.yaml": alerts, "dashboard.json": dashboard, "metrics.md": doc} {
		assert.Empty(t, unknown(text), name)
	}
	require.True(t, json.Valid([]byte(dashboard)))
	seen := map[string]bool{}
	for _, m := range metrics.All() {
		assert.False(t, seen[m.Name], "%s twice", m.Name)
		seen[m.Name] = true
		kind, total := "gauge", strings.HasSuffix(m.Name, "_total")
		if m.Kind == metrics.Counter {
			kind = "counter"
		}
		assert.Equal(t, m.Kind == metrics.Counter, total, "%s: counters end in _total", m.Name)
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		assert.Contains(t, doc, fmt.Sprintf("| `%s` | %s | %s | %s |", m.Name, kind, labels, m.Help))
		assert.Contains(t, dashboard, m.Name, "the dashboard shows it")
	}
}

// The labels that rules and dashboard group by are labels that the metrics have.
func TestLabelsInRules(t *testing.T) {
	by := regexp.MustCompile(`by \(([a-z_, ]+)\) \(\(?[a-z]*\(?(millstream_[a-z_]+)`)
	checked := 0
	for _, text := range []string{document(t, "alerts.yaml"), document(t, "dashboard.json")} {
		for _, m := range by.FindAllStringSubmatch(text, -1) {
			for _, x := range metrics.All() {
				if x.Name != m[2] {
					continue
				}
				checked++
				for l := range strings.SplitSeq(m[1], ", ") {
					assert.Contains(t, append([]string{"application", "instance_id"}, x.Labels...), l, x.Name)
				}
			}
		}
	}
	require.Greater(t, checked, 20)
}
