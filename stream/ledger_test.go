package stream_test

import (
	"errors"
	"iter"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// unlucky is what is left of a number that the topology panics on, divided by 17.
const unlucky = 13

// accounted is a topology in which a number can end in every way. Its functions do what the model below does.
func accounted() *stream.Topology {
	topo := stream.New("accounted")
	numbers := topo.From(source.Kafka("in", codec.JSON[int]())).
		TryMap(func(n int) (int, error) {
			if n%5 == 4 {
				return 0, errors.New("four over")
			}
			return n, nil
		}, onerror.DeadLetter("dead")).
		Filter(func(n int) bool { return n%3 > 0 }).
		FlatMap(func(n int) iter.Seq[int] { return copies(n) }).
		KeyBy(func(n int) string { return strconv.Itoa(n % 2) }).
		MapValues(func(_ string, n int) int {
			if n%17 == unlucky {
				panic("unlucky")
			}
			return n
		})
	numbers.Peek(func(string, int) {}).To(sink.Kafka("first", codec.JSON[int]()))
	numbers.To(sink.Kafka("second", codec.JSON[int]()))
	numbers.Window(window.Tumbling{Size: 10 * time.Millisecond}).Fold("sums", func(a *int, n int) { *a += n }).
		OnClose(func(_ string, _ window.Span, sum int) int { return sum }).To(sink.Kafka("sums", codec.JSON[int]()))
	return topo
}

func copies(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n % 4 {
			if !yield(n + 100*i) {
				return
			}
		}
	}
}

// The counts of the operators are those of a naive walk through the same functions. That they add up is asserted by the
// driver at each commit, here as in every other test.
func TestLedgerModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts := []streamtest.Option{streamtest.KeyGroups(2), streamtest.Batch(rapid.IntRange(1, 5).Draw(t, "batch")), streamtest.CommitEvery(rapid.IntRange(0, 2).Draw(t, "commit every"))}
		if rapid.Bool().Draw(t, "memory") {
			opts = append(opts, streamtest.Exchange(stream.InMemory))
		}
		d := streamtest.New(t, accounted(), opts...)
		want := map[string]streamtest.Counts{}
		count := func(op string, came, passed, filtered, skipped, dead uint64) {
			n := want[op]
			n.Records, n.Passed, n.Filtered, n.Skipped, n.DeadLettered = n.Records+came, n.Passed+passed, n.Filtered+filtered, n.Skipped+skipped, n.DeadLettered+dead
			want[op] = n
		}
		for _, op := range []string{"in", "trymap", "filter", "flatmap", "keyby", "mapvalues", "peek", "first", "second"} {
			count(op, 0, 0, 0, 0, 0)
		}
		at := time.UnixMilli(0).UTC()
		for range rapid.IntRange(1, 30).Draw(t, "records") {
			at = at.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "step")) * time.Millisecond)
			if rapid.IntRange(0, 9).Draw(t, "bad") == 0 {
				d.PipeTo("in", streamtest.Record{Value: []byte("bad"), Time: at})
				count("in", 1, 0, 0, 1, 0)
				continue
			}
			n := rapid.IntRange(0, 40).Draw(t, "number")
			d.Pipe("in", at, n)
			count("in", 1, 1, 0, 0, 0)
			if n%5 == 4 {
				count("trymap", 1, 0, 0, 0, 1)
				continue
			}
			count("trymap", 1, 1, 0, 0, 0)
			if n%3 == 0 {
				count("filter", 1, 0, 1, 0, 0)
				continue
			}
			count("filter", 1, 1, 0, 0, 0)
			if n%4 == 0 {
				count("flatmap", 1, 0, 1, 0, 0)
				continue
			}
			count("flatmap", 1, 1, 0, 0, 0)
			for c := range copies(n) {
				count("keyby", 1, 1, 0, 0, 0)
				if c%17 == unlucky {
					count("mapvalues", 1, 0, 0, 1, 0)
					break
				}
				for _, op := range []string{"mapvalues", "peek", "first", "second"} {
					count(op, 1, 1, 0, 0, 0)
				}
			}
		}
		for op, n := range want {
			assert.Equal(t, n, d.Counts(op), op)
		}
	})
}
