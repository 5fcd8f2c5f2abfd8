package lease

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kpl"
)

func TestExpiry(t *testing.T) {
	w, at := watch{}, time.Unix(1000, 0)
	see := func(after time.Duration, found ...string) time.Duration {
		at = at.Add(after)
		m := map[string]string{}
		for i := 0; i < len(found); i += 2 {
			m[found[i]] = found[i+1]
		}
		w.observe(m, at)
		return w.unchanged("a", at)
	}
	assert.Zero(t, see(0, "a", "1"))
	assert.Equal(t, 3*time.Second, see(3*time.Second, "a", "1", "b", "1"))
	assert.Equal(t, 9*time.Second, see(6*time.Second, "a", "1", "b", "2"))
	assert.Zero(t, see(time.Second, "a", "2"), "renewed")
	assert.Equal(t, time.Second, see(time.Second, "a", "2"))
	assert.Zero(t, see(time.Second), "deleted")
	assert.Zero(t, see(time.Hour, "a", "2"), "what was not there does not count")
}

// holders applies moves to leases, as if all were done at once.
func holders(leases []candidate, moves []move) []candidate {
	after := slices.Clone(leases)
	for _, m := range moves {
		for i := range after {
			if after[i].key == m.key {
				after[i].owner, after[i].holder, after[i].free, after[i].moving = m.to, "", false, false
			}
		}
	}
	return after
}

func lease(key, owner string, load float64) candidate {
	return candidate{row: row{key: key, owner: owner, load: load}, free: owner == ""}
}

func TestAssign(t *testing.T) {
	say := func(moves []move) (s []string) {
		for _, m := range moves {
			s = append(s, fmt.Sprint(m.key, ">", m.to, map[bool]string{true: "?"}[m.asked]))
		}
		return s
	}
	for name, c := range map[string]struct {
		leases []candidate
		live   []string
		want   []string
	}{
		"nobody":                        {[]candidate{lease("1", "", 0)}, nil, nil},
		"free ones go around":           {[]candidate{lease("1", "", 0), lease("2", "", 0), lease("3", "", 0)}, []string{"a", "b"}, []string{"1>a", "2>b", "3>a"}},
		"the heaviest first":            {[]candidate{lease("1", "", 1), lease("2", "", 9), lease("3", "", 4), lease("4", "", 4)}, []string{"a", "b"}, []string{"2>a", "3>b", "4>b", "1>b"}},
		"one more is even":              {[]candidate{lease("1", "a", 0), lease("2", "a", 0), lease("3", "b", 0)}, []string{"a", "b"}, nil},
		"two more are not":              {[]candidate{lease("1", "a", 0), lease("2", "a", 0)}, []string{"a", "b"}, []string{"1>b?"}},
		"several at a time":             {[]candidate{lease("1", "a", 0), lease("2", "a", 0), lease("3", "a", 0), lease("4", "a", 0)}, []string{"a", "b", "c"}, []string{"1>b?", "2>c?"}},
		"a little more load is even":    {[]candidate{lease("1", "a", 12), lease("2", "b", 10)}, []string{"a", "b"}, nil},
		"by load, not by number":        {[]candidate{lease("1", "a", 30), lease("2", "b", 10), lease("3", "b", 10), lease("4", "b", 10)}, []string{"a", "b"}, nil},
		"load moves":                    {[]candidate{lease("1", "a", 100), lease("2", "a", 40), lease("3", "b", 10)}, []string{"a", "b"}, []string{"2>b?"}},
		"no use in moving":              {[]candidate{lease("1", "a", 100), lease("2", "b", 1)}, []string{"a", "b"}, nil},
		"unknown load is a usual one":   {[]candidate{lease("1", "a", 500), lease("2", "", 0), lease("3", "", 0)}, []string{"a", "b"}, []string{"2>b", "3>a"}},
		"one under way counts for whom": {[]candidate{lease("1", "a", 0), {row: row{key: "2", owner: "b", holder: "a"}, moving: true}}, []string{"a", "b"}, nil},
		"others' leases stay":           {[]candidate{lease("1", "old", 0), lease("2", "old", 0), lease("3", "a", 0)}, []string{"a"}, nil},
		"those of the dead do not":      {[]candidate{{row: row{key: "1", owner: "dead"}, free: true}}, []string{"a"}, []string{"1>a"}},
	} {
		assert.Equal(t, c.want, say(assign(c.leases, c.live, nil)), name)
	}
}

func TestAssignProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		live := []string{"a", "b", "c", "d"}[:rapid.IntRange(1, 4).Draw(t, "instances")]
		equal := rapid.Bool().Draw(t, "equal")
		var leases []candidate
		for i := range rapid.IntRange(0, 40).Draw(t, "leases") {
			load := rapid.Float64Range(0, 1000).Draw(t, "load")
			if equal {
				load = rapid.Float64Range(90, 110).Draw(t, "load")
			}
			leases = append(leases, lease(fmt.Sprintf("%02d", i), rapid.SampledFrom(append([]string{"", "x"}, live...)).Draw(t, "owner"), load))
			if leases[i].owner == "x" {
				leases[i].free = true // expired
			}
		}
		moves := assign(leases, live, nil)
		seen := map[string]bool{}
		for _, m := range moves {
			if seen[m.key] {
				t.Fatalf("%s moves twice", m.key)
			}
			seen[m.key] = true
			if m.asked == (m.owner == "" || m.owner == "x") {
				t.Fatalf("%+v: the free are given, the others asked for", m)
			}
		}
		after := holders(leases, moves)
		count := map[string]int{}
		for _, l := range after {
			if !slices.Contains(live, l.owner) {
				t.Fatalf("%s is with %q", l.key, l.owner)
			}
			count[l.owner]++
		}
		if equal {
			for _, w := range live {
				if count[w] > (len(leases)+len(live)-1)/len(live) {
					t.Fatalf("%s has %d of %d", w, count[w], len(leases))
				}
			}
		}
		for rounds := 0; ; rounds++ { // what was free can be asked for from the second round on
			again := assign(after, live, nil)
			if len(again) == 0 {
				break
			}
			if equal || rounds == 10 {
				t.Fatalf("not at rest: %v", again)
			}
			after = holders(after, again)
		}
		// A load that wavers moves nothing when loads are alike.
		if equal {
			for i := range after {
				after[i].load *= rapid.Float64Range(0.95, 1.05).Draw(t, "wavering")
			}
			if again := assign(after, live, nil); len(again) > 0 {
				t.Fatalf("moved by a load that wavers: %v", again)
			}
		}
	})
}

func shard(id string, closed bool, parents ...string) kinesis.Shard {
	return kinesis.Shard{ShardID: kinesis.ShardID{Stream: "s", Shard: id}, Closed: closed, Parents: parents, Hashes: hashes(0, 1)}
}

