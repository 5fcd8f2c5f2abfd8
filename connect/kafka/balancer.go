package kafka

import (
	"cmp"
	"maps"
	"slices"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// This file decides which member of the group reads what. It knows no client.
//
// What is given out are units: partition i of all inputs of one group of inputs, because a task reads them side by side.
// The rules, in order:
//   - a unit is never split over members;
//   - if any member demands it (in-memory exchange), one member has everything, and the others wait;
//   - the numbers of units of two members differ by one at most;
//   - a unit stays where it is. If two members claim it, the claim from the later generation is the true one;
//   - a unit goes to where its state is: see copies.go;
//   - the inputs of each group are spread evenly too.
//
// A unit that moves is given to nobody at first: its old owner sees that it is no longer his, gives it up in good order
// and joins again, and the next round gives it to the new one. That is the cooperative protocol (KIP-429).

// claim is what a member of the group says of itself when it joins.
type claim struct {
	id         string // the broker's name for it
	instance   string
	topics     map[string]bool
	owned      []source.Partition
	generation int32 // in which it owned them
	ownAll     bool
	groups     [][]string
	keeps      map[string]bool // the topics whose tasks keep state
	copies     map[source.Partition]connect.Copy
	standbys   int
	zone       string
	start      string
}

func byInstance(a, b claim) int {
	return cmp.Or(cmp.Compare(a.instance, b.instance), cmp.Compare(a.id, b.id))
}

type unit struct {
	group int
	index int32
}

// given is what a member gets.
type given struct {
	parts []source.Partition
	// It keeps copies of the state of the tasks of told.follow, and of those of told.next, which it is to have once its copies
	// are near.
	told
}

// balance returns what each member gets, by its id. counts are the numbers of partitions of the topics; a topic that is
// missing has none.
func balance(members []claim, counts map[string]int32) map[string]*given {
	members = slices.SortedFunc(slices.Values(members), byInstance)
	groups := mergeGroups(members)
	owner := owners(members)

	// Who owned each unit. A unit that was split, as partitions of a new topic make it, counts for its first owner.
	var units []unit
	held := map[unit]int{}
	for g, topics := range groups {
		n := int32(0)
		for _, t := range topics {
			n = max(n, counts[t])
		}
		for i := range n {
			u := unit{g, i}
			units = append(units, u)
			held[u] = -1
			for _, t := range topics {
				if m, ok := owner[source.Partition{Stream: t, Index: i}]; ok && members[m].reads(topics) {
					held[u] = m
					break
				}
			}
		}
	}
	state := findCopies(members, units, groups)
	var now, next map[unit]int
	var standbys map[unit][]int
	if slices.ContainsFunc(members, func(m claim) bool { return m.ownAll }) {
		var owner int
		now, owner = toOne(members, units, groups, held, state)
		standbys = state.standbysOfAll(units, owner)
	} else {
		now, next = state.warmUp(units, spread(members, units, groups, held, state), held)
		standbys = state.standbys(units, now, next)
	}

	plan := make(map[string]*given, len(members))
	for _, m := range members {
		plan[m.id] = &given{told: told{start: m.start}}
	}
	moving := false
	for _, u := range units {
		one := source.Partition{Stream: groups[u.group][0], Index: u.index}
		for _, t := range groups[u.group] { // not every topic of the group has so many
			if u.index < counts[t] {
				one.Stream = t
				break
			}
		}
		for _, m := range standbys[u] {
			to := plan[members[m].id]
			to.follow = append(to.follow, one)
		}
		if m, ok := next[u]; ok {
			to := plan[members[m].id]
			to.next = append(to.next, one)
		}
		m, ok := now[u]
		if !ok {
			continue
		}
		for _, t := range groups[u.group] {
			p := source.Partition{Stream: t, Index: u.index}
			if u.index >= counts[t] {
				continue
			}
			if before, ok := owner[p]; ok && before != m {
				// It moves: nobody's until its owner has given it up. All of the unit waits with it.
				moving = true
				continue
			}
			to := plan[members[m].id]
			to.parts = append(to.parts, p)
		}
	}
	for _, to := range plan {
		to.parts, to.moving = whole(to.parts, groups, counts), moving
	}
	return plan
}

// whole drops partitions of units that are not complete yet.
func whole(parts []source.Partition, groups [][]string, counts map[string]int32) []source.Partition {
	have := map[source.Partition]bool{}
	for _, p := range parts {
		have[p] = true
	}
	incomplete := map[source.Partition]bool{}
	for _, topics := range groups {
		for _, t := range topics {
			for i := range counts[t] {
				if have[source.Partition{Stream: t, Index: i}] {
					continue
				}
				for _, other := range topics {
					incomplete[source.Partition{Stream: other, Index: i}] = true
				}
			}
		}
	}
	return slices.DeleteFunc(parts, func(p source.Partition) bool { return incomplete[p] })
}

func (c claim) reads(topics []string) bool {
	for _, t := range topics {
		if !c.topics[t] {
			return false
		}
	}
	return true
}

// owners returns whose each partition is, by the latest generation in which it was claimed. Of two claims of the same
// generation, which only a fault can bring about, none counts: who takes it then restores it.
func owners(members []claim) map[source.Partition]int {
	owner := map[source.Partition]int{}
	disputed := map[source.Partition]int32{}
	for i, m := range members {
		for _, p := range m.owned {
			before, ok := owner[p]
			switch {
			case ok && members[before].generation == m.generation:
				disputed[p] = m.generation
			case !ok || members[before].generation < m.generation:
				owner[p] = i
			}
		}
	}
	for p, g := range disputed {
		if members[owner[p]].generation == g {
			delete(owner, p)
		}
	}
	return owner
}

// mergeGroups joins the members' groups of inputs wherever they have a topic in common: during a deployment two versions
// of the application may group differently. Topics that no member groups stand alone, and so do those of a group that no
// member reads whole.
func mergeGroups(members []claim) [][]string {
	root := map[string]string{}
	var find func(string) string
	find = func(t string) string {
		if r, ok := root[t]; ok && r != t {
			root[t] = find(r)
			return root[t]
		}
		root[t] = t
		return t
	}
	for _, m := range members {
		for t := range m.topics {
			find(t)
		}
		for _, g := range m.groups {
			for _, t := range g {
				a, b := find(g[0]), find(t)
				root[max(a, b)] = min(a, b)
			}
		}
	}
	byRoot := map[string][]string{}
	for _, t := range slices.Sorted(maps.Keys(root)) {
		byRoot[find(t)] = append(byRoot[find(t)], t)
	}
	var groups [][]string
	for _, r := range slices.Sorted(maps.Keys(byRoot)) {
		topics := byRoot[r]
		if slices.ContainsFunc(members, func(m claim) bool { return m.reads(topics) }) {
			groups = append(groups, topics)
			continue
		}
		for _, t := range topics {
			groups = append(groups, []string{t})
		}
	}
	return groups
}

// toOne gives everything to the member that has most already. If none has anything it is the one with most of the state,
// the first by name if there are several.
func toOne(members []claim, units []unit, groups [][]string, held map[unit]int, state *copies) (target map[unit]int, to int) {
	has := make([]int, len(members))
	for _, u := range units {
		if m := held[u]; m >= 0 {
			has[m]++
		}
	}
	if most := slices.Max(has); most > 0 {
		to = slices.Index(has, most)
	} else {
		to = state.most()
	}
	target = map[unit]int{}
	for _, u := range units {
		if members[to].reads(groups[u.group]) {
			target[u] = to
		}
	}
	return target, to
}

// spread gives every member its share: what it had, as far as that is not too much, and the least loaded ones the rest.
func spread(members []claim, units []unit, groups [][]string, held map[unit]int, state *copies) map[unit]int {
	if len(members) == 0 {
		return nil
	}
	had := make([][]unit, len(members))
	for _, u := range units {
		if m := held[u]; m >= 0 {
			had[m] = append(had[m], u)
		}
	}
	// Everyone has at least low units, and as many as leave a remainder have one more: those that have most already.
	low, more := len(units)/len(members), len(units)%len(members)
	order := make([]int, len(members))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(had[b]), len(had[a])) })

	target := make(map[unit]int, len(units))
	load := make([]int, len(members))
	perGroup := make([]map[int]int, len(members))
	give := func(u unit, m int) {
		target[u] = m
		load[m]++
		perGroup[m][u.group]++
	}
	share := make([]int, len(members))
	for n, m := range order {
		perGroup[m] = map[int]int{}
		share[m] = low
		if n < more {
			share[m]++
		}
	}
	for _, m := range order {
		stays := interleave(had[m])
		slices.SortStableFunc(stays, func(a, b unit) int {
			room := func(m int) bool { return len(had[m]) < share[m] }
			return first(!state.leavesEasily(a, m, room), !state.leavesEasily(b, m, room))
		})
		for _, u := range stays[:min(len(stays), share[m])] {
			give(u, m)
		}
	}
	rest := func(may func(u unit, m int) bool) {
		for _, u := range units {
			if _, ok := target[u]; ok {
				continue
			}
			best := -1
			for m := range members {
				if !members[m].reads(groups[u.group]) || !may(u, m) {
					continue
				}
				if best < 0 || cmp.Or(
					cmp.Compare(max(0, load[m]-share[m]+1), max(0, load[best]-share[best]+1)), // nobody beyond his share
					cmp.Compare(perGroup[m][u.group], perGroup[best][u.group]),
					cmp.Compare(load[m]-share[m], load[best]-share[best])) < 0 {
					best = m
				}
			}
			if best >= 0 {
				give(u, best)
			}
		}
	}
	rest(func(u unit, m int) bool { return load[m] < share[m] && state.ready(u, m) })
	rest(func(unit, int) bool { return true })
	return target
}

// interleave orders units so that any first part of them holds about as much of each group of inputs.
func interleave(units []unit) []unit {
	rank := map[unit]int{}
	seen := map[int]int{}
	for _, u := range units {
		rank[u] = seen[u.group]
		seen[u.group]++
	}
	return slices.SortedFunc(slices.Values(units), func(a, b unit) int {
		return cmp.Or(cmp.Compare(rank[a], rank[b]), cmp.Compare(a.group, b.group))
	})
}
