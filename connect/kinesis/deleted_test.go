package kinesis_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// Records are deleted while the application does not run. By what the source says it ends, goes on with what is left, or at the end
// of the shard.
func TestDeletedRecords(t *testing.T) {
	t.Parallel()
	for name, connector := range map[string]func(*fake) kinesis.Streams{"polled": (*fake).streams, "pushed": (*fake).pushed} {
		t.Run(name, func(t *testing.T) {
			f := startQuick(t)
			f.CreateStream("in", 1)
			f.CreateStream("out", 1)
			topo := func(what source.Deleted) *stream.Topology {
				topo := stream.New("copies")
				topo.From(source.Kinesis("in", codec.JSON[reading](), source.OnDeleted(what))).To(sink.Kinesis("out", codec.JSON[reading]()))
				return topo
			}
			numbers := func() (list []int) {
				for _, r := range f.read("out") {
					var v reading
					require.NoError(t, json.Unmarshal(r.Data, &v))
					list = append(list, v.N)
				}
				return list
			}
			shard, dir := f.Shards("in")[0], t.TempDir()
			f.put("in", 10, "a")
			in := f.run(copies(), dir, connector(f))
			require.Zero(t, f.arrived(in))
			in.stop(t)
			f.put("in", 10, "a")
			require.NoError(t, f.Expire("in", shard, 12)) // the last that was read, and two more

			require.ErrorIs(t, f.run(topo(source.DeletedFails), dir, connector(f)).wait(t), connect.ErrDeleted)

			in = f.run(topo(source.DeletedSkips), dir, connector(f))
			require.Eventually(t, func() bool { return len(numbers()) == 18 }, patience, 5*time.Millisecond)
			in.stop(t)
			f.put("in", 10, "a")
			require.NoError(t, f.Expire("in", shard, 11))

			for range 2 { // as long as no record comes, nothing is remembered
				in = f.run(topo(source.DeletedLatest), dir, connector(f))
				require.Eventually(t, func() bool { return strings.Contains(in.log.String(), "what is left is passed over") }, patience, time.Millisecond)
				in.stop(t)
			}
			in = f.run(topo(source.DeletedLatest), dir, connector(f))
			require.Eventually(t, func() bool {
				f.put("in", 1, "a")
				return len(numbers()) > 18
			}, patience, 20*time.Millisecond)
			in.stop(t)
			got := numbers()
			require.Equal(t, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16, 17, 18, 19, 20}, got[:18])
			require.Greater(t, got[18], 30, "what was there before is passed over")

			in = f.run(topo(source.DeletedFails), dir, connector(f)) // there is a position again
			f.put("in", 1, "a")
			require.Eventually(t, func() bool { got = numbers(); return got[len(got)-1] == f.numbers["a"] }, patience, 5*time.Millisecond)
			in.stop(t)
			for i, n := range got[18:] {
				require.Equal(t, got[18]+i, n)
			}
		})
	}
}
