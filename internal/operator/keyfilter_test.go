package operator

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// What was added is known, in however many layers; of what was not, few are taken for known.
func TestKeyFilter(t *testing.T) {
	const n = 100_000
	f := newKeyFilter[string](1000)
	for i := range n {
		f.add("key-" + strconv.Itoa(i))
	}
	for i := range n {
		require.True(t, f.has("key-"+strconv.Itoa(i)), i)
	}
	wrong := 0
	for i := range n {
		if f.has("other-" + strconv.Itoa(i)) {
			wrong++
		}
	}
	require.Len(t, f.layers, 7)
	bytes := f.bytes()
	for i := range n {
		f.add("key-" + strconv.Itoa(i))
	}
	require.Equal(t, bytes, f.bytes(), "what is known takes no room again")
	require.Less(t, wrong, n/10, "of seven layers, the last of which is not full")
	require.Less(t, f.bytes(), 3*n)
	require.Zero(t, (*keyFilter[string])(nil).bytes())

	one := newKeyFilter[uint64](n)
	for i := range uint64(n) {
		one.add(i)
	}
	wrong = 0
	for i := range uint64(n) {
		require.True(t, one.has(i))
		if one.has(n + i) {
			wrong++
		}
	}
	require.Less(t, wrong, n/40, "of one layer")
	require.Len(t, one.layers, 1)
}

// A table whose entries do not fit looks for those in the store, and not for keys that it never had.
func TestKeysThatNeverWereAreNotLookedFor(t *testing.T) {
	const n = 5000
	st := &shelved{entries: map[string]string{}}
	spec := &task.Spec{KeyGroups: 3}
	spec.MaxHeld.Store(200_000)
	tk := task.New(spec, 0, nil, st, nil)
	r := newRows(tk, task.KindValue, "rows", codec.Int64, codec.Int64)
	tk.AddStateful(&r)
	require.NoError(t, r.Restore(nil))
	st.read = 0
	for i := range int64(n) {
		e, err := r.get(i)
		require.NoError(t, err)
		require.Nil(t, e)
		e = r.add(i)
		e.val, e.live = i, true
		r.table.touch(e)
		if i%100 == 99 {
			d := &task.Delta{Epoch: uint64(i)}
			require.NoError(t, r.Cut(d))
			st.apply(d)
			r.Applied(uint64(i))
		}
	}
	require.Len(t, st.entries, n+1) // and one that says who has written them
	require.Less(t, r.Held(), 300_000)
	require.Less(t, st.read, n/10)
	for i := range int64(n) {
		e, err := r.store.find(r.table, i, 0)
		require.NoError(t, err)
		require.True(t, e.live)
		require.Equal(t, i, e.val)
	}
	require.Greater(t, st.read, n/2)

	require.NoError(t, r.store.load(r.table, nil))
	require.Nil(t, r.table.had)
	spec.MaxHeld.Store(100)
	r.Applied(n)
	r.Applied(n)
	r.Applied(n)
	require.Nil(t, r.table.had, "there is no room for it")
}

func BenchmarkKeyFilter(b *testing.B) {
	f := newKeyFilter[string](1 << 16)
	for i := range 1 << 20 {
		f.add("key-" + strconv.Itoa(i))
	}
	b.Run("absent", func(b *testing.B) {
		for b.Loop() {
			f.has("another key")
		}
	})
	b.Run("present", func(b *testing.B) {
		for b.Loop() {
			f.has("key-7")
		}
	})
}
