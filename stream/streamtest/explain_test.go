package streamtest_test

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// Why is the sum 13, and not 1113?
func ExampleDriver_Explain() {
	topo := stream.New("spending")
	topo.From(source.Kafka("txns", codec.JSON[txn]())).
		Filter(func(t txn) bool { return t.Amount < 1000 }).
		EventTime(func(t txn) time.Time { return t.At }, stream.Watermark{}).
		KeyBy(func(t txn) string { return t.Card }).
		Window(window.Tumbling{Size: time.Minute}).
		Fold("spend", func(a *int64, t txn) { *a += t.Amount }).
		OnClose(func(card string, s window.Span, sum int64) string { return fmt.Sprint(card, " ", sum) }).
		To(sink.Kafka("closed", codec.String))

	d := streamtest.New(t, topo, streamtest.Explain())
	at := noon
	d.Pipe("txns", at, txn{"a", 10, at}, txn{"b", 7, at}, txn{"a", 3, at.Add(time.Second)}, txn{"a", 1000, at})
	d.Pipe("txns", at, txn{"b", 8, at.Add(62 * time.Second)}, txn{"a", 100, at.Add(59 * time.Second)})
	fmt.Println(d.Drain[string]("closed"))

	why := d.Explain("spend", "a", window.Span{From: at.UnixMilli(), To: at.Add(time.Minute).UnixMilli()})
	fmt.Println("contributed:", why.Contributed)
	for _, r := range why.Rejected {
		fmt.Println("rejected:", r)
	}
	// Output:
	// [a 13 b 7]
	// contributed: [txns/0@0 txns/0@2]
	// rejected: txns/0@3 filtered by filter
	// rejected: txns/0@5 late by spend, 3s behind the watermark
}

// explained has what an explanation must tell apart: records that are filtered, doubles, bad before and behind the
// exchange and behind an aggregate, late in some of their windows or in all.
func explained() *stream.Topology {
	topo := stream.New("explained")
	in := explainable(topo)
	add := func(a *int64, t txn) { *a += t.Amount }
	shown := func(card string, s window.Span, sum int64) spend { return spend{card, s.Start(), sum, s.Revision} }
	in.Window(window.Tumbling{Size: time.Minute}).Fold("tumbling", add).OnClose(shown).To(sink.Kafka("tumbling", codec.JSON[spend]()))
	hopping := in.Window(window.Hopping{Size: time.Minute, Advance: 20 * time.Second}).Fold("hopping", add)
	hopping.OnUpdate(shown).To(sink.Kafka("updates", codec.JSON[spend]()))
	hopping.OnClose(shown).To(sink.Kafka("hopping", codec.JSON[spend]()))
	in.Fold("total", add).Changes(func(card string, sum int64) spend { return spend{Card: card, Sum: sum} }).
		TryMap(func(s spend) (spend, error) { return s, bad(s.Sum%10 == 5) }).
		To(sink.Kafka("total", codec.JSON[spend]()))
	return topo
}

// explainable are the records on their way to the aggregates.
func explainable(topo *stream.Topology) stream.Deduplicated[string, txn] {
	return topo.From(source.Kafka("txns", codec.JSON[txn](), source.OnError(onerror.Skip))).
		EventTime(func(t txn) time.Time { return t.At }, stream.Watermark{OutOfOrder: 5 * time.Second}).
		Filter(func(t txn) bool { return t.Amount%10 != 3 }).
		TryMap(func(t txn) (txn, error) { return t, bad(t.Amount%10 == 4) }).
		KeyBy(func(t txn) string { return t.Card }).
		Deduplicate("once", func(t txn) int64 { return t.Amount }, time.Hour)
}

func bad(yes bool) error {
	if yes {
		return errors.New("it is bad")
	}
	return nil
}

