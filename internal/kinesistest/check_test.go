package main

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func rec(t *testing.T, shard string, v any) read {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return read{shard, b}
}

// right is what a right run leaves: shard p was split into q and r; record 2 of key a was sent twice, and the second copy came into
// q. Two records were processed twice.
func right(t *testing.T) *output {
	a := func(n, copies int) event { return event{"a", n, copies, int64(10 * n)} }
	b := func(n int) event { return event{"b", n, 0, int64(n)} }
	shard := func(id string, parents ...string) types.Shard {
		sh := types.Shard{ShardId: aws.String(id)}
		if len(parents) > 0 {
			sh.ParentShardId = aws.String(parents[0])
		}
		return sh
	}
	o := &output{shards: []types.Shard{shard("p"), shard("q", "p"), shard("r", "p")}}
	for _, e := range []event{a(1, 0), b(1), a(2, 0)} {
		o.in = append(o.in, rec(t, "p", e))
	}
	for _, e := range []event{a(2, 1), a(3, 0)} {
		o.in = append(o.in, rec(t, "q", e))
	}
	o.in = append(o.in, rec(t, "r", b(2)))
	for _, e := range []event{a(1, 0), b(1), a(1, 0), b(1), a(2, 0), b(2), a(2, 1), a(2, 0), a(3, 0)} {
		o.refined = append(o.refined, rec(t, "", refine(e)))
		o.trace = append(o.trace, rec(t, "", refine(e)))
	}
	for _, e := range []event{a(1, 0), b(1), a(2, 0), b(2), a(2, 0), a(3, 0)} {
		o.once = append(o.once, rec(t, "", refine(e)))
	}
	var x, y total
	for _, e := range []event{a(1, 0), b(1), a(2, 0), b(2), a(3, 0)} {
		s := &x
		if e.Key == "b" {
			s = &y
		}
		s.add(refine(e))
		o.totals = append(o.totals, rec(t, "", *s))
	}
	return o
}

func TestRight(t *testing.T) {
	v := right(t).check()
	assert.Empty(t, v.examples)
	assert.False(t, v.faulty())
	assert.Equal(t, 6, v.Records)
}

// Each fault is found, as what it is.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*output)
		want  func(*verdict) int
	}{
		"a refined record is missing":            {func(o *output) { o.refined = o.refined[:8] }, func(v *verdict) int { return v.Lost }},
		"a record is missing in the trace":       {func(o *output) { o.trace = o.trace[:8] }, func(v *verdict) int { return v.Lost }},
		"a record did not come once":             {func(o *output) { o.once = o.once[1:] }, func(v *verdict) int { return v.Lost }},
		"a record was not counted":               {func(o *output) { o.totals = o.totals[:4] }, func(v *verdict) int { return v.Lost }},
		"a record was counted twice":             {func(o *output) { o.totals = append(o.totals, rec(t, "", total{"b", 3, 2, 5})) }, func(v *verdict) int { return v.Duplicated }},
		"a result is wrong":                      {func(o *output) { o.refined[8] = rec(t, "", refined{"a", 3, 0, 7}) }, func(v *verdict) int { return v.Wrong }},
		"a record is made up":                    {func(o *output) { o.once = append(o.once, rec(t, "", refine(event{"c", 1, 0, 1}))) }, func(v *verdict) int { return v.Wrong }},
		"a state is wrong":                       {func(o *output) { o.totals[4] = rec(t, "", total{"a", 3, 3, 5}) }, func(v *verdict) int { return v.Wrong }},
		"a state was wrong on the way":           {func(o *output) { o.totals[0] = rec(t, "", total{"a", 1, 1, 5}) }, func(v *verdict) int { return v.Wrong }},
		"the input has a gap":                    {func(o *output) { o.in = o.in[1:] }, func(v *verdict) int { return v.Wrong }},
		"a key's records are out of order":       {func(o *output) { slices.Reverse(o.refined) }, func(v *verdict) int { return v.OutOfOrder }},
		"a key's records came once, in a mess":   {func(o *output) { slices.Reverse(o.once) }, func(v *verdict) int { return v.OutOfOrder }},
		"a key's records were counted in a mess": {func(o *output) { o.totals[2] = rec(t, "", total{"a", 2, 3, 5}) }, func(v *verdict) int { return v.OutOfOrder }},
		"a shard is begun before its parent ends": {func(o *output) {
			o.trace = append([]read{o.trace[8]}, o.trace[:8]...)
		}, func(v *verdict) int { return v.Skipped }},
		"a shard is not read": {func(o *output) { o.trace = append(slices.Clone(o.trace[:5]), o.trace[6:]...) }, func(v *verdict) int { return v.Skipped }},
	} {
		t.Run(name, func(t *testing.T) {
			o := right(t)
			c.spoil(o)
			v := o.check()
			assert.Positive(t, c.want(v), "%v", v.examples)
			assert.True(t, v.faulty())
			assert.NotEmpty(t, v.examples)
		})
	}
}

// A plan has all that was asked for.
func TestPlan(t *testing.T) {
	plan := makePlan(rand.New(rand.NewPCG(1, 1)), 100, 30)
	n := map[kind]int{}
	at := map[string]int{}
	for _, a := range plan {
		n[a.kind]++
		at[a.role+" "+a.place]++
	}
	assert.Equal(t, map[kind]int{kill: 100, freeze: 10, reshard: 30, reshape: 10}, n)
	for role, list := range places {
		for _, p := range append(list, random) {
			assert.GreaterOrEqual(t, at[role+" "+p], 3, "%s at %s", role, p)
		}
	}
	for name := range plants {
		assert.Contains(t, plantOrder, name)
	}
}
