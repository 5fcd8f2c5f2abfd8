package stream_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/state"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

func declaring(declare func(h *stream.Handles[string]) struct{}) func(topo *stream.Topology) {
	return func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).ProcessWith("p", declare, func(*stream.Process[string, struct{}, string], txn) {}, nil).To(out[string]())
	}
}

// Mistakes in the declaration of handles are found by Build.
func TestBadHandles(t *testing.T) {
	second := state.Spec[int]{TTL: time.Second}
	for name, c := range map[string]struct {
		declare func(h *stream.Handles[string])
		want    []string
	}{
		"none":         {func(*stream.Handles[string]) {}, []string{"it declares no handle: declare one, or use Process"}},
		"without name": {func(h *stream.Handles[string]) { h.Value("", second) }, []string{`the handle's name "" is not one: use 1 to 100 of`}},
		"of one name": {func(h *stream.Handles[string]) { h.Value("a", second); h.List("a", second) },
			[]string{`it has two handles of the name "a", and their data would be mixed up`}},
		"bad TTLs": {func(h *stream.Handles[string]) {
			h.Value("a", state.Spec[int]{TTL: -time.Second})
			h.Map("b", state.MapSpec[string, int]{TTL: time.Microsecond})
		}, []string{`the TTL of its handle "a" is -1s: use 0 or more, in whole milliseconds`, `the TTL of its handle "b" is 1µs: use 0 or more`}},
		"no TTL where one is needed": {func(h *stream.Handles[string]) { h.Window("a", state.Spec[int]{}); h.Versioned("b", state.Spec[int]{}) },
			[]string{`its handle "a" has no TTL: set it, it says for how long after its start`, `its handle "b" has no TTL: set it, it says for how long behind`}},
		"no function":  {func(h *stream.Handles[string]) { h.Reducing("a", nil, second) }, []string{`the function of its handle "a" is nil: give it one`}},
		"no codec":     {func(h *stream.Handles[string]) { h.Value("a", state.Spec[func()]{}) }, []string{`no codec for func(): name one`}},
		"no key codec": {func(h *stream.Handles[string]) { h.Map("a", state.MapSpec[float64, int]{}) }, []string{`its handle "a": no sorted codec for float64: those without one are`}},
	} {
		t.Run(name, func(t *testing.T) {
			topo := stream.New("bad")
			declaring(func(h *stream.Handles[string]) struct{} { c.declare(h); return struct{}{} })(topo)
			got := mistakes(t, topo, goodConfig(t))
			require.Len(t, got, len(c.want), "%q", got)
			for i, want := range c.want {
				assert.Contains(t, got[i], `process "p": `+want)
				assert.Contains(t, got[i], "handles_build_test.go:")
			}
		})
	}
	topo := stream.New("bad")
	declaring(nil)(topo)
	assert.Contains(t, strings.Join(mistakes(t, topo, goodConfig(t)), "\n"), "the function that declares its handles is nil")
}

// A function that declares other handles for a task than for the topology, or panics there, stops the application.
func TestHandlesDifferInATask(t *testing.T) {
	for want, again := range map[string]func(h *stream.Handles[string]){
		`its handles were ["first"] in the topology, and are ["second"] in a task`: func(h *stream.Handles[string]) { h.Value("second", state.Spec[int]{}) },
		"declare its handles: panic: boom":                                         func(*stream.Handles[string]) { panic("boom") },
	} {
		calls := 0
		topo := stream.New("test")
		direct(topo, "in", 0).ProcessWith("p", func(h *stream.Handles[string]) struct{} {
			if calls++; calls == 1 {
				h.Value("first", state.Spec[int]{})
			} else {
				again(h)
			}
			return struct{}{}
		}, func(*stream.Process[string, struct{}, string], string) {}, nil).To(to("out"))
		d := streamtest.New(t, topo, streamtest.MayStop())
		put(d, "in", "a:@1")
		require.ErrorContains(t, d.Err(), want)
		assert.ErrorContains(t, d.Err(), "operator p (declared at stream/handles_build_test.go:")
	}
}

// The description shows handles with their codecs.
func TestDescribeHandles(t *testing.T) {
	text := boxes(100, 0)().Describe(stream.Text)
	assert.Contains(t, text, `list store "box/l", key string, value string`)
	assert.Contains(t, text, `map store "box/m", key string, sorted int64, value string`)
	assert.Contains(t, text, `process store "box", key string`+"\n")
	assert.Contains(t, boxes(100, 0)().Describe(stream.JSON), `"handles"`)
	assert.Contains(t, boxes(100, 0)().Describe(stream.DOT), `[label="box/m", shape=cylinder]`)
	assert.Contains(t, boxes(100, 0)().Describe(stream.Mermaid), `[("box/m")]`)
}

func TestSortedKeys(t *testing.T) {
	type id int16
	c, err := codec.Sorted[id]()
	require.NoError(t, err)
	var last []byte
	for _, n := range []id{-1 << 15, -300, -1, 0, 1, 1<<15 - 1} {
		b, err := c.Append(nil, n)
		require.NoError(t, err)
		assert.Greater(t, string(b), string(last))
		got, err := c.Decode(b)
		require.NoError(t, err)
		assert.Equal(t, n, got)
		last = b
	}
	_, err = c.Decode([]byte("12345678"))
	require.ErrorContains(t, err, "does not fit into stream_test.id")
	_, err = c.Decode([]byte("1"))
	require.ErrorContains(t, err, "1 bytes instead of 8")
	_, err = codec.Sorted[float64]()
	require.ErrorContains(t, err, "no sorted codec for float64")
}
