package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// answered is a call that returns what it was called with, in upper case.
func answered(_ context.Context, s string) (string, error) { return upper(s), nil }

// takes lets a call take as many ms as the value says behind its letter.
func takes(_ string, v any) time.Duration {
	var n int64
	_, _ = fmt.Sscanf(v.(string)[1:], "%d", &n)
	return duration(n)
}

func calling(a stream.Async[string, string]) func() *stream.Topology {
	return made(func(topo *stream.Topology) { texts(topo).Async("calls", answered, a).To(to("out")) })
}

func TestAsyncInOrder(t *testing.T) {
	streamtest.EveryWay(t, calling(stream.Async[string, string]{}), func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("in", noon, "a30", "b10", "c20")
		d.AdvanceWall(duration(29))
		assert.Empty(t, d.Drain[string]("out"))
		d.AdvanceWall(duration(3000))
		assert.Equal(t, []string{"A30", "B10", "C20"}, d.Drain[string]("out"))
		d.Pipe("in", d.Now(), "d0")
		assert.Equal(t, []string{"D0"}, d.Drain[string]("out"))
	}, streamtest.CallsTake(takes), streamtest.Start(noon))
}

func TestAsyncInAnyOrder(t *testing.T) {
	streamtest.EveryWay(t, calling(stream.Async[string, string]{Order: stream.AnyOrder}), func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("in", noon, "a30", "b10", "c20")
		d.AdvanceWall(duration(3000))
		assert.Equal(t, []string{"B10", "C20", "A30"}, d.Drain[string]("out"))
	}, streamtest.CallsTake(takes), streamtest.Start(noon))
}

func TestAsyncInOrderOfEachKey(t *testing.T) {
	build := func(topo *stream.Topology) {
		texts(topo).KeyBy(letter).Async("calls", answered, stream.Async[string, string]{Order: stream.PerKey}).To(to("out"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("in", noon, "a40", "b10", "a20", "b30", "c0")
		d.AdvanceWall(duration(3000))
		got := d.Records("out")
		require.Len(t, got, 5)
		var list []string
		for _, r := range got {
			assert.Equal(t, strings.ToLower(string(r.Value[:1])), string(r.Key))
			list = append(list, string(r.Value))
		}
		assert.Equal(t, []string{"C0", "B10", "B30", "A40", "A20"}, list)
	}, streamtest.CallsTake(takes), streamtest.Start(noon))
}

// A result takes over the time, key and headers of its record, also after a restart.
func TestAsyncKeepsTimeKeyAndHeaders(t *testing.T) {
	streamtest.EveryWay(t, calling(stream.Async[string, string]{}), func(t *testing.T, d *streamtest.Driver) {
		r := around("a10")
		r.Key, r.Time = []byte("k"), noon.Add(time.Second)
		d.PipeTo("in", r)
		d.AdvanceWall(duration(3000))
		got := d.Records("out")
		require.Len(t, got, 1)
		assert.Equal(t, "A10", string(got[0].Value))
		assert.Equal(t, "k", string(got[0].Key))
		assert.Equal(t, r.Time, got[0].Time)
		assert.Equal(t, r.Headers, got[0].Headers)
	}, streamtest.CallsTake(takes), streamtest.Start(noon))
}

// With a capacity of two, the third record is read when the first two are handed on.
func TestAsyncCapacity(t *testing.T) {
	var called []string
	topo := made(func(topo *stream.Topology) {
		texts(topo).Async("calls", func(ctx context.Context, s string) (string, error) {
			called = append(called, s)
			return answered(ctx, s)
		}, stream.Async[string, string]{Capacity: 2}).To(to("out"))
	})
	d := streamtest.New(t, topo(), streamtest.CallsTake(takes), streamtest.Start(noon), streamtest.Batch(100))
	d.Pipe("in", noon, "a30", "b10", "c0")
	d.AdvanceWall(duration(10))
	assert.Equal(t, []string{"b10"}, called, "c0 would have been called for at once")
	assert.Empty(t, d.Drain[string]("out"))
	d.AdvanceWall(duration(20))
	assert.Equal(t, []string{"A30", "B10", "C0"}, d.Drain[string]("out"))
	assert.Equal(t, []string{"b10", "a30", "c0"}, called)
}

// flaky fails as often as the digits behind its letter say.
func flaky() func(context.Context, string) (string, error) {
	failed := map[string]int{}
	return func(_ context.Context, s string) (string, error) {
		var n int
		_, _ = fmt.Sscanf(s[1:], "%d", &n)
		if failed[s] < n {
			failed[s]++
			return "", errBad
		}
		return upper(s), nil
	}
}

func TestAsyncRetry(t *testing.T) {
	build := func() *stream.Topology {
		return made(func(topo *stream.Topology) {
			texts(topo).Async("calls", flaky(), stream.Async[string, string]{Retry: onerror.Retry{Attempts: 3, Backoff: time.Second}},
				onerror.DeadLetter("dead")).To(to("out"))
		})()
	}
	streamtest.EveryWay(t, build, func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("in", noon, "a2", "b1", "c0")
		d.AdvanceWall(time.Minute)
		assert.Equal(t, []string{"A2", "B1", "C0"}, d.Drain[string]("out"))
		assert.Empty(t, d.Bad())
	}, streamtest.Start(noon))
	d := streamtest.New(t, build(), streamtest.Start(noon))
	d.Pipe("in", noon, "a1", "b0")
	d.AdvanceWall(499 * time.Millisecond)
	assert.Empty(t, d.Drain[string]("out"), "half of the backoff is the least that is waited for")
	d.AdvanceWall(501 * time.Millisecond)
	assert.Equal(t, []string{"A1", "B0"}, d.Drain[string]("out"))
	d.Pipe("in", d.Now(), "b3")
	d.AdvanceWall(time.Minute)
	dead := d.Records("dead")
	require.Len(t, dead, 1)
	assert.Equal(t, "b3", string(dead[0].Value))
	assert.Contains(t, header(dead[0], "millstream-error"), "call 3 of 3: bad value")
	assert.Equal(t, uint64(1+2), d.Counts("calls").Retried)
	assert.Equal(t, "calls", header(dead[0], "millstream-operator"))
	assert.Equal(t, "in", header(dead[0], "millstream-topic"))
	assert.NotEmpty(t, header(dead[0], "millstream-offset"))
}

