package stream_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

func rowsOf(topo *stream.Topology, topic string) stream.Table[string, string] {
	return topo.Table(source.KafkaKeyed(topic, codec.String, codec.String), topic+"-rows")
}

func strs(topic string) sink.Sink[string] { return sink.Kafka(topic, codec.String) }

// set writes rows "k:v@5", and deletes them with "k@5".
func set(d *streamtest.Driver, topic, rows string) {
	for _, r := range strings.Fields(rows) {
		rec := at(r)
		v := string(rec.Value)
		rec.Key = []byte(prefix(v))
		if !strings.Contains(v, ":") {
			rec.Value = nil
		}
		d.PipeTo(topic, rec)
	}
}

func show(v *string) string {
	if v == nil {
		return "-"
	}
	return *v
}

func changed(k string, ch stream.Change[string]) string {
	return k + " " + show(ch.Old) + ">" + show(ch.New)
}

func TestTable(t *testing.T) {
	topology := func() *stream.Topology {
		topo := stream.New("tables")
		rows := rowsOf(topo, "in")
		rows.Updates(changed).To(strs("updates"))
		rows.Changes(func(k, v string) string { return k + "=" + v }).To(strs("changes"))
		long := rows.Filter(func(_, v string) bool { return len(v) > 3 })
		long.To(strs("long"))
		long.MapValues(func(_, v string) int { return len(v) }).Updates(func(k string, ch stream.Change[int]) string {
			return fmt.Sprintf("%s %t %t", k, ch.Old != nil, ch.New != nil)
		}).To(strs("lengths"))
		rows.ToStream().Count("n").Changes(func(k string, n int64) string { return fmt.Sprintf("%s%d", k, n) }).To(strs("counts"))
		return topo
	}
	streamtest.EveryWay(t, topology, func(t *testing.T, d *streamtest.Driver) {
		set(d, "in", "a:1@10 b:long@20 a:22@5 b@30 b@31 b:3@32 b:longer@33 b:longest@34 b:4@35")
		assert.Equal(t, []string{"a ->a:1@10", "b ->b:long@20", "a a:1>a:22@5", "b b:long>-@30", "b ->b:3@32", "b b:3>b:longer@33",
			"b b:longer>b:longest@34", "b b:longest>b:4@35"}, drained(d, "updates"), "by arrival, and a row that is not there is not deleted")
		assert.Equal(t, []string{"a=a:1@10", "b=b:long@20", "a=a:22@5", "b=b:3@32", "b=b:longer@33", "b=b:longest@34", "b=b:4@35"}, drained(d, "changes"))
		assert.Equal(t, []string{"b:long@20", "a:22@5", "x@30", "b:longer@33", "b:longest@34", "x@35"}, drained(d, "long"))
		assert.Equal(t, []string{"b false true", "a false true", "b true false", "b false true", "b true true", "b true false"}, values(drained(d, "lengths")))
		assert.Equal(t, []string{"a1", "b1", "a2", "b2", "b3", "b4", "b5"}, values(drained(d, "counts")))
	})
}

func enriching(read func(*stream.Topology, string, time.Duration) stream.Keyed[string, string]) func() *stream.Topology {
	return func() *stream.Topology {
		topo := stream.New("enrich")
		rows := rowsOf(topo, "rows").Filter(func(_, v string) bool { return !strings.HasSuffix(v, "hidden") })
		s := read(topo, "in", 0)
		s = s.Repartition("in-by-key", stream.Repartitioning{})
		s.JoinTable("inner", rows, func(s, r string) string { return s + "+" + r }).To(strs("inner"))
		s.LeftJoinTable("left", rows.MapValues(func(k, v string) string { return k + "=" + v }), func(s string, r *string) string { return s + "+" + show(r) }).To(strs("left"))
		return topo
	}
}