// send pipes records in disorder, with restarts and crashes, and passes all their windows.
func send(t *rapid.T, d *streamtest.Driver) map[streamtest.Origin]txn {
	sent, next := map[streamtest.Origin]txn{}, [2]int64{}
	for range rapid.IntRange(1, 25).Draw(t, "inputs") {
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0:
			d.Restart()
		case 1:
			d.Kill()
		case 2:
			d.WipeState()
		case 3:
			d.Crash(rapid.SampledFrom(streamtest.Steps()).Draw(t, "step"))
		default:
			p := rapid.Int32Range(0, 1).Draw(t, "partition")
			x := txn{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "card"), rapid.Int64Range(0, 29).Draw(t, "amount"), noon.Add(time.Duration(rapid.IntRange(0, 150).Draw(t, "second")) * time.Second)}
			b, err := codec.JSON[txn]().Append(nil, x)
			require.NoError(t, err)
			sent[streamtest.Origin{Topic: "txns", Partition: p, Offset: next[p]}] = x
			next[p]++
			d.PipeTo("txns", streamtest.Record{Partition: p, Value: b, Time: noon})
		}
	}
	d.Advance(noon.Add(time.Hour))
	return sent
}

// What is said to have contributed adds up to the result; each record has contributed to each of its windows or was
// rejected, never both, never neither; and for the right reason. Under disorder, and with restarts and crashes.
func TestExplainAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := streamtest.New(t, explained(), streamtest.Explain(), streamtest.Topic("txns", 2), streamtest.Partitions(2), streamtest.KeyGroups(2), streamtest.Start(noon.Add(time.Hour)))
		sent := send(t, d)
		check := func(store, card string, w window.Span, want int64) {
			why := d.Explain(store, card, w)
			got, seen := int64(0), map[streamtest.Origin]bool{}
			for _, o := range why.Contributed {
				require.Equal(t, card, sent[o].Card)
				require.False(t, seen[o], "%v contributed twice to %s %s %v", o, store, card, w)
				seen[o] = true
				got += sent[o].Amount
			}
			require.Equal(t, want, got, "%s %s %v: %v", store, card, w, why)
			for _, r := range why.Rejected {
				require.False(t, seen[r.Origin], "%v has contributed, or is rejected twice: %s %s %v", r, store, card, w)
				seen[r.Origin] = true
				switch r.Reason {
				case streamtest.Filtered:
					require.True(t, sent[r.Origin].Amount%10 == 3 && r.Operator == "filter", "%v", r)
				case streamtest.Skipped:
					require.Equal(t, "trymap", r.Operator)
				case streamtest.Duplicate:
					require.Equal(t, "once", r.Operator)
				case streamtest.Late:
					require.True(t, r.Operator == store && r.Behind > 0, "%v", r)
				default:
					require.Fail(t, "reason", "%v", r)
				}
			}
			for o, x := range sent {
				if x.Card == card && (w.To == 0 || w.From <= x.At.UnixMilli() && x.At.UnixMilli() < w.To) {
					require.True(t, seen[o], "%v %v: neither contributed to %s %s %v nor rejected: %v", o, x, store, card, w, why)
				}
			}
		}
		results := func(topic string) map[spend]int64 {
			m := map[spend]int64{}
			for _, s := range d.Drain[spend](topic) {
				m[spend{Card: s.Card, From: s.From}] = s.Sum
			}
			return m
		}
		tumbling, hopping, total := results("tumbling"), results("hopping"), results("total")
		for _, card := range []string{"a", "b"} {
			for from := noon.Add(-40 * time.Second); from.Before(noon.Add(150 * time.Second)); from = from.Add(20 * time.Second) {
				w := window.Span{From: from.UnixMilli(), To: from.Add(time.Minute).UnixMilli()}
				check("hopping", card, w, hopping[spend{Card: card, From: from}])
				if from.Sub(noon)%time.Minute == 0 {
					check("tumbling", card, w, tumbling[spend{Card: card, From: from}])
				}
			}
			check("total", card, window.Span{}, total[spend{Card: card}])
		}
	})
}

// closedSum is what a window has closed with.
type closedSum struct {
	Card     string
	From, To int64
	Sum      int64
}

