package stream_test

import (
	"fmt"
	"strconv"
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
	"github.com/millstream-go/millstream/window"
)

// surge is what several streams add to.
type surge struct{ Rides, Offers, Fares int64 }

func (s surge) String() string { return fmt.Sprintf("%d/%d/%d", s.Rides, s.Offers, s.Fares) }

func (s *surge) ride(string)  { s.Rides++ }
func (s *surge) offer(string) { s.Offers++ }
func (s *surge) fare(n int64) { s.Fares += n }

func (s *surge) merge(o surge) {
	s.Rides += o.Rides
	s.Offers += o.Offers
	s.Fares += o.Fares
}

// surges are three streams, one of another type and one that is partitioned by its keys already.
func surges(topo *stream.Topology) stream.Cogrouped[string, surge] {
	fares := rekeyed(topo, "fares", 0).MapValues(func(_, v string) int64 {
		n, _ := strconv.ParseInt(v[strings.Index(v, ":")+1:], 10, 64)
		return n
	})
	return rekeyed(topo, "rides", 0).Cogroup((*surge).ride).With(direct(topo, "offers", 0), (*surge).offer).With(fares, (*surge).fare)
}

func TestCogroup(t *testing.T) {
	topology := func() *stream.Topology {
		topo := stream.New("surge")
		surges(topo).Fold("surge").Updates(func(k string, ch stream.Change[surge]) string {
			old := "-"
			if ch.Old != nil {
				old = ch.Old.String()
			}
			return k + " " + old + ">" + ch.New.String()
		}).To(strs("out"))
		return topo
	}
	streamtest.EveryWay(t, topology, func(t *testing.T, d *streamtest.Driver) {
		put(d, "rides", "a:x@10 b:x@11")
		assert.Equal(t, []string{"a ->1/0/0@10", "b ->1/0/0@11"}, drained(d, "out"))
		put(d, "offers", "a:x@5")
		put(d, "fares", "a:7@20 c:5@1")
		assert.Equal(t, []string{"a 1/0/0>1/1/0@10", "a 1/1/0>1/1/7@20", "c ->0/0/5@1"}, drained(d, "out"), "the time is the largest so far")
		put(d, "rides", "a:x@3")
		assert.Equal(t, []string{"a 1/1/7>2/1/7@20"}, drained(d, "out"))
	})
}

// lateSurge shows what a late record would have added.
func lateSurge(k string, l stream.LateRecord[stream.Contribution[surge]]) string {
	var s surge
	l.Value.AddTo(&s)
	return k + " " + s.String()
}

func TestCogroupWindows(t *testing.T) {
	shown := func(k string, w window.Span, s surge) string {
		return fmt.Sprintf("%s[%d,%d) %v", k, w.From, w.To, s)
	}
	for name, c := range map[string]struct {
		of         func(stream.Cogrouped[string, surge]) stream.Aggregated[string, stream.Contribution[surge], surge]
		want, then []string
	}{
		"tumbling": {
			of: func(g stream.Cogrouped[string, surge]) stream.Aggregated[string, stream.Contribution[surge], surge] {
				return g.Window(window.Tumbling{Size: duration(10)}).Fold("surge")
			},
			want: []string{"a[0,10) 1/1/7@9"}, then: []string{"a[10,20) 1/1/0@19"},
		},
		"session": {
			of: func(g stream.Cogrouped[string, surge]) stream.Aggregated[string, stream.Contribution[surge], surge] {
				return g.Window(window.Session{Gap: duration(4)}).FoldMerge("surge", (*surge).merge)
			},
			want: []string{"a[1,10) 1/1/7@9"}, then: []string{"a[12,17) 1/1/0@16"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			topology := func() *stream.Topology {
				topo := stream.New("surge")
				w := c.of(surges(topo))
				w.OnClose(shown).To(strs("out"))
				w.Late(lateSurge).To(strs("late"))
				return topo
			}
			streamtest.EveryWay(t, topology, func(t *testing.T, d *streamtest.Driver) {
				put(d, "rides", "a:x@1")
				put(d, "offers", "a:x@4")
				put(d, "fares", "a:7@6")
				put(d, "rides", "a:x@12")
				put(d, "offers", "a:x@13")
				assert.Empty(t, drained(d, "out"), "the slowest of the streams says what time it is")
				put(d, "fares", "c:1@25")
				assert.Equal(t, c.want, drained(d, "out"))
				put(d, "fares", "b:2@2")
				assert.Equal(t, []string{"b 0/0/2@2"}, drained(d, "late"))
				put(d, "rides", "c:x@25")
				assert.Empty(t, drained(d, "out"))
				put(d, "offers", "c:x@25")
				assert.Equal(t, c.then, drained(d, "out"))
			})
		})
	}
}