func header(r streamtest.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func TestAsyncTimeout(t *testing.T) {
	failed := func(s string, err error) (string, error) {
		if s[0] == 'x' {
			return "", err
		}
		return s + " took too long: " + fmt.Sprint(errors.Is(err, context.DeadlineExceeded)), nil
	}
	build := calling(stream.Async[string, string]{Timeout: 20 * time.Millisecond, Failed: failed})
	streamtest.EveryWay(t, build, func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("in", noon, "a19", "b20", "x30", "c0")
		d.AdvanceWall(time.Hour)
		assert.Equal(t, []string{"A19", "b20 took too long: true", "C0"}, d.Drain[string]("out"))
		bad := d.Bad()
		require.Len(t, bad, 1)
		require.ErrorIs(t, bad[0].Err, context.DeadlineExceeded)
		assert.Equal(t, int64(2), bad[0].Offset)
	}, streamtest.CallsTake(takes), streamtest.Start(noon))
}

// A panic of the function, and what goes wrong with a result later, goes to the policy of the record's source, with the
// operator and the place of the record.
func TestAsyncPanics(t *testing.T) {
	boom := func(_ context.Context, s string) (string, error) { return explode(s), nil }
	for name, c := range map[string]struct {
		build    func(topo *stream.Topology, p onerror.Policy)
		operator string
	}{
		"in the call": {func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).Async("calls", boom, stream.Async[string, string]{Retry: onerror.Retry{Attempts: 5}}).To(to("out"))
		}, "calls"},
		"behind it": {func(topo *stream.Topology, p onerror.Policy) {
			s := texts(topo, source.OnError(p)).Async("calls", func(_ context.Context, s string) (string, error) { return s, nil }, stream.Async[string, string]{})
			s.To(to("out"))
			s.Map(explode).To(to("out2"))
		}, "map"},
	} {
		t.Run(name, func(t *testing.T) {
			build := func(p onerror.Policy) *stream.Topology {
				return made(func(topo *stream.Topology) { c.build(topo, p) })()
			}
			streamtest.EveryWay(t, func() *stream.Topology { return build(onerror.DeadLetter("dead")) }, func(t *testing.T, d *streamtest.Driver) {
				d.Pipe("in", noon, "good", "bad", "fine")
				assert.Equal(t, []string{"good", "fine"}, d.Drain[string]("out"))
				dead := d.Records("dead")
				require.Len(t, dead, 1)
				assert.Equal(t, "bad", string(dead[0].Value))
				assert.Equal(t, c.operator, header(dead[0], "millstream-operator"))
				assert.Contains(t, header(dead[0], "millstream-error"), "panic: boom")
			}, streamtest.Start(noon))
			d := streamtest.New(t, build(onerror.Fail), streamtest.MayStop())
			d.Pipe("in", noon, "good", "bad", "fine")
			require.ErrorContains(t, d.Err(), "operator "+c.operator)
			require.ErrorContains(t, d.Err(), "in/0")
			require.ErrorContains(t, d.Err(), "panic: boom")
		})
	}
}

// The watermark does not overtake a record that waits: a window behind does not close without it.
func TestAsyncHoldsTheWatermark(t *testing.T) {
	build := func(order stream.Order) func() *stream.Topology {
		return made(func(topo *stream.Topology) {
			texts(topo).EventTime(func(s string) time.Time { _, at, _ := strings.Cut(s, "@"); return ms(numeral(at)) }, stream.Watermark{}).
				Async("calls", answered, stream.Async[string, string]{Order: order}).
				KeyBy(letter).Window(window.Tumbling{Size: duration(10)}).Count("counts").OnClose(func(k string, s window.Span, n int64) string {
				return fmt.Sprint(k, s.Start().UnixMilli(), " ", n)
			}).To(to("out"))
		})
	}
	for _, order := range []stream.Order{stream.InOrder, stream.AnyOrder} {
		streamtest.EveryWay(t, build(order), func(t *testing.T, d *streamtest.Driver) {
			for _, r := range []string{"a50@3", "a0@5", "b0@20", "b0@40"} {
				d.Pipe("in", noon, r)
			}
			assert.Empty(t, d.Drain[string]("out"), "a50 is still under way")
			d.AdvanceWall(duration(5000))
			assert.Equal(t, []string{"A0 2", "B20 1"}, d.Drain[string]("out"))
		}, streamtest.CallsTake(takes), streamtest.Start(noon))
	}
}

