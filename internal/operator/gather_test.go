package operator

import (
	"bytes"
	"encoding/binary"
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
	take := FromGathered(0, &g, vals, false, func(_ *task.Ctx, k string, _ int64, n uint64) {
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

// The aggregate of records of a session says when the first of them was.
func TestGatheredSession(t *testing.T) {
	var g Gathered[int64]
	var froms []int64
	take := FromGathered(0, &g, codec.Int64, true, func(_ *task.Ctx, _ string, from int64, n uint64) {
		require.True(t, g.given)
		require.EqualValues(t, 3, n)
		froms = append(froms, from)
	})
	give := func(b []byte) (rejected bool) {
		c := &task.Ctx{Of: 3, Time: 1000, Task: &task.Task{Operators: make([]task.Operator, 1)}}
		take(c, "k", b)
		return c.Rejected()
	}
	for _, lasted := range []uint64{0, 1, 300} {
		b, err := codec.Int64.Append(binary.AppendUvarint(nil, lasted), 5)
		require.NoError(t, err)
		require.False(t, give(b))
	}
	require.Equal(t, []int64{1000, 999, 700}, froms)
	require.True(t, give(nil))
	require.True(t, give([]byte{0x80}))
	require.True(t, give(bytes.Repeat([]byte{0xff}, 20)))
	require.Len(t, froms, 3)
}
