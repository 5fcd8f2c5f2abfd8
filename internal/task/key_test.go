package task_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/internal/task"
)

// The values of Kafka's own test of its hash (UtilsTest.testMurmur2).
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		require.Equal(t, want, int32(task.Murmur2([]byte(key))), key)
	}
}

// Where the number of partitions divides that of the key groups, a key's group leads to the partition that a Java
// producer chooses for it.
func TestGroupAndPartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "key")
		partitions := rapid.SampledFrom([]uint32{1, 2, 4, 8, 16, 64, 128}).Draw(t, "partitions")
		g := task.Group(key, 128)
		require.Less(t, g, uint16(128))
		require.Equal(t, task.Murmur2(key)&0x7fffffff%partitions, uint32(g)%partitions)
	})
}

// Hashes of names are on disk. These two collide, which Build must refuse.
func TestID(t *testing.T) {
	require.Equal(t, uint32(0x811c9dc5), task.ID(""))
	require.Equal(t, uint32(0xbf9cf968), task.ID("foobar"))
	require.Equal(t, task.ID("costarring"), task.ID("liquid"))
}

func TestTimeOrder(t *testing.T) {
	times := []int64{math.MinInt64, -1 << 40, -1, 0, 1, 1 << 40, math.MaxInt64}
	for i, a := range times {
		b := task.AppendTime(nil, a)
		require.Len(t, b, 8)
		require.Equal(t, a, task.Time(b))
		if i > 0 {
			require.Negative(t, bytes.Compare(task.AppendTime(nil, times[i-1]), b), "%d < %d", times[i-1], a)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		ka, kb := task.AppendTime(nil, a), task.AppendTime(nil, b)
		require.Equal(t, a, task.Time(ka))
		require.Equal(t, a < b, bytes.Compare(ka, kb) < 0)
	})
}

// Keys of a window store sort by store, key group, start of the window, key: what belongs to one window and key group
// lies together, earlier windows first, whatever the keys are.
func TestWindowKeyOrder(t *testing.T) {
	type parts struct {
		store uint32
		group uint16
		start int64
		key   []byte
	}
	draw := func(t *rapid.T, name string) parts {
		return parts{rapid.Uint32Range(0, 2).Draw(t, name+".store"), rapid.Uint16Range(0, 2).Draw(t, name+".group"),
			rapid.Int64Range(-2, 2).Draw(t, name+".start"), rapid.SliceOfN(rapid.ByteRange(0, 255), 0, 3).Draw(t, name+".key")}
	}
	encode := func(p parts) []byte {
		b := task.AppendPrefix(nil, task.KindWindow, p.store, p.group)
		if len(b) != task.PrefixLen {
			t.Fatal("the prefix has another length")
		}
		return append(task.AppendTime(b, p.start), p.key...)
	}
	less := func(a, b parts) bool {
		switch {
		case a.store != b.store:
			return a.store < b.store
		case a.group != b.group:
			return a.group < b.group
		case a.start != b.start:
			return a.start < b.start
		}
		return bytes.Compare(a.key, b.key) < 0
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t, "a"), draw(t, "b")
		require.Equal(t, less(a, b), bytes.Compare(encode(a), encode(b)) < 0)
	})
}

// Markers and positions have kinds of their own: no name of a store can make one of theirs.
func TestKindsAreApart(t *testing.T) {
	keys := [][]byte{task.MarkerKey("a"), task.LocalKey("a"), task.MarkerKey("b"), task.LocalKey("b"),
		task.AppendPrefix(nil, task.KindValue, task.ID("a"), 0), task.AppendPrefix(nil, task.KindWindow, task.ID("a"), 0), task.AppendPrefix(nil, task.KindTimer, task.ID("a"), 0)}
	for i, a := range keys {
		for j, b := range keys {
			require.Equal(t, i == j, bytes.HasPrefix(a, b), "%x %x", a, b)
		}
	}
}
