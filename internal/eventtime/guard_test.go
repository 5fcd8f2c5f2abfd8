package eventtime_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/internal/eventtime"
)

func TestGuard(t *testing.T) {
	const never = eventtime.None
	for name, c := range map[string]struct {
		times, want []int64
		doubted     int
	}{
		"what is near passes":                       {[]int64{0, 10, 5, 20}, []int64{0, 10, 10, 20}, 0},
		"the first is believed":                     {[]int64{5000, 1}, []int64{5000, 5000}, 0},
		"one that is far ahead does not":            {[]int64{0, 11, 1, 2}, []int64{0, 0, 1, 2}, 1},
		"until two others agree":                    {[]int64{0, 100, 95, 101, 102}, []int64{0, 0, 0, 101, 102}, 2},
		"others in between":                         {[]int64{0, 100, 1, 100, 2, 100, 3}, []int64{0, 0, 1, 1, 2, 2, 3}, 3},
		"others that do not agree":                  {[]int64{0, 100, 200, 300, 400}, []int64{0, 0, 0, 0, 0}, 4},
		"a wrong one before a gap":                  {[]int64{0, 9999, 100, 101, 102, 103}, []int64{0, 0, 0, 0, 102, 103}, 3},
		"a wrong one after it":                      {[]int64{0, 100, 101, 9999, 102, 103}, []int64{0, 0, 0, 0, 102, 103}, 3},
		"a wrong one that would have been the last": {[]int64{0, 100, 101, 9999}, []int64{0, 0, 0, 0}, 3},
		"a step at a time":                          {[]int64{0, 10, 20, 30}, []int64{0, 10, 20, 30}, 0},
		"before 1970":                               {[]int64{-100, -80, -99}, []int64{-100, -100, -99}, 1},
		"the end of time":                           {[]int64{never + 1, eventtime.End, 5}, []int64{never + 1, never + 1, never + 1}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			g := eventtime.Guard{Most: 10, Confirm: 2}
			now, doubted := int64(never), 0
			var got []int64
			for _, at := range c.times {
				var d bool
				if now, d = g.See(now, at); d {
					doubted++
				}
				got = append(got, now)
			}
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.doubted, doubted)
		})
	}
	g := eventtime.Guard{}
	now, doubted := g.See(0, eventtime.End)
	assert.EqualValues(t, eventtime.End, now)
	assert.False(t, doubted)
}

// Time never falls, is always that of a record, and goes no step of more than Most unless enough others agree. What is
// kept is bounded.
func TestGuardNeverFalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := eventtime.Guard{Most: rapid.Int64Range(1, 20).Draw(t, "most"), Confirm: rapid.IntRange(1, 4).Draw(t, "confirm")}
		now := int64(eventtime.None)
		var all []int64
		for _, at := range rapid.SliceOfN(rapid.Int64Range(-200, 200), 1, 200).Draw(t, "times") {
			all = append(all, at)
			next, doubted := g.See(now, at)
			if next < now || !doubted && at > next || len(g.Waiting) > 64+g.Confirm {
				t.Fatalf("%d after %d: %d, %v, %d waiting", at, now, next, doubted, len(g.Waiting))
			}
			if now != eventtime.None && next > now+g.Most {
				near := 0
				for _, x := range all[max(0, len(all)-64-g.Confirm):] {
					if x > now+g.Most && x <= next {
						near++
					}
				}
				if near <= g.Confirm {
					t.Fatalf("from %d to %d, which only %d say", now, next, near)
				}
			}
			now = next
		}
	})
}
