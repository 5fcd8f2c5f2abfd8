package operator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/stream/codec"
)

// Windows are read as they were written; damage is an error, wherever the bytes end.
func TestSpansCodec(t *testing.T) {
	c := &spansCodec[string]{vals: codec.String}
	list := []span[string]{
		{from: -20, to: -10, time: -15, revision: 3, val: "early"},
		{from: -5, to: 6, time: 6, revision: 0, closed: true},
		{from: 100, to: 1 << 40, time: 1 << 39, revision: 1 << 20, waits: true, paced: true, val: "late"},
	}
	b, err := c.Append(nil, list)
	require.NoError(t, err)
	got, err := c.Decode(b)
	require.NoError(t, err)
	for i := range list {
		list[i].sent = true
	}
	require.Equal(t, list, got)

	for n := range b {
		_, err := c.Decode(b[:n])
		require.ErrorIs(t, err, errDamaged, "the first %d bytes", n)
	}
	_, err = c.Decode(append(b, 0))
	require.ErrorIs(t, err, errDamaged)
}
