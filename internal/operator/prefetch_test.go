package operator

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// ahead is a task with a port whose keys are int64, and rows that are looked up ahead for it.
func ahead(t require.TestingT, st *shelved, held int64) (*task.Port, *rows[int64, int64]) {
	spec := &task.Spec{KeyGroups: 3}
	spec.MaxHeld.Store(held)
	p := &task.Port{Spec: &task.PortSpec{}, Keys: codec.Int64.Name()}
	tk := task.New(spec, 0, []*task.Port{p}, st, nil)
	r := newRows(tk, task.KindValue, "rows", codec.Int64, codec.Int64)
	tk.AddStateful(&r)
	require.NoError(t, r.Restore(nil))
	return p, &r
}

func keysOfRecords(keys ...int64) (list []source.Record) {
	for _, k := range keys {
		b, _ := codec.Int64.Append(nil, k)
		list = append(list, source.Record{Key: b})
	}
	return list
}

func lookAhead(r *rows[int64, int64], p *task.Port, records []source.Record) error {
	return r.Prefetch(p, len(records), func(i int) []byte { return records[i].Key })
}

func from(k, n int64) (list []int64) {
	for i := range n {
		list = append(list, k+i)
	}
	return list
}

// shelve puts n rows into a store: each has its key as value.
func shelve(t *testing.T, st *shelved, n int64) {
	_, r := ahead(t, st, 1<<20)
	for i := range n {
		e := r.add(i)
		e.val, e.live = i, true
		r.table.touch(e)
	}
	d := &task.Delta{Epoch: 1}
	require.NoError(t, r.Cut(d))
	st.apply(d)
}

