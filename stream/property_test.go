package stream_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// trial is a random run: what is read, and what happens meanwhile. A seed makes the same trial each time.
type trial struct {
	*rand.Rand
	records  []streamtest.Record // values are "key:id"
	size     int64               // of windows, in ms
	grace    int64
	bound    int64
	disorder int64 // by how much a record's time lies behind the largest of its partition, at most
	failures []streamtest.Step
	opts     []streamtest.Option
}

func newTrial(seed uint64) *trial {
	r := &trial{Rand: rand.New(rand.NewPCG(seed, 7))}
	partitions := 1 + r.IntN(3)
	r.size, r.grace, r.bound = 5+r.Int64N(20), r.Int64N(2)*r.Int64N(10), r.Int64N(15)
	r.disorder = r.bound
	if r.IntN(2) == 0 {
		r.disorder = 3 * (r.bound + r.grace + 5) // some are late
	}
	clocks := make([]int64, partitions)
	for i := range clocks {
		clocks[i] = -50 + r.Int64N(20)
	}
	for id := range 20 + r.IntN(40) {
		p := r.IntN(partitions)
		clocks[p] += r.Int64N(8)
		at := clocks[p] - r.Int64N(r.disorder+1)
		r.records = append(r.records, streamtest.Record{Partition: int32(p), Value: fmt.Appendf(nil, "%c:%d", 'a'+r.IntN(5), id), Time: ms(at)})
	}
	r.failures = streamtest.Steps()
	r.opts = []streamtest.Option{streamtest.Start(noon), streamtest.Topic("in", partitions), streamtest.Partitions(1 + r.IntN(3)),
		streamtest.Batch(1 + r.IntN(4)), streamtest.CommitEvery(r.IntN(5)), streamtest.CacheSize([]int64{0, 600, 1 << 20}[r.IntN(3)])}
	if r.IntN(3) == 0 {
		r.opts = append(r.opts, streamtest.Exchange(stream.InMemory))
	}
	if r.IntN(2) == 0 {
		r.opts = append(r.opts, streamtest.Overlap())
	}
	return r
}

// run pipes all records, with something happening now and then, and closes everything.
func (r *trial) run(d *streamtest.Driver) {
	for _, rec := range r.records {
		switch r.IntN(24) {
		case 0:
			d.Restart()
		case 1:
			d.Kill()
		case 2:
			d.WipeState()
		case 3, 4, 5:
			d.Crash(r.failures[r.IntN(len(r.failures))])
		case 6:
			d.Crash(r.failures[r.IntN(len(r.failures))])
			d.Crash(r.failures[r.IntN(len(r.failures))])
		}
		d.PipeTo("in", rec)
	}
	d.Advance(ms(100_000))
}

var seeds = flag.Int("trials", 60, "how many random trials each property test makes, with -short a quarter of them")

func trials(t *testing.T, f func(t *testing.T, r *trial)) {
	n := *seeds
	if testing.Short() {
		n = (n + 3) / 4
	}
	for seed := range n {
		t.Run(strconv.Itoa(seed), func(t *testing.T) { f(t, newTrial(uint64(seed))) })
	}
}

// Every record is in exactly one window, or in the late output; the windows are what a recomputation from the records
// less the late ones gives; late are only those whose window had closed by the watermark that they name; updates are
// numbered without a hole, up to the close. If the disorder is within the bound, nothing is late.
func TestWindowsAgreeWithRecomputation(t *testing.T) {
	join := func(a *string, v string) { *a += v[strings.Index(v, ":"):] }
	trials(t, func(t *testing.T, r *trial) {
		d := streamtest.New(t, made(func(topo *stream.Topology) {
			a := texts(topo).Watermark(stream.Watermark{OutOfOrder: time.Duration(r.bound) * time.Millisecond}).KeyBy(letter).
				Window(tumbling(r.size, r.grace)).Fold("f", join)
			a.OnUpdate(of).To(results("updates"))
			a.OnCommit(of).To(results("commits"))
			a.OnClose(of).To(results("closes"))
			a.Late(lateOf).To(results("late"))
		})(), r.opts...)
		r.run(d)

		late := map[string]bool{}
		for _, l := range d.Drain[result]("late") {
			assert.False(t, late[l.Value], "%s is late twice", l.Value)
			late[l.Value] = true
			assert.GreaterOrEqual(t, l.Watermark, l.To+r.grace, "%s was not late", l.Value)
			assert.True(t, l.From <= l.RecordTime && l.RecordTime < l.To)
		}
		if r.disorder <= r.bound {
			assert.Empty(t, late)
		}
		want := map[string][]string{} // ids by window
		for _, rec := range r.records {
			if v := string(rec.Value); !late[v] {
				k, id, _ := strings.Cut(v, ":")
				at := rec.Time.UnixMilli()
				from := at - ((at%r.size)+r.size)%r.size
				want[fmt.Sprint(k, from)] = append(want[fmt.Sprint(k, from)], id)
			}
		}
		closes := d.Drain[result]("closes")
		got := map[string]result{}
		for _, c := range closes {
			w := fmt.Sprint(c.Key, c.From)
			_, twice := got[w]
			require.False(t, twice, "window %s has closed twice", w)
			got[w] = c
			ids := strings.Split(c.Value, ":")[1:]
			assert.ElementsMatch(t, want[w], ids, "window %s", w)
			assert.Equal(t, uint64(len(ids)), c.Revision)
		}
		assert.Len(t, got, len(want))
		last := map[string]result{}
		for _, u := range d.Drain[result]("updates") {
			w := fmt.Sprint(u.Key, u.From)
			require.Equal(t, last[w].Revision+1, u.Revision, "updates of %s", w)
			require.True(t, strings.HasPrefix(u.Value, last[w].Value), "an update of %s goes back", w)
			last[w] = u
		}
		commits := map[string]result{}
		for _, u := range d.Drain[result]("commits") {
			w := fmt.Sprint(u.Key, u.From)
			require.Greater(t, u.Revision, commits[w].Revision)
			commits[w] = u
		}
		for w, c := range got {
			c.Final = false
			assert.Equal(t, c, last[w], "last update of %s", w)
			assert.Equal(t, c, commits[w], "last commit of %s", w)
		}
	})
}

