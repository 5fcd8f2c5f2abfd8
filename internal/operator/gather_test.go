package operator

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Aggregates may lie in a repartition topic when another version of the program takes over: they are read by the codec that
// wrote them, or else given up on.
func TestGatheredByAnOlderCodec(t *testing.T) {
	older := codec.From(codec.String, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) })
	vals := codec.Version(2, codec.Int64, older)
	var g Gathered[int64]
	sum, records := int64(0), uint64(0)
	add := g.Add(func(*int64, bool) { t.Error("no record was given") }, func(a *int64, b int64) { *a += b })
	take := FromGathered(0, &g, vals, func(_ *task.Ctx, k string, n uint64) {
		require.Equal(t, "k", k)
		add(&sum, records == 0)
		records += n
	})
	give := func(by string, b []byte) (rejected bool) {
		c := &task.Ctx{Of: 3, Codec: []byte(by), Task: &task.Task{Operators: make([]task.Operator, 1)}}
		take(c, "k", b)
		return c.Rejected()
	}
	now, err := vals.Append(nil, 5)
	require.NoError(t, err)
	then, err := codec.String.Append(nil, "37")
	require.NoError(t, err)
	require.False(t, give(vals.Name(), now))
	require.False(t, give(codec.String.Name(), then))
	require.False(t, give(vals.Name(), now))
	require.True(t, give("unknown", now))
	require.EqualValues(t, 47, sum)
	require.EqualValues(t, 9, records)
}