// Whatever the order in which records of several streams come, a key's aggregate counts each once.
func TestCogroupModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		topo := stream.New("surge")
		surges(topo).Fold("surge").Changes(func(k string, s surge) string { return k + " " + s.String() }).To(strs("out"))
		d := streamtest.New(t, topo, anyWay(rt)...)
		model, got := map[string]surge{}, map[string]string{}
		for i := range rapid.IntRange(1, 30).Draw(rt, "records") {
			k := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key")
			s := model[k]
			switch topic := rapid.SampledFrom([]string{"rides", "offers", "fares"}).Draw(rt, "topic"); topic {
			case "rides":
				s.ride("")
				put(d, topic, fmt.Sprintf("%s:x@%d", k, i))
			case "offers":
				s.offer("")
				put(d, topic, fmt.Sprintf("%s:x@%d", k, i))
			default:
				n := rapid.Int64Range(-9, 9).Draw(rt, "fare")
				s.fare(n)
				put(d, topic, fmt.Sprintf("%s:%d@%d", k, n, i))
			}
			model[k] = s
			disturb(rt, d)
		}
		for _, u := range d.Drain[string]("out") {
			k, s, _ := strings.Cut(u, " ")
			got[k] = s
		}
		require.Len(rt, got, len(model))
		for k, s := range model {
			require.Equal(rt, s.String(), got[k], k)
		}
	})
}

func TestBadCogroups(t *testing.T) {
	topo := stream.New("bad")
	s := topo.From(txns()).KeyBy(txn.card)
	n := func(a *int64, _ txn) { *a++ }
	s.Cogroup(n).With(s, n).Fold("twice")
	s = topo.From(source.Kafka("more", codec.JSON[txn]())).KeyBy(txn.card)
	s.Cogroup(n).With(topo.FromKeyed(source.KafkaKeyed("ids", codec.JSON[string](), codec.JSON[txn]())), n).Fold("unlike")
	topo.FromKeyed(keyed()).Cogroup[int64](nil).Window(window.Session{Gap: time.Hour}).Fold("unmerged")
	topo.FromKeyed(source.KafkaKeyed("here", codec.String, codec.Int64)).Cogroup(func(a *int64, n int64) { *a += n }).
		With(stream.New("other").FromKeyed(keyed()), n).Fold("elsewhere")
	got := mistakes(t, topo, goodConfig(t))
	want := []string{
		`keyby: it feeds the stores "twice" and "twice": name the repartition that they share, with Repartition`,
		`cogroup: the keys of its sides have the codecs "string" and "json", so that equal keys would not meet: use one codec for both`,
		`cogroup: its function is nil: give it one`,
		`fold "unmerged": sessions are merged, and Fold does not say how their aggregates are: use FoldMerge, or Count or Reduce`,
		`cogroup: its other side is of another topology`,
	}
	require.Len(t, got, len(want), "%s", strings.Join(got, "\n"))
	for i, w := range want {
		assert.Contains(t, got[i], w)
	}
}

// Rides asked for and drivers on the road make one figure for each quarter of a city.
func ExampleKeyed_Cogroup() {
	type demand struct{ Rides, Drivers int }
	topo := stream.New("surge")
	rides := topo.FromKeyed(source.KafkaKeyed("rides", codec.String, codec.String))
	drivers := topo.FromKeyed(source.KafkaKeyed("drivers", codec.String, codec.Int64))
	rides.Cogroup(func(d *demand, _ string) { d.Rides++ }).
		With(drivers, func(d *demand, change int64) { d.Drivers += int(change) }).
		Fold("demand").
		Changes(func(quarter string, d demand) string {
			return fmt.Sprintf("%s: %d rides, %d drivers", quarter, d.Rides, d.Drivers)
		}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("rides", "harbour", noon, "ann")
	d.PipeKeyed("drivers", "harbour", noon, int64(2))
	d.PipeKeyed("rides", "harbour", noon, "bob")
	printed(d)
	// Output:
	// harbour: 1 rides, 0 drivers
	// harbour: 1 rides, 2 drivers
	// harbour: 2 rides, 2 drivers
}
