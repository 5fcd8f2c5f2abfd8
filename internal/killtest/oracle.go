package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The oracle. It reads the input and everything that the application has written, as a reader of committed records
// would, and works out with maps and loops what should be there. It shares no code with operators or stores.
//
// Two right runs of a mixed profile can differ: which records are late depends on when partitions were read and fell
// idle, and so does the order in which records of several partitions are counted. So the oracle takes from the output
// which records were late and in which order they came, checks that these are possible, and derives everything else:
//
//   - every record of the input is in exactly one of: a window's updates, the late records, the dead letters;
//   - a late record names a watermark that had passed all its windows, and that the input can have had;
//   - the updates of a key and window have the revisions 1, 2, ... and the sums of the records that they name, which
//     come in the order of their source partition;
//   - each window of the input less the late records has closed once, with the count and sum worked out here, and with
//     the revision of its last update; and once more with all records, where none is late;
//   - the process operator has seen each record once, in the order of its partition, with the running count and sum of
//     the key, and each timer that was set has fired once, after the records before it and before those after it;
//   - the table has counted each key from 1 to the number of its records, each alarm has rung once, not too early;
//   - what the changelogs hold in the end is the state that follows from that (see state.go).
//
// The last records of the input are a probe of every key, processed by a last start of all processes on the state
// directories that the others have left: so the local state is checked as well.
type oracle struct {
	prof      profile
	guarantee string
	v         *verdict

	events map[int64]placed  // of topicIn, by id
	broken map[string]int64  // "partition/offset" of what cannot be decoded -> id
	keyed  map[string]int64  // records of topicKeyed by key
	alarms map[string]int64  // due times by key
	max    int64             // largest event time, the last records left out
	lates  map[int64]int     // how often each id is in the late output
	counts map[int64]int     // how often each id was counted in its first window
	tally  map[string]*tally // final state of the process operator
}

// placed is an event with its place in the input.
type placed struct {
	event
	partition int32
	offset    int64
}

// final is from when on windows and timers are left open by the last records.
const final = base + farAhead - 60_000

// verdict is what the oracle and the driver have to say.
type verdict struct {
	Kills, Zombies, Records, Lost, Duplicated, Wrong, Wiped int
	Steps                                                   map[string]int
	restores                                                []time.Duration
	examples                                                []string
}

const maxExamples = 20

func (o *oracle) lost(format string, args ...any) {
	o.v.Lost++
	o.example(o.guarantee != "at-most-once", "lost: "+format, args)
}

func (o *oracle) twice(format string, args ...any) {
	o.v.Duplicated++
	o.example(o.guarantee != "at-least-once", "duplicated: "+format, args)
}

func (o *oracle) wrong(format string, args ...any) {
	o.v.Wrong++
	o.example(true, "wrong: "+format, args)
}

// example keeps the first faults that break the guarantee, in words.
func (o *oracle) example(fault bool, format string, args []any) {
	if fault && len(o.v.examples) < maxExamples {
		o.v.examples = append(o.v.examples, fmt.Sprintf(format, args...))
	}
}

// exact says that nothing may be lost or doubled, so that also order and values are known.
func (o *oracle) exact() bool { return o.guarantee == "exactly-once" }

func newOracle(p profile, guarantee string) *oracle {
	return &oracle{prof: p, guarantee: guarantee, v: &verdict{}, events: map[int64]placed{}, broken: map[string]int64{}, keyed: map[string]int64{},
		alarms: map[string]int64{}, lates: map[int64]int{}, counts: map[int64]int{}, tally: map[string]*tally{}}
}

// check reads all topics of an application and compares them.
func check(ctx context.Context, c *cluster, p profile, guarantee string) (*verdict, error) {
	o := newOracle(p, guarantee)
	for _, step := range []struct {
		topic string
		check func([][]*kgo.Record)
	}{{topicIn, o.readIn}, {topicKeyed, o.readKeyed}, {topicDead, o.dead}, {topicLate, o.late}, {topicSeen, o.process}, {topicCounts, o.table}, {topicRung, o.rung}, {topicTotals, o.totals}} {
		recs, err := c.read(ctx, c.topic(step.topic))
		if err != nil {
			return nil, err
		}
		step.check(recs)
	}
	updates, err := c.read(ctx, c.topic(topicUpdates))
	if err != nil {
		return nil, err
	}
	results, err := c.read(ctx, c.topic(topicResults))
	if err != nil {
		return nil, err
	}
	o.windows(updates, results)
	if o.exact() {
		if err := o.state(ctx, c); err != nil {
			return nil, err
		}
	}
	return o.v, nil
}

