package lease

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
)

// The row as the Kinesis Client Library 3.5 writes it: a list of measures for each name, and one of limits.
func TestStats(t *testing.T) {
	list := func(s ...string) types.AttributeValue {
		l := &types.AttributeValueMemberL{}
		for _, n := range s {
			l.Value = append(l.Value, &types.AttributeValueMemberN{Value: n})
		}
		return l
	}
	measures, limits := stats([]float64{12.5, 100, 0})
	assert.Equal(t, item{"C": list("12.50", "100.00", "0.00")}, measures)
	assert.Equal(t, item{"C": list("100")}, limits)
	measures, limits = stats(nil)
	assert.Empty(t, measures)
	assert.Empty(t, limits)
	for says, c := range map[string]struct {
		row  item
		want float64
		ok   bool
	}{
		"none":                {item{}, 0, false},
		"the default measure": {item{attrStats: &types.AttributeValueMemberM{Value: item{}}}, 0, false},
		"too few":             {item{attrStats: &types.AttributeValueMemberM{Value: item{"C": list("50", "60")}}}, 55, false},
		"the last ones":       {item{attrStats: &types.AttributeValueMemberM{Value: item{"C": list("99", "99", "10", "20", "30", "40")}}}, 25, true},
		"one that failed":     {item{attrStats: &types.AttributeValueMemberM{Value: item{"C": list("10", "-1", "20", "30")}}}, 20, true},
		"another type":        {item{attrStats: &types.AttributeValueMemberM{Value: item{"C": text("50")}}}, 0, false},
	} {
		p, ok := cpuOf(c.row)
		assert.Equal(t, []any{c.want, c.ok}, []any{p, ok}, says)
	}
}

func TestMeter(t *testing.T) {
	var m meter
	_, known := m.percent()
	require.False(t, known, "there is no time before it")
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); { // one processor is busy
	}
	p, known := m.percent()
	require.True(t, known)
	assert.Greater(t, p, 0.0)
	assert.LessOrEqual(t, p, 100.0)
}

func TestCosts(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	long := now.Add(-forgotten)
	for says, c := range map[string]struct {
		cpu    map[string]float64
		before map[string]cost
		want   map[string]cost
	}{
		"alike":                        {map[string]float64{"a": 50, "b": 45, "c": 60}, nil, map[string]cost{}},
		"one is busy":                  {map[string]float64{"a": 90, "b": 30, "c": 60}, nil, map[string]cost{"a": {1.25, now}}},
		"and still is":                 {map[string]float64{"a": 90, "b": 30, "c": 60}, map[string]cost{"a": {1.25, long}}, map[string]cost{"a": {1.5625, now}}},
		"no more than twice":           {map[string]float64{"a": 90, "b": 30}, map[string]cost{"a": {1.9, long}}, map[string]cost{"a": {2, now}}},
		"which was reached before":     {map[string]float64{"a": 90, "b": 30}, map[string]cost{"a": {2, long}}, map[string]cost{"a": {2, long}}},
		"it is as the others now":      {map[string]float64{"a": 50, "b": 50}, map[string]cost{"a": {1.25, long}}, map[string]cost{"a": {1.25, long}}},
		"and less, but not for long":   {map[string]float64{"a": 10, "b": 50}, map[string]cost{"a": {1.25, long.Add(1)}}, map[string]cost{"a": {1.25, long.Add(1)}, "b": {1.25, now}}},
		"the same for long":            {map[string]float64{"a": 10, "b": 50}, map[string]cost{"a": {1.25, long}}, map[string]cost{"b": {1.25, now}}},
		"all have little to do":        {map[string]float64{"a": 19, "b": 1}, nil, map[string]cost{}},
		"all have as much as they can": {map[string]float64{"a": 100, "b": 85}, nil, map[string]cost{}},
	} {
		got := costs(c.cpu, c.before, now)
		assert.Equal(t, len(c.want), len(got), says)
		for w := range c.want {
			assert.Equal(t, c.want[w], got[w], says)
		}
	}
}

