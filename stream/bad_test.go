package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

var errBad = errors.New("bad value")

func explode(s string) string {
	if s == "bad" {
		panic("boom")
	}
	return s
}

func refuse(s string) (string, error) {
	if s == "bad" {
		return "", errBad
	}
	return s, nil
}

// refused are the ways in which a record of the topic "in" with the value "bad" (or what is said) is given up on: the
// operator that gives up on it, and what the error says.
var refused = map[string]struct {
	build    func(topo *stream.Topology, p onerror.Policy)
	record   streamtest.Record
	operator string
	says     string
	opts     []streamtest.Option
}{
	"function returns an error": {
		build:    func(topo *stream.Topology, p onerror.Policy) { texts(topo).TryMap(refuse, p).To(to("out")) },
		operator: "trymap", says: "bad value",
	},
	"function returns an error, and the policy is the source's": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).TryMap(refuse).To(to("out"))
		},
		operator: "trymap", says: "bad value",
	},
	"panic in map": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).Map(explode).To(to("out"))
		},
		operator: "map", says: "panic: boom",
	},
	"panic in filter": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).Filter(func(s string) bool { return explode(s) == s }).To(to("out"))
		},
		operator: "filter", says: "panic: boom",
	},
	"panic in the middle of a flatmap": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).FlatMap(func(s string) iter.Seq[string] {
				return func(yield func(string) bool) { _ = yield(s) && s == "bad" && yield(explode(s)) }
			}).To(to("out"))
		},
		operator: "flatmap", says: "panic: boom",
	},
	"panic in peek": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).Peek(func(s string) { explode(s) }).To(to("out"))
		},
		operator: "peek", says: "panic: boom",
	},
	"panic in split": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			s := texts(topo, source.OnError(p)).Split(func(s string) bool { return explode(s) == "" })
			s[1].To(to("out"))
		},
		operator: "split", says: "panic: boom",
	},
	"panic in a key": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).KeyBy(explode).To(to("out"))
		},
		operator: "keyby", says: "panic: boom",
	},
	"panic in an event time": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).EventTime(func(s string) time.Time { explode(s); return noon }, stream.Watermark{}).To(to("out"))
		},
		operator: "event time", says: "panic: boom",
	},
	"panic in a sink's key": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).To(to("out").Keyed(func(b []byte, s string) []byte { return append(b, explode(s)...) }))
		},
		operator: "out", says: "panic: boom",
	},
	"undecodable": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			topo.From(source.Kafka("in", codec.JSON[string](), source.OnError(p))).To(to("out"))
		},
		operator: "in", says: "decode value with codec json",
	},
	"tombstone": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnTombstone(p)).To(to("out"))
		},
		record:   streamtest.Record{Key: []byte("k"), Time: noon},
		operator: "in", says: "tombstone",
	},
	"no key": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			topo.FromKeyed(source.KafkaKeyed("in", codec.String, codec.String, source.OnNullKey(p))).To(to("out"))
		},
		record:   streamtest.Record{Value: []byte("bad"), Time: noon},
		operator: "in", says: "no key",
	},
	"undecodable key": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			topo.FromKeyed(source.KafkaKeyed("in", codec.Int64, codec.String, source.OnError(p))).To(to("out"))
		},
		record:   streamtest.Record{Key: []byte("short"), Value: []byte("bad"), Time: noon},
		operator: "in", says: "decode key with codec int64",
	},
	"too large for the source": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p), source.MaxBytes(2)).To(to("out"))
		},
		operator: "in", says: "MaxBytes of 2",
	},
	"too large for the sink": {
		build:    func(topo *stream.Topology, p onerror.Policy) { texts(topo, source.OnError(p)).To(to("out")) },
		opts:     []streamtest.Option{streamtest.Limits("out", connect.Limits{MaxBytes: 12})},
		operator: "out", says: "larger than topic out accepts",
	},
	"too old for the sink": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).EventTime(func(s string) time.Time {
				if s == "bad" {
					return noon.Add(-2 * time.Hour)
				}
				return noon
			}, stream.Watermark{}).To(to("out"))
		},
		opts:     []streamtest.Option{streamtest.Limits("out", connect.Limits{MaxBehind: time.Hour})},
		operator: "out", says: "further from the wall clock",
	},
	"from the far future, by the broker": {
		build:    func(topo *stream.Topology, p onerror.Policy) { texts(topo, source.OnError(p)).To(to("out")) },
		record:   streamtest.Record{Value: []byte("bad"), Time: noon.Add(24*time.Hour + time.Millisecond)},
		operator: "in", says: "ahead of the wall clock",
	},
	"from the far future, by its value": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p), source.MaxAhead(time.Hour)).EventTime(func(s string) time.Time {
				if s == "bad" {
					return noon.Add(time.Hour + time.Millisecond)
				}
				return noon
			}, stream.Watermark{}).To(to("out"))
		},
		operator: "event time", says: "ahead of the wall clock",
	},
	"partition out of range": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).To(to("out").Partitioned(func(s string, n int32) int32 {
				if s == "bad" {
					return n
				}
				return n - 1
			}))
		},
		operator: "out", says: "partition 1 of 1",
	},
	"after outputs were made": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			s := texts(topo, source.OnError(p))
			s.To(to("out"))
			s.Map(explode).To(to("out"))
		},
		operator: "map", says: "panic: boom",
	},
	"panic in a fold, behind a repartition": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).KeyBy(letter).Fold("f", func(n *int, s string) { *n++; explode(s) }).
				Changes(func(k string, n int) string { return k }).To(to("out"))
		},
		operator: "f", says: "panic: boom",
	},
	"panic in a windowed fold, behind a repartition": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).KeyBy(letter).Window(window.Tumbling{Size: time.Hour}).Fold("f", func(n *int, s string) { *n++; explode(s) }).
				OnUpdate(func(k string, s window.Span, n int) string { return fmt.Sprint(k, n) }).Map(func(s string) string { return s[:1] }).To(to("out"))
		},
		operator: "f", says: "panic: boom",
	},
	"panic in a process, behind a repartition": {
		build: func(topo *stream.Topology, p onerror.Policy) {
			texts(topo, source.OnError(p)).KeyBy(letter).Process("p", func(p *stream.Process[string, int, string], s string) { p.Emit(explode(s)[:1]) }, nil).To(to("out"))
		},
		operator: "p", says: "panic: boom",
	},
}