// The same for windows that depend on the records of a key, and for cumulating ones. A session or count window has each
// record at most once.
func TestExplainWindowsAddUp(t *testing.T) {
	windows := map[string]window.Window{
		"sessions": window.Session{Gap: 15 * time.Second}, "sliding": window.Sliding{Difference: 30 * time.Second}, "trailing": window.Trailing{Size: 30 * time.Second},
		"count": window.Count{Size: 3, TTL: 40 * time.Second}, "single": window.Count{Size: 1, TTL: time.Second}, "cumulate": window.Cumulate{Size: time.Minute, Step: 20 * time.Second},
	}
	names := slices.Sorted(maps.Keys(windows))
	rapid.Check(t, func(t *rapid.T) {
		topo := stream.New("explained")
		in := explainable(topo)
		for _, name := range rapid.Permutation(names).Draw(t, "order") {
			in.Window(windows[name]).FoldMerge(name, func(a *int64, t txn) { *a += t.Amount }, func(a *int64, b int64) { *a += b }).
				OnClose(func(card string, s window.Span, sum int64) closedSum { return closedSum{card, s.From, s.To, sum} }).
				To(sink.Kafka(name, codec.JSON[closedSum]()))
		}
		d := streamtest.New(t, topo, streamtest.Explain(), streamtest.Topic("txns", 2), streamtest.Partitions(2), streamtest.KeyGroups(2), streamtest.Start(noon.Add(time.Hour)))
		sent := send(t, d)
		for _, name := range names {
			last := map[closedSum]int64{} // count windows may have the same bounds
			for _, r := range d.Drain[closedSum](name) {
				last[closedSum{r.Card, r.From, r.To, 0}] = r.Sum
			}
			once := map[streamtest.Origin]bool{}
			for r, sum := range last {
				why := d.Explain(name, r.Card, window.Span{From: r.From, To: r.To})
				require.NotEmpty(t, why.Contributed, "%s %v", name, r)
				got, seen := int64(0), map[streamtest.Origin]bool{}
				for _, o := range why.Contributed {
					x := sent[o]
					require.True(t, x.Card == r.Card && r.From <= x.At.UnixMilli() && x.At.UnixMilli() < r.To, "%s %v: %v %v", name, r, o, x)
					require.False(t, seen[o], "%v contributed twice to %s %v", o, name, r)
					require.False(t, once[o] && (name == "sessions" || name == "count" || name == "single"), "%v has contributed to another one than %s %v", o, name, r)
					seen[o], once[o] = true, true
					got += x.Amount
				}
				require.Equal(t, sum, got, "%s %v: %v", name, r, why)
				for _, x := range why.Rejected {
					require.False(t, seen[x.Origin], "%v has contributed, or is rejected twice: %s %v", x, name, r)
					seen[x.Origin] = true
					require.True(t, x.Reason != streamtest.Late || x.Operator == name && x.Behind > 0, "%v", x)
				}
				for o, x := range sent {
					if x.Card == r.Card && r.From <= x.At.UnixMilli() && x.At.UnixMilli() < r.To && (name == "sliding" || name == "trailing" || name == "cumulate") {
						require.True(t, seen[o], "%v %v: neither contributed to %s %v nor rejected: %v", o, x, name, r, why)
					}
				}
			}
		}
	})
}

// Without an exchange the source's own keys count. A record that is given up on behind the aggregate is taken back, and named
// with the operator that gave up.
func TestExplainKeyed(t *testing.T) {
	topo := stream.New("keyed")
	topo.FromKeyed(source.KafkaKeyed("steps", codec.String, codec.Int64, source.OnError(onerror.DeadLetter("dead")))).
		Fold("sum", func(a *int64, n int64) { *a += n }).
		Changes(func(_ string, a int64) int64 { return a }).
		TryMap(func(n int64) (int64, error) { return n, bad(n > 100) }).
		To(sink.Kafka("sums", codec.Int64))
	d := streamtest.New(t, topo, streamtest.Explain())
	for _, n := range []int64{1, 2, 1000, 3} {
		d.PipeKeyed("steps", "a", noon, n)
		d.PipeKeyed("steps", "b", noon, n)
		d.Kill()
	}
	got := d.Drain[int64]("sums")
	require.Equal(t, int64(6), got[len(got)-1])
	why := d.Explain("sum", "a", window.Span{})
	require.Equal(t, "[steps/0@0 steps/0@2 steps/0@6]", fmt.Sprint(why.Contributed))
	require.Equal(t, "[steps/0@4 dead-lettered by trymap]", fmt.Sprint(why.Rejected))
}

type sum struct {
	N   int64
	Set bool
}

// IsNull implements codec.Nullable.
func (s sum) IsNull() bool { return !s.Set }

