package snapshot

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/snapshot"
)

func term(b *bucket, st *store.Store, instance string) *Term {
	return &Term{Config: snapshot.Config{Store: b, Prefix: "prod/"}, App: "app", Instance: instance, Store: st, Log: slog.New(slog.DiscardHandler)}
}

// grow puts entries and an age into a store, as an epoch does.
func grow(t testing.TB, st *store.Store, from, to int, a task.Age) {
	t.Helper()
	fill(t, st, 0, from, to, int64(a.Epoch), time.Now())
	fill(t, st, 77, from, to, int64(a.Epoch), time.Now())
	b := st.NewBatch()
	b.Set(5, task.InputKey("sub", "in"), []byte(a.String()))
	b.Set(0, task.AgeKey(), task.AppendAge(nil, a))
	require.NoError(t, b.Commit(true))
}

// whole is everything in a store.
func whole(t testing.TB, st *store.Store) map[int32]map[string]string {
	t.Helper()
	all := map[int32]map[string]string{}
	for _, p := range []int32{0, 5, 9, 77} {
		all[p] = dump(t, st, p)
	}
	return all
}

// copyAll makes a snapshot in a term of its own.
func copyAll(t testing.TB, b *bucket, st *store.Store, instance string, a task.Age) {
	t.Helper()
	w := writer(b, st, instance)
	w.Term = term(b, st, instance)
	require.NoError(t, w.Term.Begin(t.Context(), 0, time.Now()))
	_, err := w.TakeAll(t.Context(), a, time.Now())
	require.NoError(t, err)
}

// The newest snapshot takes the place of all that an older store has; a newer store stays as it is. What is damaged is passed over.
func TestAWholeStoreComesBack(t *testing.T) {
	old, later := task.Age{Term: 1, Epoch: 900}, task.Age{Term: 2, Epoch: 30}
	b, one, two := newBucket(), open(t, "totals"), open(t, "totals")
	grow(t, one, 0, 100, old)
	grow(t, two, 50, 200, later)
	copyAll(t, b, one, "one", old)
	copyAll(t, b, two, "two", later)
	grow(t, two, 200, 210, task.Age{Term: 2, Epoch: 31}) // is in no snapshot

	load := func(have task.Age, into *store.Store) (Loaded, string, error) {
		var log bytes.Buffer
		loaded, err := loader(b, into, &log).LoadAll(t.Context(), have)
		return loaded, log.String(), err
	}
	want := open(t, "totals")
	grow(t, want, 50, 200, later)

	empty := open(t, "totals")
	loaded, _, err := load(task.Age{}, empty)
	require.NoError(t, err)
	require.Equal(t, later, loaded.Age)
	require.Equal(t, strip(whole(t, want)), strip(whole(t, empty)))

	behind := open(t, "totals") // more epochs, of an earlier term
	grow(t, behind, 0, 500, task.Age{Term: 1, Epoch: 1000})
	fill(t, behind, 9, 0, 10, 1, time.Now())
	_, _, err = load(task.Age{Term: 1, Epoch: 1000}, behind)
	require.NoError(t, err)
	require.Equal(t, strip(whole(t, want)), strip(whole(t, behind)), "nothing else is left")

	for _, have := range []task.Age{later, {Term: 2, Epoch: 31}, {Term: 3, Epoch: 1}} {
		loaded, _, err = load(have, two)
		require.NoError(t, err)
		require.Empty(t, loaded.Snapshot, "%v", have)
	}

	newest := b.names("/two/manifest-")[0]
	b.objects[newest][len(b.objects[newest])/2] ^= 1
	empty = open(t, "totals")
	loaded, log, err := load(task.Age{}, empty)
	require.NoError(t, err)
	require.Equal(t, old, loaded.Age)
	require.Contains(t, log, newest)
	require.Equal(t, strip(whole(t, one)), strip(whole(t, empty)))

	for _, name := range b.names("/one/files/") {
		b.objects[name] = b.objects[name][1:]
	}
	empty = open(t, "totals")
	_, log, err = load(task.Age{}, empty)
	require.ErrorIs(t, err, ErrDamaged)
	require.Contains(t, log, "/one/manifest-")
	require.Empty(t, whole(t, empty)[0])
	_, _, err = load(task.Age{Term: 1, Epoch: 1}, empty)
	require.NoError(t, err, "there is something on the disk")

	b.fault = func(op, _ string) fault { return map[string]fault{"list": failed}[op] }
	_, _, err = load(task.Age{Term: 1, Epoch: 1}, empty)
	require.ErrorIs(t, err, errFault, "nobody knows what is newer")
}

