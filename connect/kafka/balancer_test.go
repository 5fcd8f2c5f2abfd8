package kafka

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// member makes a claim for tests: it reads the topics of all groups.
func member(id string, groups [][]string, generation int32, owned ...source.Partition) claim {
	c := claim{id: id, instance: id, topics: map[string]bool{}, groups: groups, generation: generation, owned: owned}
	for _, g := range groups {
		for _, t := range g {
			c.topics[t] = true
		}
	}
	return c
}

func units(topic string, indexes ...int32) (parts []source.Partition) {
	for _, i := range indexes {
		parts = append(parts, part(topic, i))
	}
	return parts
}

func sorted(parts []source.Partition) []source.Partition {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, comparePartitions)
	return parts
}

func parts(plan map[string]*given) map[string][]source.Partition {
	m := map[string][]source.Partition{}
	for id, to := range plan {
		m[id] = to.parts
	}
	return m
}

func TestBalance(t *testing.T) {
	one := [][]string{{"in"}}
	pair := [][]string{{"left", "right"}}
	for _, tc := range []struct {
		name    string
		members []claim
		counts  map[string]int32
		want    map[string][]source.Partition
	}{
		{"alone: everything", []claim{member("a", one, -1)}, map[string]int32{"in": 3},
			map[string][]source.Partition{"a": units("in", 0, 1, 2)}},
		{"fresh group: even shares", []claim{member("b", one, -1), member("a", one, -1)}, map[string]int32{"in": 5},
			map[string][]source.Partition{"a": units("in", 0, 2, 4), "b": units("in", 1, 3)}},
		{"more members than partitions: spares", []claim{member("a", one, -1), member("b", one, -1)}, map[string]int32{"in": 1},
			map[string][]source.Partition{"a": units("in", 0), "b": nil}},
		{"a member joins: what moves is nobody's at first", []claim{member("a", one, 1, units("in", 0, 1, 2, 3)...), member("b", one, -1)}, map[string]int32{"in": 4},
			map[string][]source.Partition{"a": units("in", 0, 1), "b": nil}},
		{"second round: the new member has it", []claim{member("a", one, 2, units("in", 0, 1)...), member("b", one, 2)}, map[string]int32{"in": 4},
			map[string][]source.Partition{"a": units("in", 0, 1), "b": units("in", 2, 3)}},
		{"a member left: only its own move", []claim{member("a", one, 3, units("in", 0, 1)...), member("c", one, 3, units("in", 4)...)}, map[string]int32{"in": 5},
			map[string][]source.Partition{"a": units("in", 0, 1, 3), "c": units("in", 2, 4)}},
		{"the later claim counts", []claim{member("a", one, 7, units("in", 0)...), member("b", one, 9, units("in", 0, 1)...)}, map[string]int32{"in": 2},
			map[string][]source.Partition{"a": nil, "b": units("in", 0)}},
		{"two claims of one generation: neither", []claim{member("a", one, 9, units("in", 0)...), member("b", one, 9, units("in", 0)...)}, map[string]int32{"in": 1},
			map[string][]source.Partition{"a": units("in", 0), "b": nil}},
		{"inputs of a group stay side by side", []claim{member("a", pair, -1), member("b", pair, -1)}, map[string]int32{"left": 2, "right": 3},
			map[string][]source.Partition{"a": {part("left", 0), part("right", 0), part("right", 2)}, "b": {part("left", 1), part("right", 1)}}},
		{"a topic that is gone", []claim{member("a", pair, -1)}, map[string]int32{"left": 1},
			map[string][]source.Partition{"a": units("left", 0)}},
		{"partitions added: they are given out, nothing moves", []claim{member("a", one, 2, units("in", 0, 1)...), member("b", one, 2, units("in", 2, 3)...)}, map[string]int32{"in": 6},
			map[string][]source.Partition{"a": units("in", 0, 1, 4), "b": units("in", 2, 3, 5)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := parts(balance(tc.members, tc.counts))
			require.Len(t, got, len(tc.want))
			for id, want := range tc.want {
				assert.ElementsMatch(t, want, got[id], id)
			}
		})
	}
}