// decode reads a record of the application, which cannot be damaged.
func decode[V any](o *oracle, r *kgo.Record) (v V) {
	if err := json.Unmarshal(r.Value, &v); err != nil {
		o.wrong("%s/%d offset %d is not readable: %v", r.Topic, r.Partition, r.Offset, err)
	}
	return v
}

func (o *oracle) readIn(parts [][]*kgo.Record) {
	for _, recs := range parts {
		for _, r := range recs {
			o.v.Records++
			if id, ok := strings.CutPrefix(string(r.Value), "broken "); ok {
				n, _ := strconv.ParseInt(id, 10, 64)
				o.broken[fmt.Sprintf("%d/%d", r.Partition, r.Offset)] = n
				continue
			}
			e := decode[event](o, r)
			o.events[e.ID] = placed{e, r.Partition, r.Offset}
			if e.At < final {
				o.max = max(o.max, e.At)
			}
		}
	}
}

func (o *oracle) readKeyed(parts [][]*kgo.Record) {
	for _, recs := range parts {
		for _, r := range recs {
			o.v.Records++
			e := decode[event](o, r)
			o.keyed[e.Key]++
			if e.Due > 0 {
				o.alarms[e.Key] = e.Due
			}
		}
	}
}

func (o *oracle) dead(parts [][]*kgo.Record) {
	found := map[string]int{}
	for _, recs := range parts {
		for _, r := range recs {
			at := header(r, "millstream-partition") + "/" + header(r, "millstream-offset")
			id, ok := o.broken[at]
			if !ok || string(r.Value) != "broken "+strconv.FormatInt(id, 10) {
				o.wrong("dead letter %q of %s", r.Value, at)
				continue
			}
			if found[at]++; found[at] > 1 {
				o.twice("dead letter of %s", at)
			}
		}
	}
	for at, id := range o.broken {
		if found[at] == 0 {
			o.lost("record %d at %s, which cannot be decoded, has no dead letter", id, at)
		}
	}
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// lastEnd is the end of the last window of a time; starts are the starts of all of them.
func (o *oracle) lastEnd(at int64) int64 { return at - at%o.prof.advance + o.prof.size }

func (o *oracle) starts(at int64) (starts []int64) {
	for s := at - at%o.prof.advance; s > at-o.prof.size; s -= o.prof.advance {
		starts = append(starts, s)
	}
	return starts
}

func (o *oracle) late(parts [][]*kgo.Record) {
	for _, recs := range parts {
		for _, r := range recs {
			l := decode[late](o, r)
			e, ok := o.events[l.ID]
			switch {
			case !ok || e.Key != l.Key || e.At != l.At:
				o.wrong("late record %+v is not in the input", l)
				continue
			case l.End != o.lastEnd(l.At) || l.Watermark < l.End+o.prof.grace:
				o.wrong("late record %+v: its last window ends at %d and the watermark had not passed it", l, o.lastEnd(l.At))
			case l.Watermark > o.max-o.prof.bound.Milliseconds() && l.Watermark < final:
				o.wrong("late record %+v: no watermark of the input is that high", l)
			case o.exact() && o.prof.idle == 0 && o.prof.stray == 0:
				o.wrong("late record %+v: nothing is late in this input", l)
			}
			if o.lates[l.ID]++; o.lates[l.ID] > 1 {
				o.twice("late record %d", l.ID)
			}
		}
	}
}

// process checks the process operator: records and timers of each key, in the order in which they were written.
func (o *oracle) process(parts [][]*kgo.Record) {
	times := map[int64]int{}
	last := map[string]int64{} // "key/partition" -> offset
	timers := map[string]int{} // "key/time" -> 1: set, 2: fired
	for _, recs := range parts {
		for _, r := range recs {
			s := decode[seen](o, r)
			t := o.tally[s.Key]
			if t == nil {
				t = &tally{}
				o.tally[s.Key] = t
			}
			if s.ID == 0 {
				at := fmt.Sprintf("%s/%d", s.Key, s.Fired)
				switch {
				case timers[at] == 2:
					o.twice("timer %s", at)
				case timers[at] == 0 && o.guarantee == "at-most-once": // what the record that set it has written is lost
				case timers[at] == 0:
					o.wrong("timer %s fired and was not set", at)
				case o.exact() && (s.N != t.N || s.Sum != t.Sum):
					o.wrong("timer %s saw the state %d/%d, after records that make it %d/%d", at, s.N, s.Sum, t.N, t.Sum)
				}
				timers[at] = 2
				continue
			}
			e, ok := o.events[s.ID]
			if !ok || e.Key != s.Key {
				o.wrong("the process operator saw %+v, which is not in the input", s)
				continue
			}
			if times[s.ID]++; times[s.ID] > 1 {
				o.twice("record %d in the process operator", s.ID)
			}
			t.N++
			t.Sum += e.Value
			o.ordered("process operator", last, e)
			if o.exact() && (s.N != t.N || s.Sum != t.Sum) {
				o.wrong("record %d of key %s made the state %d/%d, it should be %d/%d", s.ID, s.Key, s.N, s.Sum, t.N, t.Sum)
				t.N, t.Sum = s.N, s.Sum
			}
			if s.Set != 0 {
				at := fmt.Sprintf("%s/%d", s.Key, s.Set)
				if s.Set != (e.At/bucket+1)*bucket || o.exact() && timers[at] == 2 {
					o.wrong("record %+v set the timer %s, which has fired or is not its own", s, at)
				}
				timers[at] = max(1, timers[at])
			}
		}
	}
	for id := range o.events {
		if times[id] == 0 {
			o.lost("record %d in the process operator", id)
		}
	}
	for at, state := range timers {
		if t, _ := strconv.ParseInt(at[strings.LastIndex(at, "/")+1:], 10, 64); state == 1 && t < final {
			o.lost("timer %s was set and has not fired", at)
		}
	}
}

// ordered checks that records of one key and source partition come in the order of their offsets.
func (o *oracle) ordered(where string, last map[string]int64, e placed) {
	at := e.Key + "/" + strconv.Itoa(int(e.partition))
	if before, ok := last[at]; ok && e.offset < before && o.exact() {
		o.wrong("%s: record %d of key %s comes after a later one of its partition", where, e.ID, e.Key)
	}
	last[at] = e.offset
}

// table checks the counts of each key. At most once, a count can come again when a record was counted and the state was
// lost with the process; but there are no more counts than records.
func (o *oracle) table(parts [][]*kgo.Record) {
	last, written := map[string]int64{}, map[string]int64{}
	for _, recs := range parts {
		for _, r := range recs {
			c := decode[count](o, r)
			written[c.Key]++
			switch {
			case c.N == last[c.Key]+1 || o.guarantee == "at-most-once":
			case c.N <= last[c.Key]:
				o.twice("count %d of key %s comes after %d", c.N, c.Key, last[c.Key])
			case o.exact():
				o.wrong("count %d of key %s comes after %d", c.N, c.Key, last[c.Key])
			}
			last[c.Key] = c.N
		}
	}
	for _, k := range slices.Sorted(maps.Keys(o.keyed)) {
		n := o.keyed[k]
		if last[k] < n {
			o.v.Lost += int(n-last[k]) - 1
			o.lost("the table counts %d records of key %s, there are %d", last[k], k, n)
		}
		if m := max(last[k], written[k]); m > n && o.guarantee != "at-least-once" {
			o.v.Duplicated += int(m-n) - 1
			o.twice("the table counts %d records of key %s, in %d steps, there are %d", last[k], k, written[k], n)
		}
	}
}

func (o *oracle) rung(parts [][]*kgo.Record) {
	found := map[string]int{}
	for _, recs := range parts {
		for _, r := range recs {
			a := decode[rung](o, r)
			if o.alarms[a.Key] != a.Due {
				o.wrong("alarm %s rang for %d, it was set for %d", a.Key, a.Due, o.alarms[a.Key])
			}
			if found[a.Key]++; found[a.Key] > 1 {
				o.twice("alarm %s", a.Key)
			}
		}
	}
	for k := range o.alarms {
		if found[k] == 0 {
			o.lost("alarm %s has not rung", k)
		}
	}
}
