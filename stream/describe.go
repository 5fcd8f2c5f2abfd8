package stream

import "github.com/millstream-go/millstream/internal/plan"

// Format is a form of Topology.Describe.
type Format = plan.Format

// The formats. All show subtopologies, operators with their names and the places where they were declared, stores with
// their codecs and windows, and topics, those that the application makes for itself included.
const (
	Text    = plan.Text    // for people, and for comparing two versions
	DOT     = plan.DOT     // for Graphviz
	Mermaid = plan.Mermaid // for Markdown pages
	JSON    = plan.JSON    // for programs
)

// Describe describes the topology, finished or not, also one with mistakes. Topologies that are declared by the same
// lines have the same description, byte for byte. {AppID} stands for Config.AppID in the names of the application's
// own topics.
func (t *Topology) Describe(f Format) string { return t.graph.Describe(f) }
