package source_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

func TestPositionString(t *testing.T) {
	for want, p := range map[string]source.Position{
		"0":                      {},
		"42":                     source.At(42),
		"9223372036854775807":    source.At(math.MaxInt64),
		"0.0.2a.-1":              {Low: 42, Sub: -1},
		"1.ffffffffffffffff.0.7": {High: 1, Mid: math.MaxUint64, Sub: 7},
		"0.1.0.0":                {Mid: 1},
		"file:0:0":               source.AtFile(0, 0),
		"file:3:1234":            source.AtFile(3, 1234),
		"file:4194303:7":         source.AtFile(1<<22-1, 7),
		"0.0.0.-1":               {Sub: -1},
	} {
		require.Equal(t, want, p.String())
		back, err := source.ParsePosition(want)
		require.NoError(t, err)
		require.Equal(t, p, back)
	}
	require.Equal(t, int64(42), source.At(42).Offset())
	require.Equal(t, "txns/3", source.Partition{Stream: "txns", Index: 3}.String())
}

func TestParsePositionRefuses(t *testing.T) {
	for in, says := range map[string]string{
		"":                        "is not a number",
		"x":                       "is not a number",
		"1.2":                     "does not have 1 or 4 parts",
		"1.2.3.4.5":               "does not have 1 or 4 parts",
		"g.0.0.0":                 "part 1 is not hexadecimal",
		"0.0..0":                  "part 3 is not hexadecimal",
		"0.0.0.x":                 "its last part is not a number",
		"9223372036854775808":     "is not a number",
		"0.10000000000000000.0.0": "part 2 is not hexadecimal",
		"file:":                   "is no number of a file",
		"file:4194304:0":          "is no number of a file",
		"file:1:-1":               "is no place in a file",
		"file:1:1099511627776":    "is no place in a file",
	} {
		_, err := source.ParsePosition(in)
		require.ErrorContains(t, err, says, in)
	}
}

// What parses is a position that its own string stands for.
func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"0", "-1", "42", "0.0.2a.-1", "1.2.3.4", "+1", "00", "0X1.0.0.0", "file:1:2", "file:01:+2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := source.ParsePosition(s)
		if err != nil {
			return
		}
		back, err := source.ParsePosition(p.String())
		require.NoError(t, err)
		require.Equal(t, p, back)
	})
}

// Files come before their topic, one after the other.
func TestPositionsInFiles(t *testing.T) {
	order := []source.Position{source.AtFile(0, 0), source.AtFile(0, 1), source.AtFile(0, 1<<40-1), source.AtFile(1, 0), source.AtFile(1<<22-1, 1<<40-1), {Sub: -1}, source.At(0), source.At(1)}
	for i := range order[1:] {
		require.Negative(t, order[i].Compare(order[i+1]), i)
	}
	file, offset, ok := source.AtFile(7, 9).File()
	require.Equal(t, []any{7, int64(9), true}, []any{file, offset, ok})
	for _, p := range []source.Position{source.At(0), source.At(5), {Sub: -1}, {Sub: 3}, {Low: 1, Sub: math.MinInt64}, {High: 1, Sub: math.MinInt64}} {
		_, _, ok := p.File()
		require.False(t, ok, p)
	}
}

func drawPosition(t *rapid.T, name string) source.Position {
	n := rapid.Uint64Range(0, 3)
	return source.Position{High: n.Draw(t, name+".high"), Mid: n.Draw(t, name+".mid"), Low: n.Draw(t, name+".low"), Sub: rapid.Int64Range(-2, 2).Draw(t, name+".sub")}
}

// Positions are ordered: by their parts from left to right, and in no other way.
func TestCompare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q, r := drawPosition(t, "p"), drawPosition(t, "q"), drawPosition(t, "r")
		require.Equal(t, -p.Compare(q), q.Compare(p))
		require.Equal(t, p == q, p.Compare(q) == 0)
		if p.Compare(q) <= 0 && q.Compare(r) <= 0 {
			require.LessOrEqual(t, p.Compare(r), 0)
		}
		if p.High < q.High {
			require.Negative(t, p.Compare(q))
		}
	})
}

func TestDescriptions(t *testing.T) {
	plain := source.Kafka("txns", codec.String)
	require.Equal(t, source.Spec{System: "kafka", Name: "txns", MaxAhead: 24 * time.Hour, MaxBytes: 1 << 20}, plain.Spec)
	require.Equal(t, onerror.Skip, plain.Spec.OnError, "bad data does not stop an application")

	dead := onerror.DeadLetter("txns.dead")
	keyed := source.KafkaKeyed("txns", codec.Int64, codec.String, source.StartAt(source.Latest), source.OnError(dead), source.OnNullKey(onerror.Fail),
		source.OnTombstone(dead), source.MaxAhead(-1), source.MaxBytes(0))
	require.Equal(t, source.Spec{System: "kafka", Name: "txns", Range: source.Range{Start: source.Latest}, OnError: dead, NoKey: onerror.Fail, OnTombstone: dead, MaxAhead: -1}, keyed.Spec)
	require.Equal(t, codec.Int64, keyed.Key)
	require.Equal(t, codec.String, keyed.Value)
}
