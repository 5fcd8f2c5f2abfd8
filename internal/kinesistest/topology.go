package main

import (
	"time"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// The streams, without the prefix of the run.
const (
	streamIn      = "in"      // is split and merged
	streamRefined = "refined" // so is this
	streamTrace   = "trace"   // the same records as refined, in one shard: the order in which they were written
	streamOnce    = "once"    // refined without what came twice
	streamTotals  = "totals"  // what has been counted of a key, with each change
)

// event is a record of the input: the n-th of its key, 1, 2, 3 and so on. A producer that does not know whether a record was
// written writes it again; each time it has another Copy.
type event struct {
	Key   string `json:"key"`
	N     int    `json:"n"`
	Copy  int    `json:"copy"`
	Value int64  `json:"value"`
}

// refined is what becomes of an event.
type refined struct {
	Key    string `json:"key"`
	N      int    `json:"n"`
	Copy   int    `json:"copy"`
	Result int64  `json:"result"`
}

func refine(e event) refined { return refined{e.Key, e.N, e.Copy, result(e.Value)} }

func result(value int64) int64 { return 3*value + 1 }

// total is the state of a key: how many records it had, which was the last, and a sum that depends on all of them and their order.
type total struct {
	Key   string `json:"key"`
	Count int    `json:"count"`
	Last  int    `json:"last"`
	Chain uint64 `json:"chain"`
}

func (t *total) add(r refined) {
	t.Key, t.Last = r.Key, r.N
	t.Count++
	t.Chain = chain(t.Chain, r.N, r.Result)
}

func chain(before uint64, n int, result int64) uint64 {
	return (before*31+uint64(n))*1_000_003 + uint64(result)
}

// refining is what three processes do to the input, record by record; they share its shards.
func refining(name func(string) string) *stream.Topology {
	t := stream.New("refine")
	byKey := t.From(source.Kinesis(name(streamIn), codec.JSON[event]())).Map(refine).KeyBy(func(r refined) string { return r.Key })
	byKey.To(sink.Kinesis(name(streamRefined), codec.JSON[refined]()))
	byKey.To(sink.Kinesis(name(streamTrace), codec.JSON[refined]()))
	return t
}

// counting is what a fourth process does to that, with state: it drops what came twice, and counts.
func counting(name func(string) string, dedup bool) *stream.Topology {
	t := stream.New("count")
	once := t.From(source.Kinesis(name(streamRefined), codec.JSON[refined]())).KeyBy(func(r refined) string { return r.Key })
	if dedup {
		once = once.Deduplicate("seen", func(r refined) int64 { return int64(r.N) }, 24*time.Hour).Keyed
	}
	once.To(sink.Kinesis(name(streamOnce), codec.JSON[refined]()))
	once.Fold("totals", (*total).add, codec.JSON[total]()).
		Changes(func(_ string, t total) total { return t }).To(sink.Kinesis(name(streamTotals), codec.JSON[total]()))
	return t
}