// badRecord is the record that is refused; the records around it are "a" and "z".
func badRecord(r streamtest.Record) streamtest.Record {
	if r.Time.IsZero() {
		r = streamtest.Record{Key: []byte("12345678"), Value: []byte("bad"), Time: noon}
	}
	r.Headers = []source.Header{{Key: "trace", Value: []byte("7")}}
	return r
}

func around(v string) streamtest.Record {
	value := []byte(v)
	return streamtest.Record{Key: []byte("12345678"), Value: value, Time: noon}
}

// The good records' values, as "in" has them: JSON for the one test that reads JSON.
func good(name, v string) string {
	if name == "undecodable" {
		return strconv.Quote(v)
	}
	return v
}

func TestBadRecords(t *testing.T) {
	for name, c := range refused {
		pipeAll := func(d *streamtest.Driver) {
			d.PipeTo("in", around(good(name, "a")))
			d.PipeTo("in", badRecord(c.record))
			d.PipeTo("in", around(good(name, "z")))
		}
		opts := append(c.opts, streamtest.Start(noon))
		t.Run(name+"/skip", func(t *testing.T) {
			d := streamtest.New(t, made(func(topo *stream.Topology) { c.build(topo, onerror.Skip) })(), opts...)
			pipeAll(d)
			assert.Equal(t, "az", strings.Join(unique(d.Drain[string]("out")), ""))
			bad := d.Bad()
			require.Len(t, bad, 1)
			assert.Equal(t, c.operator, bad[0].Operator)
			assert.Contains(t, bad[0].Site, "_test.go:")
			assert.ErrorContains(t, bad[0].Err, c.says)
		})
		t.Run(name+"/dead letter", func(t *testing.T) {
			streamtest.EveryWay(t, made(func(topo *stream.Topology) { c.build(topo, onerror.DeadLetter("dlq")) }), func(t *testing.T, d *streamtest.Driver) {
				pipeAll(d)
				assert.Equal(t, "az", strings.Join(unique(d.Drain[string]("out")), ""))
				dead := d.Records("dlq")
				require.Len(t, dead, 1)
				r := badRecord(c.record)
				assert.Equal(t, r.Value, dead[0].Value)
				h := map[string]string{}
				for _, x := range dead[0].Headers {
					_, twice := h[x.Key]
					assert.False(t, twice, "header %s is there twice", x.Key)
					h[x.Key] = string(x.Value)
				}
				assert.Equal(t, "7", h["trace"])
				assert.Contains(t, h["millstream-error"], c.says)
				assert.Equal(t, c.operator, h["millstream-operator"])
				assert.NotEmpty(t, h["millstream-partition"])
				assert.NotEmpty(t, h["millstream-offset"])
				assert.Equal(t, strconv.FormatInt(r.Time.UnixMilli(), 10), h["millstream-time"])
				if !strings.Contains(name, "repartition") {
					assert.Equal(t, r.Key, dead[0].Key)
					assert.Equal(t, "in", h["millstream-topic"])
					assert.Equal(t, "0", h["millstream-partition"])
				}
			}, opts...)
		})
		t.Run(name+"/fail", func(t *testing.T) {
			d := streamtest.New(t, made(func(topo *stream.Topology) { c.build(topo, onerror.Fail) })(), append(opts, streamtest.MayStop())...)
			pipeAll(d)
			require.ErrorContains(t, d.Err(), c.says)
			assert.ErrorContains(t, d.Err(), "operator "+c.operator+" (declared at stream/")
			if !strings.Contains(name, "repartition") {
				assert.ErrorContains(t, d.Err(), "of in/0")
			}
			d.Restart()
			assert.ErrorContains(t, d.Err(), c.says, "it is met again")
			assert.Equal(t, []string{"a"}, unique(d.Drain[string]("out")), "what was before it is committed")
		})
	}
}

