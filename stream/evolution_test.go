package stream_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/state"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// second is what the counts of the first version, an int64, become in the second.
type second struct{ Records int64 }

// third are the counts of the third version: one for each record.
type third []int64

var (
	firstCodec  = codec.Int64
	secondCodec = codec.Version(2, codec.JSON[second](), codec.From(firstCodec, func(n int64) (second, error) {
		if n == 99 {
			return second{}, errors.New("99 cannot be")
		}
		return second{n}, nil
	}))
	thirdCodec = codec.Version(3, codec.JSON[third](), codec.From(secondCodec, func(s second) (third, error) { return make(third, s.Records), nil }))
)

func addFirst(n *int64)     { *n++ }
func addSecond(s *second)   { s.Records++ }
func addThird(t *third)     { *t = append(*t, 1) }
func ofFirst(n int64) int   { return int(n) }
func ofSecond(s second) int { return int(s.Records) }
func ofThird(t third) int   { return len(t) }

// counting counts the records of each key in every kind of store whose values may evolve.
func counting[A any](c codec.Codec[A], add func(*A), n func(A) int) *stream.Topology {
	topo := stream.New("test")
	k := direct(topo, "in", 0)
	update := func(a *A, _ string) { add(a) }
	shown := func(store string) func(string, window.Span, A) string {
		return func(k string, _ window.Span, a A) string { return fmt.Sprint(store, " ", k, " ", n(a)) }
	}
	k.Fold("fold", update, c).Changes(func(k string, a A) string { return fmt.Sprint("fold ", k, " ", n(a)) }).To(to("out"))
	k.Window(window.Tumbling{Size: duration(1000)}).Fold("window", update, c).OnUpdate(shown("window")).To(to("out"))
	k.Window(window.Session{Gap: duration(1000)}).FoldMerge("session", update, func(a *A, _ A) {}, c).OnUpdate(shown("session")).To(to("out"))
	type handles struct {
		v state.Value[A]
		m state.Map[string, A]
	}
	k.ProcessWith("handles", func(h *stream.Handles[string]) handles {
		return handles{h.Value("v", state.Spec[A]{Codec: c, TTL: duration(10_000)}), h.Map("m", state.MapSpec[string, A]{Codec: c})}
	}, func(p *stream.Process[string, handles, string], _ string) {
		a, _ := p.State().v.Get()
		add(&a)
		p.State().v.Put(a)
		b, _ := p.State().m.Get("s")
		for _, b = range p.State().m.All() {
		}
		add(&b)
		p.State().m.Put("s", b)
		p.Emit(fmt.Sprint("handles ", p.Key(), " ", n(a)))
		p.Emit(fmt.Sprint("map ", p.Key(), " ", n(b)))
	}, nil).To(to("out"))
	k.Process("process", func(p *stream.Process[string, A, string], _ string) {
		add(p.State())
		p.Emit(fmt.Sprint("process ", p.Key(), " ", n(*p.State())))
	}, nil, c).To(to("out"))
	return topo
}

// countedEverywhere pipes a record of a key, and checks that each store has counted n.
func countedEverywhere(t *testing.T, d *streamtest.Driver, key string, n int) {
	t.Helper()
	put(d, "in", key+":@1")
	var want []string
	for _, store := range []string{"fold", "window", "session", "handles", "map", "process"} {
		want = append(want, fmt.Sprint(store, " ", key, " ", n))
	}
	assert.ElementsMatch(t, want, values(drained(d, "out")))
}

// Each value is read by what the codec that wrote it calls for, after any restart, and only those that change are written
// anew.
func TestStateEvolves(t *testing.T) {
	for name, again := range map[string]func(d *streamtest.Driver){"plain": func(*streamtest.Driver) {}, "restart": (*streamtest.Driver).Restart, "kill": (*streamtest.Driver).Kill,
		"wipe": (*streamtest.Driver).WipeState, "crash": func(d *streamtest.Driver) { d.Crash(streamtest.AfterCommit) }} {
		for _, cache := range []int64{0, 1 << 20} {
			t.Run(fmt.Sprint(name, " ", cache), func(t *testing.T) {
				d := streamtest.New(t, counting(firstCodec, addFirst, ofFirst), streamtest.CacheSize(cache))
				for _, key := range []string{"a", "b", "c", "e"} {
					again(d)
					countedEverywhere(t, d, key, 1)
				}
				d.Records("test-in-changelog")
				d.Upgrade(counting(secondCodec, addSecond, ofSecond))
				again(d)
				d.Commit()
				assert.Empty(t, d.Records("test-in-changelog"), "nothing is written because of the new codec")
				again(d)
				countedEverywhere(t, d, "a", 2)
				again(d)
				countedEverywhere(t, d, "b", 2)
				countedEverywhere(t, d, "a", 3)
				d.Upgrade(counting(thirdCodec, addThird, ofThird))
				for key, n := range map[string]int{"a": 4, "b": 3, "c": 2, "d": 1} {
					again(d)
					countedEverywhere(t, d, key, n)
				}
				again(d)
				countedEverywhere(t, d, "a", 5)
				countedEverywhere(t, d, "e", 2)
			})
		}
	}
}

