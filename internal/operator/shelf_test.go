package operator

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// A bucket that is over is deleted from the changelog by the key of each record that got there, and from the store by ranges
// of the key groups that it has records of, each of which lies in one.
func TestShelfDeletesWhatWasHandedOver(t *testing.T) {
	spec := &task.Spec{Subtopology: "s", Changelog: "c", KeyGroups: 64}
	tk := task.New(spec, 0, nil, absent{}, nil)
	s := newShelf(tk, "records", leftSide, codec.String, codec.Int64, 1000, 500, false)
	tk.AddStateful(onlyShelf{s})
	add := func(n int, t0 int64) {
		for i := range n {
			require.NoError(t, s.add(fmt.Sprint("key", i%5), t0+int64(i), int64(i), false))
		}
	}
	add(20, 1000) // handed over
	add(10, 2000)
	first, err := tk.Cut(1)
	require.NoError(t, err)
	puts := stored(first)
	require.Len(t, puts, 30)
	assert.True(t, slices.IsSorted(puts))
	add(7, 1500) // of the same bucket, and never handed over
	_, err = s.advance(3499)
	require.NoError(t, err)
	assert.Len(t, s.buckets, 1, "the second bucket has a millisecond left")
	_, err = s.advance(3500)
	require.NoError(t, err)
	assert.Empty(t, s.buckets)
	assert.Zero(t, s.records)
	second, err := tk.Cut(2)
	require.NoError(t, err)
	assert.Empty(t, stored(second))
	var gone []string
	for _, e := range second.Entries {
		if e.LogOnly {
			assert.Nil(t, e.Value)
			gone = append(gone, string(e.Key))
		}
	}
	slices.Sort(gone)
	assert.Equal(t, puts, gone)
	for _, key := range puts {
		in := 0
		for _, r := range second.Ranges {
			if string(r.Lo) <= key && key < string(r.Hi) {
				in++
			}
		}
		assert.Equal(t, 1, in)
	}
	assert.Len(t, second.Ranges, 5, "neighbouring buckets, and a key group for each key")
	third, err := tk.Cut(3)
	require.NoError(t, err)
	assert.Empty(t, third.Ranges)
	assert.Empty(t, third.Entries)
}

// scannedStore is a store that has nothing and counts the ranges that are looked at.
type scannedStore struct {
	absent
	ranges int
}

func (s *scannedStore) Scan(_, _ []byte, _ func(key, value []byte) error) error {
	s.ranges++
	return nil
}

// What does not fit is dropped from the oldest buckets, so that nothing of the newest has to be looked for in the store.
func TestShelfKeepsTheNewestBuckets(t *testing.T) {
	view := &scannedStore{}
	tk := task.New(&task.Spec{Subtopology: "s", Changelog: "c", KeyGroups: 64}, 0, nil, view, nil)
	s := newShelf(tk, "records", leftSide, codec.String, codec.Int64, 1000, 5000, false)
	tk.AddStateful(onlyShelf{s})
	for i := range int64(500) {
		require.NoError(t, s.add(fmt.Sprint("key", i), i*10, i, false))
	}
	_, err := tk.Cut(1)
	require.NoError(t, err)
	s.evict(s.held()/2, 0)
	assert.Equal(t, 500, s.records, "what is not applied stays")
	s.evict(s.held()/2, 1)
	assert.Equal(t, 250, s.records)
	for i := range 100 { // each key is in one bucket only
		require.NoError(t, s.each(fmt.Sprint("key", i), 3000, 5000, nil))
	}
	assert.Zero(t, view.ranges)
	_, err = s.advance(6000)
	require.NoError(t, err)
	assert.Equal(t, 4, len(s.buckets))
	assert.NotZero(t, view.ranges, "the changelog has to be told of all of a bucket")
	assert.Less(t, view.ranges, 64, "and the groups without records are passed over")
}

// stored are the keys of the records that go to the store.
func stored(d *task.Delta) (keys []string) {
	for _, e := range d.Entries {
		if !e.LogOnly && e.Key[0] == task.KindRecords {
			keys = append(keys, string(e.Key))
		}
	}
	return keys
}

// onlyShelf is an operator that is nothing but a shelf.
type onlyShelf struct{ *shelf[string, int64] }

func (o onlyShelf) Restore(m *task.Marker) error { return o.restore(m) }
func (o onlyShelf) Cut(d *task.Delta) error      { return o.cut(d) }
func (o onlyShelf) Applied(uint64)               {}
func (o onlyShelf) Changed() int                 { return o.changed }
func (o onlyShelf) Held() int                    { return o.held() }
func (o onlyShelf) StoreID() uint32              { return o.id }
