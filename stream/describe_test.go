package stream_test

import (
	"encoding/json/v2"
	"flag"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

var update = flag.Bool("update", false, "rewrite the golden files")

type txn struct {
	Card   string
	Amount int64
	At     time.Time
}

func (t txn) card() string        { return t.Card }
func (t txn) occurred() time.Time { return t.At }
func (t txn) settled() bool       { return t.Amount > 0 }

type total struct{ N, Sum int64 }

func (s *total) add(t txn) { s.N++; s.Sum += t.Amount }

func asTotal(_ string, _ window.Span, s total) total { return s }
func asLate(_ string, l stream.LateRecord[txn]) txn  { return l.Value }
func words(s string) iter.Seq[string]                { return strings.FieldsSeq(s) }
func countOf(_ string, n int64) int64                { return n }
func parse(s string) (txn, error)                    { return txn{Card: s}, nil }
func txns(opts ...source.Option) source.Source[txn] {
	return source.Kafka("txns", codec.JSON[txn](), opts...)
}
func totals() sink.Sink[total]                                  { return sink.Kafka("totals", codec.JSON[total]()) }
func counts() sink.Sink[int64]                                  { return sink.Kafka("counts", codec.Int64) }
func onTxn(p *stream.Process[string, total, txn], t txn)        { p.State().add(t) }
func onTimer(*stream.Process[string, total, txn], stream.Timer) {}

// A description tells of files that are read before a topic.
func TestDescribeFiles(t *testing.T) {
	topo := stream.New("history")
	archive := source.Files(fstest.MapFS{}, "2025/*.jsonl", codec.JSON[txn]())
	topo.From(archive.Then(source.Kafka("txns", codec.JSON[txn](), source.StartAtTime(time.Unix(0, 0))))).To(out[txn]())
	require.Contains(t, topo.Describe(stream.Text), "kafka, after the files 2025/*.jsonl, from 1970-01-01T00:00:00Z")
}

// Topologies whose descriptions are kept in testdata/describe.
var described = map[string]func() *stream.Topology{
	"stateless": func() *stream.Topology {
		topo := stream.New("etl")
		topo.From(source.Kafka("raw", codec.String, source.StartAt(source.Latest), source.OnError(onerror.DeadLetter("raw.dead")), source.OnTombstone(onerror.Fail))).
			TryMap(parse, onerror.DeadLetter("unparsed")).
			Filter(txn.settled).
			To(sink.Kafka("refined", codec.JSON[txn]()))
		return topo
	},
	"windows": func() *stream.Topology {
		topo := stream.New("card-features")
		spend := topo.From(txns()).
			EventTime(txn.occurred, stream.Watermark{OutOfOrder: 5 * time.Second, Idle: time.Minute}).
			KeyBy(txn.card).
			Window(window.Hopping{Size: time.Hour, Advance: time.Minute, Grace: 30 * time.Second}).
			Fold("spend-1h", (*total).add)
		spend.OnClose(asTotal).To(totals())
		spend.OnUpdate(asTotal).To(totals())
		spend.Late(asLate).To(sink.Kafka("late", codec.JSON[txn]()))
		return topo
	},
	"branches": func() *stream.Topology {
		topo := stream.New("branches")
		parts := topo.From(txns()).Split(txn.settled)
		parts[0].Merge(topo.From(source.Kafka("more", codec.JSON[txn]()))).To(sink.Kafka("settled", codec.JSON[txn]()))
		byCard := parts[1].KeyBy(txn.card).Repartition("by-card", stream.Repartitioning{Partitions: 8})
		byCard.Count("per-card").Changes(countOf).To(counts())
		byCard.Process("watch", onTxn, onTimer).To(sink.Kafka("alerts", codec.JSON[txn]()))
		return topo
	},
	"words": func() *stream.Topology {
		topo := stream.New(`words of "a" < b #1`)
		topo.From(source.Kafka("lines", codec.String)).FlatMap(words).KeyBy(strings.ToLower).Count("counts").Changes(countOf).To(counts())
		return topo
	},
	"mistakes": func() *stream.Topology {
		topo := stream.New("")
		topo.From(source.Kafka[txn]("", nil))
		topo.From(source.Source[txn]{})
		return topo
	},
}

var formats = map[string]stream.Format{"txt": stream.Text, "dot": stream.DOT, "mmd": stream.Mermaid, "json": stream.JSON}

// sites are left out of the golden files, so that they do not change with every line of this one.
var sites = regexp.MustCompile(`stream/\w+\.go:\d+`)

func TestDescribe(t *testing.T) {
	for name, make := range described {
		for ext, f := range formats {
			t.Run(name+"."+ext, func(t *testing.T) {
				got := make().Describe(f)
				require.Equal(t, got, make().Describe(f), "two descriptions of the same topology")
				got = sites.ReplaceAllString(got, "file.go:0")
				golden := filepath.Join("testdata", "describe", name+"."+ext)
				if *update {
					require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
				}
				want, err := os.ReadFile(golden)
				require.NoError(t, err, "run the test with -update to make it")
				require.Equal(t, string(want), got)
			})
		}
	}
}

// A program can read the JSON: every edge leads to an operator, and the place of each is known.
func TestDescribeJSON(t *testing.T) {
	for name, make := range described {
		t.Run(name, func(t *testing.T) {
			var d struct {
				Subtopologies []struct {
					Operators []struct {
						ID   int
						Site string
						To   []int
					}
				}
			}
			require.NoError(t, json.Unmarshal([]byte(make().Describe(stream.JSON)), &d, json.MatchCaseInsensitiveNames(true)))
			ids := map[int]bool{}
			for _, s := range d.Subtopologies {
				for _, o := range s.Operators {
					ids[o.ID] = true
				}
			}
			require.NotEmpty(t, ids)
			for _, s := range d.Subtopologies {
				for _, o := range s.Operators {
					require.Regexp(t, `^stream/describe_test\.go:\d+$`, o.Site)
					for _, to := range o.To {
						require.True(t, ids[to], "operator %d", to)
					}
				}
			}
		})
	}
}