// strip drops what says when something was written.
func strip(all map[int32]map[string]string) map[int32]map[string]string {
	for _, part := range all {
		delete(part, string(task.LocalKey("sub")))
	}
	return all
}

// patient is a context that ends when it has been asked so often.
type patient struct {
	context.Context
	left int
}

func (p *patient) Err() error {
	if p.left--; p.left < 0 {
		return context.Canceled
	}
	return nil
}

// A store that was brought back in part says so, until all of it is there.
func TestHalfOfAStore(t *testing.T) {
	age := task.Age{Term: 1, Epoch: 7}
	b, st := newBucket(), open(t, "totals")
	grow(t, st, 0, 10, age)
	big := st.NewBatch()
	for i := range 9 {
		big.Set(9, key(i), bytes.Repeat([]byte{byte(i)}, 1<<20))
	}
	require.NoError(t, big.Commit(true))
	copyAll(t, b, st, "one", age)

	here, halves := open(t, "totals"), 0
	grow(t, here, 0, 1000, task.Age{Term: 1, Epoch: 3})
	for calls := 0; ; calls++ {
		_, err := loader(b, here, io.Discard).LoadAll(&patient{t.Context(), calls}, task.Age{Term: 1, Epoch: 3})
		if err == nil {
			break
		}
		val, found, gerr := here.View(0).Get(task.AgeKey(), nil)
		require.NoError(t, gerr)
		require.True(t, found)
		have, gerr := task.DecodeAge(val)
		require.NoError(t, gerr)
		if !have.Part {
			require.Equal(t, task.Age{Term: 1, Epoch: 3}, have)
			require.Len(t, dump(t, here, 77), 1002, "it is what it was")
			continue
		}
		halves++
		_, err = loader(newBucket(), here, io.Discard).LoadAll(t.Context(), have)
		require.NoError(t, err) // it is the caller who knows that this is not enough
	}
	require.Positive(t, halves)
	require.Equal(t, strip(whole(t, st)), strip(whole(t, here)))
}

// Of all who begin a term at once each has another, and only the last goes on. What an earlier one copies then does not count.
func TestTerms(t *testing.T) {
	b, st := newBucket(), open(t, "totals")
	grow(t, st, 0, 10, task.Age{Term: 1, Epoch: 7})
	terms := make([]*Term, 8)
	errs := make([]error, len(terms))
	var begun sync.WaitGroup
	for i := range terms {
		terms[i] = term(b, st, string(rune('a'+i)))
		begun.Go(func() { errs[i] = terms[i].Begin(t.Context(), 3, time.Now()) })
	}
	begun.Wait()
	seen := map[uint64]bool{}
	for i, x := range terms {
		seen[x.Number()] = true
		if x.Number() == 3+uint64(len(terms)) {
			require.NoError(t, errs[i])
			require.NoError(t, x.Check(t.Context()))
			continue
		}
		err := x.Check(t.Context())
		require.ErrorIs(t, err, ErrSuperseded)
		require.ErrorContains(t, err, "term 11")
		w := writer(b, st, x.Instance)
		w.Term = x
		_, err = w.TakeAll(t.Context(), task.Age{Term: x.Number(), Epoch: 8}, time.Now())
		require.ErrorIs(t, err, ErrSuperseded)
	}
	require.Len(t, seen, len(terms))
	require.Empty(t, b.names("manifest-"))

	for range 40 {
		require.NoError(t, term(b, st, "z").Begin(t.Context(), 0, time.Now()))
	}
	left := b.names("/term-")
	require.Len(t, left, oldTerms+1)
	require.True(t, strings.HasSuffix(left[len(left)-1], "-00000000000000000051"))
}
