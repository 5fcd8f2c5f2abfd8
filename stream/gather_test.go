package stream_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// members is an aggregate that says which records it is of: a bit for each, and how many they are.
type members struct {
	Set uint64
	N   int
}

func (m *members) add(v string) { m.merge(members{1 << (v[1] - 'A'), 1}) }
func (m *members) merge(o members) {
	m.Set |= o.Set
	m.N += o.N
}

type membersOf struct {
	Key      string
	From, To int64
	members
	Revision  uint64
	Retracted bool
}

func memberRow(k string, s window.Span, m members) membersOf {
	return membersOf{k, s.From, s.To, m, s.Revision, s.Retracted}
}

// membersIn aggregates windows behind a repartition. With apart there is an operator between the two, so that each record
// travels; without, aggregates do.
func membersIn(w window.Window, bound int64, apart, commits bool) func() *stream.Topology {
	return made(func(topo *stream.Topology) {
		keyed := texts(topo).Watermark(stream.Watermark{OutOfOrder: millis(bound)}).KeyBy(letter).Repartition("by-letter", stream.Repartitioning{Partitions: 2}, codec.String)
		if apart {
			keyed = keyed.Filter(func(string, string) bool { return true })
		}
		a := keyed.Window(w).FoldMerge("members", (*members).add, func(a *members, b members) { a.merge(b) })
		a.OnClose(memberRow).To(resultsOf[membersOf]("closes"))
		if commits {
			a.OnCommit(memberRow).To(resultsOf[membersOf]("commits"))
		}
	})
}

const asAggregates = "sent as aggregates"

// Whatever the disorder, the exchange, the commits, and whatever happens to the process in between: records that are added up
// before they are sent have the same results, and as many of them are late. The model is the topology where each travels. Of sessions
// that merge there are two differences: the number of their changes, which hangs on the order of their records; and what is retracted
// may be without records that came after it was emitted.
func TestGatheringModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 20).Draw(t, "size")
		w, commits := tumbling(size, rapid.Int64Range(0, 9).Draw(t, "grace")), rapid.Bool().Draw(t, "on commit")
		sessions := rapid.Bool().Draw(t, "sessions")
		if sessions {
			w = session(size, rapid.Int64Range(0, 9).Draw(t, "grace of sessions"))
		} else if !commits && rapid.Bool().Draw(t, "hopping") {
			w = hopping(size*rapid.Int64Range(2, 4).Draw(t, "panes"), size, rapid.Int64Range(0, 9).Draw(t, "grace of hopping"))
		}
		bound, partitions := rapid.Int64Range(0, 5).Draw(t, "bound"), rapid.IntRange(1, 3).Draw(t, "partitions")
		opts := append(ways(t), streamtest.ManualCommit(), streamtest.Partitions(partitions), streamtest.Batch(rapid.IntRange(1, 9).Draw(t, "batch")))
		if rapid.Bool().Draw(t, "in memory") {
			opts = append(opts, streamtest.Exchange(stream.InMemory))
		}
		gathers, apart := membersIn(w, bound, false, commits), membersIn(w, bound, true, commits)
		require.Contains(t, gathers().Describe(stream.Text), asAggregates)
		require.NotContains(t, apart().Describe(stream.Text), asAggregates)
		drivers := []*streamtest.Driver{streamtest.New(t, gathers(), opts...), streamtest.New(t, apart(), opts...)}
		both := func(f func(d *streamtest.Driver)) {
			for _, d := range drivers {
				f(d)
			}
		}
		same := func() {
			topics := []string{"closes"}
			if commits {
				topics = append(topics, "commits")
			}
			for _, topic := range topics {
				var rows [2][]string
				for i, d := range drivers {
					for _, r := range d.Drain[membersOf](topic) {
						if sessions {
							if r.Retracted {
								r.To, r.members = 0, members{}
							} else {
								require.LessOrEqual(t, r.Revision, uint64(r.N))
								require.Positive(t, r.Revision)
							}
							r.Revision = 0
						}
						rows[i] = append(rows[i], fmt.Sprintf("%+v", r))
					}
					slices.Sort(rows[i])
				}
				require.Equal(t, rows[1], rows[0], topic)
			}
			require.Equal(t, drivers[1].Counts("members").Late, drivers[0].Counts("members").Late)
		}
		var together []streamtest.Record
		at := rapid.Int64Range(-20, 20).Draw(t, "start")
		for i, step := range rapid.SliceOfN(rapid.Int64Range(-12, 15), 1, 40).Draw(t, "steps") {
			at += step
			e := event{key: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"), at: at, name: string(rune('A' + i))}
			part := rapid.Int32Range(0, int32(partitions)-1).Draw(t, "partition")
			together = append(together, streamtest.Record{Partition: part, Value: []byte(e.key + e.name), Time: ms(e.at)})
			if rapid.IntRange(0, 2).Draw(t, "more come with it") > 0 {
				continue
			}
			both(func(d *streamtest.Driver) { d.PipeTo("in", together...) })
			together = nil
			switch rapid.IntRange(0, 15).Draw(t, "what happens") {
			case 0:
				both((*streamtest.Driver).Restart)
			case 1:
				both((*streamtest.Driver).Kill)
			case 2:
				both((*streamtest.Driver).WipeState)
			case 3, 4, 5:
				both((*streamtest.Driver).Commit)
				same()
			}
		}
		both(func(d *streamtest.Driver) {
			d.PipeTo("in", together...)
			for p := range partitions {
				d.PipeTo("in", streamtest.Record{Partition: int32(p), Value: []byte("zz"), Time: ms(2000)})
			}
			d.Commit()
		})
		same()
	})
}