// A stream is joined with the row as it is, also with one that is newer; only the stream makes results.
func TestJoinTable(t *testing.T) {
	for name, read := range map[string]func(*stream.Topology, string, time.Duration) stream.Keyed[string, string]{"rekeyed": rekeyed, "direct": direct} {
		t.Run(name, func(t *testing.T) {
			streamtest.EveryWay(t, enriching(read), func(t *testing.T, d *streamtest.Driver) {
				put(d, "in", "a:s1@15")
				set(d, "rows", "a:v1@10 a:v2@20")
				put(d, "in", "a:s2@15 b:s3@16")
				set(d, "rows", "a:hidden@21")
				put(d, "in", "a:s4@15")
				set(d, "rows", "a:v3@22 a@23 b:v@24")
				put(d, "in", "a:s5@15 b:s6@99")
				assert.Equal(t, []string{"a:s2+a:v2@15", "b:s6+b:v@99"}, drained(d, "inner"))
				assert.Equal(t, []string{"a:s1+-@15", "a:s2+a=a:v2@15", "b:s3+-@16", "a:s4+-@15", "a:s5+-@15", "b:s6+b=b:v@99"}, drained(d, "left"))
			})
		})
	}
}

// A table does not hold up the event time of the stream that is joined with it.
func TestJoinTableTime(t *testing.T) {
	topo := stream.New("enrich")
	direct(topo, "in", 0).JoinTable("join", rowsOf(topo, "rows"), func(s, r string) string { return s + r }).
		Window(tumbling(10, 0)).Count("n").OnClose(of).To(results("closes"))
	d := streamtest.New(t, topo)
	set(d, "rows", "a:v@1")
	put(d, "in", "a:s@5 a:s@15")
	assert.Equal(t, "a[0,10)=1", closed(d.Drain[result]("closes")))
}

// At start a table is read to its end first.
func TestTableFirst(t *testing.T) {
	fail := true
	topo := stream.New("enrich")
	topo.FromKeyed(source.KafkaKeyed("in", codec.String, codec.String, source.OnError(onerror.Fail))).
		Peek(func(k, _ string) {
			if fail {
				panic("stop")
			}
		}).
		JoinTable("join", rowsOf(topo, "rows"), func(s, r string) string { return s + "+" + r }).To(strs("out"))
	d := streamtest.New(t, topo, streamtest.MayStop())
	put(d, "in", "a:s@1")
	require.Error(t, d.Err())
	set(d, "rows", "a:v1@10 a:v2@20 b:v@30")
	fail = false
	d.Restart()
	assert.Equal(t, []string{"a:s+a:v2@1"}, drained(d, "out"))
}

// follower applies changes "k old>new" to a table, and finds out if an old row was not what it had.
type follower map[string]string

func (f follower) apply(t require.TestingT, updates []string) {
	for _, u := range updates {
		k, change, _ := strings.Cut(u, " ")
		before, now, _ := strings.Cut(change, ">")
		had, ok := f[k]
		if !ok {
			had = "-"
		}
		require.Equal(t, had, before, "change %q", u)
		if now == "-" {
			delete(f, k)
		} else {
			f[k] = now
		}
	}
}

// tally is changed in place, beyond a copy of the struct.
type tally struct{ Sum []int }

func (a *tally) add(n int) {
	if a.Sum == nil {
		a.Sum = []int{0, 0}
	}
	a.Sum[0] += n
	a.Sum[1]++
}

func (a *tally) subtract(n int) { a.Sum[0] -= n; a.Sum[1]-- }

func tallyUpdate(k string, ch stream.Change[tally]) string {
	s := func(a *tally) string {
		if a == nil {
			return "-"
		}
		return strings.ReplaceAll(fmt.Sprint(a.Sum), " ", ",")
	}
	return k + " " + s(ch.Old) + ">" + s(ch.New)
}

// number is what stands behind the colon.
func number(v string) (n int) {
	fmt.Sscan(v[strings.Index(v, ":")+1:], &n)
	return n
}

func group(_, v string) string { return fmt.Sprint("g", number(v)%3) }

