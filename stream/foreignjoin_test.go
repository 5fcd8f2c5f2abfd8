package stream_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// names is the foreign key of a row "k:f,…"; "-" is none.
func names(_, v string) (string, bool) {
	_, v, _ = strings.Cut(v, ":")
	f, _, _ := strings.Cut(v, ",")
	return f, f != "-"
}

func linking(left bool, read func(*stream.Topology, string, time.Duration) stream.Keyed[string, string]) func() *stream.Topology {
	return func() *stream.Topology {
		topo := stream.New("link")
		var l stream.Table[string, string]
		if read == nil {
			l = rowsOf(topo, "left")
		} else {
			l = read(topo, "left", 0).ToTable("left-rows")
		}
		r := rowsOf(topo, "right")
		j := func() stream.Table[string, string] {
			if left {
				return l.LeftJoinForeign("j", r, names, func(l string, r *string) string { return l + "+" + show(r) })
			}
			return l.JoinForeign("j", r, names, func(l, r string) string { return l + "+" + r })
		}()
		j.Updates(changed).To(strs("out"))
		direct(topo, "asks", time.Hour).LeftJoinTable("ask", j, func(ask string, row *string) string { return ask + "=" + show(row) }).To(strs("answers"))
		return topo
	}
}

func TestJoinForeign(t *testing.T) {
	streamtest.EveryWay(t, linking(false, nil), func(t *testing.T, d *streamtest.Driver) {
		set(d, "left", "a:x,1@10 b:x,1@11 c:-@12 d:y,1@13")
		assert.Empty(t, drained(d, "out"))
		set(d, "right", "x:1@5")
		assert.ElementsMatch(t, []string{"a ->a:x,1+x:1@5", "b ->b:x,1+x:1@5"}, drained(d, "out"), "with the time of the right row")
		set(d, "left", "a:x,2@9")
		assert.Equal(t, []string{"a a:x,1+x:1>a:x,2+x:1@9"}, drained(d, "out"))
		set(d, "right", "y:1@20")
		assert.Equal(t, []string{"d ->d:y,1+y:1@20"}, drained(d, "out"))
		set(d, "left", "a:y,3@9")
		assert.Equal(t, []string{"a a:x,2+x:1>a:y,3+y:1@20"}, drained(d, "out"), "with the later of the two times")
		set(d, "right", "x:2@30")
		assert.Equal(t, []string{"b b:x,1+x:1>b:x,1+x:2@30"}, drained(d, "out"), "a names another row now")
		put(d, "asks", "a:?@1 b:?@1 c:?@1")
		assert.ElementsMatch(t, []string{"a:?=a:y,3+y:1@1", "b:?=b:x,1+x:2@1", "c:?=-@1"}, drained(d, "answers"))
		set(d, "left", "b@31 d:-@32 a:z,1@33")
		assert.ElementsMatch(t, []string{"b b:x,1+x:2>-@31", "d d:y,1+y:1>-@32", "a a:y,3+y:1>-@33"}, drained(d, "out"))
		set(d, "right", "y:2@40 x@41 z:1@2 z@43")
		assert.Equal(t, []string{"a ->a:z,1+z:1@2", "a a:z,1+z:1>-@43"}, drained(d, "out"))
	})
}

func TestLeftJoinForeign(t *testing.T) {
	for name, read := range map[string]func(*stream.Topology, string, time.Duration) stream.Keyed[string, string]{"source": nil, "rekeyed": rekeyed} {
		t.Run(name, func(t *testing.T) {
			streamtest.EveryWay(t, linking(true, read), func(t *testing.T, d *streamtest.Driver) {
				set(d, "left", "a:x,1@10 c:-@12")
				assert.ElementsMatch(t, []string{"a ->a:x,1+-@10", "c ->c:-+-@12"}, drained(d, "out"))
				set(d, "right", "x:1@5")
				assert.Equal(t, []string{"a a:x,1+->a:x,1+x:1@5"}, drained(d, "out"))
				set(d, "left", "a:-@11 c:x,1@3")
				assert.ElementsMatch(t, []string{"a a:x,1+x:1>a:-+-@11", "c c:-+->c:x,1+x:1@5"}, drained(d, "out"))
				set(d, "right", "x@20")
				assert.Equal(t, []string{"c c:x,1+x:1>c:x,1+-@20"}, drained(d, "out"))
				if read == nil {
					set(d, "left", "a@21 c@22")
					assert.ElementsMatch(t, []string{"a a:-+->-@21", "c c:x,1+->-@22"}, drained(d, "out"))
					set(d, "right", "x:2@30")
					assert.Empty(t, drained(d, "out"))
				}
			})
		})
	}
}

// A table whose rows name others of the same table.
func TestJoinForeignItself(t *testing.T) {
	topology := func() *stream.Topology {
		topo := stream.New("staff")
		staff := rowsOf(topo, "staff")
		staff.JoinForeign("boss", staff, names, func(p, boss string) string { return p + "<" + boss }).Updates(changed).To(strs("out"))
		return topo
	}
	streamtest.EveryWay(t, topology, func(t *testing.T, d *streamtest.Driver) {
		set(d, "staff", "a:b@1 b:-@2 c:b@3 c:c@4")
		assert.ElementsMatch(t, []string{"a ->a:b<b:-@2", "c ->c:b<b:-@3", "c c:b<b:->c:c<c:c@4"}, drained(d, "out"))
	})
}