func TestPrefetch(t *testing.T) {
	const n = 100
	st := &shelved{entries: map[string]string{}}
	shelve(t, st, n)
	read := func(t *testing.T, r *rows[int64, int64], k int64) int64 {
		e, err := r.get(k)
		require.NoError(t, err)
		if e == nil {
			return -1
		}
		return e.val
	}
	for _, c := range []struct {
		name   string
		keys   []int64
		codec  string
		sorted int // keys that are looked up ahead
		read   int // and later, when each key is read once
	}{
		{"all there", from(0, 50), codec.Int64.Name(), 50, 0},
		{"some are not there, which is known then", from(80, 40), codec.Int64.Name(), 40, 0},
		{"twice", append(from(0, 20), from(0, 20)...), codec.Int64.Name(), 40, 0},
		{"too few", from(0, 5), codec.Int64.Name(), 0, 5},
		{"keys of another kind", from(0, 50), codec.String.Name(), 0, 50},
		{"no keys", from(0, 50), "", 0, 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, r := ahead(t, st, 1<<20)
			p.Keys = c.codec
			st.read, st.sorted = 0, 0
			require.NoError(t, lookAhead(r, p, keysOfRecords(c.keys...)))
			require.Equal(t, c.sorted, st.sorted)
			for _, k := range c.keys {
				want := k
				if k >= n {
					want = -1
				}
				require.Equal(t, want, read(t, r, k))
			}
			require.Equal(t, c.read, st.read)
		})
	}

	t.Run("records that cannot be read", func(t *testing.T) {
		p, r := ahead(t, st, 1<<20)
		st.sorted = 0
		require.NoError(t, lookAhead(r, p, append(keysOfRecords(from(0, 30)...), source.Record{}, source.Record{Key: []byte("short")})))
		require.Equal(t, 30, st.sorted)
	})

	t.Run("few are missing", func(t *testing.T) {
		p, r := ahead(t, st, 1<<20)
		for i := range int64(90) {
			read(t, r, i)
		}
		st.sorted = 0
		require.NoError(t, lookAhead(r, p, keysOfRecords(from(0, n)...)))
		require.NoError(t, lookAhead(r, p, keysOfRecords(from(n, 50)...)))
		require.Zero(t, st.sorted)
		require.Equal(t, pausePrefetch-1, r.ahead.paused, "their keys are not even decoded")
	})

	t.Run("nothing asks for them", func(t *testing.T) {
		p, r := ahead(t, st, 1<<20)
		st.sorted = 0
		for i := range int64(4) {
			require.NoError(t, lookAhead(r, p, keysOfRecords(from(20*i, 20)...)))
		}
		require.Equal(t, 20, st.sorted, "behind a filter, for example")
		for range pausePrefetch - 2 {
			require.NoError(t, lookAhead(r, p, keysOfRecords(from(40, 20)...)))
		}
		require.Equal(t, 20, st.sorted)
		require.NoError(t, lookAhead(r, p, keysOfRecords(from(40, 20)...)))
		require.Equal(t, 40, st.sorted, "it is tried again")
		for i := range int64(20) {
			read(t, r, 40+i)
		}
		require.NoError(t, lookAhead(r, p, keysOfRecords(from(60, 20)...)))
		require.Equal(t, 60, st.sorted)
	})

	t.Run("what was not there is dropped like the others", func(t *testing.T) {
		p, r := ahead(t, st, 0)
		require.NoError(t, lookAhead(r, p, keysOfRecords(from(80, 40)...)))
		require.Equal(t, 40, r.table.entries())
		for range 2 { // the clock passes those that were used once
			r.Applied(1)
		}
		require.Zero(t, r.table.entries())
	})

	t.Run("the store's error", func(t *testing.T) {
		p, r := ahead(t, st, 1<<20)
		key, err := r.store.appendKey(nil, 7, 0)
		require.NoError(t, err)
		broken := &shelved{entries: maps.Clone(st.entries)}
		broken.entries[string(key)] = ""
		r.store.task.View = broken
		require.ErrorIs(t, lookAhead(r, p, keysOfRecords(from(0, n)...)), errDamaged)
	})

	t.Run("a codec that panics", func(t *testing.T) {
		p, r := ahead(t, st, 1<<20)
		panics := true
		r.store.written.reads[0] = func(b []byte) (int64, error) { return codec.Int64.Decode(b) }
		r.store.vals = panicking{codec.Int64, &panics}
		require.NoError(t, lookAhead(r, p, keysOfRecords(from(0, 50)...)))
		require.Panics(t, func() { read(t, r, 7) }, "the record is given up on")
		require.Panics(t, func() { _, _ = r.store.find(r.table, 7, 0) })
		panics = false
		require.EqualValues(t, 7, read(t, r, 7), "its row is still there")
	})
}

// panicking is a codec that panics while it is told to.
type panicking struct {
	codec.Codec[int64]
	on *bool
}

func (p panicking) Decode(b []byte) (int64, error) {
	if *p.on {
		panic("a bug in the codec")
	}
	return p.Codec.Decode(b)
}

// The entries of a large table that is complete are fetched from memory ahead, as long as records ask for them.
func TestApproach(t *testing.T) {
	large := func() (*task.Port, *rows[int64, int64]) {
		p, r := ahead(t, &shelved{entries: map[string]string{}}, 1<<30)
		for i := range int64(manyEntries) {
			e := r.add(i)
			e.val, e.live = i, true
		}
		return p, r
	}

	t.Run("asked for", func(t *testing.T) {
		p, r := large()
		for i := range int64(4) {
			require.NoError(t, lookAhead(r, p, append(keysOfRecords(from(40*i, 40)...), source.Record{}, source.Record{Key: []byte("short")})))
			require.Len(t, r.ahead.places, 40)
			require.Zero(t, r.ahead.paused)
			for k := range int64(40) {
				require.Equal(t, 40*i+k, r.table.lookup(40*i+k).val)
			}
		}
	})

	t.Run("behind a filter", func(t *testing.T) {
		p, r := large()
		require.NoError(t, lookAhead(r, p, keysOfRecords(from(0, 40)...)))
		for k := range int64(9) {
			r.table.lookup(k)
		}
		require.NoError(t, lookAhead(r, p, keysOfRecords(from(40, 50)...)))
		require.Equal(t, pausePrefetch, r.ahead.paused)
		for range pausePrefetch {
			require.NoError(t, lookAhead(r, p, keysOfRecords(from(40, 50)...)))
		}
		require.Len(t, r.ahead.places, 40)
		require.NoError(t, lookAhead(r, p, keysOfRecords(from(40, 50)...)))
		require.Len(t, r.ahead.places, 50, "it is tried again")
	})

	t.Run("new keys", func(t *testing.T) {
		p, r := large()
		require.NoError(t, lookAhead(r, p, keysOfRecords(append(from(0, 4), from(manyEntries, 40)...)...)))
		require.Equal(t, pausePrefetch, r.ahead.paused)
	})

	t.Run("a small table", func(t *testing.T) {
		p, r := large()
		r.table.remove(r.table.lookup(0))
		require.NoError(t, lookAhead(r, p, keysOfRecords(from(0, 40)...)))
		require.Empty(t, r.ahead.places)
	})
}

