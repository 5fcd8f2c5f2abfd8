package lease

import (
	"fmt"
	"maps"
	"slices"

	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kpl"
	"github.com/millstream-go/millstream/internal/plant"
)

// The table of leases follows the list of shards. A shard gets a lease when it is its turn: a shard without ancestors at the
// beginning, a child when a parent has been read to its end (whoever ends a shard makes its children's leases first; what is
// done here mends what was left undone). A lease goes when its shard has been read to its end and everything that comes after
// it has been begun, or, with an alarm, when the stream has forgotten a shard that was not read to its end.

// AlarmKind tells alarms apart.
type AlarmKind string

// The kinds of alarms.
const (
	// Forgotten: the stream has no such shard any more (retention), and its lease says that records of it were not read:
	// they are lost.
	Forgotten AlarmKind = "shard forgotten before it was read to its end"
	// Missing: a shard had no lease where it should have had one; it has one now, and is read from its beginning.
	Missing AlarmKind = "lease was missing"
	// Hole: no lease covers a part of the stream's hash keys, so records of it are not read.
	Hole AlarmKind = "hole in the hash keys"
	// Unread: a shard is to be read, and for long nobody has renewed its lease, whoever was given it.
	Unread AlarmKind = "shard is not read by anybody"
	// Broken: a row of the table cannot be read.
	Broken AlarmKind = "row cannot be read"
)

// Alarm is something that a person has to know of a stream's leases.
type Alarm struct {
	Kind   AlarmKind
	Stream string
	Shard  string // or the key of the row; empty: of the whole stream
	Detail string
}

// misses is how many lists of shards in a row must show that something is missing before it is believed. A list may be older
// than what the table has: shards are new, have been read and their leases deleted since.
const misses = 3

// plan is what is to be done to the table.
type plan struct {
	create []row
	drop   []row
	alarms []Alarm
}

