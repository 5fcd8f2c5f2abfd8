package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// The checker. It reads every stream with a plain client and works out with maps and loops what should be there. The input's
// records have the numbers 1, 2, 3... of their key, some of them several times (copies). Then
//
//   - the refined stream has each of them with the right result; the first appearances of a key's numbers are in their order,
//     though shards move between processes that are killed, and are split and merged;
//   - the trace, the same records in one shard, tells in which order shards were processed: no record of a shard comes before
//     the first appearance of any record of the shards that it was made of, and no shard with records is missing;
//   - the stream of what came once, less what was written twice, is the input without copies: equal in number and value,
//     and in order;
//   - the totals tell the state after each record: every one of them is that which follows from the numbers up to there, and the
//     last of each key, written by processes that were started anew on what the others have left, is that of the whole input.

// verdict is what the checker and the driver have to say.
type verdict struct {
	Kills, Disks, Reshards, Frozen, Records, Retried int
	Lost, Duplicated, Wrong, OutOfOrder, Skipped     int
	Steps                                            map[string]int
	examples                                         []string
}

func (v *verdict) faulty() bool {
	return v.Lost+v.Duplicated+v.Wrong+v.OutOfOrder+v.Skipped > 0
}

const maxExamples = 20

// found counts a fault, and keeps the first ones in words.
func (v *verdict) found(n *int, format string, args ...any) {
	if *n++; len(v.examples) < maxExamples {
		v.examples = append(v.examples, fmt.Sprintf(format, args...))
	}
}

// output is what a run has left.
type output struct {
	in, refined, trace, once, totals []read
	shards                           []types.Shard // of in
}

// check reads all streams of an application and compares them.
func check(ctx context.Context, s streams) (*verdict, error) {
	var o output
	for name, to := range map[string]*[]read{streamRefined: &o.refined, streamTrace: &o.trace, streamOnce: &o.once, streamTotals: &o.totals} {
		recs, _, err := s.all(ctx, name)
		if err != nil {
			return nil, err
		}
		*to = recs
	}
	var err error
	if o.in, o.shards, err = s.all(ctx, streamIn); err != nil {
		return nil, err
	}
	return o.check(), nil
}

// number is the n-th record of a key.
type number struct {
	key string
	n   int
}

// copied is one of the times that it was sent.
type copied struct {
	number
	copy int
}

func (o *output) check() *verdict {
	c := &checker{v: &verdict{Records: len(o.in)}, values: map[number]int64{}, last: map[string]int{}, shards: map[copied]string{}}
	c.input(o.in)
	c.refined(streamRefined, o.refined)
	c.parentsFirst(o.shards, o.trace)
	c.once(o.once)
	c.totals(o.totals)
	return c.v
}

type checker struct {
	v      *verdict
	values map[number]int64  // of the input
	last   map[string]int    // number of each key
	shards map[copied]string // where each record of the input lies
}

// decode reads a record of the application, which cannot be damaged.
func decode[V any](c *checker, stream string, r read) (v V) {
	if err := json.Unmarshal(r.data, &v); err != nil {
		c.v.found(&c.v.Wrong, "%s: %q is not readable: %v", stream, r.data, err)
	}
	return v
}

func (c *checker) input(recs []read) {
	for _, r := range recs {
		e := decode[event](c, streamIn, r)
		k := number{e.Key, e.N}
		c.values[k] = e.Value
		c.last[e.Key] = max(c.last[e.Key], e.N)
		c.shards[copied{k, e.Copy}] = r.shard
	}
	for key, last := range c.last {
		for n := 1; n <= last; n++ {
			if _, ok := c.values[number{key, n}]; !ok {
				c.v.found(&c.v.Wrong, "the input itself lacks record %d of key %s", n, key)
			}
		}
	}
}

