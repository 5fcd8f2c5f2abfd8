package e2e_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// A run up to a time ends by itself, with everything before that time processed and nothing after it; a run without an
// end goes on from there, and both together give what one run gives.
func TestABoundedRunEndsByItself(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name string
		conf func(*stream.Config)
	}{
		{"exactly once", func(c *stream.Config) {}},
		{"in memory", func(c *stream.Config) { c.Exchange = stream.InMemory }},
		{"at least once", func(c *stream.Config) { c.Guarantee = connect.AtLeastOnce }},
		{"at most once", func(c *stream.Config) { c.Guarantee = connect.AtMostOnce }},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			b, s := start(t, totalsTopics()), newShop(5)
			cut := time.Now().Add(-time.Hour)
			dated := func(recs []kafkatest.Record, at time.Time) []kafkatest.Record {
				for i := range recs {
					recs[i].Time = at
				}
				return recs
			}
			b.write(t, dated(s.orders(t, 50), cut.Add(-time.Second))...)
			before := s.updates()
			b.write(t, dated(s.orders(t, 50), cut)...)
			b.write(t, dated(s.end(t), cut.Add(time.Minute))...)

			dir := t.TempDir()
			in := run(t, totalsTo(b, "updates", "finals", source.EndAtTime(cut)), b.config(dir, way.conf))
			require.NoError(t, in.wait(t))
			b.noMore(t, "updates", before)

			in = run(t, totals(b), b.config(dir, way.conf))
			s.check(t, b, true)
			in.stop(t)
		})
	}
}

// Each of several instances ends when all of them have nothing left to do.
func TestABoundedRunOfTwoInstances(t *testing.T) {
	t.Parallel()
	b, s := start(t, totalsTopics()), newShop(6)
	b.write(t, s.orders(t, 200)...)
	topology := func() *stream.Topology { return totalsTo(b, "updates", "finals", source.EndAtNow()) }
	one, two := run(t, topology(), b.config(t.TempDir())), run(t, topology(), b.config(t.TempDir()))
	require.NoError(t, one.wait(t))
	require.NoError(t, two.wait(t))
	b.noMore(t, "updates", s.updates())
	one.log.wait(t, "every source has been read to its end")
}

// Where reading begins when nothing is committed: at a time, or at given offsets.
func TestStartPositions(t *testing.T) {
	t.Parallel()
	base := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	for _, c := range []struct {
		name string
		opts []source.Option
		want []int64 // of 10 in each of two partitions, with times a second apart
	}{
		{"a time", []source.Option{source.StartAtTime(base.Add(7 * time.Second))}, []int64{7, 8, 9, 107, 108, 109}},
		{"a time to come", []source.Option{source.StartAtTime(base.Add(time.Hour * 24))}, nil},
		{"a time before all", []source.Option{source.StartAtTime(time.UnixMilli(-5))}, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109}},
		{"an offset", []source.Option{source.StartAtPositions(map[int32]source.Position{1: source.At(8)}), source.StartAtTime(base.Add(9 * time.Second))}, []int64{9, 108, 109}},
		{"a piece", []source.Option{source.StartAtTime(base.Add(3 * time.Second)), source.EndAtTime(base.Add(5 * time.Second))}, []int64{3, 4, 103, 104}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, map[string]int32{"in": 2, "out": 1})
			var recs []kafkatest.Record
			for i := range 10 {
				for p := range 2 {
					recs = append(recs, kafkatest.Record{Topic: "in", Partition: int32(p), Key: []byte("k"), Value: encode(t, int64(100*p+i)), Time: base.Add(time.Duration(i) * time.Second)})
				}
			}
			b.write(t, recs...)
			top := stream.New("copy")
			top.From(source.Kafka(b.name("in"), codec.JSON[int64](), append([]source.Option{source.EndAtNow()}, c.opts...)...)).
				To(sink.Kafka(b.name("out"), codec.JSON[int64]()))
			in := run(t, top, b.config(t.TempDir()))
			require.NoError(t, in.wait(t))
			assert.ElementsMatch(t, c.want, decode[int64](t, b.read(t, "out", len(c.want))))
			b.noMore(t, "out", len(c.want))
		})
	}
}

// What would read nothing, or not what was meant, is told before anything runs.
func TestImpossibleRanges(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]int32{"in": 1, "out": 1})
	build := func(opts ...source.Option) error {
		top := stream.New("copy")
		top.From(source.Kafka(b.name("in"), codec.JSON[int64](), opts...)).To(sink.Kafka(b.name("out"), codec.JSON[int64]()))
		_, err := top.Build(b.config(t.TempDir()))
		return err
	}
	now := time.Now()
	require.ErrorContains(t, build(source.StartAt(source.Latest), source.EndAtNow()), "there would be nothing to read")
	require.ErrorContains(t, build(source.StartAtTime(now), source.EndAtTime(now)), "the end must be later")
	require.NoError(t, build(source.StartAtTime(now), source.EndAtTime(now.Add(1))))

	top := stream.New("copy")
	top.From(source.Kafka(b.name("in"), codec.JSON[int64](), source.StartAtPositions(map[int32]source.Position{0: source.At(5)}))).To(sink.Kafka(b.name("out"), codec.JSON[int64]()))
	err := run(t, top, b.config(t.TempDir())).wait(t)
	require.ErrorContains(t, err, "names offset 5 for "+b.name("in")+"/0, but it ends at 0")
}