// unique drops values that repeat the one before.
func unique(in []string) (out []string) {
	for _, s := range in {
		if len(out) == 0 || out[len(out)-1] != s {
			out = append(out, s)
		}
	}
	return out
}

func TestBadRecordsAreCounted(t *testing.T) {
	build := func(topo *stream.Topology) {
		s := texts(topo)
		s.TryMap(refuse, onerror.Skip).To(to("out"))
	}
	d := streamtest.New(t, made(build)())
	d.Pipe("in", noon, "a", "bad", "bad", "b")
	assert.Equal(t, streamtest.Counts{Records: 4, Passed: 2, Skipped: 2}, d.Counts("trymap"))
	d = streamtest.New(t, made(func(topo *stream.Topology) { texts(topo).TryMap(refuse, onerror.DeadLetter("dlq")).To(to("out")) })())
	d.Pipe("in", noon, "a", "bad", "bad", "b")
	assert.Equal(t, streamtest.Counts{Records: 4, Passed: 2, DeadLettered: 2}, d.Counts("trymap"))
}

// A record that is given up on leaves the watermark alone.
func TestBadRecordsDoNotMoveTime(t *testing.T) {
	build := func(topo *stream.Topology) {
		texts(topo).Map(explode).To(to("out"))
	}
	d := streamtest.New(t, made(build)())
	d.PipeTo("in", streamtest.Record{Value: []byte("a"), Time: noon})
	d.PipeTo("in", streamtest.Record{Value: []byte("bad"), Time: noon.Add(time.Hour)})
	assert.Equal(t, noon, d.Watermark("in"))
}

