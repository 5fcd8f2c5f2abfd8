// verify says what the outputs of the frozen inputs must be and, given -topic, compares an output topic with it, record
// by record. It ends with status 1 if they differ.
//
//	w1, w5   every expected record once, with the right bytes
//	w2, w3   the last count of every (key, window); with -every-update also that the counts run 1, 2, 3 … without hole
//	w4       every expected pair once, with the right amount
//
// -keys, -width, -step and -late are those with which events was loaded, if not as the workloads define it.
//
// With -paced the input was written at a rate and carries the times of that moment, which are then not compared: w1 is
// checked without its times, and w2 by the sum of all windows of each key.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/maphash"
	"log"
	"os"
	"time"

	"github.com/millstream-go/millstream/benchmarks/peers/by-hand/internal/bench"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const second = 1000

// check is what one workload expects.
type check interface {
	expected() string
	record(r *kgo.Record) // one record of the output, in the order of its partition
	differences() int     // after the last
}

func main() {
	w := flag.String("w", "w2", "w1, w2, w3, w4 or w5")
	topic := flag.String("topic", "", "output topic to check")
	n := flag.Int("n", 2_000_000, "records of events")
	nj := flag.Int("nj", 500_000, "records of jleft and of jright")
	base := flag.Int64("base", 0, "event time of record 0 as the topics were loaded, ms")
	update := flag.Bool("every-update", false, "w2, w3: every update must be there")
	paced := flag.Bool("paced", false, "w1, w2: the input was paced, so its times are not known")
	skew := flag.Float64("skew-amounts", 0, "w3: the amounts were loaded with this zipf exponent")
	atLeastOnce := flag.Bool("at-least-once", false, "w1, w4, w5: a record may come more than once")
	flag.IntVar(&input.keys, "keys", input.keys, "keys of events")
	flag.IntVar(&input.width, "width", input.width, "digits of a key of events")
	flag.Int64Var(&input.step, "step", input.step, "event time per record of events, µs")
	flag.Float64Var(&input.late, "late", input.late, "share of late records of events")
	flag.Parse()
	var c check
	switch *w {
	case "w1", "w5":
		c = newRecords(*w, *n, *base, *atLeastOnce, *paced)
	case "w2", "w3":
		c = newCounts(*w, *n, *base, *skew, *update, *paced)
	case "w4":
		c = newPairs(*nj, *base, *atLeastOnce)
	default:
		log.Fatalf("unknown workload %q", *w)
	}
	fmt.Printf("%s expected: %s\n", *w, c.expected())
	if *topic == "" {
		return
	}
	total := read(*topic, c.record)
	bad := c.differences()
	fmt.Printf("%s topic %s: %d records, %d differences\n", *w, *topic, total, bad)
	if bad > 0 {
		os.Exit(1)
	}
}

// read hands over all committed records that are in the topic now.
func read(topic string, f func(*kgo.Record)) (total int) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	conn, err := bench.ConnOpts()
	must(err)
	cl, err := kgo.NewClient(append(conn, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	must(err)
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	must(err)
	must(ends.Error())
	left := map[int32]int64{} // partition -> end, until it is reached
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			log.Fatalf("reading %s: %v", topic, e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				total++
				f(r)
			}
			if end, ok := left[r.Partition]; ok && r.Offset+1 >= end {
				delete(left, r.Partition)
			}
		})
	}
	return total
}

// input is how events was loaded.
var input = struct {
	keys, width int
	step        int64 // µs
	late        float64
}{10_000, 5, 50, 0.05}

func events(n int, base int64, skew float64, f func(key []byte, ts int64, v []byte)) {
	g := bench.NewGen(1, 0, input.keys)
	g.Width, g.StepUs, g.LateP, g.LateMs, g.BaseMs = input.width, input.step, input.late, 3*second, base
	if skew > 0 {
		g.SkewAmounts(skew)
	}
	v := make([]byte, bench.ValueSize)
	for range n {
		k, ts := g.Next(v, 0)
		f(g.Key(k), ts, v)
	}
}

// records is W1 and W5: a hash of each expected record by its sequence number, 0 = filtered out.
type records struct {
	seed   maphash.Seed
	want   []uint64
	n, bad int
	seen   []bool
	twice  bool
	paced  bool
}

func newRecords(w string, n int, base int64, twice, paced bool) *records {
	c := &records{seed: maphash.MakeSeed(), want: make([]uint64, n), seen: make([]bool, n), twice: twice, paced: paced}
	var rows [][]byte
	if w == "w5" {
		g := bench.NewGen(2, 0, 10_000)
		g.Serial, g.LateMs, g.StepUs, g.BaseMs = true, 3*second, 0, base-60*second
		for range 10_000 {
			v := make([]byte, bench.ValueSize)
			g.Next(v, 0)
			rows = append(rows, v)
		}
	}
	i := 0
	events(n, base, 0, func(key []byte, _ int64, v []byte) {
		i++
		if w == "w1" {
			if binary.BigEndian.Uint32(v[bench.OffKind:]) >= 12 {
				return
			}
			binary.BigEndian.PutUint32(v[bench.OffAmount:], 2*binary.BigEndian.Uint32(v[bench.OffAmount:]))
		} else {
			var k int
			fmt.Sscanf(string(key), "user-%d", &k)
			v = append(bytes.Clone(v), rows[k][bench.OffAmount:bench.OffAmount+16]...)
		}
		c.n++
		c.want[i-1] = c.hash(key, v)
	})
	return c
}