// reconcile compares the shards of a stream with the leases. It is called again and again; missing counts, by key, in how many
// lists in a row something was missing. News says that the list was not compared before.
func reconcile(shards []kinesis.Shard, news bool, rows map[string]row, start Start, missing map[string]int) (p plan) {
	listed := map[string]kinesis.Shard{}
	children := map[string][]string{}
	for _, s := range shards {
		listed[s.Shard] = s
		for _, parent := range s.Parents {
			children[parent] = append(children[parent], s.Shard)
		}
	}
	first := len(rows) == 0
	now := map[string]bool{}

	// gone says that something was missing often enough.
	gone := func(key string) bool {
		now[key] = true
		if news {
			missing[key]++
		}
		return news && missing[key] >= misses
	}
	before := ancestors(rows, shards)
	after := kin(rows, func(id string) []string { return children[id] })

	for _, s := range shards {
		if _, ok := rows[s.Shard]; ok || after(s.Shard) {
			continue // has one, or has had one
		}
		r := fresh(s, start)
		ended := slices.ContainsFunc(s.Parents, func(id string) bool { return rows[id].ended() })
		root := !slices.ContainsFunc(s.Parents, func(id string) bool { _, ok := listed[id]; return ok })
		switch {
		case plant.ChildrenFirst:
			p.create = append(p.create, r)
		case before(s.Shard):
			if ended && gone(s.Shard) {
				p.create = append(p.create, r)
				p.alarms = append(p.alarms, Alarm{Kind: Missing, Shard: s.Shard, Detail: "its parent was read to its end"})
			}
		case first && start == Latest:
			if !s.Closed {
				r.checkpoint = string(Latest)
				p.create = append(p.create, r)
			}
		case first && root:
			p.create = append(p.create, r)
		case !first && (root && start != Latest || !s.Closed && start == Latest) && gone(s.Shard):
			p.create = append(p.create, r)
			p.alarms = append(p.alarms, Alarm{Kind: Missing, Shard: s.Shard, Detail: "neither it nor its relatives had one"})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		r := rows[key]
		_, known := listed[key]
		switch {
		case r.ended():
			waits := func(id string) bool { // a child that may still be begun by whoever looks at this lease
				r, ok := rows[id]
				return ok && !r.begun() || !ok && !after(id)
			}
			next := children[key]
			if len(next) > 0 && !slices.ContainsFunc(next, waits) || !known && len(shards) > 0 && gone(key) {
				p.drop = append(p.drop, r)
			}
		case !known && len(shards) > 0 && gone(key):
			p.drop = append(p.drop, r)
			p.alarms = append(p.alarms, Alarm{Kind: Forgotten, Shard: key, Detail: fmt.Sprintf("its checkpoint was %s", r.checkpoint)})
		}
	}
	if from, to, ok := hole(shards, rows); ok && !first && gone("") {
		p.alarms = append(p.alarms, Alarm{Kind: Hole, Detail: fmt.Sprintf("from %s to %s", from, to)})
	}
	for key := range missing {
		if !now[key] {
			delete(missing, key)
		}
	}
	return p
}

// kin returns a function that says whether any shard in one direction of a shard's descent has a lease.
func kin(rows map[string]row, next func(string) []string) func(string) bool {
	known := map[string]bool{}
	var leased func(string) bool
	leased = func(id string) bool {
		if found, ok := known[id]; ok {
			return found
		}
		known[id] = false
		for _, n := range next(id) {
			if _, ok := rows[n]; ok || leased(n) {
				known[id] = true
			}
		}
		return known[id]
	}
	return leased
}

// fresh is the lease of a shard that nobody has read, without owner, from the shard's beginning. If the table was begun at a
// time, so is every shard: a parent may have ended before it, so that there are older records in the child; and a shard that
// is younger has none.
func fresh(s kinesis.Shard, start Start) row {
	r := row{key: s.Shard, checkpoint: trimHorizon, parents: slices.Sorted(slices.Values(s.Parents)), hashes: &s.Hashes}
	if start == AtTimestamp {
		r.checkpoint = string(AtTimestamp)
	}
	return r
}

// ready says that all parents of a lease were read to their ends. One without a lease is on its way if one that goes before it has
// a lease; otherwise it was closed before the table was begun, or is forgotten.
func ready(r row, rows map[string]row, shards []kinesis.Shard) bool {
	if r.begun() || plant.ChildrenFirst {
		return true
	}
	before := ancestors(rows, shards)
	return !slices.ContainsFunc(r.parents, func(id string) bool {
		p, ok := rows[id]
		return ok && !p.ended() || !ok && before(id)
	})
}

// ancestors returns a function that says whether a shard that goes before another has a lease.
func ancestors(rows map[string]row, shards []kinesis.Shard) func(string) bool {
	parents := map[string][]string{}
	for _, s := range shards {
		parents[s.Shard] = s.Parents
	}
	return kin(rows, func(id string) []string { return parents[id] })
}

// hole finds hash keys that no shard with a lease covers, neither a lease that is being read nor an ended one whose
// children are on their way.
func hole(shards []kinesis.Shard, rows map[string]row) (from, to kpl.Hash, found bool) {
	var ranges []kpl.Range
	for _, s := range shards {
		if _, ok := rows[s.Shard]; ok {
			ranges = append(ranges, s.Hashes)
		}
	}
	for _, r := range rows {
		if r.hashes != nil {
			ranges = append(ranges, *r.hashes)
		}
	}
	slices.SortFunc(ranges, func(a, b kpl.Range) int { return a.Start.Compare(b.Start) })
	next, over := kpl.Hash{}, false // the first hash that is not covered; over: there is none
	for _, r := range ranges {
		if over || r.Start.Compare(next) > 0 {
			break
		}
		if r.End.Compare(next) >= 0 {
			next, over = successor(r.End)
		}
	}
	if over {
		return from, to, false
	}
	to = kpl.Hash{}
	for i := range to {
		to[i] = 0xff
	}
	for _, r := range ranges {
		if r.Start.Compare(next) > 0 {
			to = predecessor(r.Start)
			break
		}
	}
	return next, to, true
}

// successor is the hash after one; over: there is none.
func successor(h kpl.Hash) (next kpl.Hash, over bool) {
	for i := len(h) - 1; i >= 0; i-- {
		if h[i]++; h[i] != 0 {
			return h, false
		}
	}
	return h, true
}

// predecessor is the hash before one that is not the first.
func predecessor(h kpl.Hash) kpl.Hash {
	for i := len(h) - 1; i >= 0; i-- {
		if h[i]--; h[i] != 0xff {
			break
		}
	}
	return h
}
