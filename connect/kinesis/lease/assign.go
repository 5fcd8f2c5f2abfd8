package lease

import (
	"cmp"
	"maps"
	"slices"
)

// Assignment is by load: a lease weighs what its shard brings, in KiB a second as its owner measures it. Leases that weigh
// about the same count as equal, so that among equal shards no instance has more than one above its share, and a load that
// wavers moves nothing. A lease moves only if that makes the difference between two instances clearly smaller.

const (
	// alike is how far from the median a load may be, as a factor, to count as the median.
	alike = 1.5
	// worthwhile is the part of the median load that a move must gain.
	worthwhile = 0.25
)

// candidate is a lease to be read by somebody: its parents were read, and it was not.
type candidate struct {
	row
	free   bool // nobody has it, or who had it has let it expire
	moving bool // it is being handed over
}

// move gives a lease to an instance: at once if it is free, otherwise its holder is asked for it.
type move struct {
	row
	to    string
	asked bool
}

// assign decides which leases go to whom. Live are the instances that can be given leases; cost says with which of
// them a load counts for more (cpu.go). Leases of others (which take them by themselves, as those of older libraries do) stay where they are.
// The result depends on the arguments alone.
func assign(leases []candidate, live []string, cost map[string]cost) (moves []move) {
	if len(live) == 0 {
		return nil
	}
	leases = slices.SortedFunc(slices.Values(leases), func(a, b candidate) int { return cmp.Compare(a.key, b.key) })
	weight, median := weights(leases)
	load, count := map[string]float64{}, map[string]int{}
	for _, w := range live {
		load[w], count[w] = 0, 0
	}
	costs := func(l candidate, w string) float64 { return max(cost[w].factor, 1) * weight[l.key] }
	give := func(l candidate, to string, sign int) {
		if _, ok := load[to]; ok {
			load[to] += float64(sign) * costs(l, to)
			count[to] += sign
		}
	}
	// lightest compares by load, then by number, then by name.
	order := func(a, b string) int {
		return cmp.Or(cmp.Compare(load[a], load[b]), cmp.Compare(count[a], count[b]), cmp.Compare(a, b))
	}
	var free []candidate
	held := map[string][]candidate{} // that can be asked for
	for _, l := range leases {
		switch _, known := load[l.owner]; {
		case l.free:
			free = append(free, l)
		case known && !l.moving:
			held[l.owner] = append(held[l.owner], l)
			give(l, l.owner, 1)
		default:
			give(l, l.owner, 1)
		}
	}
	slices.SortStableFunc(free, func(a, b candidate) int { return cmp.Compare(weight[b.key], weight[a.key]) })
	workers := slices.Sorted(maps.Keys(load))
	for _, l := range free {
		to := slices.MinFunc(workers, func(a, b string) int {
			return cmp.Or(cmp.Compare(load[a]+costs(l, a), load[b]+costs(l, b)), order(a, b))
		})
		moves = append(moves, move{l.row, to, false})
		give(l, to, 1)
	}
	for range leases { // no more moves than leases
		to := slices.MinFunc(workers, order)
		best, gain := candidate{}, worthwhile*median
		for _, from := range workers {
			if from == to {
				continue
			}
			// It gains what the larger of two loads is more than the larger of what a move makes of them.
			d := load[from] - load[to]
			for _, l := range held[from] {
				if g := min(costs(l, from), d-costs(l, to)); g > gain {
					best, gain = l, g
				}
			}
		}
		if best.key == "" {
			break
		}
		moves = append(moves, move{best.row, to, true})
		held[best.owner] = slices.DeleteFunc(held[best.owner], func(l candidate) bool { return l.key == best.key })
		give(best, best.owner, -1)
		give(best, to, 1)
	}
	return moves
}

// weights are the loads with those near the median made equal to it. A load that is not known counts as the median.
func weights(leases []candidate) (weight map[string]float64, median float64) {
	var known []float64
	for _, l := range leases {
		if l.load > 0 {
			known = append(known, l.load)
		}
	}
	median = 1
	if len(known) > 0 {
		slices.Sort(known)
		median = known[len(known)/2]
	}
	weight = map[string]float64{}
	for _, l := range leases {
		w := l.load
		if w <= 0 || w < median*alike && w > median/alike {
			w = median
		}
		weight[l.key] = w
	}
	return weight, median
}