func TestReconcile(t *testing.T) {
	rows := func(list ...string) map[string]row { // key, checkpoint
		m := map[string]row{}
		h := hashes(0, 1)
		for i := 0; i < len(list); i += 2 {
			m[list[i]] = row{key: list[i], checkpoint: list[i+1], hashes: &h}
		}
		return m
	}
	const begun = "49999999999999999999999999999999999999999999"
	family := []kinesis.Shard{shard("p", true), shard("q", true), shard("c", false, "p", "q")}
	for name, c := range map[string]struct {
		shards []kinesis.Shard
		rows   map[string]row
		start  Start
		late   bool // only after several looks
		create []string
		drop   []string
		alarms []AlarmKind
	}{
		"a new table, from the oldest":             {shards: family, start: TrimHorizon, create: []string{"p:TRIM_HORIZON", "q:TRIM_HORIZON"}},
		"a new table, from now":                    {shards: family, start: Latest, create: []string{"c:LATEST"}},
		"a new table, from a time":                 {shards: family, start: AtTimestamp, create: []string{"p:AT_TIMESTAMP", "q:AT_TIMESTAMP"}},
		"forgotten parents are none":               {shards: []kinesis.Shard{shard("c", false, "x")}, start: TrimHorizon, create: []string{"c:TRIM_HORIZON"}},
		"a parent that has none yet is waited for": {shards: []kinesis.Shard{shard("g", true), shard("p", true, "g"), shard("q", true), shard("c", false, "p", "q")}, rows: rows("g", begun, "q", shardEnd, "c", trimHorizon), start: TrimHorizon},
		"children wait":                            {shards: family, rows: rows("p", begun, "q", "TRIM_HORIZON"), start: TrimHorizon},
		"also for the second parent":               {shards: family, rows: rows("p", shardEnd, "q", begun, "c", trimHorizon), start: TrimHorizon},
		"a child that was left undone":             {shards: family, rows: rows("p", shardEnd, "q", shardEnd), start: Latest, late: true, create: []string{"c:TRIM_HORIZON"}, alarms: []AlarmKind{Missing}},
		"a parent stays until the child begins":    {shards: family, rows: rows("p", shardEnd, "q", shardEnd, "c", trimHorizon), start: TrimHorizon},
		"and then goes":                            {shards: family, rows: rows("p", shardEnd, "q", shardEnd, "c", begun), start: TrimHorizon, drop: []string{"p", "q"}},
		"and is not made again":                    {shards: family, rows: rows("c", begun), start: TrimHorizon},
		"nor when the child has gone":              {shards: []kinesis.Shard{shard("p", true), shard("c", true, "p"), shard("d", false, "c")}, rows: rows("d", begun), start: TrimHorizon},
		"a read shard that the stream forgets":     {shards: []kinesis.Shard{shard("c", false, "p")}, rows: rows("p", shardEnd, "c", trimHorizon), start: TrimHorizon, late: true, drop: []string{"p"}},
		"one that was not read":                    {shards: []kinesis.Shard{shard("c", false)}, rows: rows("p", begun, "c", begun), start: TrimHorizon, late: true, drop: []string{"p"}, alarms: []AlarmKind{Forgotten}},
		"a lease that somebody deleted": {shards: []kinesis.Shard{shard("a", false), shard("b", false)}, rows: rows("a", begun), start: Latest, late: true,
			create: []string{"b:TRIM_HORIZON"}, alarms: []AlarmKind{Missing}},
		"an empty list is no list": {rows: rows("p", begun), start: TrimHorizon},
	} {
		missing := map[string]int{}
		looks := 1
		if c.late {
			looks = misses
		}
		for range 2 * misses { // a list that is seen again proves nothing
			if p := reconcile(c.shards, false, c.rows, c.start, missing); c.late {
				assert.Empty(t, append(p.create, p.drop...), name)
			}
		}
		for look := range misses + 2 {
			p := reconcile(c.shards, true, c.rows, c.start, missing)
			if look < looks-1 {
				assert.Empty(t, append(p.create, p.drop...), "%s, look %d", name, look)
				continue
			}
			var create, drop []string
			var alarms []AlarmKind
			for _, r := range p.create {
				create = append(create, r.key+":"+r.checkpoint)
			}
			for _, r := range p.drop {
				drop = append(drop, r.key)
			}
			for _, a := range p.alarms {
				alarms = append(alarms, a.Kind)
			}
			assert.Equal(t, [][]string{c.create, c.drop}, [][]string{create, drop}, "%s, look %d", name, look)
			assert.Equal(t, c.alarms, alarms, name)
		}
	}
}

func TestHole(t *testing.T) {
	make4 := func(keep ...int) map[string]row {
		m := map[string]row{}
		for _, i := range keep {
			h := hashes(i, 4)
			m[fmt.Sprint(i)] = row{key: fmt.Sprint(i), hashes: &h}
		}
		return m
	}
	find := func(rows map[string]row) string {
		from, to, found := hole(nil, rows)
		if !found {
			return ""
		}
		for i := range 4 {
			for j := i; j < 4; j++ {
				if from == hashes(i, 4).Start && to == hashes(j, 4).End {
					return fmt.Sprint(i, "-", j)
				}
			}
		}
		return "elsewhere"
	}
	assert.Equal(t, "", find(make4(0, 1, 2, 3)))
	assert.Equal(t, "0-0", find(make4(1, 2, 3)))
	assert.Equal(t, "1-2", find(make4(0, 3)))
	assert.Equal(t, "3-3", find(make4(0, 1, 2)))
	assert.Equal(t, "0-3", find(nil))
	_, _, found := hole([]kinesis.Shard{shard("5", false)}, map[string]row{"5": {key: "5"}})
	assert.False(t, found, "rows of older libraries say no hashes, the list does")
	missing := map[string]int{}
	var alarms []Alarm
	for range misses {
		alarms = reconcile([]kinesis.Shard{{ShardID: kinesis.ShardID{Shard: "0"}, Hashes: hashes(0, 4)}}, true, make4(0), TrimHorizon, missing).alarms
	}
	require.Len(t, alarms, 1)
	assert.Equal(t, Hole, alarms[0].Kind)
}