func numeral(s string) (n int64) {
	_, _ = fmt.Sscan(s, &n)
	return n
}

// Whatever the times of the calls, the order, capacity and restarts: each record has its result once, none is late behind
// the operator, and the order is the one that was asked for.
func TestAsyncAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		order := rapid.SampledFrom([]stream.Order{stream.InOrder, stream.PerKey, stream.AnyOrder}).Draw(t, "order")
		capacity := rapid.IntRange(1, 5).Draw(t, "capacity")
		build := made(func(topo *stream.Topology) {
			s := direct(topo, "in", 0).Async("calls", answered, stream.Async[string, string]{Order: order, Capacity: capacity})
			s.To(to("out"))
			u := s.Deduplicate("all", func(s string) string { return s }, time.Millisecond)
			u.Late(func(_ string, r stream.LateRecord[string]) string { return r.Value }).To(to("late"))
			u.To(sink.Kafka("unique", codec.String))
		})
		opts := append(anyWay(t), streamtest.CallsTake(func(_ string, v any) time.Duration {
			_, n, _ := strings.Cut(v.(string), "/")
			return duration(numeral(n) * 7 % 50)
		}))
		d := streamtest.New(t, build(), opts...)
		var in []string
		for i := range rapid.IntRange(1, 30).Draw(t, "records") {
			disturb(t, d)
			v := fmt.Sprintf("%s:%d/%d", rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"), i, rapid.IntRange(0, 20).Draw(t, "takes"))
			in = append(in, upper(v))
			put(d, "in", fmt.Sprintf("%s@%d", v, i*10))
			if rapid.Bool().Draw(t, "advance") {
				d.AdvanceWall(duration(rapid.Int64Range(1, 40).Draw(t, "by")))
			}
		}
		for range 40 {
			d.AdvanceWall(duration(50))
		}
		got := d.Drain[string]("out")
		assert.ElementsMatch(t, in, got)
		assert.ElementsMatch(t, in, d.Drain[string]("unique"))
		assert.Empty(t, d.Drain[string]("late"))
		for _, key := range []string{"A", "B", "C"} {
			of := func(list []string) (part []string) {
				for _, v := range list {
					if letter(v) == key {
						part = append(part, v)
					}
				}
				return part
			}
			if order != stream.AnyOrder {
				assert.Equal(t, of(in), of(got))
			}
		}
	})
}

func ExampleStream_Async() {
	score := func(ctx context.Context, text string) (int, error) { return len(text), nil } // a request to a model
	topo := stream.New("scores")
	topo.From(source.Kafka("texts", codec.String)).
		Async("scores", score, stream.Async[string, int]{Capacity: 50, Timeout: time.Second, Retry: onerror.Retry{Attempts: 3},
			Failed: func(string, error) (int, error) { return -1, nil }}).
		To(sink.Kafka("scores", codec.JSON[int]()))
	d := start(topo)
	d.Pipe("texts", noon, "four", "seven..")
	fmt.Println(d.Drain[int]("scores"))
	// Output: [4 7]
}

func TestBadAsync(t *testing.T) {
	topo := stream.New("bad")
	s := topo.From(txns())
	call := func(context.Context, txn) (txn, error) { return txn{}, nil }
	s.Async[txn]("a", nil, stream.Async[txn, txn]{Order: stream.PerKey}).To(out[txn]())
	s.Async("b", call, stream.Async[txn, txn]{Capacity: -1}, onerror.DeadLetter(""))
	s.Async("c d", call, stream.Async[txn, txn]{Timeout: -1, Retry: onerror.Retry{Attempts: -1}})
	s.Async("e", call, stream.Async[txn, txn]{Order: 7}).EventTime(func(txn) time.Time { return noon }, stream.Watermark{}).To(out[txn]())
	s.KeyBy(txn.card).Async("e", call, stream.Async[txn, txn]{})
	got := strings.Join(mistakes(t, topo, goodConfig(t)), "\n")
	for _, want := range []string{`async "a": its function is nil`, `async "a": its order is PerKey, and its stream has no keys`, `async "b": its Capacity is -1`,
		`async "b": the dead-letter topic has no name`, `async "c d": its Timeout is -1ns`, `async "c d": its Retry has a negative number`,
		`the store's name "c d" cannot be part`, `async "e": its Order is 7`, `event time: it comes after "e", which keeps records`, `async "e": the name "e" is taken by the store at`} {
		assert.Contains(t, got, want)
	}
	assert.Len(t, strings.Split(got, "\n"), 10, got)
}
