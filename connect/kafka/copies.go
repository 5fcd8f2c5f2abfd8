package kafka

import (
	"cmp"
	"math"
	"slices"

	"github.com/millstream-go/millstream/source"
)

// This file decides with regard to where the state of tasks is. Members say how far their copies have come, in changes to
// the state, when they join (connect.Copy). On that
//
//   - a unit that is nobody's goes to a member whose copy of its state is near, if there is one, even if that member then
//     has more than its share for a while;
//   - a unit that is to move, for the sake of balance, to a member without a near copy stays where it is until that one
//     has made itself a copy, and asks for another round (the warm-up of KIP-441);
//   - other members keep standbys.

// near is by how many changes a copy may be behind the best one for a hand-over not to be felt: KIP-441's acceptable
// recovery lag.
const near = 10_000

// copies is what the members have of the state of each unit that keeps any.
type copies struct {
	members []claim
	of      map[unit][]copyOf // by member
}

// copyOf is what one member has of a unit's state.
type copyOf struct {
	able     bool // to run the unit, and to keep a copy of its state
	has      bool // some of it
	progress int64
	followed bool
	near     bool
}

func findCopies(members []claim, units []unit, groups [][]string) *copies {
	c := &copies{members, map[unit][]copyOf{}}
	for _, u := range units {
		topics := groups[u.group]
		if !slices.ContainsFunc(members, func(m claim) bool { return m.keepsAny(topics) }) {
			continue
		}
		list, best := make([]copyOf, len(members)), int64(0)
		for i, m := range members {
			k := &list[i]
			k.able = m.reads(topics) && m.keepsAny(topics)
			k.near = true // until something else is found
			for _, t := range topics {
				have, ok := m.copies[source.Partition{Stream: t, Index: u.index}]
				if !ok {
					continue
				}
				k.has = true
				k.progress += have.Progress
				k.followed = k.followed || have.Followed
				k.near = k.near && have.Current
			}
			k.near = k.near && k.has
			best = max(best, k.progress)
		}
		for i := range list {
			// A member of another release, which cannot make itself a copy, is not waited for.
			list[i].near = list[i].near || best-list[i].progress <= near || !list[i].able
		}
		c.of[u] = list
	}
	return c
}

func (c claim) keepsAny(topics []string) bool {
	return slices.ContainsFunc(topics, func(t string) bool { return c.keeps[t] })
}

// ready says that a member has a copy of the unit's state that is near.
func (c *copies) ready(u unit, m int) bool {
	list := c.of[u]
	return list != nil && list[m].has && list[m].near
}

// leavesEasily says that a unit could go from a member to another one that has room and its state.
func (c *copies) leavesEasily(u unit, m int, room func(m int) bool) bool {
	for i := range c.of[u] {
		if i != m && c.ready(u, i) && room(i) {
			return true
		}
	}
	return false
}

// most is the member that has most state in all.
func (c *copies) most() (best int) {
	progress := make([]int64, len(c.members))
	for _, list := range c.of {
		for m, k := range list {
			progress[m] += k.progress
		}
	}
	for m := range progress {
		if progress[m] > progress[best] {
			best = m
		}
	}
	return best
}

// warmUp holds units back from members that are not ready for them. It returns who has each meanwhile, and who makes
// itself ready for what it is to have.
func (c *copies) warmUp(units []unit, target, held map[unit]int) (now, next map[unit]int) {
	now, next = make(map[unit]int, len(target)), map[unit]int{}
	load := make([]int, len(c.members))
	var waits []unit
	for _, u := range units {
		m, ok := target[u]
		if !ok {
			continue
		}
		if list := c.of[u]; list != nil && held[u] != m && !list[m].near {
			waits = append(waits, u)
			continue
		}
		now[u] = m
		load[m]++
	}
	for _, u := range waits {
		to := held[u]
		if to < 0 {
			for m := range c.members {
				if c.of[u][m].able && c.ready(u, m) && (to < 0 || load[m] < load[to]) {
					to = m
				}
			}
		}
		if to < 0 { // nobody has its state
			now[u] = target[u]
		} else {
			now[u], next[u] = to, target[u]
		}
		load[now[u]]++
	}
	return now, next
}