// One aggregate per key and window travels, however many records there are; and only where that can make no difference.
func TestWhatIsGathered(t *testing.T) {
	for exchange, want := range map[stream.Exchange]int{
		stream.ThroughTopic: 3, // a and b in the first window, a in the second, when the epoch ends
		stream.InMemory:     7, // the first with the first watermark; b, and the three that come when the window has closed, at once
	} {
		d := streamtest.New(t, membersIn(tumbling(100, 0), 0, false, false)(), streamtest.ManualCommit(), streamtest.Exchange(exchange))
		pipe(d, "aA@1 bB@2 aC@3 aD@150 bE@99 aF@4 aG@20")
		d.Commit()
		require.EqualValues(t, 7+want, d.Counts("by-letter").Records, "the records that are added up, and the aggregates that are read")
	}
	gathers := func(build func(topo *stream.Topology)) bool {
		topo := stream.New("test")
		build(topo)
		return strings.Contains(topo.Describe(stream.Text), asAggregates)
	}
	counted := func(w window.Window, more func(stream.Aggregated[string, string, int64])) func(*stream.Topology) {
		return func(topo *stream.Topology) {
			a := texts(topo).KeyBy(letter).Window(w).Count("n")
			a.OnClose(of).To(results("out"))
			more(a)
		}
	}
	none := func(stream.Aggregated[string, string, int64]) {}
	for name, c := range map[string]struct {
		build func(*stream.Topology)
		want  bool
	}{
		"on close":                   {counted(tumbling(10, 0), none), true},
		"a day":                      {counted(window.Day{Location: time.UTC}, none), true},
		"panes":                      {counted(hopping(10, 5, 0), none), true},
		"windows that are not panes": {counted(hopping(10, 4, 0), none), false},
		"nested windows":             {counted(window.Cumulate{Size: millis(10), Step: millis(5)}, none), false},
		"sessions":                   {counted(session(5, 0), none), true},
		"sessions, on commit":        {counted(session(5, 0), func(a stream.Aggregated[string, string, int64]) { a.OnCommit(of).To(results("more")) }), true},
		"sessions, every update":     {counted(session(5, 0), func(a stream.Aggregated[string, string, int64]) { a.OnUpdate(of).To(results("more")) }), false},
		"sessions, late records":     {counted(session(5, 0), func(a stream.Aggregated[string, string, int64]) { a.Late(lateOf).To(results("more")) }), false},
		"sessions that say how long": {func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).SessionBy(func(string) time.Duration { return time.Second }, 0).Count("n").OnClose(of).To(results("out"))
		}, false},
		"sessions with a trigger": {func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Window(session(5, 0)).Trigger(window.Trigger{Count: 2}).Count("n").OnFire(of).To(results("out"))
		}, false},
		"on commit":            {counted(tumbling(10, 0), func(a stream.Aggregated[string, string, int64]) { a.OnCommit(of).To(results("more")) }), true},
		"on commit of hopping": {counted(hopping(10, 5, 0), func(a stream.Aggregated[string, string, int64]) { a.OnCommit(of).To(results("more")) }), false},
		"every update":         {counted(tumbling(10, 0), func(a stream.Aggregated[string, string, int64]) { a.OnUpdate(of).To(results("more")) }), false},
		"updates at a pace":    {counted(tumbling(10, 0), func(a stream.Aggregated[string, string, int64]) { a.OnUpdateEvery(millis(5), of).To(results("more")) }), false},
		"late records":         {counted(tumbling(10, 0), func(a stream.Aggregated[string, string, int64]) { a.Late(lateOf).To(results("more")) }), false},
		"a fold that does not merge": {func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Window(tumbling(10, 0)).Fold("n", func(*int64, string) {}).OnClose(of).To(results("out"))
		}, false},
		"an aggregate with a pointer": {func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Window(tumbling(10, 0)).FoldMerge("n", (*longest).add, func(*longest, longest) {}).OnClose(func(string, window.Span, longest) string { return "" }).To(to("out"))
		}, false},
		"two that read it": {func(topo *stream.Topology) {
			keyed := texts(topo).KeyBy(letter).Repartition("shared", stream.Repartitioning{})
			keyed.Window(tumbling(10, 0)).Count("n").OnClose(of).To(results("out"))
			keyed.Window(tumbling(20, 0)).Count("m").OnClose(of).To(results("more"))
		}, false},
		"a keyed source": {func(topo *stream.Topology) {
			topo.FromKeyed(source.KafkaKeyed("in", codec.String, codec.String)).Window(tumbling(10, 0)).Count("n").OnClose(of).To(results("out"))
		}, false},
	} {
		require.Equal(t, c.want, gathers(c.build), name)
	}
}