func TestAssignByCost(t *testing.T) {
	var leases []candidate
	for i := range 12 {
		leases = append(leases, lease(fmt.Sprintf("%02d", i), "", 10))
	}
	count := func(leases []candidate) map[string]int {
		n := map[string]int{}
		for _, l := range leases {
			n[l.owner]++
		}
		return n
	}
	live, slow := []string{"a", "b", "c"}, map[string]cost{"b": {factor: 2}}
	even := holders(leases, assign(leases, live, nil))
	assert.Equal(t, map[string]int{"a": 4, "b": 4, "c": 4}, count(even))
	assert.Equal(t, map[string]int{"a": 5, "b": 2, "c": 5}, count(holders(leases, assign(leases, live, slow))), "the free")
	assert.Equal(t, map[string]int{"a": 5, "b": 2, "c": 5}, count(holders(even, assign(even, live, slow))), "those that are held")
	two := even[:2]
	two[0].owner, two[1].owner = "a", "b"
	assert.Empty(t, assign(two, []string{"a", "b"}, slow), "the last one stays")
}

// Instances of different speed, that have other things to do as well, share leases, and their measures waver. Leases move a bounded number of
// times, as often as costs can rise, and the busiest instance is not busier afterwards than before, but for one lease.
func TestCostsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		live := []string{"a", "b", "c", "d"}[:rapid.IntRange(2, 4).Draw(t, "instances")]
		each, other := map[string]float64{}, map[string]float64{} // percent for a lease, and for other things
		largest := 0.0
		for _, w := range live {
			each[w] = rapid.Float64Range(0.5, 8).Draw(t, "for a lease")
			other[w] = rapid.Float64Range(0, 60).Draw(t, "for other things")
			largest = max(largest, each[w])
		}
		var leases []candidate
		for i := range rapid.IntRange(1, 30).Draw(t, "leases") {
			leases = append(leases, lease(fmt.Sprintf("%02d", i), "", 10))
		}
		use := func() map[string]float64 {
			cpu := maps.Clone(other)
			for _, l := range leases {
				cpu[l.owner] += each[l.owner]
			}
			for w := range cpu {
				cpu[w] = min(cpu[w], 100)
			}
			return cpu
		}
		busiest := func() float64 { return slices.Max(slices.Collect(maps.Values(use()))) }
		leases = holders(leases, assign(leases, live, nil))
		before, moved := busiest(), 0
		var cost map[string]cost
		waver := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "wavering"), 0))
		for range 60 {
			cpu := use()
			for _, w := range live {
				cpu[w] = min(cpu[w]*(0.9+0.2*waver.Float64()), 100)
			}
			cost = costs(cpu, cost, time.Unix(0, 0))
			moves := assign(leases, live, cost)
			if len(moves) > 0 {
				moved++
			}
			leases = holders(leases, moves)
		}
		if moved > 4*len(live) {
			t.Fatalf("leases moved in %d of 60 rounds", moved)
		}
		if after := busiest(); after > before+largest+0.1*before {
			t.Fatalf("the busiest was at %v, and is at %v", before, after)
		}
	})
}

// An instance that is slow is given less, and keeps that: nothing moves to and fro.
func TestSlowInstance(t *testing.T) {
	looks := 10
	if testing.Short() {
		looks = 2
	}
	scenario(t, kinesistest.Options{}, func(w *world) {
		w.open(6, 0)
		busy := func(i *atomic.Pointer[instance], each float64) func(*Table) {
			return func(t *Table) {
				t.CPU = func() (float64, bool) {
					if i := i.Load(); i != nil {
						return each * float64(len(i.has())), true
					}
					return 0, false
				}
			}
		}
		var ofA, ofB atomic.Pointer[instance]
		a, b := w.join("a", busy(&ofA, 25)), w.join("b", busy(&ofB, 5))
		ofA.Store(a)
		ofB.Store(b)
		w.within(time.Minute, "evenly at first", func() bool { return len(a.has()) == 3 && len(b.has()) == 3 })
		w.within(10*time.Minute, "the slow one has less", func() bool { return len(a.has()) == 2 && len(b.has()) == 4 })
		has := a.has()
		for range looks { // measures are looked at again meanwhile
			w.pass(30 * time.Second)
			require.Equal(w, has, a.has())
		}
		a.leave()
		b.leave()
		w.verify()
	})
}
