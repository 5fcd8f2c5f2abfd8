package kinesis_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/connect/kinesis/lease"
	"github.com/millstream-go/millstream/stream"
)

// policies are the actions of the policies in the documentation, by heading.
func policies(t *testing.T) map[string][]string {
	doc, err := os.ReadFile("../../docs/kinesis.md")
	require.NoError(t, err)
	found := map[string][]string{}
	for _, m := range regexp.MustCompile("(?s)\n### (\\w+)\n[^#]*?```json\n(.*?)```").FindAllStringSubmatch(string(doc), -1) {
		var p struct{ Action []string }
		require.NoError(t, json.Unmarshal([]byte(m[2]), &p), m[1])
		for _, a := range p.Action {
			_, name, ok := strings.Cut(a, ":")
			require.True(t, ok, a)
			found[m[1]] = append(found[m[1]], name)
		}
	}
	require.Len(t, found, 5)
	return found
}

// The actions that are called are those of the policies, no more and no fewer.
func TestPolicies(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	c := f.streams()
	c.Leases = lease.Table{Failover: time.Second, Client: f.dynamodb()}
	in := f.run(copies(), t.TempDir(), c, func(c *stream.Config) { c.Exchange = stream.ThroughTopic })
	require.Eventually(t, func() bool { return f.Calls()["GetRecords"] > 0 }, patience, time.Millisecond)
	f.put("in", 5, "a")
	require.NoError(t, f.Split("in", f.Shards("in")[0]))
	f.put("in", 5, "a", "b")
	f.arrived(in)
	in.stop(t)
	c.FanOut = "test"
	in = f.run(copies(), t.TempDir(), c, func(c *stream.Config) { c.Exchange = stream.ThroughTopic })
	require.Eventually(t, func() bool { return f.Calls()["SubscribeToShard"] > 0 }, patience, time.Millisecond)
	f.put("in", 5, "a", "b")
	f.arrived(in)
	in.stop(t)
	c.FanOut, c.Write.Strict = "", true
	in = f.run(copies(), t.TempDir(), c, func(c *stream.Config) { c.Exchange = stream.ThroughTopic })
	f.put("in", 5, "a", "b")
	f.arrived(in)
	in.stop(t)
	want := map[string]bool{}
	for _, actions := range policies(t) {
		for _, a := range actions {
			want[a] = true
		}
	}
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(f.Calls())))
}

// The tests that the documentation names are there.
func TestNamedTests(t *testing.T) {
	doc, err := os.ReadFile("../../docs/kinesis.md")
	require.NoError(t, err)
	var code []byte
	for _, pattern := range []string{"*_test.go", "*/*_test.go", "../../stream/*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range files {
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			code = append(code, b...)
		}
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllSubmatch(doc, -1)
	require.NotEmpty(t, named)
	for _, m := range named {
		require.Contains(t, string(code), "\nfunc "+string(m[1])+"(")
	}
}
