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

// keeper makes a claim of a member whose tasks keep state.
func keeper(id string, groups [][]string, generation int32, owned ...source.Partition) claim {
	c := member(id, groups, generation, owned...)
	c.keeps, c.copies = map[string]bool{}, map[source.Partition]connect.Copy{}
	for _, g := range groups {
		c.keeps[g[0]] = true
	}
	return c
}

// with adds a copy of the state of partitions of a topic.
func (c claim) with(k connect.Copy, topic string, indexes ...int32) claim {
	for _, i := range indexes {
		c.copies[part(topic, i)] = k
	}
	return c
}

const much = 1_000_000 // changes

var (
	own     = connect.Copy{Progress: much}
	current = connect.Copy{Progress: much - near - 1, Followed: true, Current: true}
	behind  = connect.Copy{Progress: much / 2, Followed: true}
	leftBy  = connect.Copy{Progress: much - near} // by a task that was here not long ago
)

func TestUnitsGoWhereTheirStateIs(t *testing.T) {
	one, counts := [][]string{{"in"}}, map[string]int32{"in": 4}
	a := func() claim { return keeper("a", one, 3, units("in", 0, 1)...).with(own, "in", 0, 1) }
	for _, tc := range []struct {
		name    string
		members []claim
		want    map[string]given
	}{
		{"the standbys of a lost member take over",
			[]claim{keeper("a", one, 3, units("in", 0)...).with(own, "in", 0).with(current, "in", 3), keeper("c", one, 3).with(current, "in", 2, 1)},
			map[string]given{"a": {parts: units("in", 0, 3)}, "c": {parts: units("in", 1, 2)}}},
		{"also if one has too much then, until another one has made itself a copy",
			[]claim{a().with(current, "in", 2, 3), keeper("c", one, 3)},
			map[string]given{"a": {parts: units("in", 0, 1, 2, 3)}, "c": {next: units("in", 2, 3)}}},
		{"what is still being copied stays",
			[]claim{a().with(own, "in", 2, 3), keeper("c", one, 3).with(behind, "in", 2, 3)},
			map[string]given{"a": {parts: units("in", 0, 1, 2, 3)}, "c": {next: units("in", 2, 3)}}},
		{"what has been copied goes",
			[]claim{a().with(own, "in", 2, 3), keeper("c", one, 3).with(behind, "in", 2).with(current, "in", 3)},
			map[string]given{"a": {parts: units("in", 0, 1, 2)}, "c": {parts: units("in", 3), next: units("in", 2)}}},
		{"what a member left behind counts",
			[]claim{a().with(own, "in", 2, 3), keeper("c", one, -1).with(leftBy, "in", 2, 3)},
			map[string]given{"a": {parts: units("in", 0, 1)}, "c": {parts: units("in", 2, 3)}}},
		{"so does it when nobody has the unit",
			[]claim{keeper("a", one, -1).with(leftBy, "in", 1, 3), keeper("c", one, -1).with(leftBy, "in", 0, 2)},
			map[string]given{"a": {parts: units("in", 1, 3)}, "c": {parts: units("in", 0, 2)}}},
		{"nobody has anything: even shares",
			[]claim{keeper("a", one, -1), keeper("c", one, -1)},
			map[string]given{"a": {parts: units("in", 0, 2)}, "c": {parts: units("in", 1, 3)}}},
		{"a release that makes no copies is not waited for",
			[]claim{a().with(own, "in", 2, 3), member("c", one, 3)},
			map[string]given{"a": {parts: units("in", 0, 1)}, "c": {parts: units("in", 2, 3)}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := balance(tc.members, counts)
			for id, want := range tc.want {
				assert.ElementsMatch(t, want.parts, got[id].parts, "%s has", id)
				assert.ElementsMatch(t, want.next, got[id].next, "%s is to have", id)
				assert.Empty(t, got[id].follow, "no standbys were asked for")
			}
		})
	}
}

// A unit that its owner has given up for another one goes to that one, not back.
func TestHandOverAfterWarmUp(t *testing.T) {
	one, counts := [][]string{{"in"}}, map[string]int32{"in": 4}
	a := keeper("a", one, 3, units("in", 0, 1, 2, 3)...).with(own, "in", 0, 1, 2, 3)
	c := keeper("c", one, 3).with(current, "in", 2, 3)
	got := balance([]claim{a, c}, counts)
	assert.ElementsMatch(t, units("in", 0, 1), got["a"].parts)
	assert.Empty(t, got["c"].parts, "nobody's, until it was given up")
	a.owned, a.generation, c.generation = units("in", 0, 1), 4, 4
	got = balance([]claim{a, c}, counts)
	assert.ElementsMatch(t, units("in", 2, 3), got["c"].parts)
	assert.Empty(t, got["c"].next)
}

