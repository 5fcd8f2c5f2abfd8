package snapshot

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/internal/store"
)

// seed opens a new store that begins with a snapshot, and returns that one's name.
func seed(t testing.TB, b *bucket, instance string, now time.Time) (st *store.Store, name string) {
	t.Helper()
	st, err := store.OpenMem(store.Options{AppID: "app", Stores: []store.StoreInfo{{Name: "totals", Kind: "table"}}, Logger: slog.New(slog.DiscardHandler),
		Seed: func(st *store.Store) (imp *store.Import, err error) {
			imp, name, err = loader(b, st, io.Discard).Seed(t.Context(), instance, 12*time.Hour, now)
			return imp, err
		}})
	require.NoError(t, err)
	return st, name
}

// A new disk begins with what this instance had; else with a snapshot that has all tasks; else with nothing.
func TestSeed(t *testing.T) {
	now := time.Now()
	type made struct {
		instance   string
		partitions []int32
		age        time.Duration
		layout     string
	}
	one, two := made{instance: "one", partitions: []int32{0, 1}}, made{instance: "two", partitions: []int32{0, 1, 2}}
	for name, c := range map[string]struct {
		made []made
		want string
	}{
		"nothing":               {},
		"its own":               {[]made{one, two}, "prod/app/one/manifest-00000000000000000000"},
		"its own, the newest":   {[]made{one, one, two}, "prod/app/one/manifest-00000000000000000001"},
		"another's, with all":   {[]made{two}, "prod/app/two/manifest-00000000000000000000"},
		"another's, with parts": {[]made{{instance: "two", partitions: []int32{0}}, {instance: "three", partitions: []int32{1}}}, ""},
		"too old":               {[]made{{instance: "one", partitions: []int32{0}, age: 13 * time.Hour}}, ""},
		"another topology's":    {[]made{{instance: "one", partitions: []int32{0}, layout: "other"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBucket()
			writers := map[string]*Writer{}
			for i, m := range c.made {
				w := writers[m.instance]
				if w == nil {
					totals := m.layout
					if totals == "" {
						totals = "totals"
					}
					w = writer(b, open(t, totals), m.instance)
					writers[m.instance] = w
				}
				at := now.Add(-m.age)
				for _, p := range m.partitions {
					fill(t, w.Store, p, 0, 100*(i+1), int64(100*(i+1)), at)
				}
				_, err := w.Take(t.Context(), tasks(int64(100*(i+1)), at, m.partitions...), at)
				require.NoError(t, err)
			}
			st, got := seed(t, b, "one", now)
			defer st.Close()
			require.Equal(t, c.want, got)
			if c.want == "" {
				require.Empty(t, dump(t, st, 0))
				return
			}
			_, instance, _, _ := manifestNumber(got)
			require.Equal(t, dump(t, writers[instance].Store, 0), dump(t, st, 0))
			require.Equal(t, dump(t, writers[instance].Store, 2), dump(t, st, 2))
		})
	}
}

// A store of objects that is out of reach does not keep an application from starting.
func TestSeedOutOfReach(t *testing.T) {
	now := time.Now()
	b, st := newBucket(), open(t, "totals")
	fill(t, st, 0, 0, 10, 10, now)
	_, err := writer(b, st, "one").Take(t.Context(), tasks(10, now, 0), now)
	require.NoError(t, err)
	for _, op := range []string{"list", "open"} {
		b.fault = func(o, _ string) fault {
			if o == op {
				return failed
			}
			return none
		}
		seeded, name := seed(t, b, "one", now)
		require.Empty(t, name)
		require.NoError(t, seeded.Close())
	}
}
