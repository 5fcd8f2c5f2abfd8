package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/snapshot"
	"github.com/millstream-go/millstream/source"
)

var (
	damagesFlag = flag.Int("damages", 1000, "how many objects of snapshots are damaged")
	seedsFlag   = flag.Int("seeds", 500, "how many times snapshots are made in a store that fails")
)

// bucket is a Store in memory that can be made to fail, and whose objects can be damaged.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
	fault   func(op, name string) fault // nil: none
	creates int
}

// fault is what goes wrong with an operation.
type fault uint8

const (
	none fault = iota
	failed
	truncated // a part of the object is there, and the caller is told of a failure
	silently  // a part of the object is there, and the caller is told of success
	lost      // the caller is told of a failure of what has happened
	lagging   // a list lacks what is there
)

func newBucket() *bucket { return &bucket{objects: map[string][]byte{}} }

var errFault = errors.New("the network is down")

func (b *bucket) at(op, name string) fault {
	if b.fault == nil {
		return none
	}
	return b.fault(op, name)
}

func (b *bucket) Create(_ context.Context, name string, body io.ReadSeeker, size int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	all, err := io.ReadAll(body)
	if err != nil || int64(len(all)) != size {
		return fmt.Errorf("%d bytes of %d: %w", len(all), size, err)
	}
	f := b.at("create", name)
	if f == failed {
		return errFault
	}
	if _, ok := b.objects[name]; ok {
		return snapshot.ErrExists
	}
	b.creates++
	if f == truncated || f == silently {
		all = all[:len(all)/2]
	}
	b.objects[name] = all
	if f == truncated || f == lost {
		return errFault
	}
	return nil
}

func (b *bucket) Open(_ context.Context, name string) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at("open", name) == failed {
		return nil, errFault
	}
	o, ok := b.objects[name]
	if !ok {
		return nil, snapshot.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(o)), nil
}

func (b *bucket) List(_ context.Context, prefix string) (list []snapshot.Object, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.at("list", prefix)
	if f == failed {
		return nil, errFault
	}
	for _, name := range slices.Sorted(maps.Keys(b.objects)) {
		if strings.HasPrefix(name, prefix) && !(f == lagging && b.at("see", name) == lagging) {
			list = append(list, snapshot.Object{Name: name, Size: int64(len(b.objects[name]))})
		}
	}
	return list, nil
}

func (b *bucket) Delete(_ context.Context, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.at("delete", name)
	if f == failed {
		return errFault
	}
	delete(b.objects, name)
	if f == lost {
		return errFault
	}
	return nil
}