// Counts and folds without windows: the changes of a key are the prefixes of one order of its records that keeps the
// order of each partition.
func TestTablesAgreeWithRecomputation(t *testing.T) {
	trials(t, func(t *testing.T, r *trial) {
		d := streamtest.New(t, made(func(topo *stream.Topology) {
			k := texts(topo).KeyBy(letter).Repartition("letters", stream.Repartitioning{})
			k.Count("n").Changes(func(k string, n int64) string { return fmt.Sprint(k, n) }).To(to("counts"))
			k.Fold("f", func(a *[]string, v string) { *a = append(*a, v) }).
				Changes(func(_ string, a []string) string { return strings.Join(a, " ") }).To(to("folds"))
		})(), r.opts...)
		r.run(d)
		n, partition := map[string]int{}, map[string]int32{}
		for _, rec := range r.records {
			n[string(rec.Value[:1])]++
			partition[string(rec.Value)] = rec.Partition
		}
		counts := map[string]int{}
		for _, c := range d.Drain[string]("counts") {
			counts[c[:1]]++
			require.Equal(t, fmt.Sprint(c[:1], counts[c[:1]]), c)
		}
		assert.Equal(t, n, counts)
		folds := map[string]string{}
		for _, f := range d.Drain[string]("folds") {
			require.True(t, strings.HasPrefix(f, folds[f[:1]]))
			folds[f[:1]] = f
		}
		for k, f := range folds {
			values := strings.Fields(f)
			assert.Len(t, values, n[k])
			of := map[int32][]int{}
			for _, v := range values {
				id, _ := strconv.Atoi(v[2:])
				of[partition[v]] = append(of[partition[v]], id)
			}
			for p, ids := range of {
				assert.True(t, slices.IsSorted(ids), "partition %d of key %s: %v", p, k, ids)
			}
		}
	})
}

// Timers: each that was set fires once, after its time and before any record behind it.
func TestTimersFireOnce(t *testing.T) {
	trials(t, func(t *testing.T, r *trial) {
		d := streamtest.New(t, made(func(topo *stream.Topology) {
			texts(topo).Watermark(stream.Watermark{OutOfOrder: time.Duration(r.bound) * time.Millisecond}).KeyBy(letter).
				Process("p", func(p *stream.Process[string, int, string], v string) {
					*p.State()++
					p.SetTimer(p.Time().Add(20 * time.Millisecond))
				}, func(p *stream.Process[string, int, string], tm stream.Timer) {
					if !p.Watermark().After(tm.At) {
						panic("too early")
					}
					p.Emit(fmt.Sprint(p.Key(), tm.At.UnixMilli()))
				}).To(to("out"))
		})(), r.opts...)
		r.run(d)
		got := d.Drain[string]("out")
		seen := map[string]bool{}
		for _, f := range got {
			seen[f] = true
		}
		for _, rec := range r.records {
			assert.True(t, seen[fmt.Sprint(string(rec.Value[:1]), rec.Time.UnixMilli()+20)], "the timer of %s", rec.Value)
		}
		if r.disorder <= r.bound { // else a record may set a timer that has fired
			assert.Len(t, got, len(seen), "some have fired twice")
		}
	})
}

// One partition, and no repartition: everything is determined, so the whole output must be the same, record for record,
// however the input was cut into batches and epochs.
func TestOutputIsDetermined(t *testing.T) {
	build := func(r *trial) *stream.Topology {
		topo := stream.New("test")
		k := topo.FromKeyed(source.KafkaKeyed("in", codec.String, codec.String)).Watermark(stream.Watermark{OutOfOrder: time.Duration(r.bound) * time.Millisecond})
		a := k.Window(window.Hopping{Size: time.Duration(r.size) * time.Millisecond, Advance: time.Duration(1+r.size/3) * time.Millisecond,
			Grace: time.Duration(r.grace) * time.Millisecond}).Fold("f", func(a *string, v string) { *a += v })
		a.OnUpdate(of).Merge(a.OnClose(of), a.Late(lateOf)).To(results("out"))
		k.Count("n").Changes(func(k string, n int64) result { return result{Key: k, Revision: uint64(n)} }).To(results("out"))
		return topo
	}
	trials(t, func(t *testing.T, r *trial) {
		var want []result
		for i := range 3 {
			opts := []streamtest.Option{streamtest.Start(noon)}
			if i > 0 {
				opts = append(opts, streamtest.Batch(1+r.IntN(10)), streamtest.CommitEvery(1+r.IntN(6)), streamtest.CacheSize(r.Int64N(2)*1000))
			}
			if i > 1 {
				opts = append(opts, streamtest.Overlap())
			}
			d := streamtest.New(t, build(r), opts...)
			for _, rec := range r.records {
				rec.Partition, rec.Key = 0, rec.Value[:1]
				d.PipeTo("in", rec)
				if i == 2 && r.IntN(10) == 0 {
					d.Crash(r.failures[r.IntN(len(r.failures))])
				}
			}
			d.Advance(ms(100_000))
			got := d.Drain[result]("out")
			if i == 0 {
				want = got
				continue
			}
			require.Equal(t, want, got)
		}
	})
}
