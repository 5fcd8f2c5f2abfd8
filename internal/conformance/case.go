package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Case is a case as its file has it.
type Case struct {
	Name        string              `json:"name"`
	Engine      string              `json:"engine"`
	Family      string              `json:"family"`
	Description string              `json:"description"`
	Seed        int64               `json:"seed"`
	Compare     Compare             `json:"compare"`
	Topology    Topology            `json:"topology"`
	Steps       []Step              `json:"steps"`
	Expected    map[string][]Output `json:"expected"`
	Store       json.RawMessage     `json:"store"` // advisory: never compared
	Metrics     Metrics             `json:"metrics"`
}

// Compare is how strictly results are compared.
type Compare struct {
	Order     string `json:"order"`
	Values    string `json:"values"`
	Drops     string `json:"drops"`
	Timeouts  string `json:"timeouts"`
	SkipSteps []int  `json:"skip_steps"`
	Quirk     bool   `json:"quirk"`
}

// Topology is the graph of operators.
type Topology struct {
	Config struct {
		EmitIntervalMS int64  `json:"emit_interval_ms"`
		Caching        bool   `json:"caching"`
		Store          string `json:"store"`
	} `json:"config"`
	Nodes []Node `json:"nodes"`
}

// Node is an operator. Into has its fields.
type Node struct {
	Op  string
	ID  string
	raw json.RawMessage
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *Node) UnmarshalJSON(b []byte) error {
	n.raw = slices.Clone(b)
	var head struct{ Op, ID string }
	err := json.Unmarshal(b, &head)
	n.Op, n.ID = head.Op, head.ID
	return err
}

// Into decodes the node into a struct, which must have a field for each of the node's; op and id are known already.
func (n Node) Into(v any) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(n.raw, &fields); err != nil {
		return err
	}
	delete(fields, "op")
	delete(fields, "id")
	b, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return strict(b, v)
}

// Step is one input: a record, a watermark, or an advance of the wall clock.
type Step struct {
	Topic         string  `json:"topic"`
	Key           *string `json:"key"`
	Value         Value   `json:"value"`
	TS            int64   `json:"ts"`
	AdvanceWallMS *int64  `json:"advance_wall_ms"`
	Watermark     *int64  `json:"watermark"`
}

// Output is one result.
type Output struct {
	Step      int              `json:"step"`
	Key       *string          `json:"key"`
	Value     Value            `json:"value"`
	Match     *json.RawMessage `json:"match"` // in the place of a value
	TS        int64            `json:"ts"`
	Window    *Span            `json:"window"`
	Watermark *int64           `json:"watermark"`
}

// Metrics are the dropped records, as (step, count).
type Metrics struct {
	Total int64      `json:"dropped_records_total"`
	At    [][2]int64 `json:"dropped_at"`
}

func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// ReadCase reads and checks a file.
func ReadCase(b []byte) (*Case, error) {
	c := &Case{}
	if err := strict(b, c); err != nil {
		return nil, err
	}
	for _, list := range c.Expected {
		for i := range list {
			if m := list[i].Match; m != nil {
				if err := json.Unmarshal(*m, &list[i].Value); err != nil {
					return nil, err
				}
			}
		}
	}
	return c, c.Compare.check()
}

// Kafka says that the case comes from Kafka Streams; if not, it comes from Flink.
func (c *Case) Kafka() bool { return strings.HasPrefix(c.Engine, "kafka-streams") }

// Files are those below a folder that have cases in them.
func Files(dir string) (list []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !e.IsDir() && filepath.Ext(path) == ".json":
			list = append(list, path)
		}
		return nil
	})
	return list, err
}

// Load reads the case in a file.
func Load(path string) (*Case, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := ReadCase(b)
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}