// oneToFour has windows, and where each lies around records of the times 1 and 4.
var oneToFour = []struct {
	w        window.Window
	from, to int64
}{{tumbling(100, 0), 0, 100}, {session(100, 0), 1, 104}}

// A record that another operator gives up on was never there, although it had been added up already.
func TestGatheredRecordThatIsGivenUpOn(t *testing.T) {
	for _, c := range oneToFour {
		streamtest.EveryWay(t, made(func(topo *stream.Topology) {
			in := texts(topo, source.OnError(onerror.Skip))
			in.KeyBy(letter).Window(c.w).FoldMerge("members", (*members).add, func(a *members, b members) { a.merge(b) }).
				OnClose(memberRow).To(resultsOf[membersOf]("closes"))
			in.Map(func(s string) string {
				if s[1] == 'X' {
					panic("a record to be given up on")
				}
				return s
			}).To(to("copies"))
		}), func(t *testing.T, d *streamtest.Driver) {
			pipe(d, "aX@0 aA@1 aX@2 bX@3 aB@4 zz@200")
			require.Equal(t, []membersOf{{Key: "a", From: c.from, To: c.to, members: members{Set: 0b11, N: 2}, Revision: 2}}, d.Drain[membersOf]("closes"))
		})
	}
}

// The ledger knows a record that is given up on while it is added up, or after that.
func TestGatheredRecordsAreAccountedFor(t *testing.T) {
	for _, c := range oneToFour {
		for _, exchange := range []stream.Exchange{stream.ThroughTopic, stream.InMemory} {
			d := streamtest.New(t, made(func(topo *stream.Topology) {
				in := texts(topo, source.OnError(onerror.Skip))
				in.KeyBy(letter).Repartition("by-letter", stream.Repartitioning{Partitions: 2}, codec.String).Window(c.w).
					FoldMerge("members", func(m *members, v string) {
						if v[1] == 'X' {
							panic("a record to be given up on")
						}
						m.add(v)
					}, func(a *members, b members) { a.merge(b) }).
					OnClose(memberRow).To(resultsOf[membersOf]("closes"))
				in.Filter(func(s string) bool {
					if s[1] == 'Y' {
						panic("another")
					}
					return true
				}).To(to("copies"))
			})(), streamtest.ManualCommit(), streamtest.Exchange(exchange))
			pipe(d, "aX@0 aA@1 bX@3 aY@3 aB@4")
			d.Commit()
			require.EqualValues(t, 3, d.Counts("by-letter").Withdrawn)
			require.EqualValues(t, 2, d.Counts("members").Skipped)
			require.EqualValues(t, 1, d.Counts("filter").Skipped)
			pipe(d, "zz@200")
			d.Commit()
			require.Equal(t, []membersOf{{Key: "a", From: c.from, To: c.to, members: members{Set: 0b11, N: 2}, Revision: 2}}, d.Drain[membersOf]("closes"))
		}
	}
}

// Of a key that has several sessions in a step, each travels; and a record that may be late travels alone.
func TestWhatIsGatheredOfSessions(t *testing.T) {
	for exchange, want := range map[stream.Exchange]int{
		stream.ThroughTopic: 5, // a's 1 to 2, 20 to 25, 4, and 50 to 51, in the order in which they begin; b's
		stream.InMemory:     6, // b's is sent with a's first two, and what follows may be late for it
	} {
		d := streamtest.New(t, membersIn(session(10, 0), 0, false, false)(), streamtest.ManualCommit(), streamtest.Exchange(exchange), streamtest.Batch(100))
		for _, step := range []string{"aA@1 aB@2 bC@3 aD@20 aE@25", "bF@3 aG@4 aH@50 aI@51"} {
			var list []streamtest.Record
			for r := range strings.FieldsSeq(step) {
				list = append(list, at(r))
			}
			d.PipeTo("in", list...)
		}
		d.Commit()
		require.EqualValues(t, 9+want, d.Counts("by-letter").Records, "the records that are added up, and the aggregates that are read")
	}
}