func (c *records) hash(key, v []byte) uint64 {
	if c.paced {
		v = bytes.Clone(v)
		clear(v[bench.OffTime:bench.OffSeq])
		clear(v[bench.OffStamp:bench.OffAmount])
	}
	return maphash.Bytes(c.seed, key) ^ maphash.Bytes(c.seed, v) | 1
}

func (c *records) expected() string { return fmt.Sprint(c.n, " records") }

func (c *records) record(r *kgo.Record) {
	seq := uint64(1 << 63)
	if len(r.Value) >= bench.ValueSize {
		seq = binary.BigEndian.Uint64(r.Value[bench.OffSeq:])
	}
	switch {
	case seq >= uint64(len(c.want)) || c.want[seq] != c.hash(r.Key, r.Value):
		c.bad++
	case c.seen[seq] && !c.twice:
		c.bad++
	default:
		c.seen[seq] = true
	}
}

func (c *records) differences() int {
	for i, w := range c.want {
		if w != 0 && !c.seen[i] {
			c.bad++
		}
	}
	return c.bad
}

// counts is W2 and W3.
type counts struct {
	want, got map[string]uint64 // by key and window start
	update    bool
	paced     bool
	bad       int
}

func newCounts(w string, n int, base int64, skew float64, update, paced bool) *counts {
	c := &counts{want: map[string]uint64{}, got: map[string]uint64{}, update: update, paced: paced}
	events(n, base, skew, func(key []byte, ts int64, v []byte) {
		if w == "w3" {
			key = fmt.Appendf(nil, "amt-%04d", binary.BigEndian.Uint32(v[bench.OffAmount:]))
		}
		c.want[string(binary.BigEndian.AppendUint64(key, uint64(ts-ts%(10*second))))]++
	})
	return c
}

func (c *counts) expected() string { return fmt.Sprint(len(c.want), " distinct (key, window)") }

func (c *counts) record(r *kgo.Record) {
	if len(r.Value) != 16 {
		c.bad++
		return
	}
	now, before := binary.BigEndian.Uint64(r.Value), c.got[string(r.Key)]
	if now <= before || c.update && now != before+1 {
		c.bad++
	}
	c.got[string(r.Key)] = now
}

func (c *counts) differences() int {
	if c.paced {
		c.want, c.got = byKey(c.want), byKey(c.got)
	}
	for k, n := range c.want {
		if c.got[k] != n {
			c.bad++
		}
	}
	for k := range c.got {
		if _, ok := c.want[k]; !ok {
			c.bad++
		}
	}
	return c.bad
}

// byKey sums the windows of each key.
func byKey(windows map[string]uint64) map[string]uint64 {
	sums := map[string]uint64{}
	for k, n := range windows {
		sums[k[:max(0, len(k)-8)]] += n
	}
	return sums
}

// pairs is W4.
type pairs struct {
	want  map[[2]uint64]uint64 // sequence numbers -> sum of amounts
	seen  map[[2]uint64]bool
	bad   int
	twice bool
}

func newPairs(n int, base int64, twice bool) *pairs {
	type one struct {
		ts     int64
		seq    uint64
		amount uint32
	}
	var sides [2]map[int][]one
	v := make([]byte, bench.ValueSize)
	for i, seed := range []uint64{3, 4} {
		g := bench.NewGen(seed, 0, 10_000)
		g.StepUs, g.LateMs, g.BaseMs = 1000, 3*second, base
		sides[i] = map[int][]one{}
		for seq := range uint64(n) {
			k, ts := g.Next(v, 0)
			sides[i][k] = append(sides[i][k], one{ts, seq, binary.BigEndian.Uint32(v[bench.OffAmount:])})
		}
	}
	c := &pairs{want: map[[2]uint64]uint64{}, seen: map[[2]uint64]bool{}, twice: twice}
	for k, ls := range sides[0] {
		for _, l := range ls {
			for _, r := range sides[1][k] {
				if l.ts-r.ts <= 5*second && r.ts-l.ts <= 5*second {
					c.want[[2]uint64{l.seq, r.seq}] = uint64(l.amount + r.amount)
				}
			}
		}
	}
	return c
}

func (c *pairs) expected() string { return fmt.Sprint(len(c.want), " pairs") }

func (c *pairs) record(r *kgo.Record) {
	if len(r.Value) != 32 {
		c.bad++
		return
	}
	id := [2]uint64{binary.BigEndian.Uint64(r.Value), binary.BigEndian.Uint64(r.Value[8:])}
	sum, ok := c.want[id]
	if !ok || sum != binary.BigEndian.Uint64(r.Value[24:]) || c.seen[id] && !c.twice {
		c.bad++
	}
	c.seen[id] = true
}

func (c *pairs) differences() int {
	for id := range c.want {
		if !c.seen[id] {
			c.bad++
		}
	}
	return c.bad
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