// refined checks records that may have been written several times: that each is there and right, and that first appearances are
// in order.
func (c *checker) refined(stream string, recs []read) {
	seen := map[number]bool{}
	high := map[string]int{}
	for _, r := range recs {
		x := decode[refined](c, stream, r)
		k := number{x.Key, x.N}
		value, ok := c.values[k]
		if !ok || x.Result != result(value) {
			c.v.found(&c.v.Wrong, "%s: %+v does not follow from the input", stream, x)
			continue
		}
		if seen[k] {
			continue
		}
		seen[k] = true
		if x.N < high[x.Key] {
			c.v.found(&c.v.OutOfOrder, "%s: record %d of key %s comes after record %d", stream, x.N, x.Key, high[x.Key])
		}
		high[x.Key] = max(high[x.Key], x.N)
	}
	for k := range c.values {
		if !seen[k] {
			c.v.found(&c.v.Lost, "%s lacks record %d of key %s", stream, k.n, k.key)
		}
	}
}

// once is the stream whose records are written twice only by a process that did not know whether it had written them.
func (c *checker) once(recs []read) { c.refined(streamOnce, recs) }

// parentsFirst looks, for each shard of the input, at the places of its records in the trace: from the first record to the last
// first appearance of one.
func (c *checker) parentsFirst(shards []types.Shard, trace []read) {
	first, end, n := map[string]int{}, map[string]int{}, map[string]int{}
	seen := map[copied]bool{}
	for i, r := range trace {
		x := decode[refined](c, streamTrace, r)
		k := copied{number{x.Key, x.N}, x.Copy}
		shard, ok := c.shards[k]
		if !ok {
			c.v.found(&c.v.Wrong, "%s: %+v is not in the input", streamTrace, x)
			continue
		}
		if seen[k] {
			continue
		}
		seen[k] = true
		if n[shard]++; n[shard] == 1 {
			first[shard] = i
		}
		end[shard] = i
	}
	want := map[string]int{}
	for _, shard := range c.shards {
		want[shard]++
	}
	before := map[string][]string{}
	for _, sh := range shards {
		id := aws.ToString(sh.ShardId)
		if want[id] > 0 && n[id] == 0 {
			c.v.found(&c.v.Skipped, "none of the %d records of shard %s was processed", want[id], id)
		} else if n[id] < want[id] {
			c.v.found(&c.v.Lost, "%d of the %d records of shard %s, copies included, were not processed", want[id]-n[id], want[id], id)
		}
		for _, p := range parents(sh) {
			before[id] = append(append(before[id], p), before[p]...) // shards are listed in the order of their making
		}
	}
	for _, id := range slices.Sorted(maps.Keys(before)) {
		for _, p := range before[id] {
			if n[id] > 0 && n[p] > 0 && first[id] < end[p] {
				c.v.found(&c.v.Skipped, "shard %s was begun before shard %s, which it comes from, was processed to its end", id, p)
				break
			}
		}
	}
}

// totals checks the state, after each record and in the end. A process that was killed may have written a total twice.
func (c *checker) totals(recs []read) {
	want := map[string][]uint64{} // by key, the chain after each number
	for key, last := range c.last {
		list := make([]uint64, last+1)
		for n := 1; n <= last; n++ {
			list[n] = chain(list[n-1], n, result(c.values[number{key, n}]))
		}
		want[key] = list
	}
	final := map[string]total{}
	for _, r := range recs {
		t := decode[total](c, streamTotals, r)
		if before := final[t.Key]; t.Count > before.Count {
			final[t.Key] = t
		}
		switch list := want[t.Key]; {
		case t.Count >= len(list): // more was counted than there is: told once for each key
		case t.Last != t.Count:
			c.v.found(&c.v.OutOfOrder, "key %s: record %d was the %d. to be counted", t.Key, t.Last, t.Count)
		case t.Chain != list[t.Count]:
			c.v.found(&c.v.Wrong, "key %s: after %d records the state is %d, it should be %d", t.Key, t.Count, t.Chain, list[t.Count])
		}
	}
	for key, last := range c.last {
		switch n := final[key].Count; {
		case n < last:
			c.v.Lost += last - n - 1
			c.v.found(&c.v.Lost, "key %s: %d records were counted, there are %d", key, n, last)
		case n > last:
			c.v.Duplicated += n - last - 1
			c.v.found(&c.v.Duplicated, "key %s: %d records were counted, there are %d", key, n, last)
		}
	}
}