func TestBalanceOwnAll(t *testing.T) {
	groups := [][]string{{"in"}, {"other"}}
	counts := map[string]int32{"in": 2, "other": 2}
	all := append(units("in", 0, 1), units("other", 0, 1)...)
	a, b := member("a", groups, -1), member("b", groups, -1)
	b.ownAll = true
	got := parts(balance([]claim{b, a}, counts))
	assert.ElementsMatch(t, all, got["a"], "fresh: the first by name")
	assert.Empty(t, got["b"])

	b = member("b", groups, 4, all...)
	b.ownAll = true
	got = parts(balance([]claim{a, b}, counts))
	assert.ElementsMatch(t, all, got["b"], "the one that has it keeps it")
	assert.Empty(t, got["a"])

	a = member("a", groups, 4, part("in", 0))
	b = member("b", groups, 4, part("in", 1), part("other", 0), part("other", 1))
	b.ownAll = true
	got = parts(balance([]claim{a, b}, counts))
	assert.Empty(t, got["a"], "what it had is to be given up")
	assert.ElementsMatch(t, b.owned, got["b"])
}

func TestBalanceDuringDeployment(t *testing.T) {
	// The old version reads only "in"; the new one reads it beside "extra".
	before := member("a", [][]string{{"in"}}, 3, units("in", 0, 1)...)
	after := member("b", [][]string{{"extra", "in"}}, -1)
	counts := map[string]int32{"in": 2, "extra": 2}
	got := parts(balance([]claim{before, after}, counts))
	assert.Empty(t, got["a"], "it cannot read the units whole")
	assert.Empty(t, got["b"], "nothing until the old one has given it up")
	before.owned = nil
	got = parts(balance([]claim{before, after}, counts))
	assert.ElementsMatch(t, append(units("in", 0, 1), units("extra", 0, 1)...), got["b"])

	// Nobody reads both topics: they go apart rather than unread.
	x, y := member("x", [][]string{{"in"}}, -1), member("y", [][]string{{"extra"}}, -1)
	x.groups = [][]string{{"extra", "in"}}
	got = parts(balance([]claim{x, y}, counts))
	assert.ElementsMatch(t, units("in", 0, 1), got["x"])
	assert.ElementsMatch(t, units("extra", 0, 1), got["y"])
}

// Whatever the members claim, two rounds of the cooperative protocol lead to a balanced assignment of everything, no
// partition is ever given to one while another still has it, units are whole, and a third round changes nothing.
func TestBalanceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := [][]string{{"a", "b"}, {"c"}, {"d", "e", "f"}}[:rapid.IntRange(1, 3).Draw(t, "groups")]
		counts := map[string]int32{}
		units := 0
		var all []source.Partition
		for _, g := range groups {
			longest := int32(0)
			for _, topic := range g {
				counts[topic] = int32(rapid.IntRange(1, 12).Draw(t, "partitions"))
				longest = max(longest, counts[topic])
				for i := range counts[topic] {
					all = append(all, part(topic, i))
				}
			}
			units += int(longest)
		}
		members := make([]claim, rapid.IntRange(1, 7).Draw(t, "members"))
		for i := range members {
			members[i] = member(fmt.Sprintf("m%d", i), groups, int32(rapid.IntRange(-1, 5).Draw(t, "generation")))
			for _, p := range all {
				if rapid.IntRange(0, 3).Draw(t, "owns") == 0 {
					members[i].owned = append(members[i].owned, p)
				}
			}
		}
		unitOf := func(p source.Partition) string {
			for g, topics := range groups {
				if slices.Contains(topics, p.Stream) {
					return fmt.Sprintf("%d/%d", g, p.Index)
				}
			}
			return "?"
		}
		check := func(plan map[string][]source.Partition, owner map[source.Partition]int) {
			seen := map[source.Partition]string{}
			for i, m := range members {
				have := map[string]int{}
				for _, p := range plan[m.id] {
					require.Empty(t, seen[p], "%v is given twice", p)
					seen[p] = m.id
					have[unitOf(p)]++
					if before, ok := owner[p]; ok {
						require.Equal(t, before, i, "%v is given away while it is still owned", p)
					}
				}
				for u, n := range have {
					want := 0
					for _, p := range all {
						if unitOf(p) == u {
							want++
						}
					}
					require.Equal(t, want, n, "unit %s is split", u)
				}
			}
		}
		next := func(generation int32) map[string][]source.Partition {
			owner := owners(slices.SortedFunc(slices.Values(members), byInstance))
			both := balance(members, counts)
			plan := parts(both)
			check(plan, owner)
			given := 0
			for _, parts := range plan {
				given += len(parts)
			}
			for id, to := range both {
				require.Equal(t, given < len(all), to.moving, "%s is to know whether something is nobody's for now", id)
			}
			shuffled := slices.Clone(members)
			slices.Reverse(shuffled)
			other := parts(balance(shuffled, counts))
			for id := range plan {
				require.Equal(t, sorted(plan[id]), sorted(other[id]), "depends on the order of members")
			}
			for i, m := range members {
				// It keeps what it had and still has, and takes what is new.
				members[i].owned, members[i].generation = plan[m.id], generation
			}
			return plan
		}
		next(10)
		second := next(11)
		given, least, most := 0, units, 0
		for _, parts := range second {
			have := map[string]bool{}
			for _, p := range parts {
				have[unitOf(p)] = true
			}
			given += len(parts)
			least, most = min(least, len(have)), max(most, len(have))
		}
		require.Equal(t, len(all), given, "something is left over")
		require.LessOrEqual(t, most-least, 1, "not balanced: %v", second)
		third := next(12)
		for id := range second {
			require.Equal(t, sorted(second[id]), sorted(third[id]), "the third round moves something")
		}

		// A member leaves: of what the others have, nothing moves beyond what balance demands.
		if len(members) > 1 {
			members = members[1:]
			before := map[string][]source.Partition{}
			for _, m := range members {
				before[m.id] = m.owned
			}
			plan := next(13)
			for id, had := range before {
				for _, p := range had {
					require.Contains(t, plan[id], p, "%v moved although its owner stayed", p)
				}
			}
		}
	})
}