// An aggregate that has become null begins anew.
func TestExplainNull(t *testing.T) {
	topo := stream.New("null")
	topo.FromKeyed(source.KafkaKeyed("steps", codec.String, codec.Int64)).
		Fold("sum", func(a *sum, n int64) {
			a.N, a.Set = a.N+n, true
			if n == 0 {
				*a = sum{}
			}
		}, codec.JSON[sum]()).
		Changes(func(_ string, a sum) int64 { return a.N }).
		To(sink.Kafka("sums", codec.Int64))
	d := streamtest.New(t, topo, streamtest.Explain())
	d.PipeKeyed("steps", "a", noon, int64(1), 2)
	require.Equal(t, "[steps/0@0 steps/0@1]", fmt.Sprint(d.Explain("sum", "a", window.Span{}).Contributed))
	d.PipeKeyed("steps", "a", noon, int64(0))
	require.Empty(t, d.Explain("sum", "a", window.Span{}).Contributed)
	d.PipeKeyed("steps", "a", noon, int64(4), 5)
	require.Equal(t, []int64{1, 3, 0, 4, 9}, d.Drain[int64]("sums"))
	require.Equal(t, "[steps/0@3 steps/0@4]", fmt.Sprint(d.Explain("sum", "a", window.Span{}).Contributed))
}

// What cannot be explained is said.
func TestExplainRefuses(t *testing.T) {
	topo := func() *stream.Topology {
		topo := stream.New("refused")
		in := topo.From(source.Kafka("words", codec.String)).KeyBy(func(w string) string { return w }).Repartition("by-word", stream.Repartitioning{})
		show := func(_ string, _ window.Span, n int64) int64 { return n }
		out := func(topic string) sink.Sink[int64] { return sink.Kafka(topic, codec.Int64) }
		in.Window(window.Session{Gap: time.Minute}).Trigger(window.Trigger{End: true}).Count("sessions").OnFire(show).To(out("s"))
		topo.FromKeyed(source.KafkaKeyed("lines", codec.String, codec.String)).
			FlatMapValues(func(_, line string) iter.Seq[string] { return strings.FieldsSeq(line) }).
			Window(window.Count{Size: 2, TTL: time.Minute}).Count("twos").OnClose(show).To(out("2"))
		in.Window(window.Hopping{Size: time.Minute, Advance: time.Second}).Count("panes").OnClose(show).To(out("p"))
		in.Window(window.Tumbling{Size: time.Minute}).Count("minutes").OnClose(show).
			KeyBy(func(int64) string { return "" }).Count("windows").Changes(func(_ string, n int64) int64 { return n }).To(out("n"))
		return topo
	}
	minute := window.Span{From: 0, To: 60_000}
	for name, c := range map[string]struct {
		store string
		w     window.Span
		opts  []streamtest.Option
		want  string
	}{
		"no option":       {"minutes", minute, nil, "needs the option"},
		"no store":        {"none", minute, []streamtest.Option{streamtest.Explain()}, "no store of this name"},
		"no window":       {"minutes", window.Span{}, []streamtest.Option{streamtest.Explain()}, "name the span"},
		"triggers":        {"sessions", minute, []streamtest.Option{streamtest.Explain()}, "windows with a trigger"},
		"several of one":  {"twos", minute, []streamtest.Option{streamtest.Explain()}, "3 records were made of lines/0@0"},
		"panes":           {"panes", minute, []streamtest.Option{streamtest.Explain()}, "share panes"},
		"behind windows":  {"windows", window.Span{}, []streamtest.Option{streamtest.Explain()}, "lies behind on close"},
		"at-least-once":   {"minutes", minute, []streamtest.Option{streamtest.Explain(), streamtest.Guarantee(connect.AtLeastOnce)}, "exactly-once"},
		"manual":          {"minutes", minute, []streamtest.Option{streamtest.Explain(), streamtest.ManualCommit()}, "ManualCommit"},
		"memory exchange": {"minutes", minute, []streamtest.Option{streamtest.Explain(), streamtest.Exchange(stream.InMemory)}, "through topics"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() { require.Contains(t, fmt.Sprint(recover()), c.want) }()
			d := streamtest.New(tb{}, topo(), c.opts...)
			d.PipeKeyed("lines", "a", noon, "b c d")
			d.Explain(c.store, "a", c.w)
		})
	}
}
