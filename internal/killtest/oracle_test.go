package main

import (
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/stream"
)

// run is what an application has read and written, one partition each.
type run struct {
	in, keyed, dead, late, seen, counts, rung, updates, results, totals []*kgo.Record
}

func rec(t *testing.T, v any) *kgo.Record {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return &kgo.Record{Value: b}
}

// right is a right run: key k with three records in one window, one of which came late for the next, a record that
// cannot be decoded, an alarm, and timers.
func right(t *testing.T) *run {
	const w = base - base%10_000
	r := &run{}
	for i, v := range []any{
		event{1, "k", 5, w + 1, 0}, event{2, "k", 7, w + 2, 0}, event{4, "k", 1, w + 30_000, 0}, event{5, "k", 9, w + 3, 0},
	} {
		e := rec(t, v)
		e.Offset = int64(i)
		r.in = append(r.in, e)
	}
	r.in = append(r.in, &kgo.Record{Offset: 4, Value: []byte("broken 3")})
	r.keyed = []*kgo.Record{rec(t, event{1, "k", 5, w, 0}), rec(t, event{2, "k", 5, w, 0}), rec(t, event{6, "alarm", 0, 0, 77})}
	r.dead = []*kgo.Record{{Value: []byte("broken 3"), Headers: []kgo.RecordHeader{{Key: "millstream-partition", Value: []byte("0")}, {Key: "millstream-offset", Value: []byte("4")}}}}
	r.late = []*kgo.Record{rec(t, late{5, "k", w + 3, w + 10_000, w + 28_000})}
	r.seen = []*kgo.Record{
		rec(t, seen{"k", 1, 1, 5, w + 5000, 0}), rec(t, seen{"k", 2, 2, 12, w + 5000, 0}), rec(t, seen{"k", 4, 3, 13, w + 35_000, 0}),
		rec(t, seen{"k", 0, 3, 13, 0, w + 5000}), rec(t, seen{"k", 5, 4, 22, 0, 0}), rec(t, seen{"k", 0, 4, 22, 0, w + 35_000}),
	}
	r.counts = []*kgo.Record{rec(t, count{"k", 1}), rec(t, count{"k", 2}), rec(t, count{"alarm", 1})}
	r.rung = []*kgo.Record{rec(t, rung{"alarm", 77})}
	r.updates = []*kgo.Record{rec(t, update{"k", w, 1, 1, 5, 1}), rec(t, update{"k", w, 2, 2, 12, 2}), rec(t, update{"k", w + 30_000, 1, 1, 1, 4})}
	r.results = []*kgo.Record{rec(t, result{"k", w, 2, 2, 12}), rec(t, result{"k", w + 30_000, 1, 1, 1})}
	r.totals = []*kgo.Record{rec(t, result{"k", w, 3, 3, 21}), rec(t, result{"k", w + 30_000, 1, 1, 1})}
	return r
}

func (r *run) check(guarantee string) *verdict {
	o := newOracle(profiles["mixed"], guarantee)
	one := func(recs []*kgo.Record) [][]*kgo.Record { return [][]*kgo.Record{recs} }
	o.readIn(one(r.in))
	o.readKeyed(one(r.keyed))
	o.dead(one(r.dead))
	o.late(one(r.late))
	o.process(one(r.seen))
	o.table(one(r.counts))
	o.rung(one(r.rung))
	o.windows(one(r.updates), one(r.results))
	o.totals(one(r.totals))
	return o.v
}

func TestOracleAcceptsARightRun(t *testing.T) {
	for g := range guarantees {
		v := right(t).check(g)
		assert.Zero(t, v.Lost+v.Duplicated+v.Wrong, "%s: %v", g, v.examples)
	}
}