func TestJoinData(t *testing.T) {
	u := joinData{instance: "instance-1", ownAll: true, groups: [][]string{{"a", "b"}, {"c"}}, round: 300,
		keeps: map[string]bool{"a": true}, copies: map[source.Partition]connect.Copy{part("a", 0): {Progress: 1 << 40, Followed: true}, part("a", 7): {Current: true}, part("c", 0): {}}, standbys: 2, zone: "z", start: "i-1"}
	got, err := decodeJoinData(u.encode())
	require.NoError(t, err)
	assert.Equal(t, u, got)

	later := append(u.encode(), "a field that only a later release knows"...)
	later[0] = joinDataVersion + 1
	got, err = decodeJoinData(later)
	require.NoError(t, err)
	assert.Equal(t, u, got)

	_, err = decodeJoinData(nil)
	require.ErrorIs(t, err, errJoinData)
	rapid.Check(t, func(t *rapid.T) {
		b := u.encode()
		_, _ = decodeJoinData(b[:rapid.IntRange(0, len(b)).Draw(t, "cut")])
		_, _ = decodeJoinData(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
	})
}

func TestMembershipGenerations(t *testing.T) {
	p := part("in", 0)
	m := membership{held: map[source.Partition]bool{}}
	m.joins(-1)
	require.NoError(t, m.syncs("id-1", 5))
	m.add([]source.Partition{p})
	id, generation, ok := m.current([]source.Partition{p})
	assert.Equal(t, "id-1", id)
	assert.EqualValues(t, 5, generation)
	assert.True(t, ok)
	_, _, ok = m.current([]source.Partition{p, part("in", 1)})
	assert.False(t, ok, "a partition that is not held")

	m.joins(5)
	require.NoError(t, m.syncs("id-1", 6), "the next generation")
	m.joins(6)
	m.joins(7) // the sync of 7 failed
	require.NoError(t, m.syncs("id-1", 8))

	m.joins(8)
	require.ErrorContains(t, m.syncs("id-1", 10), "was out of the group between generations 8 and 10")
	_, _, ok = m.current([]source.Partition{p})
	assert.False(t, ok, "nothing can be committed after a missed generation")
	m.lose()
	require.NoError(t, m.syncs("id-1", 10), "with nothing held there is nothing to lose")

	m.add([]source.Partition{p})
	m.joins(10)
	require.Error(t, m.syncs("id-2", 11), "another member id: the group had removed this member")
}