// A negative MaxAhead switches the check off, whatever its size.
func TestNoMaxAhead(t *testing.T) {
	d := streamtest.New(t, made(func(topo *stream.Topology) { texts(topo, source.MaxAhead(-1)).To(to("out")) })(), streamtest.Start(noon))
	d.PipeTo("in", streamtest.Record{Value: []byte("a"), Time: noon.AddDate(100, 0, 0)})
	assert.Equal(t, []string{"a"}, d.Drain[string]("out"))
}

// A value that a function has changed halfway, and then panicked, is not what the next record starts from if there was
// none before.
func TestPanicInTheFirstUpdate(t *testing.T) {
	add := func(n *int, s string) { *n++; explode(s) }
	build := func(topo *stream.Topology) {
		k := texts(topo).KeyBy(func(string) string { return "k" }).Repartition("k", stream.Repartitioning{})
		k.Fold("f", add).Changes(func(_ string, n int) string { return strconv.Itoa(n) }).To(to("f"))
		k.Window(window.Tumbling{Size: time.Hour}).Fold("w", add).OnUpdate(func(_ string, _ window.Span, n int) string { return strconv.Itoa(n) }).To(to("w"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("in", noon, "bad")
		d.Pipe("in", noon, "a")
		assert.Equal(t, []string{"1"}, d.Drain[string]("f"))
		assert.Equal(t, []string{"1"}, d.Drain[string]("w"))
	})
}

// A failure where there is no record to give up on stops the application, with the operator's name.
func TestFailuresWithoutARecord(t *testing.T) {
	hour := window.Tumbling{Size: time.Hour}
	for name, c := range map[string]struct {
		build    func(topo *stream.Topology)
		operator string
		says     string
	}{
		"panic while a window closes": {func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Window(hour).Count("n").OnClose(func(string, window.Span, int64) string { panic("boom") }).To(to("out"))
		}, "on close", "panic: boom"},
		"error behind a window that closes": {func(topo *stream.Topology) {
			texts(topo, source.OnError(onerror.Fail)).KeyBy(letter).Window(hour).Count("n").OnClose(func(string, window.Span, int64) string { return "bad" }).TryMap(refuse).To(to("out"))
		}, "trymap", "bad value"},
		"panic in a timer": {func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Process("p", func(p *stream.Process[string, int, string], s string) { p.SetTimer(noon) },
				func(*stream.Process[string, int, string], stream.Timer) { panic("boom") }).To(to("out"))
		}, "p", "panic: boom"},
		"panic in a wall timer": {func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Process("p", func(p *stream.Process[string, int, string], s string) { p.SetWallTimer(noon.Add(time.Hour)) },
				func(*stream.Process[string, int, string], stream.Timer) { panic("boom") }).To(to("out"))
		}, "p", "panic: boom"},
		"panic in what is emitted at the end of an epoch": {func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Window(hour).Count("n").OnCommit(func(string, window.Span, int64) string { panic("boom") }).To(to("out"))
		}, "on commit", "panic: boom"},
		"panic in the codec of a state": {func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Fold("f", func(n *int, s string) {}, codec.Codec[int](brokenCodec{})).Changes(func(k string, _ int) string { return k }).To(to("out"))
		}, "", "panic: broken"},
	} {
		t.Run(name, func(t *testing.T) {
			d := streamtest.New(t, made(c.build)(), streamtest.MayStop())
			d.Pipe("in", noon, "a")
			d.Advance(noon.Add(2 * time.Hour))
			require.ErrorContains(t, d.Err(), c.says)
			if c.operator != "" {
				assert.ErrorContains(t, d.Err(), "operator "+c.operator+" (declared at stream/bad_test.go:")
			}
			assert.Empty(t, d.Drain[string]("out"))
		})
	}
}

// Results of a window that cannot be written go to the policy that is given; nothing is dropped without being counted.
func TestPolicyWithoutARecord(t *testing.T) {
	for _, w := range []window.Window{window.Tumbling{Size: time.Hour}, window.Session{Gap: time.Hour}} {
		policyWithoutARecord(t, w, onerror.Skip)
		policyWithoutARecord(t, w, onerror.DeadLetter("dlq"))
	}
}