// Rows that are looked up ahead or not, changed, deleted, committed and dropped in any order are those of a map.
func TestPrefetchedRowsEqualAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := &shelved{entries: map[string]string{}}
		p, r := ahead(t, st, int64(rapid.SampledFrom([]int{0, 5000}).Draw(t, "held")))
		model := map[int64]int64{}
		var flight *task.Delta // one at a time, as in the engine
		epoch := uint64(0)
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			default:
				var keys []int64
				for range rapid.IntRange(1, 60).Draw(t, "records") {
					keys = append(keys, random.Int64N(80))
				}
				if rapid.Bool().Draw(t, "ahead") {
					require.NoError(t, lookAhead(r, p, keysOfRecords(keys...)))
				}
				for _, k := range keys {
					e, err := r.get(k)
					require.NoError(t, err)
					was, there := model[k]
					require.Equal(t, there, e != nil)
					if there {
						require.Equal(t, was, e.val)
					}
					switch random.IntN(4) {
					case 0:
						if e != nil {
							r.clear(e)
							delete(model, k)
						}
					case 1:
						if e == nil {
							e = r.add(k)
						}
						e.val, e.live = was+1, true
						e.revision++
						r.table.touch(e)
						model[k] = was + 1
					}
				}
			case 2:
				if flight == nil {
					epoch++
					flight = &task.Delta{Epoch: epoch}
					require.NoError(t, r.Cut(flight))
				}
			case 3:
				if flight != nil {
					st.apply(flight)
					r.Applied(flight.Epoch)
					flight = nil
				}
			}
		}
	})
}

// A task lets its operators look ahead once for each record of a batch.
func TestATaskLooksAhead(t *testing.T) {
	const n = 3000
	st := &shelved{entries: map[string]string{}}
	shelve(t, st, n)
	spec := &task.Spec{KeyGroups: 3}
	spec.MaxHeld.Store(10 << 20)
	p := &task.Port{Spec: &task.PortSpec{}}
	tk := task.New(spec, 0, []*task.Port{p}, st, nil)
	tk.AddOperator("in", "")
	tk.AddOperator("rows", "")
	sum := int64(0)
	o := NewAggregate(tk, 1, "rows", codec.Int64, codec.Int64, func(a *int64, v int64, _ bool) { *a += v }, false, false,
		func(_ *task.Ctx, _ int64, c Change[int64]) { sum += *c.New })
	KeyedSource(p, Reader{}, codec.Int64, codec.Int64, nil, o.Process)
	tk.Ready()
	require.NoError(t, tk.Restore())
	st.read = 0
	b := source.Batch{Records: keysOfRecords(from(0, n)...), Next: source.At(n), Bytes: 1}
	for i := range b.Records {
		b.Records[i].Value, b.Records[i].Position = keysOfRecords(1)[0].Key, source.At(int64(i))
	}
	p.Offer(b)
	for range 10 {
		_, err := tk.Step(0, 500)
		require.NoError(t, err)
	}
	require.EqualValues(t, n*(n-1)/2+n, sum)
	require.Equal(t, n, st.sorted)
	require.Zero(t, st.read)
}