func (b *bucket) names(part string) (list []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name := range b.objects {
		if strings.Contains(name, part) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// held is an operator with a store, as far as a restore goes.
type held struct{ id uint32 }

func (h held) Restore(*task.Marker) error { return nil }
func (h held) Cut(*task.Delta) error      { return nil }
func (h held) Applied(uint64)             {}
func (h held) Changed() int               { return 0 }
func (h held) Held() int                  { return 0 }
func (h held) StoreID() uint32            { return h.id }

func newTask(partition int32) *task.Task {
	t := task.New(&task.Spec{Subtopology: "sub", Changelog: "log"}, partition, nil, nil, nil)
	t.AddStateful(held{task.ID("totals")})
	return t
}

func open(t testing.TB, stores ...string) *store.Store {
	t.Helper()
	var infos []store.StoreInfo
	for _, s := range stores {
		infos = append(infos, store.StoreInfo{Name: s, Kind: "table"})
	}
	st, err := store.OpenMem(store.Options{AppID: "app", Stores: infos, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func key(i int) []byte {
	return binary.BigEndian.AppendUint32(task.AppendPrefix(nil, task.KindValue, task.ID("totals"), uint16(i%8)), uint32(i))
}

// fill puts entries into a partition, up to a changelog position.
func fill(t testing.TB, st *store.Store, partition int32, from, to int, next int64, written time.Time) {
	t.Helper()
	b := st.NewBatch()
	for i := from; i < to; i++ {
		b.Set(partition, key(i), fmt.Appendf(nil, "value %d of %d at %d", i, partition, next))
	}
	b.Set(partition, task.MarkerKey("sub"), fmt.Appendf(nil, "marker %d", next))
	b.Set(partition, task.LocalKey("sub"), task.AppendLocal(nil, task.Local{Next: source.At(next), Wall: written.UnixMilli(), Owner: "o"}))
	require.NoError(t, b.Commit(true))
}

func tasks(next int64, written time.Time, partitions ...int32) (list []Task) {
	for _, p := range partitions {
		list = append(list, Task{Subtopology: "sub", Partition: p, Changelog: "log", Next: next, Written: written, Epoch: 7, Owner: "o"})
	}
	return list
}

func dump(t testing.TB, st *store.Store, partition int32) map[string]string {
	t.Helper()
	m := map[string]string{}
	require.NoError(t, st.View(partition).Scan(nil, nil, func(k, v []byte) error {
		m[string(k)] = string(v)
		return nil
	}))
	return m
}

func writer(b *bucket, st *store.Store, instance string) *Writer {
	return &Writer{Config: snapshot.Config{Store: b, Prefix: "prod/", Keep: 2}, App: "app", Instance: instance, Store: st, Log: slog.New(slog.DiscardHandler)}
}

func loader(b *bucket, st *store.Store, log io.Writer) *Loader {
	return &Loader{Config: snapshot.Config{Store: b, Prefix: "prod/"}, App: "app", Store: st, Log: slog.New(slog.NewTextHandler(log, nil))}
}

func wanted(st *store.Store, partition int32) Wanted {
	t := newTask(partition)
	return Wanted{Task: t, Local: -1, End: -1, Fresh: 12 * time.Hour, Wipe: func() error {
		b := st.NewBatch()
		for _, r := range t.Ranges() {
			b.DeleteRange(partition, r.Lo, r.Hi)
		}
		b.Delete(partition, task.LocalKey("sub"))
		return b.Commit(false)
	}}
}

// A task that another instance has copied comes back as it was there, and only that task.
func TestATaskComesBackFromAnotherInstance(t *testing.T) {
	now := time.Now()
	b, a := newBucket(), open(t, "totals")
	fill(t, a, 0, 0, 1000, 1000, now)
	fill(t, a, 1, 0, 10, 10, now)
	m, err := writer(b, a, "one").Take(t.Context(), tasks(1000, now, 0, 1), now)
	require.NoError(t, err)
	require.EqualValues(t, 0, m.Number)

	here := open(t, "totals")
	fill(t, here, 0, 5000, 5010, 3, now) // what must go
	fill(t, here, 2, 0, 5, 3, now)       // another task's
	before := dump(t, here, 2)
	l := loader(b, here, io.Discard)
	got, err := l.Load(t.Context(), wanted(here, 0), now)
	require.NoError(t, err)
	require.Equal(t, Loaded{Snapshot: "prod/app/one/manifest-00000000000000000000", Next: 1000, Bytes: got.Bytes, Entries: 1000}, got)
	require.Positive(t, got.Bytes)
	require.Equal(t, dump(t, a, 0), dump(t, here, 0))
	require.Equal(t, before, dump(t, here, 2))
	require.Empty(t, dump(t, here, 1))

	got, err = l.Load(t.Context(), wanted(here, 7), now)
	require.NoError(t, err)
	require.Empty(t, got.Snapshot, "nobody has that task")
}

// A manifest says which keys are in each table, as far as they are not the user's; a database that has others is not used.
func TestKeyRanges(t *testing.T) {
	now := time.Now()
	b, a := newBucket(), open(t, "totals")
	fill(t, a, 3, 0, 1000, 1000, now)
	m, err := writer(b, a, "one").Take(t.Context(), tasks(1000, now, 3), now)
	require.NoError(t, err)
	first, last := fmt.Sprintf("0003%x", key(0)[:7]), ""
	tables := 0
	for i := range m.Files {
		if f := &m.Files[i]; isTable(f.Name) {
			tables++
			require.LessOrEqual(t, len(f.First), 18)
			require.LessOrEqual(t, f.First, f.Last)
			first, last = min(first, f.First), max(last, f.Last)
			f.First = "00"
		} else {
			require.Empty(t, f.KeyRange)
		}
	}
	require.Positive(t, tables)
	require.Equal(t, fmt.Sprintf("0003%x", key(0)[:7]), first)
	require.Positive(t, strings.Compare(last, fmt.Sprintf("0003%x", key(7)[:7])), "the task's marker comes behind its entries")

	body, err := json.Marshal(m)
	require.NoError(t, err)
	name := b.names("manifest-")[0]
	var log bytes.Buffer
	got, err := loader(b, a, &log).Load(t.Context(), wanted(a, 3), now)
	require.NoError(t, err)
	require.Equal(t, name, got.Snapshot)
	b.objects[name] = a.Seal(body)
	got, err = loader(b, a, &log).Load(t.Context(), wanted(a, 3), now)
	require.NoError(t, err)
	require.Empty(t, got.Snapshot)
	require.Contains(t, log.String(), "has keys from 0003")
}

// What a snapshot holds is used only where it helps.
func TestWhichSnapshotIsTaken(t *testing.T) {
	now := time.Now()
	b, a, c := newBucket(), open(t, "totals"), open(t, "totals")
	take := func(st *store.Store, instance string, next int64, written time.Time) {
		fill(t, st, 0, 0, 10, next, written)
		_, err := writer(b, st, instance).Take(t.Context(), tasks(next, written, 0), now)
		require.NoError(t, err)
	}
	take(a, "one", 2_000_000, now)
	take(c, "two", 3_000_000, now.Add(-13*time.Hour))
	take(c, "two", 2_500_000, now)
	for name, x := range map[string]struct {
		change func(*Wanted)
		want   int64
	}{
		"the one that is furthest":               {func(*Wanted) {}, 2_500_000},
		"a local copy that is much older":        {func(w *Wanted) { w.Local = 100 }, 2_500_000},
		"a local copy that is a little older":    {func(w *Wanted) { w.Local = 2_400_000 }, 0},
		"a local copy that is newer":             {func(w *Wanted) { w.Local = 2_600_000 }, 0},
		"a changelog that ends before the first": {func(w *Wanted) { w.End = 2_400_000 }, 2_000_000},
		"all too old":                            {func(w *Wanted) { w.Fresh = 0 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			here := open(t, "totals")
			w := wanted(here, 0)
			x.change(&w)
			got, err := loader(b, here, io.Discard).Load(t.Context(), w, now)
			require.NoError(t, err)
			require.Equal(t, x.want, got.Next)
		})
	}
	other, err := store.OpenMem(store.Options{AppID: "app", KeyGroups: 3})
	require.NoError(t, err)
	defer other.Close()
	var log bytes.Buffer
	got, err := loader(b, other, &log).Load(t.Context(), wanted(other, 0), now)
	require.NoError(t, err)
	require.Empty(t, got.Snapshot)
	require.Contains(t, log.String(), "key groups")
}

// Only what is new is copied; what no snapshot needs any more is deleted, and nothing else.
func TestFilesAreCopiedOnceAndDeletedWhenTheyAreOld(t *testing.T) {
	now := time.Now()
	b, st := newBucket(), open(t, "totals")
	w := writer(b, st, "one")
	var sent []int
	for i := range 5 {
		fill(t, st, 0, 2000*i, 2000*(i+1), int64(2000*(i+1)), now)
		before := b.creates
		_, err := w.Take(t.Context(), tasks(int64(2000*(i+1)), now, 0), now)
		require.NoError(t, err)
		sent = append(sent, b.creates-before)
		manifests := b.names("manifest-")
		require.Len(t, manifests, min(2, i+1))
		needed := map[string]bool{}
		for _, name := range manifests {
			m, err := read(t.Context(), b, st, name)
			require.NoError(t, err)
			for _, f := range m.Files {
				if f.Size > 0 {
					needed[fileName("prod/app/one/", f.SHA256)] = true
				}
			}
		}
		require.Equal(t, slices.Sorted(maps.Keys(needed)), b.names("/files/"), "snapshot %d", i)
	}
	m, err := w.Take(t.Context(), tasks(10000, now, 0), now)
	require.NoError(t, err)
	require.Less(t, b.creates, slices.Max(sent)*6)
	tables := 0
	for _, f := range m.Files {
		if isTable(f.Name) {
			tables++
		}
	}
	before := b.creates
	_, err = w.Take(t.Context(), tasks(10000, now, 0), now)
	require.NoError(t, err)
	require.Less(t, b.creates-before, len(m.Files), "%d of the files are tables that are there", tables)

	// The folder of an instance that was gone for long is deleted by the others; that of one that may come back is not.
	gone := open(t, "totals")
	fill(t, gone, 3, 0, 10, 10, now)
	_, err = writer(b, gone, "gone").Take(t.Context(), tasks(10, now, 3), now.Add(-abandoned-time.Hour))
	require.NoError(t, err)
	_, err = writer(b, gone, "away").Take(t.Context(), tasks(10, now, 3), now.Add(-abandoned+time.Hour))
	require.NoError(t, err)
	require.NotEmpty(t, b.names("/gone/"))
	_, err = w.Take(t.Context(), tasks(10000, now, 0), now)
	require.NoError(t, err)
	require.Empty(t, b.names("/gone/"))
	require.NotEmpty(t, b.names("/away/"))
}

// Whatever is done to the objects: a damage is found before anything is used, and the snapshot before is taken, or none.
func TestDamages(t *testing.T) {
	damages := *damagesFlag
	if testing.Short() {
		damages = 100
	}
	now := time.Now()
	b, st := newBucket(), open(t, "totals")
	w := writer(b, st, "one")
	states := map[int64]map[string]string{}
	for i := range 2 {
		fill(t, st, 0, 500*i, 500*(i+2), int64(100*(i+1)), now)
		_, err := w.Take(t.Context(), tasks(int64(100*(i+1)), now, 0), now)
		require.NoError(t, err)
		states[int64(100*(i+1))] = dump(t, st, 0)
	}
	whole := b.objects
	names := slices.Sorted(maps.Keys(whole))
	uses := map[string][]int{} // which snapshots an object belongs to
	for i, name := range b.names("manifest-") {
		m, err := read(t.Context(), b, st, name)
		require.NoError(t, err)
		uses[name] = []int{i}
		for _, f := range m.Files {
			uses[fileName("prod/app/one/", f.SHA256)] = append(uses[fileName("prod/app/one/", f.SHA256)], i)
		}
	}
	here := open(t, "totals")
	fell, whollyBad := 0, 0
	for n := range damages {
		rnd := rand.New(rand.NewPCG(uint64(n), 1))
		b.objects = maps.Clone(whole)
		name := names[rnd.IntN(len(names))]
		if n%3 == 0 { // the newest snapshot's manifest and small files deserve more than their share
			name = b.names("manifest-")[1]
		}
		bad := slices.Clone(uses[name])
		o := slices.Clone(whole[name])
		what := rnd.IntN(6)
		switch what {
		case 0: // a flipped bit
			o[rnd.IntN(len(o))] ^= 1 << rnd.IntN(8)
			b.objects[name] = o
		case 1:
			b.objects[name] = o[:rnd.IntN(len(o))]
		case 2:
			delete(b.objects, name)
		case 3:
			b.objects[name] = append(o, byte(rnd.IntN(256)))
		case 4: // two objects have changed places
			other := names[rnd.IntN(len(names))]
			if bytes.Equal(o, whole[other]) {
				continue
			}
			b.objects[name], b.objects[other] = whole[other], o
			bad = append(bad, uses[other]...)
		case 5: // more than there should be
			b.objects[fmt.Sprintf("prod/app/one/files/%064x", n)] = o
			b.objects["prod/app/one/manifest-00000000000000000009"] = whole[b.names("manifest-")[0]]
			bad = nil
		}
		var want int64
		for i := range 2 {
			if !slices.Contains(bad, i) {
				want = int64(100 * (i + 1))
			}
		}
		var log bytes.Buffer
		wd := wanted(here, 0)
		require.NoError(t, wd.Wipe())
		got, err := loader(b, here, &log).Load(t.Context(), wd, now)
		require.NoError(t, err)
		require.Equal(t, want, got.Next, "seed %d, damage %d to %s\n%s", n, what, name, log.String())
		if want > 0 {
			require.Equal(t, states[want], dump(t, here, 0), "seed %d", n)
		}
		if n%4 == 0 {
			seeded, _ := seed(t, b, "two", now)
			if require.NotNil(t, seeded); want > 0 {
				require.Equal(t, states[want], dump(t, seeded, 0), "seed %d", n)
			} else {
				require.Empty(t, dump(t, seeded, 0), "seed %d", n)
			}
			require.NoError(t, seeded.Close())
		}
		// (A manifest that is missing leaves nothing to find fault with: the snapshot was never made, and the one before is used.)
		if want < 200 && !(what == 2 && strings.Contains(name, "manifest-")) {
			require.Contains(t, log.String(), "snapshot cannot be used", "seed %d: what is damaged is named", n)
		}
		if want < 200 {
			fell++
		}
		if want == 0 {
			whollyBad++
		}
	}
	require.Greater(t, fell, damages/4)
	require.Positive(t, whollyBad)
}

// Whatever goes wrong while snapshots are made: one that is published can be loaded, and is what the state was.
func TestAFailingStore(t *testing.T) {
	seeds := *seedsFlag
	if testing.Short() {
		seeds = 50
	}
	now := time.Now()
	published, refused := 0, 0
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(uint64(seed), 2))
		b, st := newBucket(), open(t, "totals")
		w := writer(b, st, "one")
		states := map[int64]map[string]string{}
		for i := range 4 {
			fill(t, st, 0, 20*i, 20*(i+2), int64(100*(i+1)), now)
			states[int64(100*(i+1))] = dump(t, st, 0)
			b.fault = func(op, _ string) fault {
				if rnd.IntN(10) > 0 {
					return none
				}
				switch op {
				case "create":
					return []fault{failed, truncated, silently, lost}[rnd.IntN(4)]
				case "list":
					return []fault{failed, lagging}[rnd.IntN(2)]
				case "see":
					return lagging
				case "delete":
					return []fault{failed, lost}[rnd.IntN(2)]
				}
				return failed
			}
			_, err := w.Take(t.Context(), tasks(int64(100*(i+1)), now, 0), now)
			b.fault = nil
			if err == nil {
				published++
			} else {
				refused++
			}
			// Every manifest that can be read is a whole snapshot.
			for _, name := range b.names("manifest-") {
				m, err := read(t.Context(), b, st, name)
				if err != nil {
					continue // it was cut short
				}
				for _, f := range m.Files {
					if f.Size == 0 {
						continue
					}
					o, ok := b.objects[fileName("prod/app/one/", f.SHA256)]
					require.True(t, ok && int64(len(o)) == f.Size, "seed %d: %s lacks %s", seed, name, f.Name)
				}
			}
		}
		here := open(t, "totals")
		got, err := loader(b, here, io.Discard).Load(t.Context(), wanted(here, 0), now)
		require.NoError(t, err)
		if got.Snapshot != "" {
			require.Equal(t, states[got.Next], dump(t, here, 0), "seed %d", seed)
		}
		require.NoError(t, st.Close())
		require.NoError(t, here.Close())
	}
	assert.Positive(t, published)
	assert.Positive(t, refused)
}

// Tasks that are restored at the same time share what is fetched, and nothing is left behind.
func TestTasksShareASnapshot(t *testing.T) {
	now := time.Now()
	b, a := newBucket(), open(t, "totals")
	var parts []int32
	for p := range int32(16) {
		parts = append(parts, p)
		fill(t, a, p, 0, 100, 100, now)
	}
	_, err := writer(b, a, "one").Take(t.Context(), tasks(100, now, parts...), now)
	require.NoError(t, err)
	here := open(t, "totals")
	l := loader(b, here, io.Discard)
	var wg sync.WaitGroup
	for _, p := range parts {
		wg.Go(func() {
			got, err := l.Load(t.Context(), wanted(here, p), now)
			assert.NoError(t, err)
			assert.Equal(t, 100, got.Entries)
		})
	}
	wg.Wait()
	for _, p := range parts {
		require.Equal(t, dump(t, a, p), dump(t, here, p))
	}
	require.Empty(t, l.copies)
}

// Of two processes with one name only one publishes.
func TestTwoProcessesOfOneName(t *testing.T) {
	now := time.Now()
	b, st := newBucket(), open(t, "totals")
	fill(t, st, 0, 0, 10, 10, now)
	var other error
	b.fault = func(op, name string) fault {
		if op == "create" && strings.Contains(name, "manifest-") {
			b.objects[name] = []byte("the other one's")
		}
		return none
	}
	_, other = writer(b, st, "one").Take(t.Context(), tasks(10, now, 0), now)
	require.ErrorIs(t, other, snapshot.ErrExists)
	require.ErrorContains(t, other, "another process writes snapshots as instance one")
}