func policyWithoutARecord(t *testing.T, w window.Window, p onerror.Policy) {
	for _, emit := range []func(a stream.Aggregated[string, string, string], f func(string, window.Span, string) string) stream.Stream[string]{
		func(a stream.Aggregated[string, string, string], f func(string, window.Span, string) string) stream.Stream[string] {
			return a.OnClose(f)
		},
		func(a stream.Aggregated[string, string, string], f func(string, window.Span, string) string) stream.Stream[string] {
			return a.OnCommit(f)
		},
	} {
		d := streamtest.New(t, made(func(topo *stream.Topology) {
			a := texts(topo).KeyBy(letter).Window(w).Reduce("r", func(_, v string) string { return v })
			emit(a, func(_ string, _ window.Span, v string) string { return v }).TryMap(refuse, p).To(to("out"))
		})())
		d.Pipe("in", noon, "bad", "a", "z")
		d.Advance(noon.Add(2 * time.Hour))
		assert.Equal(t, []string{"a", "z"}, d.Drain[string]("out"), "the others are written")
		require.Len(t, d.Bad(), 1)
		c := d.Counts("trymap")
		assert.Equal(t, uint64(1), c.Skipped+c.DeadLettered)
	}
}

type brokenCodec struct{}

func (brokenCodec) Append([]byte, int) ([]byte, error) { panic("broken") }
func (brokenCodec) Decode([]byte) (int, error)         { panic("broken") }
func (brokenCodec) Name() string                       { return "broken" }

// A task with two inputs looks at the times of both heads before it runs one; what fails there fails as it would when
// the record is run.
func TestPanicWhileHeadsAreCompared(t *testing.T) {
	build := func(topo *stream.Topology) {
		at := func(s string) time.Time { explode(s); return noon }
		a := topo.From(source.Kafka("a", codec.String, source.OnError(onerror.DeadLetter("dlq")))).EventTime(at, stream.Watermark{})
		b := topo.From(source.Kafka("b", codec.String)).EventTime(at, stream.Watermark{})
		a.Merge(b).To(to("out"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("a", noon, "x", "bad", "y")
		d.Pipe("b", noon, "z", "bad")
		assert.ElementsMatch(t, []string{"x", "y", "z"}, d.Drain[string]("out"))
		assert.Len(t, d.Records("dlq"), 1)
		assert.Len(t, d.Bad(), 2)
	})
}

// A tombstone at the head of an input whose codec accepts empty values does not turn the next record into it.
func TestTombstoneAtTheHead(t *testing.T) {
	build := func(topo *stream.Topology) {
		at := func(s string) time.Time { return noon }
		a := topo.From(source.Kafka("a", codec.String)).EventTime(at, stream.Watermark{})
		b := topo.From(source.Kafka("b", codec.String)).EventTime(at, stream.Watermark{})
		a.Merge(b).To(to("out"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		d.PipeTo("a", streamtest.Record{Key: []byte("k"), Time: noon})
		d.PipeTo("a", streamtest.Record{Value: []byte("x"), Time: noon})
		assert.Equal(t, []string{"x"}, d.Drain[string]("out"))
	})
}

// Dead letters hold the bytes that were read, not what has become of them.
func TestDeadLettersAreCopies(t *testing.T) {
	value := bytes.Repeat([]byte("bad "), 100_000)
	d := streamtest.New(t, made(func(topo *stream.Topology) {
		texts(topo, source.MaxBytes(100), source.OnError(onerror.DeadLetter("dlq"))).To(to("out"))
	})())
	for range 3 {
		d.PipeTo("in", streamtest.Record{Value: value, Time: noon})
	}
	dead := d.Records("dlq")
	require.Len(t, dead, 3)
	for _, r := range dead {
		assert.True(t, bytes.Equal(value, r.Value))
	}
}
