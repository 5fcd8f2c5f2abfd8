package micro

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// A record that goes through a chain into state that is in memory costs no allocation.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	type sum struct{ N, Sum int64 }
	for name, s := range map[string]func(tb testing.TB) step{
		"decode":      func(tb testing.TB) step { return decode(tb, codec.Int64, nil) },
		"chain of 16": func(tb testing.TB) step { return chain(tb, 16) },
		"event time, split, merge": func(tb testing.TB) step {
			return again(tb, 1<<30, 100, func(topo *stream.Topology) {
				s := topo.From(source.Kafka("in", codec.Int64)).EventTime(func(int64) time.Time { return noon }, stream.Watermark{}).
					Split(func(n int64) bool { return n%2 == 0 })
				s[0].Merge(s[1]).Filter(func(n int64) bool { return n < 0 }).To(sink.Kafka("out", codec.Int64))
			})
		},
		"filter, map, window count": func(tb testing.TB) step { return again(tb, 1<<30, 100, windowCount) },
		"count":                     func(tb testing.TB) step { return again(tb, 1<<30, 100, count) },
		"fold": func(tb testing.TB) step {
			return again(tb, 1<<30, 100, func(topo *stream.Topology) {
				numbers(topo, "in").Fold("f", func(s *sum, n int64) { s.N++; s.Sum += n })
			})
		},
		"process": func(tb testing.TB) step {
			return again(tb, 1<<30, 100, func(topo *stream.Topology) {
				numbers(topo, "in").Process("p", func(p *stream.Process[int64, int64, int64], n int64) { *p.State() += n }, nil)
			})
		},
		"gather":          gathered,
		"gather sessions": gatheredSessions,
	} {
		t.Run(name, func(t *testing.T) { assert.Less(t, allocations(t, s), 0.01, "allocations per record") })
	}
}

// Other hot steps allocate no more than this per record: what is opened has to lie somewhere, and what is written too.
func TestAllocationsAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		most float64
		step func(tb testing.TB) step
	}{
		"decode string":             {1.01, func(tb testing.TB) step { return decode(tb, codec.String, []byte("a text")) }},
		"sink":                      {1.1, written},
		"windows opened and closed": {3.5, func(tb testing.TB) step { return onwards(tb, n, 24*time.Hour, windowCount) }},
		"join":                      {2.5, joined},
		"session":                   {2.5, func(tb testing.TB) step { return onwards(tb, 10, time.Hour, sessions) }},
		"timer":                     {3.5, func(tb testing.TB) step { return onwards(tb, n, time.Hour, timers) }},
		"exchange":                  {0.1, exchanged},
	} {
		t.Run(name, func(t *testing.T) {
			got := allocations(t, c.step)
			t.Log(got, "allocations per record")
			assert.LessOrEqual(t, got, c.most, "allocations per record")
		})
	}
}

// allocations is how many a record of the step costs, once caches have the size that they need.
func allocations(tb testing.TB, make func(testing.TB) step) float64 {
	s := make(tb)
	for range 100 {
		s.do()
	}
	return testing.AllocsPerRun(20, s.do) / float64(s.records)
}