func manyTables() *stream.Topology {
	topo := stream.New("tables")
	l, r := rowsOf(topo, "l"), rowsOf(topo, "r")
	even := l.Filter(func(_, v string) bool { return number(v)%2 == 0 })
	even.Join(r, func(l, r string) string { return l + "+" + r }).Updates(changed).To(strs("inner"))
	l.LeftJoin(r, func(l string, r *string) string { return l + "+" + show(r) }).Updates(changed).To(strs("left"))
	outer := l.OuterJoin(r, func(l, r *string) string { return show(l) + "+" + show(r) })
	outer.Updates(changed).To(strs("outer"))
	l.GroupBy(group).Fold("tally", func(a *tally, v string) { a.add(number(v)) }, func(a *tally, v string) { a.subtract(number(v)) }).
		Updates(tallyUpdate).To(strs("groups"))
	outer.GroupBy(func(_, v string) int64 { return int64(len(v)) }).Count("by-length").
		Filter(func(_ int64, n int64) bool { return n > 1 }).
		Updates(func(k int64, ch stream.Change[int64]) string {
			s := func(n *int64) string {
				if n == nil {
					return "-"
				}
				return fmt.Sprint(*n)
			}
			return fmt.Sprint(k) + " " + s(ch.Old) + ">" + s(ch.New)
		}).To(strs("lengths"))
	topo.From(source.Kafka("in", codec.String)).KeyBy(prefix).Fold("fold", func(a *tally, v string) { a.add(number(v)) }).
		Updates(tallyUpdate).To(strs("fold"))
	return topo
}

func TestTablesAgainstModel(t *testing.T) {
	topics := []string{"inner", "left", "outer", "groups", "lengths", "fold"}
	rapid.Check(t, func(t *rapid.T) {
		d := streamtest.New(t, manyTables(), anyWay(t)...)
		got, rows := map[string]follower{}, map[string]map[string]string{"l": {}, "r": {}}
		for _, topic := range topics {
			got[topic] = follower{}
		}
		fold := map[string]*tally{}
		for i := range rapid.IntRange(3, 25).Draw(t, "changes") {
			disturb(t, d)
			k := rapid.SampledFrom([]string{"a", "b", "c", "dd"}).Draw(t, "key")
			v := fmt.Sprintf("%s:%d", k, rapid.IntRange(0, 12).Draw(t, "value"))
			topic := rapid.SampledFrom([]string{"l", "l", "r", "in"}).Draw(t, "topic")
			switch {
			case topic == "in":
				if fold[k] == nil {
					fold[k] = &tally{}
				}
				fold[k].add(number(v))
				put(d, topic, fmt.Sprintf("%s@%d", v, i))
			case rapid.IntRange(0, 3).Draw(t, "delete") == 0:
				delete(rows[topic], k)
				set(d, topic, fmt.Sprintf("%s@%d", k, i))
			default:
				rows[topic][k] = v
				set(d, topic, fmt.Sprintf("%s@%d", v, i))
			}
			for _, topic := range topics {
				got[topic].apply(t, values(drained(d, topic)))
			}
			require.Equal(t, recomputed(rows["l"], rows["r"], fold), got)
		}
	})
}

// recomputed are the tables of manyTables, from what is in their sources.
func recomputed(ls, rs map[string]string, fold map[string]*tally) map[string]follower {
	want := map[string]follower{"inner": {}, "left": {}, "outer": {}, "groups": {}, "lengths": {}, "fold": {}}
	groups := map[string]*tally{}
	for k, l := range ls {
		r, ok := rs[k]
		if !ok {
			r = "-"
		}
		if ok && number(l)%2 == 0 {
			want["inner"][k] = l + "+" + r
		}
		want["left"][k] = l + "+" + r
		want["outer"][k] = l + "+" + r
		g := group(k, l)
		if groups[g] == nil {
			groups[g] = &tally{}
		}
		groups[g].add(number(l))
	}
	for k, r := range rs {
		if _, ok := ls[k]; !ok {
			want["outer"][k] = "-+" + r
		}
	}
	counts := map[int]int{}
	for _, v := range want["outer"] {
		counts[len(v)]++
	}
	for n, count := range counts {
		if count > 1 {
			want["lengths"][fmt.Sprint(n)] = fmt.Sprint(count)
		}
	}
	for g, a := range groups {
		want["groups"][g] = strings.ReplaceAll(fmt.Sprint(a.Sum), " ", ",")
	}
	for k, a := range fold {
		want["fold"][k] = strings.ReplaceAll(fmt.Sprint(a.Sum), " ", ",")
	}
	return want
}
