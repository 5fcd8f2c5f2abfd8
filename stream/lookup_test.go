package stream_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// asked looks keys up, and notes which. It knows nothing of x, and fails for e.
type asked struct{ keys []string }

func (a *asked) find(_ context.Context, k string) (string, bool, error) {
	a.keys = append(a.keys, k)
	switch k {
	case "x":
		return "", false, nil
	case "e":
		return "", false, errBad
	}
	return fmt.Sprint(upper(k), len(a.keys)), true, nil
}

func or(v string, t *string) string {
	if t == nil {
		return v + "-"
	}
	return v + *t
}

func plus(v, t string) string { return v + t }

func TestJoinLookup(t *testing.T) {
	streamtest.EveryWay(t, func() *stream.Topology {
		find := func(_ context.Context, k string) (string, bool, error) { return upper(k), k != "x", nil }
		return made(func(topo *stream.Topology) {
			s := texts(topo).KeyBy(letter)
			s.JoinLookup("inner", stream.Lookup[string, string]{Find: find}, plus).To(to("inner"))
			s.LeftJoinLookup("left", stream.Lookup[string, string]{Find: find, TTL: time.Minute}, or).To(to("left"))
		})()
	}, func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("in", noon, "a1", "x2", "a3")
		d.Pipe("in", noon.Add(time.Second), "b4", "x5")
		d.AdvanceWall(time.Hour)
		assert.Equal(t, []string{"a1A", "a3A", "b4B"}, d.Drain[string]("inner"))
		assert.Equal(t, []string{"a1A", "x2-", "a3A", "b4B", "x5-"}, d.Drain[string]("left"))
	}, streamtest.CallsTake(func(string, any) time.Duration { return 20 * time.Millisecond }), streamtest.Start(noon))
}

func lookingUp(a *asked, l stream.Lookup[string, string]) *stream.Topology {
	l.Find = a.find
	return made(func(topo *stream.Topology) {
		texts(topo).KeyBy(letter).LeftJoinLookup("l", l, or, onerror.DeadLetter("dead")).To(to("out"))
	})()
}

// The records of a key that come while it is looked up share the call; an answer is good for its time, also one that there
// is nothing; a failed one is not kept.
func TestLookupsAreShared(t *testing.T) {
	var a asked
	d := streamtest.New(t, lookingUp(&a, stream.Lookup[string, string]{TTL: time.Minute, MissTTL: 10 * time.Second}), streamtest.Start(noon), streamtest.Batch(100),
		streamtest.CallsTake(func(string, any) time.Duration { return time.Second }))
	d.Pipe("in", noon, "a1", "b1", "a2", "x1", "x2", "e1", "e2")
	d.AdvanceWall(time.Second)
	assert.Equal(t, []string{"a", "b", "x", "e"}, a.keys)
	assert.Equal(t, []string{"a1A1", "b1B2", "a2A1", "x1-", "x2-"}, d.Drain[string]("out"))
	dead := d.Records("dead")
	require.Len(t, dead, 2)
	assert.Equal(t, "e2", string(dead[1].Value))
	assert.Contains(t, header(dead[1], "millstream-error"), "bad value")

	d.Pipe("in", d.Now().Add(9999*time.Millisecond), "a3", "x3", "e3")
	assert.Equal(t, []string{"a3A1", "x3-"}, d.Drain[string]("out"), "at once")
	d.AdvanceWall(time.Second)
	assert.Equal(t, []string{"a", "b", "x", "e", "e"}, a.keys)
	d.Pipe("in", d.Now(), "a4", "x4")
	d.AdvanceWall(time.Second)
	assert.Equal(t, []string{"a", "b", "x", "e", "e", "x"}, a.keys, "x is looked up again after 10 s")
	d.Pipe("in", noon.Add(61*time.Second), "a5")
	d.AdvanceWall(time.Second)
	assert.Equal(t, []string{"a", "b", "x", "e", "e", "x", "a"}, a.keys, "and a after a minute")
	assert.Equal(t, []string{"a4A1", "x4-", "a5A7"}, d.Drain[string]("out"))
}

// Of more keys than there is room for, those go that were not used for the longest time.
func TestLookupSize(t *testing.T) {
	var a asked
	d := streamtest.New(t, lookingUp(&a, stream.Lookup[string, string]{TTL: time.Hour, Size: 2}), streamtest.Start(noon))
	d.Pipe("in", noon, "a", "b", "a", "c", "a", "b")
	assert.Equal(t, []string{"a", "b", "c", "b"}, a.keys)
	a.keys = nil
	d = streamtest.New(t, lookingUp(&a, stream.Lookup[string, string]{}), streamtest.Start(noon))
	d.Pipe("in", noon, "a", "a")
	assert.Equal(t, []string{"a", "a"}, a.keys, "without a TTL nothing is kept")
}

