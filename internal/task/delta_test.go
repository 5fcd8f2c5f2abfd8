package task

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Entries come in the order of their keys' bytes, whatever these have in common; entries for the changelog alone come last.
func TestDeltaIsSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var keys [][]byte
		part := rapid.SampledFrom([]string{"", "a", "b", "\x00", "\xff", "store-17", "window-at-noon", "\x00\x00\x00\x00\x00\x00\x00\x00"})
		prefix := part.Draw(t, "prefix")
		for range rapid.IntRange(0, 60).Draw(t, "entries") {
			keys = append(keys, []byte(prefix+part.Draw(t, "first")+part.Draw(t, "second")+rapid.StringN(0, 3, 9).Draw(t, "rest")))
		}
		d := &Delta{}
		for _, k := range keys {
			d.Put(append(append(d.Buf(len(k)+1), k...), 'v'), len(k), false, false)
		}
		d.Put(append(d.Buf(1), 'a'), 1, true, true)
		d.sort()
		slices.SortFunc(keys, bytes.Compare)
		require.Len(t, d.Entries, len(keys)+1)
		for i, k := range keys {
			require.Equal(t, string(k), string(d.Entries[i].Key))
		}
		require.True(t, d.Entries[len(keys)].LogOnly)
	})
}