// In the end the result is the join of the rows that there are, and each change leads from the one before it.
func TestJoinForeignModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		left := rapid.Bool().Draw(rt, "left")
		d := streamtest.New(t, linking(left, nil)(), anyWay(rt)...)
		ls, rs, seen := map[string]string{}, map[string]string{}, follower{}
		for i := range rapid.IntRange(1, 40).Draw(rt, "records") {
			deletes := rapid.IntRange(0, 3).Draw(rt, "delete") == 0
			k := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "left key")
			f := rapid.SampledFrom([]string{"x", "y", "-"}).Draw(rt, "right key")
			switch onLeft := rapid.Bool().Draw(rt, "on the left"); {
			case onLeft && deletes:
				delete(ls, k)
				set(d, "left", fmt.Sprintf("%s@%d", k, i))
			case onLeft:
				ls[k] = fmt.Sprintf("%s:%s,%d", k, f, i)
				set(d, "left", fmt.Sprintf("%s@%d", ls[k], i))
			case f == "-":
				continue
			case deletes:
				delete(rs, f)
				set(d, "right", fmt.Sprintf("%s@%d", f, i))
			default:
				rs[f] = fmt.Sprintf("%s:%d", f, i)
				set(d, "right", fmt.Sprintf("%s@%d", rs[f], i))
			}
			if rapid.IntRange(0, 3).Draw(rt, "look") == 0 {
				seen.apply(rt, values(drained(d, "out")))
				require.Equal(rt, joinedForeign(left, ls, rs), map[string]string(seen))
			}
			disturb(rt, d)
		}
		seen.apply(rt, values(drained(d, "out")))
		require.Equal(rt, joinedForeign(left, ls, rs), map[string]string(seen))
	})
}

func joinedForeign(left bool, ls, rs map[string]string) map[string]string {
	all := map[string]string{}
	for k, l := range ls {
		f, _ := names(k, l)
		if r, ok := rs[f]; ok {
			all[k] = l + "+" + r
		} else if left {
			all[k] = l + "+-"
		}
	}
	return all
}

// Changes that overtake each other on the way between the tasks lead to the same rows.
func TestJoinForeignRaces(t *testing.T) {
	d := streamtest.New(t, linking(false, nil)(), streamtest.ManualCommit())
	for i := range 40 {
		set(d, "right", fmt.Sprintf("x:%d@%d y:%d@%d", i, i, i, i))
		set(d, "left", fmt.Sprintf("a:%s,%d@%d", []string{"x", "y", "-"}[i%3], i, i))
		if i%5 == 0 {
			set(d, "left", fmt.Sprintf("a@%d", i))
		}
		if i%7 == 0 {
			d.Commit()
		}
	}
	set(d, "left", "a:y,last@50")
	d.Commit()
	seen := follower{}
	seen.apply(t, values(drained(d, "out")))
	assert.Equal(t, follower{"a": "a:y,last+y:39"}, seen)
}

func TestBadForeignJoins(t *testing.T) {
	topo := stream.New("bad")
	l := topo.Table(keyed(), "rows")
	r := topo.Table(source.KafkaKeyed("right", codec.Int64, codec.JSON[txn]()), "right-rows")
	l.JoinForeign[int64, txn, txn]("a", r, nil, nil)
	l.LeftJoinForeign("b", stream.New("other").Table(keyed(), "there"), func(string, txn) (string, bool) { return "", true }, func(l txn, _ *txn) txn { return l })
	l.JoinForeign("a", r, func(string, txn) (int64, bool) { return 0, true }, func(l, _ txn) func() { return nil })
	got := mistakes(t, topo, goodConfig(t))
	want := []string{
		`foreignkey: its function is nil: give it one`,
		`joinforeign "a": its function is nil: give it one`,
		`subscriptions "b-subscriptions": its other side is of another topology`,
		`joinforeign "a": no codec for func(): name one`,
		`the name "a-subscriptions" is taken by the store at`,
		`the name "a" is taken by the store at`,
	}
	require.Len(t, got, len(want), "%s", strings.Join(got, "\n"))
	for i, w := range want {
		assert.Contains(t, got[i], w)
	}
}

// Orders name their customer. When one moves, all of his orders are known to go to the new place.
func ExampleTable_JoinForeign() {
	type order struct{ Customer, Item string }
	topo := stream.New("orders")
	orders := topo.Table(source.KafkaKeyed("orders", codec.String, codec.JSON[order]()), "orders")
	homes := topo.Table(source.KafkaKeyed("homes", codec.String, codec.String), "homes")
	orders.JoinForeign("delivery", homes, func(_ string, o order) (string, bool) { return o.Customer, o.Customer != "" },
		func(o order, home string) string { return o.Item + " to " + home }).
		Changes(func(id, s string) string { return "order " + id + ": " + s }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("homes", "ann", noon, "Oslo")
	d.PipeKeyed("orders", "1", noon, order{"ann", "lamp"})
	d.PipeKeyed("orders", "2", noon, order{"bob", "desk"})
	d.PipeKeyed("homes", "ann", noon, "Rome")
	printed(d)
	// Output:
	// order 1: lamp to Oslo
	// order 1: lamp to Rome
}