func TestOracleFindsFaults(t *testing.T) {
	const w = base - base%10_000
	outputs := map[string]func(*run) *[]*kgo.Record{
		"dead": func(r *run) *[]*kgo.Record { return &r.dead }, "late": func(r *run) *[]*kgo.Record { return &r.late },
		"seen": func(r *run) *[]*kgo.Record { return &r.seen }, "counts": func(r *run) *[]*kgo.Record { return &r.counts },
		"rung": func(r *run) *[]*kgo.Record { return &r.rung }, "updates": func(r *run) *[]*kgo.Record { return &r.updates },
		"results": func(r *run) *[]*kgo.Record { return &r.results }, "totals": func(r *run) *[]*kgo.Record { return &r.totals },
	}
	for name, of := range outputs {
		for i := range *of(right(t)) {
			r := right(t)
			out := of(r)
			*out = append((*out)[:i:i], (*out)[i+1:]...)
			v := r.check("exactly-once")
			assert.NotZero(t, v.Lost+v.Wrong, "record %d of %s is missing", i, name)

			r = right(t)
			out = of(r)
			*out = append(*out, (*out)[i])
			v = r.check("exactly-once")
			assert.NotZero(t, v.Duplicated, "record %d of %s is there twice", i, name)
		}
	}
	for name, change := range map[string]func(*run){
		"sum of a window":          func(r *run) { r.results[0] = rec(t, result{"k", w, 2, 2, 13}) },
		"revision of a window":     func(r *run) { r.results[0] = rec(t, result{"k", w, 1, 2, 12}) },
		"sum of a total":           func(r *run) { r.totals[0] = rec(t, result{"k", w, 3, 3, 22}) },
		"revision of a total":      func(r *run) { r.totals[0] = rec(t, result{"k", w, 1, 3, 21}) },
		"record of another window": func(r *run) { r.updates[2] = rec(t, update{"k", w, 3, 3, 13, 4}) },
		"order of a key in a window": func(r *run) {
			r.updates = []*kgo.Record{rec(t, update{"k", w, 1, 1, 7, 2}), rec(t, update{"k", w, 2, 2, 12, 1}), r.updates[2]}
		},
		"state of a key":               func(r *run) { r.seen[1] = rec(t, seen{"k", 2, 2, 13, w + 5000, 0}) },
		"timer before its record":      func(r *run) { r.seen[0], r.seen[3] = r.seen[3], r.seen[0] },
		"timer of another record":      func(r *run) { r.seen[1] = rec(t, seen{"k", 2, 2, 12, w + 10_000, 0}) },
		"late and not behind":          func(r *run) { r.late[0] = rec(t, late{5, "k", w + 3, w + 10_000, w + 9000}) },
		"watermark out of thin air":    func(r *run) { r.late[0] = rec(t, late{5, "k", w + 3, w + 10_000, w + 40_000}) },
		"dead letter of a good record": func(r *run) { r.dead[0].Headers[1].Value = []byte("1") },
		"alarm of another time":        func(r *run) { r.rung[0] = rec(t, rung{"alarm", 78}) },
		"gap in the counts":            func(r *run) { r.counts[1] = rec(t, count{"k", 3}) },
	} {
		r := right(t)
		change(r)
		v := r.check("exactly-once")
		assert.NotZero(t, v.Lost+v.Duplicated+v.Wrong, name)
	}
}

// The totals test what is added up before a repartition only as long as the engine does so with them.
func TestTotalsAreAddedUpBeforeTheyAreSent(t *testing.T) {
	for name, p := range profiles {
		assert.Contains(t, topology(p, func(topic string) string { return topic }).Describe(stream.Text), "sent as aggregates", name)
	}
}

func TestStateIsCompared(t *testing.T) {
	key := func(store string, k string) string {
		id := storeID(store)
		return string([]byte{kindValue, byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id), 0, 0}) + k
	}
	good := map[string][]byte{key("counts", "k"): {2, 0, 0, 0, 0, 0, 0, 0, 0, 2}, key("seen", "k"): append([]byte{2, 0}, `{"N":2,"Sum":12}`...)}
	check := func(state map[string][]byte) int {
		o := newOracle(profiles["mixed"], "exactly-once")
		o.keyed["k"], o.tally["k"] = 2, &tally{2, 12}
		o.compare(state)
		return o.v.Wrong
	}
	assert.Zero(t, check(good))
	assert.NotZero(t, check(nil))
	good[key("counts", "k")][9] = 3
	assert.NotZero(t, check(good))
	good[key("counts", "k")][9] = 2
	codecs := string([]byte{kindCodecs}) + key("seen", "")[1:]
	good[codecs] = []byte("\x01\x06string\x09json/v2:x")
	assert.Zero(t, check(good))
	good[codecs] = []byte("\x01\x05int64\x09json/v2:x")
	assert.NotZero(t, check(good))
	delete(good, codecs)
	pane := string([]byte{kindPane}) + key("totals", "")[1:] + string(binary.BigEndian.AppendUint64(nil, uint64(final-1)^1<<63)) + "k"
	good[pane] = []byte{1, 0}
	assert.NotZero(t, check(good), "of a window that has closed")
	delete(good, pane)
	good[key("alarms", "a")] = []byte{1, 0}
	assert.NotZero(t, check(good))
}

func TestPlanHasEveryPlace(t *testing.T) {
	for g := range guarantees {
		for _, kills := range []int{40, 200} {
			plan, inRestores := makePlan(rand.New(rand.NewPCG(1, 3)), g, kills)
			n := map[string]int{inRestore: inRestores}
			total := inRestores
			for _, a := range plan {
				if a.kind == kill || a.kind == away {
					n[a.place]++
					total++
				}
			}
			assert.Equal(t, kills, total)
			for _, p := range places(g) {
				assert.GreaterOrEqual(t, n[p], least(kills), "%s at %s", g, p)
			}
		}
	}
}