// A stream splits and merges at random while leases are made, read and deleted. Each shard is read from its beginning to its end exactly
// once, after its parents, whatever the order of things.
func TestReconcileProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.SampledFrom([]Start{TrimHorizon, Latest}).Draw(t, "start")
		shards := []kinesis.Shard{}
		add := func(h kpl.Range, parents ...string) {
			shards = append(shards, kinesis.Shard{ShardID: kinesis.ShardID{Stream: "s", Shard: shardID(len(shards))}, Parents: parents, Hashes: h})
		}
		for i := range rapid.IntRange(1, 3).Draw(t, "shards") {
			add(hashes(i, 3))
		}
		rows := map[string]row{}
		missing := map[string]int{}
		state := map[string]string{} // what readers have done: "begun", "ended"
		early := map[string]bool{}   // closed before the table was
		end := func(i int) {         // the reader makes leases of the children first
			for _, s := range shards {
				if slices.Contains(s.Parents, shards[i].Shard) {
					if _, ok := rows[s.Shard]; !ok {
						rows[s.Shard] = fresh(s, start)
					}
				}
			}
			r := rows[shards[i].Shard]
			r.checkpoint = shardEnd
			rows[r.key] = r
			state[r.key] = "ended"
		}
		reshard := func() {
			var open []int
			for i, s := range shards {
				if !s.Closed {
					open = append(open, i)
				}
			}
			i := rapid.SampledFrom(open).Draw(t, "which")
			shards[i].Closed = true
			early[shards[i].Shard] = len(rows) == 0
			if j := rapid.SampledFrom(open).Draw(t, "with"); j != i {
				shards[j].Closed = true
				early[shards[j].Shard] = len(rows) == 0
				add(shards[i].Hashes, shards[i].Shard, shards[j].Shard)
				return
			}
			add(shards[i].Hashes, shards[i].Shard)
			add(shards[i].Hashes, shards[i].Shard)
		}
		for range rapid.IntRange(0, 3).Draw(t, "before") {
			reshard()
		}
		var list []kinesis.Shard // as the leader has it, which may be old
		look := func(news bool) {
			if news {
				list = slices.Clone(shards)
			}
			p := reconcile(list, news, rows, start, missing)
			for _, r := range p.create {
				if _, ok := rows[r.key]; ok || state[r.key] != "" {
					t.Fatalf("%s is made again, which is %q", r.key, state[r.key])
				}
				rows[r.key] = r
			}
			for _, r := range p.drop {
				if state[r.key] != "ended" {
					t.Fatalf("%s is deleted, which is %q", r.key, state[r.key])
				}
				delete(rows, r.key)
			}
			for _, a := range p.alarms {
				if a.Kind != Hole {
					t.Fatalf("alarm: %v", a)
				}
			}
		}
		read := func() {
			for i, s := range shards {
				r, ok := rows[s.Shard]
				if !ok || r.ended() || !ready(r, rows, shards) {
					continue
				}
				for _, p := range s.Parents {
					if state[p] != "ended" && !(start == Latest && early[p]) {
						t.Fatalf("%s is read before %s, which is %q", s.Shard, p, state[p])
					}
				}
				if s.Closed && rapid.Bool().Draw(t, "to the end") {
					end(i)
				} else if rapid.Bool().Draw(t, "a little") {
					r.checkpoint, state[s.Shard] = "49999999999999999999999999999999999999999999", "begun"
					rows[s.Shard] = r
				}
			}
		}
		look(true)
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				if len(shards) < 14 {
					reshard()
				}
			case 1:
				look(rapid.Bool().Draw(t, "a new list"))
			default:
				read()
			}
		}
		for range 200 {
			look(true)
			read()
		}
		for _, s := range shards {
			switch skipped := start == Latest && early[s.Shard]; {
			case skipped && state[s.Shard] != "":
				t.Fatalf("%s was closed before the beginning and is read", s.Shard)
			case !skipped && s.Closed && state[s.Shard] != "ended", !skipped && !s.Closed && rows[s.Shard].key == "":
				t.Fatalf("%s is %q in the end; leases %v", s.Shard, state[s.Shard], slices.Sorted(maps.Keys(rows)))
			}
		}
	})
}
