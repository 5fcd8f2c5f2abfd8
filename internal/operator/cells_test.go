package operator

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

func TestCellKeys(t *testing.T) {
	c := cellCodec[string, string]{codec.String, codec.String}
	for _, n := range []int{0, 1, 127, 128, 20_000} {
		want := cell[string, string]{strings.Repeat("k", n), "sub"}
		b, err := c.Append([]byte("before"), want)
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(b, []byte("before")))
		b = b[len("before"):]
		got, err := c.Decode(b)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		for i := range b[:min(n, 3)] {
			_, err := c.Decode(b[:i])
			assert.Error(t, err, "cut to %d bytes", i)
		}
	}
}

func TestTimesAsSubKeysSort(t *testing.T) {
	var last, first []byte
	for _, at := range []int64{-1 << 62, -1, 0, 1, 1 << 62} {
		up, err := timeSub{}.Append(nil, at)
		require.NoError(t, err)
		down, err := newestFirst{}.Append(nil, at)
		require.NoError(t, err)
		if last != nil {
			assert.Equal(t, 1, bytes.Compare(up, last))
			assert.Equal(t, -1, bytes.Compare(down, first))
		}
		last, first = up, down
		got, err := timeSub{}.Decode(up)
		require.NoError(t, err)
		assert.Equal(t, at, got)
		got, err = newestFirst{}.Decode(down)
		require.NoError(t, err)
		assert.Equal(t, at, got)
	}
	_, err := timeSub{}.Decode(last[:7])
	require.ErrorIs(t, err, errDamaged)
	_, err = newestFirst{}.Decode(nil)
	require.ErrorIs(t, err, errDamaged)
	_, err = numberSub{}.Decode(last[:7])
	require.ErrorIs(t, err, errDamaged)
}

// What a store was written with comes back as it was noted, and whatever is cut short is found out.
func TestWritten(t *testing.T) {
	w := written[int64]{names: []string{"json", "int64"}, now: 1}
	d := &task.Delta{}
	w.note(d, appendWrittenKey(nil, 7), codec.String.Name())
	require.Len(t, d.Entries, 1)
	require.True(t, w.noted)
	keys, names, err := decodeWritten(d.Entries[0].Value)
	require.NoError(t, err)
	assert.Equal(t, "string", keys)
	assert.Equal(t, []string{"json", "int64"}, names)
	whole := d.Entries[0].Value
	ends := map[int]bool{len("1") + 7 + 5: true} // with one codec less it is right, too
	for i := range whole {
		if _, _, err := decodeWritten(whole[:i]); !ends[i] {
			assert.Error(t, err, "cut to %d bytes", i)
		}
	}
	_, _, err = decodeWritten(append([]byte{9}, whole[1:]...))
	require.ErrorContains(t, err, "a format that this program does not know")
}

// A value says by which codec it was written, unless that is the first and the number of changes is not zero.
func TestWrittenHead(t *testing.T) {
	for _, c := range []struct {
		now      int
		revision uint64
		length   int
	}{{0, 1, 2}, {0, 0, 4}, {1, 1, 4}, {300, 5, 5}} {
		w := written[int]{now: c.now}
		b := append(w.tag(nil, c.revision), byte(c.revision), 4, 'x')
		assert.Len(t, b, c.length+1)
		by, revision, at, rest, err := writtenHead(b)
		require.NoError(t, err)
		assert.Equal(t, uint64(c.now), by)
		assert.Equal(t, c.revision, revision)
		assert.Equal(t, int64(2), at)
		assert.Equal(t, "x", string(rest))
		for i := range b[:c.length] {
			_, _, _, _, err := writtenHead(b[:i])
			assert.Error(t, err)
		}
	}
}
