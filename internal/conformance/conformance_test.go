package conformance

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var vectors = flag.String("vectors", "", "folder with cases, absolute or relative to this package; without it those of testdata")

var restartEvery = flag.Int("restart-every", 0, "restart after each so many steps; default: 1 with -vectors, 8 without, since a start costs more than a step")

type count struct {
	Passed int `json:"passed"`
	Failed int `json:"failed"`
}

// some is every case, or one of eight of them in short.
func some(t *testing.T, dir string) (files []string) {
	t.Helper()
	all, err := Files(dir)
	require.NoError(t, err)
	require.NotEmpty(t, all, "there are no cases below %s", dir)
	for i, path := range all {
		if !testing.Short() || i%8 == 0 {
			files = append(files, path)
		}
	}
	return files
}

// TestConformance runs every case. Its last line of output that begins with a brace is a summary.
func TestConformance(t *testing.T) {
	dir := *vectors
	if dir == "" {
		dir = filepath.Join("testdata", "vectors")
	}
	every := *restartEvery
	if every < 1 {
		if every = 8; *vectors != "" {
			every = 1
		}
	}
	families, groups := map[string]*count{}, map[string]*count{}
	total := &count{}
	note := func(family, group string, err error) {
		for _, n := range []*count{total, counted(families, family), counted(groups, group)} {
			if err == nil {
				n.Passed++
			} else {
				n.Failed++
			}
		}
	}
	defer func() {
		b, err := json.Marshal(struct {
			Cases    int               `json:"cases"`
			Passed   int               `json:"passed"`
			Failed   int               `json:"failed"`
			Families map[string]*count `json:"families"`
		}{total.Passed + total.Failed, total.Passed, total.Failed, families})
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(os.Stdout, "\n%s\n", b)
	}()
	for _, path := range some(t, dir) {
		cases, ok, err := LoadKPL(path)
		if ok {
			if err != nil {
				note("kpl", "kinesis kpl", err)
				t.Error(err)
			}
			for _, c := range cases {
				err := c.Run()
				note("kpl", "kinesis kpl", err)
				if err != nil {
					t.Errorf("%s: %s: %v", path, c.ID, err)
				}
			}
			continue
		}
		c, err := Load(path)
		family, engine := filepath.Base(filepath.Dir(path)), "unknown"
		if c != nil && c.Family != "" {
			family = c.Family
			engine, _, _ = strings.Cut(c.Engine, "-")
		}
		if err == nil {
			err = c.Run(every)
		}
		note(family, engine+" "+family, err)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, g := range slices.Sorted(maps.Keys(groups)) {
		t.Logf("%-40s %3d passed %3d failed", g, groups[g].Passed, groups[g].Failed)
	}
}

func counted(m map[string]*count, name string) *count {
	if m[name] == nil {
		m[name] = &count{}
	}
	return m[name]
}

// The runner knows operators by the public DSL alone.
func TestImports(t *testing.T) {
	public := []string{"connect/kinesis/kpl", "onerror", "pattern", "sink", "source", "stream", "stream/codec", "stream/streamtest", "window"}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		for _, imp := range imports(t, name) {
			require.Contains(t, public, imp, "%s imports it", name)
		}
	}
}