func TestStandbysAreInOtherZones(t *testing.T) {
	one, counts := [][]string{{"in"}}, map[string]int32{"in": 6}
	var members []claim
	for i, zone := range []string{"x", "x", "y", "y"} {
		var m claim
		if i < 3 {
			m = keeper(fmt.Sprint(zone, i), one, 3, units("in", int32(2*i), int32(2*i+1))...).with(own, "in", int32(2*i), int32(2*i+1))
		} else {
			m = keeper(fmt.Sprint(zone, i), one, 3).with(current, "in", 4, 5)
		}
		m.zone, m.standbys = zone, 1
		members = append(members, m)
	}
	got := balance(members, counts)
	zoneOf := func(p source.Partition) string {
		for id, g := range got {
			if slices.Contains(g.parts, p) {
				return id[:1]
			}
		}
		return ""
	}
	n := 0
	for id, g := range got {
		for _, p := range g.follow {
			n++
			if z := zoneOf(p); z != "" {
				assert.NotEqual(t, z, id[:1], "%v", p)
			}
		}
	}
	assert.Equal(t, 6, n)
}

// With in-memory exchange whoever takes over needs everything: the standby has it, and is the next.
func TestStandbyOfOneThatHasAll(t *testing.T) {
	groups, counts := [][]string{{"in"}, {"other"}}, map[string]int32{"in": 2, "other": 2}
	all := append(units("in", 0, 1), units("other", 0, 1)...)
	member := func(id string, owned ...source.Partition) claim {
		c := keeper(id, groups, 3, owned...)
		c.ownAll, c.standbys = true, 1
		return c
	}
	a, b, c := member("a", all...).with(own, "in", 0), member("b"), member("c").with(behind, "in", 0)
	got := balance([]claim{a, b, c}, counts)
	assert.ElementsMatch(t, all, got["a"].parts)
	assert.ElementsMatch(t, all, got["c"].follow)
	assert.Empty(t, append(got["b"].follow, got["b"].parts...))
	got = balance([]claim{b, c}, counts)
	assert.ElementsMatch(t, all, got["c"].parts)
	assert.ElementsMatch(t, all, got["b"].follow)
}

// Whatever members and their copies are like: a unit with much state moves only to where it is, everything is somebody's
// all the time but while it moves, the group comes to rest balanced and with all the standbys that it can have, each at a
// member that neither has nor gets the unit; and when a member is lost its units go to their standbys.
func TestCopiesProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := [][]string{{"a", "b"}, {"c"}}[:rapid.IntRange(1, 2).Draw(t, "groups")]
		counts := map[string]int32{}
		var all []source.Partition // one of each unit
		for _, g := range groups {
			n := int32(rapid.IntRange(1, 9).Draw(t, "partitions"))
			for _, topic := range g {
				counts[topic] = n
			}
			for i := range n {
				all = append(all, part(g[0], i))
			}
		}
		standbys := rapid.IntRange(0, 2).Draw(t, "standbys")
		zones := rapid.Bool().Draw(t, "zones")
		var members []claim
		join := func(id string) {
			m := keeper(id, groups, -1)
			m.standbys = standbys
			if zones {
				m.zone = rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "zone")
			}
			for _, p := range all {
				if rapid.IntRange(0, 3).Draw(t, "left") == 0 {
					m.copies[p] = connect.Copy{Progress: int64(rapid.IntRange(0, much).Draw(t, "progress"))}
				}
			}
			members = append(members, m)
		}
		generation := int32(10)
		// round is one rebalance; then some of the copies that are followed get near.
		round := func(all bool) map[string]*given {
			before := map[source.Partition]string{}
			had := map[string]map[source.Partition]connect.Copy{}
			for _, m := range members {
				had[m.id] = m.copies
				for _, p := range m.owned {
					before[p] = m.id
				}
			}
			plan := balance(members, counts)
			generation++
			for i := range members {
				m := &members[i]
				to := plan[m.id]
				for _, p := range to.parts {
					if _, keeps := m.keeps[p.Stream]; !keeps || before[p] == m.id {
						continue
					}
					best := int64(0)
					for _, copies := range had {
						best = max(best, copies[p].Progress)
					}
					k := had[m.id][p]
					require.True(t, k.Current || best-k.Progress <= near, "%v goes to %s, whose copy is %v of %d", p, m.id, k, best)
				}
				m.owned, m.generation = to.parts, generation
				copies := map[source.Partition]connect.Copy{}
				for p, k := range m.copies {
					copies[p] = connect.Copy{Progress: k.Progress}
				}
				for _, p := range append(slices.Clone(to.follow), to.next...) {
					require.NotContains(t, to.parts, p, "a standby where the task is")
					copies[p] = connect.Copy{Progress: copies[p].Progress, Followed: true}
					if all || rapid.Bool().Draw(t, "near") {
						copies[p] = connect.Copy{Progress: much, Followed: true, Current: true}
					}
				}
				for _, p := range to.parts {
					if m.keeps[p.Stream] {
						copies[p] = own
					}
				}
				m.copies = copies
			}
			return plan
		}
		settle := func() map[string]*given {
			for range rapid.IntRange(0, 3).Draw(t, "rounds") {
				round(false)
			}
			for range 6 {
				round(true)
			}
			last, again := round(true), round(true)
			owners, keepers := map[source.Partition]string{}, map[source.Partition]map[string]bool{}
			least, most := len(all), 0
			for id, g := range again {
				assert.ElementsMatch(t, last[id].parts, g.parts, "%s: still moving", id)
				assert.ElementsMatch(t, last[id].follow, g.follow, "%s: standbys still moving", id)
				require.Empty(t, g.next, "%s: still waiting", id)
				n := 0
				for _, p := range g.parts {
					if slices.Contains(all, p) {
						owners[p] = id
						n++
					}
				}
				least, most = min(least, n), max(most, n)
				for _, p := range g.follow {
					if keepers[p] == nil {
						keepers[p] = map[string]bool{}
					}
					require.False(t, keepers[p][id], "twice")
					keepers[p][id] = true
				}
			}
			require.Len(t, owners, len(all))
			require.LessOrEqual(t, most-least, 1, "not balanced")
			for _, p := range all {
				require.Len(t, keepers[p], min(standbys, len(members)-1), "standbys of %v", p)
				require.False(t, keepers[p][owners[p]])
			}
			if !zones {
				limit := (len(all)*min(standbys, len(members)-1) + len(members) - 1) / len(members)
				for id, g := range again {
					require.LessOrEqual(t, len(g.follow), limit+1, "standbys of %s", id)
				}
			}
			return again
		}
		for i := range rapid.IntRange(1, 5).Draw(t, "members") {
			join(fmt.Sprint("m", i))
		}
		settle()
		join("new")
		settle()
		if len(members) < 2 || standbys == 0 {
			return
		}
		gone := members[0]
		members = members[1:]
		had := map[string]map[source.Partition]connect.Copy{}
		for _, m := range members {
			had[m.id] = m.copies
		}
		plan := round(true)
		for _, p := range gone.owned {
			if !slices.Contains(all, p) {
				continue
			}
			owner := ""
			for id, g := range plan {
				if slices.Contains(g.parts, p) {
					owner = id
				}
			}
			require.NotEmpty(t, owner, "%v is nobody's after a loss", p)
			require.GreaterOrEqual(t, had[owner][p].Progress, int64(much-near), "%v did not go where its state is", p)
		}
		settle()
	})
}

