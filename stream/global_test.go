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

// globally joins streams of any partitioning with a table by what their records name.
func globally(opts ...source.Option) func() *stream.Topology {
	return func() *stream.Topology {
		topo := stream.New("global")
		rows := topo.GlobalTable(source.KafkaKeyed("rows", codec.String, codec.String, opts...))
		named := func(v string) (string, bool) { return names("", v) }
		s := topo.From(source.Kafka("in", codec.String))
		s.JoinGlobal(rows, named, func(l, r string) string { return l + "+" + r }).To(strs("inner"))
		s.LeftJoinGlobal(rows, named, func(l string, r *string) string { return l + "+" + show(r) }).To(strs("left"))
		k := direct(topo, "keyed", 0)
		k.JoinGlobal(rows, names, func(l, r string) string { return l + "+" + r }).Count("n").
			Changes(func(k string, n int64) string { return fmt.Sprintf("%s%d", k, n) }).To(strs("counts"))
		k.LeftJoinGlobal(rows, names, func(l string, r *string) string { return l + "+" + show(r) }).To(strs("keyed-left"))
		return topo
	}
}

func TestGlobalTable(t *testing.T) {
	for name, partitions := range map[string]int{"one partition": 1, "other numbers of partitions": 3} {
		t.Run(name, func(t *testing.T) {
			streamtest.EveryWay(t, globally(), func(t *testing.T, d *streamtest.Driver) {
				put(d, "in", "a:x@10")
				set(d, "rows", "x:1@50 y:1@1")
				put(d, "in", "a:x@11 b:y@12 c:z@13 d:-@14")
				put(d, "keyed", "a:x@1 a:y@2 a:z@3")
				set(d, "rows", "x:2@3 y@4")
				put(d, "in", "a:x@15 b:y@16")
				put(d, "keyed", "a:x@4")
				assert.ElementsMatch(t, []string{"a:x+x:1@11", "b:y+y:1@12", "a:x+x:2@15"}, drained(d, "inner"))
				assert.ElementsMatch(t, []string{"a:x+-@10", "a:x+x:1@11", "b:y+y:1@12", "c:z+-@13", "d:-+-@14", "a:x+x:2@15", "b:y+-@16"}, drained(d, "left"))
				assert.Equal(t, []string{"a1@1", "a2@2", "a3@4"}, drained(d, "counts"))
				assert.Equal(t, []string{"a:x+x:1@1", "a:y+y:1@2", "a:z+-@3", "a:x+x:2@4"}, drained(d, "keyed-left"))
			}, streamtest.Topic("rows", partitions), streamtest.Topic("in", 4))
		})
	}
}

// The table is there, whole, before the first record is read.
func TestGlobalTableFirst(t *testing.T) {
	fail := true
	topo := stream.New("global")
	rows := topo.GlobalTable(source.KafkaKeyed("rows", codec.String, codec.String))
	topo.From(source.Kafka("in", codec.String, source.OnError(onerror.Fail))).
		Peek(func(string) {
			if fail {
				panic("stop")
			}
		}).
		JoinGlobal(rows, func(v string) (string, bool) { return names("", v) }, func(l, r string) string { return l + "+" + r }).To(strs("out"))
	d := streamtest.New(t, topo, streamtest.MayStop())
	put(d, "in", "a:x@1")
	require.Error(t, d.Err())
	set(d, "rows", "x:1@10 x:2@20 y:1@30")
	fail = false
	d.Restart()
	assert.Equal(t, []string{"a:x+x:2@1"}, drained(d, "out"))
}

// A bad record of the table is passed over, or ends the application.
func TestGlobalTableBadRecords(t *testing.T) {
	bad := []streamtest.Record{{Value: []byte("no key"), Time: noon}, {Key: []byte("k"), Value: []byte("not a number"), Time: noon}}
	for i, rec := range bad {
		for _, p := range []onerror.Policy{onerror.Skip, onerror.Fail} {
			topo := stream.New("global")
			rows := topo.GlobalTable(source.KafkaKeyed("rows", codec.String, codec.JSON[int](), source.OnError(p), source.OnNullKey(p)))
			topo.From(source.Kafka("in", codec.String)).JoinGlobal(rows, func(v string) (string, bool) { return v, true }, func(_ string, n int) string { return fmt.Sprint(n) }).To(strs("out"))
			d := streamtest.New(t, topo, streamtest.MayStop())
			d.PipeTo("rows", rec)
			if p.Action == onerror.ActionFail {
				require.ErrorContains(t, d.Err(), "global table rows", "record %d", i)
				continue
			}
			require.NoError(t, d.Err())
			d.PipeTo("rows", streamtest.Record{Key: []byte("k"), Value: []byte("7"), Time: noon})
			d.Pipe("in", noon, "k")
			assert.Equal(t, []string{"7"}, d.Drain[string]("out"))
		}
	}
}