// State that the codec does not read is refused at the start, by the local copy and by the changelog alone; the program
// that wrote it goes on as if nothing had been.
func TestStateIsRefused(t *testing.T) {
	for name, stranger := range map[string]*stream.Topology{
		"another codec":                 counting(codec.JSON[int64](), addFirst, ofFirst),
		"a version without a migration": counting(codec.Version(2, codec.Int64), addFirst, ofFirst),
	} {
		t.Run(name, func(t *testing.T) {
			d := streamtest.New(t, counting(firstCodec, addFirst, ofFirst), streamtest.MayStop())
			countedEverywhere(t, d, "a", 1)
			d.Upgrade(stranger)
			require.ErrorIs(t, d.Err(), stream.ErrCodec)
			d.WipeState()
			require.ErrorIs(t, d.Err(), stream.ErrCodec, "the changelog has it too")
			assert.Regexp(t, `store [a-z/]+: open: state was written with a codec that the program does not read: values were written with "int64", and the program has "[a-z0-9 ]+": give that a migration`, d.Err().Error())
			d.Upgrade(counting(firstCodec, addFirst, ofFirst))
			require.NoError(t, d.Err())
			countedEverywhere(t, d, "a", 2)
		})
	}
}

// The version before does not know what the next one has written.
func TestStateIsNotReadBackwards(t *testing.T) {
	d := streamtest.New(t, counting(firstCodec, addFirst, ofFirst), streamtest.MayStop())
	countedEverywhere(t, d, "a", 1)
	d.Upgrade(counting(secondCodec, addSecond, ofSecond))
	d.Upgrade(counting(firstCodec, addFirst, ofFirst))
	require.NoError(t, d.Err(), "nothing was written")
	countedEverywhere(t, d, "a", 2)
	d.Upgrade(counting(secondCodec, addSecond, ofSecond))
	countedEverywhere(t, d, "a", 3)
	d.Upgrade(counting(firstCodec, addFirst, ofFirst))
	require.ErrorIs(t, d.Err(), stream.ErrCodec)
	assert.ErrorContains(t, d.Err(), `values were written with "json v2", and the program has "int64"`)
}

// A migration that fails stops the application, with the store's name and its cause.
func TestMigrationFails(t *testing.T) {
	ninetyNine := func(n *int64) { *n = 99 }
	d := streamtest.New(t, counting(firstCodec, ninetyNine, ofFirst), streamtest.MayStop())
	put(d, "in", "a:@1")
	d.Upgrade(counting(secondCodec, addSecond, ofSecond))
	require.NoError(t, d.Err(), "it is read when it is needed")
	put(d, "in", "a:@1")
	require.ErrorContains(t, d.Err(), "migrate from int64: 99 cannot be")
	assert.ErrorContains(t, d.Err(), "decode state")
}

// Sub-keys cannot be migrated.
func TestSubKeysCannotChange(t *testing.T) {
	build := func(keys codec.Codec[string]) *stream.Topology {
		topo := stream.New("test")
		direct(topo, "in", 0).ProcessWith("p", func(h *stream.Handles[string]) state.Map[string, int64] {
			return h.Map("m", state.MapSpec[string, int64]{Keys: keys})
		}, func(p *stream.Process[string, state.Map[string, int64], string], v string) { (*p.State()).Put(v, 1) }, nil).To(to("out"))
		return topo
	}
	d := streamtest.New(t, build(nil), streamtest.MayStop())
	put(d, "in", "a:@1")
	d.Upgrade(build(codec.JSON[string]()))
	require.ErrorIs(t, d.Err(), stream.ErrOtherTopology)
	d.WipeState()
	require.ErrorIs(t, d.Err(), stream.ErrCodec)
	assert.ErrorContains(t, d.Err(), `store p/m: open: `)
	assert.ErrorContains(t, d.Err(), `keys were written with "string, string", and the program has "string, json": keys cannot be migrated`)
}