func TestToldData(t *testing.T) {
	follow, next := units("in", 0, 3, 7), append(units("a", 1), units("in", 2)...)
	got := decodeTold(told{follow, next, "i-1", true}.encode())
	assert.ElementsMatch(t, follow, got.follow)
	assert.ElementsMatch(t, next, got.next)
	assert.Equal(t, "i-1", got.start)
	assert.True(t, got.moving)
	assert.False(t, decodeTold(told{follow, next, "i-1", false}.encode()).moving)
	later := append(told{follow: follow}.encode(), "what a later release adds"...)
	later[0]++
	got = decodeTold(later)
	assert.ElementsMatch(t, follow, got.follow)
	assert.Empty(t, got.next)
	b := told{follow: follow}.encode()
	assert.ElementsMatch(t, follow, decodeTold(b[:len(b)-1]).follow, "a leader of a release that did not say whether partitions move")
	assert.ElementsMatch(t, follow, decodeTold(b[:len(b)-2]).follow, "nor for which start")
	rapid.Check(t, func(t *rapid.T) {
		decodeTold(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
	})
}

// A member of a release before copies joins with less.
func TestJoinDataWithoutCopies(t *testing.T) {
	b := joinData{instance: "i", groups: [][]string{{"a"}}}.encode()
	got, err := decodeJoinData(b[:len(b)-5])
	require.NoError(t, err)
	assert.Equal(t, joinData{instance: "i", groups: [][]string{{"a"}}}, got)
}

// follower is a handler that hears what to copy.
type follower struct {
	*engine
	told chan []source.Partition
}

func (f follower) Copies() map[source.Partition]connect.Copy { return nil }
func (f follower) Follow(parts []source.Partition) {
	select {
	case f.told <- parts:
	default:
	}
}

// A member whose first assignment was made for it asks for no other, whatever that gives it: each round more is one in which
// a member that ends leaves the others waiting.
func TestFirstAssignmentOfStaticMember(t *testing.T) {
	t.Parallel()
	v := fakeEnv(t)
	v.topics(t, map[string]int32{"in": 2, "too": 2, "out": 1})
	app := func(instance string) connect.App {
		a := v.app(instance)
		a.Static, a.OwnAll, a.Standbys = true, true, 1
		return a
	}
	begin := func(a connect.App) (*session, follower) {
		s, f := v.open(t, a), follower{newEngine(), make(chan []source.Partition, 1)}
		run(t, s, f)
		return s, f
	}
	_, one := begin(app("one"))
	one.until(t, "all of one", one.has(v.part("in", 0), v.part("in", 1)))
	two, spare := begin(app("two"))
	assert.Len(t, <-spare.told, 2, "what to copy comes with the first assignment")
	assert.Zero(t, two.member.round(), "which was made for this start, so that no other is asked for")
}