// standbys returns the members that keep a copy of each unit's state beside the one that has it: as many as the members
// ask for. They are in another zone if there is one, where they are already if that is balanced, and those of one
// member's units are spread over the others, which share its work when it is gone.
func (c *copies) standbys(units []unit, now, next map[unit]int) map[unit][]int {
	n := 0
	for _, m := range c.members {
		n = max(n, m.standbys)
	}
	if n == 0 {
		return nil
	}
	chosen := map[unit][]int{}
	candidates := func(u unit) (list []int) {
		for m, k := range c.of[u] {
			if owner, ok := now[u]; ok && owner == m || !k.able || slices.Contains(chosen[u], m) {
				continue
			}
			if m2, ok := next[u]; ok && m2 == m {
				continue
			}
			list = append(list, m)
		}
		return list
	}
	wanted := 0
	for _, u := range units {
		wanted += min(n, len(candidates(u)))
	}
	limit := (wanted + len(c.members) - 1) / len(c.members)
	load := make([]int, len(c.members))
	besides := map[[2]int]int{} // by owner and standby
	choose := func(u unit, m int) {
		chosen[u] = append(chosen[u], m)
		load[m]++
		besides[[2]int{now[u], m}]++
	}
	// How many of those that have a copy of the unit beside a member are in its zone.
	sharesZone := func(u unit, m int, others []int) (n int) {
		if owner, ok := now[u]; ok {
			others = append(slices.Clone(others), owner)
		}
		for _, o := range others {
			if zone := c.members[m].zone; zone != "" && zone == c.members[o].zone {
				n++
			}
		}
		return n
	}
	clash := func(u unit, m int) int { return sharesZone(u, m, chosen[u]) }
	for range n { // what may stay
		for _, u := range units {
			list, least := candidates(u), math.MaxInt
			for _, m := range list {
				least = min(least, clash(u, m))
			}
			i := slices.IndexFunc(list, func(m int) bool { return c.of[u][m].followed && load[m] < limit && clash(u, m) == least })
			if i >= 0 && len(chosen[u]) < n {
				choose(u, list[i])
			}
		}
	}
	for range n {
		for _, u := range units {
			list := candidates(u)
			if len(chosen[u]) >= n || len(list) == 0 {
				continue
			}
			choose(u, slices.MinFunc(list, func(a, b int) int {
				ka, kb := c.of[u][a], c.of[u][b]
				return cmp.Or(
					cmp.Compare(clash(u, a), clash(u, b)),
					cmp.Compare(max(0, load[a]-limit+1), max(0, load[b]-limit+1)),
					first(ka.followed, kb.followed),
					first(ka.has && ka.near, kb.has && kb.near),
					cmp.Compare(besides[[2]int{now[u], a}], besides[[2]int{now[u], b}]),
					cmp.Compare(load[a], load[b]))
			}))
		}
	}
	// One after the other, units have left their standbys to whoever remained: level that.
	for again := true; again; {
		again = false
		for _, u := range units {
			for i, m := range chosen[u] {
				for _, to := range candidates(u) {
					if load[m]-load[to] < 2 {
						continue
					}
					others := slices.Delete(slices.Clone(chosen[u]), i, i+1)
					if sharesZone(u, to, others) > sharesZone(u, m, others) {
						continue
					}
					chosen[u][i] = to
					load[m]--
					load[to]++
					again = true
					break
				}
			}
		}
	}
	return chosen
}

// first orders what holds before what does not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// standbysOfAll are the standbys where one member has everything: whoever takes over needs all of it.
func (c *copies) standbysOfAll(units []unit, owner int) map[unit][]int {
	n := 0
	for _, m := range c.members {
		n = max(n, m.standbys)
	}
	rank := make([]struct{ followed, progress int64 }, len(c.members))
	var list []int
	for m := range c.members {
		able := false
		for _, u := range units {
			if k := c.of[u]; k != nil && k[m].able {
				able = true
				rank[m].progress += k[m].progress
				if k[m].followed {
					rank[m].followed++
				}
			}
		}
		if able && m != owner {
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int {
		return cmp.Or(
			first(c.members[a].zone == "" || c.members[a].zone != c.members[owner].zone, c.members[b].zone == "" || c.members[b].zone != c.members[owner].zone),
			cmp.Compare(rank[b].followed, rank[a].followed), cmp.Compare(rank[b].progress, rank[a].progress))
	})
	chosen := map[unit][]int{}
	for u := range c.of {
		chosen[u] = list[:min(n, len(list))]
	}
	return chosen
}
