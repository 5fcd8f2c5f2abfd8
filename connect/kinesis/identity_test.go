package kinesis_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// identified is a reading with the id of what was written.
type identified struct {
	reading
	ID string
}

// identify writes each record twice, as two results, which have their own ids.
func identify() *stream.Topology {
	topo := stream.New("identify")
	in := topo.From(source.Kinesis("in", codec.JSON[reading]()))
	in.Merge(in.Map(func(r reading) reading { r.Key += " again"; return r })).
		MapWithID(func(id string, r reading) identified { return identified{r, id} }).
		KeyBy(func(r identified) string { return r.Key }).To(sink.Kinesis("mid", codec.JSON[identified]()))
	return topo
}

// once counts what was written, each id once.
func once() *stream.Topology {
	topo := stream.New("once")
	topo.From(source.Kinesis("mid", codec.JSON[identified]())).KeyBy(func(r identified) string { return r.Key }).
		Deduplicate("seen", func(r identified) string { return r.ID }, time.Hour).
		Fold("tallies", func(a *tally, r identified) { a.add(r.reading) }, codec.JSON[tally]()).
		Changes(func(_ string, a tally) tally { return a }).To(sink.Kinesis("out", codec.JSON[tally]()))
	return topo
}

// Effectively once: a process is killed again and again, and answers are lost, so results are written twice; both streams are split and merged
// meanwhile. Whoever drops ids that it has seen finds each result once, in the order of its key.
func TestEffectivelyOnce(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("not in a -short run")
	}
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("mid", 2)
	f.CreateStream("out", 1)
	dir, keys := t.TempDir(), names(20)
	process := func() *exec.Cmd {
		p := exec.Command(os.Args[0])
		p.Env = append(os.Environ(), childURL+"="+f.URL(), childDir+"="+dir, childIdentify+"=1")
		p.Stderr = os.Stderr
		require.NoError(t, p.Start())
		return p
	}
	for round := range 5 {
		f.put("in", 20, keys...)
		f.putPacked("in", 1, keys...)
		for i, name := range []string{"in", "mid"} {
			if open := f.Shards(name); (round+i)%3 == 2 {
				require.NoError(t, f.Merge(name, open[0], open[1]))
			} else {
				require.NoError(t, f.Split(name, open[round%len(open)]))
			}
		}
		f.Fault(kinesistest.Fault{Action: "PutRecords", After: 1 + round, LoseAnswer: true})
		before := f.Calls()["PutRecords"]
		p := process()
		require.Eventually(t, func() bool { return f.Pending() == 0 && f.Calls()["PutRecords"] > before+4+round }, patience, time.Millisecond)
		require.NoError(t, p.Process.Kill())
		require.Error(t, p.Wait())
	}
	p := process()
	written := func() map[string]int {
		ids := map[string]int{}
		for _, r := range f.read("mid") {
			var v identified
			require.NoError(t, json.Unmarshal(r.Data, &v))
			ids[v.ID]++
		}
		return ids
	}
	results := 2 * 25 * 5 * len(keys)
	require.Eventually(t, func() bool { return len(written()) == results }, patience, 20*time.Millisecond)
	require.NoError(t, p.Process.Kill())
	require.Error(t, p.Wait())
	copies := 0
	for _, n := range written() {
		copies += n - 1
	}
	require.Positive(t, copies, "nothing was written twice, so there is nothing to be seen")

	for _, k := range keys {
		f.numbers[k+" again"] = f.numbers[k]
	}
	c := f.streams()
	c.Write = kinesis.Write{}
	f.expect(f.run(once(), t.TempDir(), c))
}