// Whatever the times of the calls, the capacity, the room for answers, and restarts: each record has its result once, in the
// order that was asked for, with an answer that is no older than it may be.
func TestLookupModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ttl, longest := rapid.Int64Range(0, 200).Draw(t, "ttl"), int64(50)
		now := noon // of the wall clock, no later than a call is made
		l := stream.Lookup[string, string]{TTL: millis(ttl), MissTTL: millis(ttl), Size: rapid.IntRange(0, 2).Draw(t, "size"), Capacity: rapid.IntRange(1, 5).Draw(t, "capacity"),
			Order: rapid.SampledFrom([]stream.Order{stream.InOrder, stream.PerKey, stream.AnyOrder}).Draw(t, "order"),
			Find: func(_ context.Context, k string) (string, bool, error) {
				return fmt.Sprint(now.Sub(noon).Milliseconds()), k != "x", nil
			}}
		build := made(func(topo *stream.Topology) {
			topo.FromKeyed(source.KafkaKeyed("in", codec.String, codec.String)).LeftJoinLookup("l", l, func(v string, found *string) string { return v + "/" + show(found) }).To(to("out"))
		})
		takes := func(string, any) time.Duration { return millis(now.UnixMilli() * 7 % longest) }
		d := streamtest.New(t, build(), append(anyWay(t), streamtest.CallsTake(takes), streamtest.Start(noon))...)
		var in []string
		read := map[string]int64{}
		for i := range rapid.IntRange(1, 30).Draw(t, "records") {
			disturb(t, d)
			v := fmt.Sprintf("%s:%d", rapid.SampledFrom([]string{"a", "b", "x"}).Draw(t, "key"), i)
			in, read[v] = append(in, v), now.Sub(noon).Milliseconds()
			put(d, "in", v+"@0")
			if rapid.Bool().Draw(t, "advance") {
				d.AdvanceWall(millis(rapid.Int64Range(1, 300).Draw(t, "by")))
				now = d.Now()
			}
		}
		for range 40 {
			d.AdvanceWall(millis(longest))
			now = d.Now()
		}
		var got []string
		for _, r := range d.Drain[string]("out") {
			v, found, _ := strings.Cut(r, "/")
			got = append(got, v)
			if prefix(v) == "x" {
				require.Equal(t, "-", found)
				continue
			}
			require.GreaterOrEqual(t, numeral(found)+300+longest+ttl, read[v], "%s has an answer that was too old: %s", v, found)
		}
		require.ElementsMatch(t, in, got)
		for _, key := range []string{"a", "b", "x"} {
			others := func(v string) bool { return prefix(v) != key }
			if l.Order != stream.AnyOrder {
				require.Equal(t, slices.DeleteFunc(slices.Clone(in), others), slices.DeleteFunc(slices.Clone(got), others))
			}
		}
		if l.Order == stream.InOrder {
			require.Equal(t, in, got)
		}
	})
}

func TestBadLookup(t *testing.T) {
	topo := stream.New("bad")
	s := texts(topo).KeyBy(letter)
	find := func(context.Context, string) (string, bool, error) { return "", false, nil }
	s.JoinLookup("a", stream.Lookup[string, string]{}, plus).To(to("a"))
	s.JoinLookup[string, string]("b", stream.Lookup[string, string]{Find: find, TTL: -1}, nil).To(to("b"))
	s.LeftJoinLookup("c", stream.Lookup[string, string]{Find: find, Capacity: -1}, or).To(to("c"))
	got := mistakes(t, topo, goodConfig(t))
	require.Len(t, got, 4, strings.Join(got, "\n"))
	for i, want := range []string{`async "a": its function is nil`, `async "b": its function is nil`, `async "b": its TTL, MissTTL or Size is negative`, `async "c": its Capacity is -1`} {
		assert.Contains(t, got[i], want)
	}
}

// Orders get the name of their customer from a service, which is asked once a minute for each.
func ExampleKeyed_JoinLookup() {
	topo := stream.New("orders")
	name := func(_ context.Context, customer string) (string, bool, error) {
		return "Ms " + upper(customer), true, nil
	}
	topo.From(source.Kafka("in", codec.String)).KeyBy(letter).
		JoinLookup("names", stream.Lookup[string, string]{Find: name, TTL: time.Minute, Timeout: time.Second},
			func(order, name string) string { return order + " of " + name }).
		To(to("out"))

	d := start(topo)
	d.Pipe("in", noon, "a: tea", "b: coffee")
	printed(d)
	// Output:
	// a: tea of Ms A
	// b: coffee of Ms B
}