// A record is joined with the newest row that came before it.
func TestGlobalTableModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := streamtest.New(t, globally()(), append(anyWay(rt), streamtest.Topic("rows", rapid.IntRange(1, 3).Draw(rt, "partitions")))...)
		rows := map[string]string{}
		for i := range rapid.IntRange(1, 30).Draw(rt, "records") {
			f := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(rt, "row")
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				delete(rows, f)
				set(d, "rows", fmt.Sprintf("%s@%d", f, i))
			case 1:
				rows[f] = fmt.Sprintf("%s:%d", f, i)
				set(d, "rows", fmt.Sprintf("%s@%d", rows[f], i))
			default:
				put(d, "in", fmt.Sprintf("k:%s@%d", f, i))
				want := "-"
				if r, ok := rows[f]; ok {
					want = r
				}
				require.Equal(rt, []string{fmt.Sprintf("k:%s+%s@%d", f, want, i)}, drained(d, "left"))
			}
			disturb(rt, d)
		}
	})
}

func TestBadGlobalTables(t *testing.T) {
	topo := stream.New("bad")
	read := func(topic string, opts ...source.Option) stream.GlobalTable[string, txn] {
		return topo.GlobalTable(source.KafkaKeyed(topic, codec.String, codec.JSON[txn](), opts...))
	}
	key := func(txn) (string, bool) { return "", true }
	read("unused")
	s := topo.From(txns())
	for _, g := range []stream.GlobalTable[string, txn]{read(""), topo.GlobalTable(source.KafkaKeyed[string, txn]("uncoded", nil, nil)),
		read("late", source.StartAt(source.Latest)), read("dead", source.OnError(onerror.DeadLetter("dead"))), read("null", source.OnTombstone(onerror.Fail)),
		read("twice"), read("twice"), stream.New("other").GlobalTable(keyed())} {
		s.JoinGlobal(g, key, func(l, _ txn) txn { return l }).To(out[txn]())
	}
	s.LeftJoinGlobal[string, txn, txn](read("nil"), nil, nil).To(out[txn]())
	got := mistakes(t, topo, goodConfig(t))
	want := []string{
		`globaltable: the topic has no name: give it one`,
		`globaltable "uncoded": it has no codec: name one`,
		`globaltable "late": it is read whole: leave out where reading begins or ends`,
		`globaltable "dead": it is read outside of transactions and cannot have a dead-letter topic: use onerror.Skip or onerror.Fail`,
		`globaltable "null": it is read as a table, in which a null value deletes a row: leave out OnTombstone`,
		`globaltable "twice": topic "twice" is read as a global table at stream/global_test.go`,
		`joinglobal: its other side is of another topology`,
		`leftjoinglobal: its function is nil: give it one`,
		`globaltable "unused": nothing uses it: join a stream with it, or remove it`,
	}
	require.Len(t, got, len(want), "%s", strings.Join(got, "\n"))
	for i, w := range want {
		assert.Contains(t, got[i], w)
	}
	assert.Contains(t, topo.Describe(stream.Text), "global table twice")
}

// Payments in any currency are converted by a table that every instance has.
func ExampleStream_JoinGlobal() {
	type payment struct {
		Currency string
		Amount   int64
	}
	topo := stream.New("convert")
	rates := topo.GlobalTable(source.KafkaKeyed("rates", codec.String, codec.Int64))
	topo.From(source.Kafka("payments", codec.JSON[payment]())).
		JoinGlobal(rates, func(p payment) (string, bool) { return p.Currency, true },
			func(p payment, rate int64) string {
				return fmt.Sprintf("%d %s = %d", p.Amount, p.Currency, p.Amount*rate)
			}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("rates", "EUR", noon, int64(2))
	d.Pipe("payments", noon, payment{"EUR", 10}, payment{"XXX", 1})
	d.PipeKeyed("rates", "EUR", noon, int64(3))
	d.Pipe("payments", noon.Add(time.Minute), payment{"EUR", 10})
	printed(d)
	// Output:
	// 10 EUR = 20
	// 10 EUR = 30
}
