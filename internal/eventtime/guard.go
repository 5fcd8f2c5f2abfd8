package eventtime

import "slices"

// Guard keeps a record with a wrong time from moving the time of its input: one whose time lies more than Most ahead of
// the largest before it is believed when Confirm others in a row, that lie too far ahead as well, agree with it to within
// Most. A record in between that does not lie ahead means that those before it were wrong. So a gap in a stream costs a
// few records' delay of the watermark, and a clock that is wrong costs nothing. The zero Guard lets everything pass.
type Guard struct {
	Most    int64 // ms; 0: no bound
	Confirm int
	Waiting []int64 // times that are not believed, in the order of reading
}

// maxWaiting bounds what is kept of records that do not agree with each other.
const maxWaiting = 64

// See returns what the largest time of the input is after a record of the time t, with now as the largest before; and
// whether t is not believed.
func (g *Guard) See(now, t int64) (largest int64, doubted bool) {
	if g.Most <= 0 || now == None || t <= now || uint64(t)-uint64(now) <= uint64(g.Most) {
		g.Waiting = g.Waiting[:0]
		return max(now, t), false
	}
	if g.Waiting = append(g.Waiting, t); len(g.Waiting) > maxWaiting+g.Confirm {
		g.Waiting = slices.Delete(g.Waiting, 0, 1)
	}
	sorted := slices.Sorted(slices.Values(g.Waiting))
	from := 0
	for i := range sorted {
		if i > 0 && uint64(sorted[i])-uint64(sorted[i-1]) > uint64(g.Most) {
			from = i
		}
		last := i == len(sorted)-1 || uint64(sorted[i+1])-uint64(sorted[i]) > uint64(g.Most)
		if last && i-from >= g.Confirm {
			at := sorted[i]
			g.Waiting = slices.DeleteFunc(g.Waiting, func(w int64) bool { return w <= at })
			return at, t > at
		}
	}
	return now, true
}
