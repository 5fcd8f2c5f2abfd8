package e2e_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// pipe copies orders.
func pipe(b *broker, opts ...source.Option) *stream.Topology {
	t := stream.New("pipe")
	t.From(source.Kafka(b.name("orders"), codec.JSON[order](), opts...)).
		Filter(func(order) bool { return true }).
		To(sink.Kafka(b.name("updates"), codec.JSON[order]()))
	return t
}

// keyedCounts counts orders by the keys that they have.
func keyedCounts(b *broker, opts ...source.Option) *stream.Topology {
	t := stream.New("keyed")
	t.FromKeyed(source.KafkaKeyed(b.name("orders"), codec.String, codec.JSON[order](), opts...)).
		Count("counts").
		Changes(func(user string, n int64) total { return total{User: user, N: n} }).
		To(sink.Kafka(b.name("updates"), codec.JSON[total]()))
	return t
}

func badTopics() map[string]int32 {
	return map[string]int32{"orders": 1, "updates": 1, "finals": 1, "dead": 1}
}

func ok(t *testing.T, user string) kafkatest.Record {
	return kafkatest.Record{Topic: "orders", Key: []byte(user), Value: encode(t, order{User: user, Amount: 1}), Time: time.Now()}
}

func header(r kafkatest.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// Every kind of bad record goes to each policy: it is skipped and counted, written as it was to the dead-letter topic, or
// stops the application with an error that says where it is and what is wrong with it.
func TestBadRecords(t *testing.T) {
	t.Parallel()
	broken := kafkatest.Record{Topic: "orders", Key: []byte("who"), Value: []byte(`{"User`), Headers: []source.Header{{Key: "trace", Value: []byte("7")}}}
	noKey := kafkatest.Record{Topic: "orders", Value: []byte(`{}`)}
	tombstone := kafkatest.Record{Topic: "orders", Key: []byte("gone")}
	for _, kind := range []struct {
		name     string
		record   kafkatest.Record
		topology func(b *broker, p onerror.Policy) *stream.Topology
		operator string
		text     string
	}{
		{"undecodable", broken, func(b *broker, p onerror.Policy) *stream.Topology { return pipe(b, source.OnError(p)) }, "orders", "decode value with codec json: "},
		{"null key", noKey, func(b *broker, p onerror.Policy) *stream.Topology { return keyedCounts(b, source.OnNullKey(p)) }, "orders", "record has no key"},
		{"tombstone", tombstone, func(b *broker, p onerror.Policy) *stream.Topology { return pipe(b, source.OnTombstone(p)) }, "orders", "record has a null value (tombstone)"},
		{"too large", kafkatest.Record{Topic: "orders", Value: make([]byte, 2000)},
			func(b *broker, p onerror.Policy) *stream.Topology {
				return pipe(b, source.MaxBytes(1000), source.OnError(p))
			}, "orders", "value has 2000 bytes, more than the source's MaxBytes of 1000"},
		{"wrong codec", ok(t, "json"), func(b *broker, p onerror.Policy) *stream.Topology {
			t := stream.New("wrong")
			t.From(source.Kafka(b.name("orders"), codec.Int64, source.OnError(p))).
				Map(func(int64) order { return order{} }).
				To(sink.Kafka(b.name("updates"), codec.JSON[order]()))
			return t
		}, "orders", "decode value with codec int64: "},
		{"panic", ok(t, "boom"), func(b *broker, p onerror.Policy) *stream.Topology {
			t := stream.New("panic")
			t.From(source.Kafka(b.name("orders"), codec.JSON[order](), source.OnError(p))).
				Map(func(o order) order {
					if o.User == "boom" {
						panic("at the disco")
					}
					return o
				}).
				To(sink.Kafka(b.name("updates"), codec.JSON[order]()))
			return t
		}, "map", "panic: at the disco"},
		{"panic in a filter", ok(t, "boom"), func(b *broker, p onerror.Policy) *stream.Topology {
			t := stream.New("panic")
			t.From(source.Kafka(b.name("orders"), codec.JSON[order](), source.OnError(p))).
				Filter(func(o order) bool { return o.User != "boom" || map[string]bool(nil)[o.User] || []bool{}[o.Amount] }).
				To(sink.Kafka(b.name("updates"), codec.JSON[order]()))
			return t
		}, "filter", "panic: runtime error: index out of range"},
		{"panic in a fold", ok(t, "boom"), func(b *broker, p onerror.Policy) *stream.Topology {
			t := stream.New("panic")
			t.FromKeyed(source.KafkaKeyed(b.name("orders"), codec.String, codec.JSON[order](), source.OnError(p))).
				Fold("sums", func(s *tally, o order) {
					if o.User == "boom" {
						panic("at the disco")
					}
					s.add(o)
				}).
				Changes(func(user string, s tally) total { return total{User: user, N: s.N} }).
				To(sink.Kafka(b.name("updates"), codec.JSON[total]()))
			return t
		}, "sums", "panic: at the disco"},
		{"too large for its sink", kafkatest.Record{Topic: "orders", Key: []byte("k"), Value: encode(t, order{User: string(make([]byte, 300))})},
			func(b *broker, p onerror.Policy) *stream.Topology { return pipe(b, source.OnError(p)) }, "updates", "is larger than topic updates"},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			if kind.name != "undecodable" {
				slow(t)
			}
			topics := badTopics()
			delete(topics, "updates")
			b := start(t, topics)
			size := "1000"
			b.create(t, "updates", 1, map[string]*string{"max.message.bytes": &size})
			good := 2
			if kind.name == "wrong codec" {
				good = 0
				b.write(t, kind.record)
			} else {
				b.write(t, ok(t, "ann"), kind.record, ok(t, "bob"))
			}
			as := func(name string) func(*stream.Config) {
				return func(c *stream.Config) { c.AppID = b.name(name) }
			}
			at := "record 1 of " + b.name("orders") + "/0: "
			if good == 0 {
				at = "record 0 of " + b.name("orders") + "/0: "
			}

			// Skip.
			in := run(t, kind.topology(b, onerror.Skip), b.config(t.TempDir(), as("skip")))
			in.until(t, "a skipped record", func(s stream.Status) bool { return sum(s, skipped) == 1 && sum(s, records) >= uint64(good)+1 })
			b.read(t, "updates", good)
			l := in.log.wait(t, "bad record skipped")
			assert.Contains(t, l.attrs["err"].String(), kind.text)
			assert.Contains(t, l.attrs["declared"].String(), "e2e/bad_test.go:")
			in.stop(t)

			// Dead letter.
			in = run(t, kind.topology(b, onerror.DeadLetter(b.name("dead"))), b.config(t.TempDir(), as("dead")))
			dead := b.read(t, "dead", 1)[0]
			assert.Equal(t, kind.record.Key, dead.Key)
			assert.Equal(t, kind.record.Value, dead.Value)
			for _, h := range kind.record.Headers {
				assert.Equal(t, string(h.Value), header(dead, h.Key))
			}
			assert.Contains(t, header(dead, "millstream-error"), kind.text)
			assert.Contains(t, header(dead, "millstream-operator"), kind.operator)
			assert.Equal(t, b.name("orders"), header(dead, "millstream-topic"))
			assert.Equal(t, "0", header(dead, "millstream-partition"))
			assert.Equal(t, string(at[len("record ")]), header(dead, "millstream-offset"))
			b.read(t, "updates", 2*good)
			in.stop(t)
			b.noMore(t, "dead", 1)

			// Fail. The position does not pass the record, so that it is met again.
			dir := t.TempDir()
			for range 2 {
				err := run(t, kind.topology(b, onerror.Fail), b.config(dir, as("fail"))).wait(t)
				require.ErrorContains(t, err, kind.text)
				assert.ErrorContains(t, err, "operator "+kind.operator)
				assert.ErrorContains(t, err, "(declared at e2e/bad_test.go:")
				assert.ErrorContains(t, err, at)
			}
		})
	}
}

// A panic where no record can be given up stops the application, with the place of the operator. The host goes on.
func TestPanicOutsideOfRecords(t *testing.T) {
	t.Parallel()
	slow(t)
	windows := func(b *broker, f func(string, window.Span, int64) total) *stream.Topology {
		t := stream.New("panic")
		t.FromKeyed(source.KafkaKeyed(b.name("orders"), codec.String, codec.JSON[order]())).
			EventTime(orderTime, stream.Watermark{}).
			Window(window.Tumbling{Size: size}).
			Count("counts").
			OnClose(f).
			To(sink.Kafka(b.name("updates"), codec.JSON[total]()))
		return t
	}
	timers := func(b *broker, set func(*stream.Process[string, tally, total], order)) *stream.Topology {
		t := stream.New("panic")
		t.FromKeyed(source.KafkaKeyed(b.name("orders"), codec.String, codec.JSON[order]())).
			EventTime(orderTime, stream.Watermark{}).
			Process("timers", set, func(p *stream.Process[string, tally, total], _ stream.Timer) { panic("late at night") }).
			To(sink.Kafka(b.name("updates"), codec.JSON[total]()))
		return t
	}
	for name, c := range map[string]struct {
		topology func(b *broker) *stream.Topology
		operator string
	}{
		"close of a window": {func(b *broker) *stream.Topology {
			return windows(b, func(string, window.Span, int64) total { panic("late at night") })
		}, "operator on close (declared at e2e/bad_test.go:"},
		"timer of event time": {func(b *broker) *stream.Topology {
			return timers(b, func(p *stream.Process[string, tally, total], o order) { p.SetTimer(orderTime(o).Add(time.Second)) })
		}, "operator timers (declared at e2e/bad_test.go:"},
		"timer of the wall clock": {func(b *broker) *stream.Topology {
			return timers(b, func(p *stream.Process[string, tally, total], _ order) { p.SetWallTimer(time.Now()) })
		}, "operator timers (declared at e2e/bad_test.go:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, badTopics())
			for i := range 2 {
				b.write(t, kafkatest.Record{Topic: "orders", Key: []byte("k"), Value: encode(t, order{At: int64(i) * 60_000})})
			}
			err := run(t, c.topology(b), b.config(t.TempDir())).wait(t)
			require.ErrorContains(t, err, "panic: late at night")
			assert.ErrorContains(t, err, c.operator)
			assert.ErrorContains(t, err, "while a window closed or a timer fired")
		})
	}
}

// Times before 1970 are times like others. Those of a wrong clock are not taken, and do no harm to the others.
func TestTimes(t *testing.T) {
	t.Parallel()
	b := start(t, badTopics())
	topology := stream.New("times")
	w := topology.FromKeyed(source.KafkaKeyed(b.name("orders"), codec.String, codec.JSON[order]())).
		EventTime(orderTime, stream.Watermark{}).
		Window(window.Tumbling{Size: size}).
		Count("counts")
	w.OnClose(func(user string, s window.Span, n int64) total { return total{User: user, From: s.From, N: n} }).
		To(sink.Kafka(b.name("finals"), codec.JSON[total]()))
	in := run(t, topology, b.config(t.TempDir()))
	future := time.Now().Add(48 * time.Hour).UnixMilli()
	for _, at := range []int64{-20_001, -20_000, -1, future, -10_000, 0, 9_999, 10_000} {
		b.write(t, kafkatest.Record{Topic: "orders", Key: []byte("k"), Value: encode(t, order{At: at})})
	}
	got := decode[total](t, b.read(t, "finals", 4))
	assert.Equal(t, []total{{User: "k", From: -30_000, N: 1}, {User: "k", From: -20_000, N: 1}, {User: "k", From: -10_000, N: 2}, {User: "k", From: 0, N: 2}}, got)
	l := in.log.wait(t, "bad record skipped")
	assert.Contains(t, l.attrs["err"].String(), "ahead of the wall clock, more than the source's MaxAhead")
	in.until(t, "one skipped and none late", func(s stream.Status) bool {
		return sum(s, skipped) == 1 && sum(s, func(k stream.TaskStatus) uint64 { return k.Late }) == 0
	})
	in.stop(t)
}

// What is wrong at the start is told at the start, all of it, with what to do.
func TestRefusedStarts(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]int32{"orders": 2, "more": 3, "updates": 1})
	refused := func(topology *stream.Topology, texts ...string) {
		t.Helper()
		err := run(t, topology, b.config(t.TempDir())).wait(t)
		for _, text := range texts {
			require.ErrorContains(t, err, text)
		}
	}
	missing := *b
	missing.suffix += "-none"
	refused(totals(&missing), "3 of the application's topics do not exist. Create them, or correct their names:", `source "`+missing.name("orders")+`"`,
		`sink "`+missing.name("updates")+`"`, `sink "`+missing.name("finals")+`"`, "kafka-topics.sh --bootstrap-server "+b.addrs[0]+" --create --topic ")

	unlike := stream.New("unlike")
	unlike.FromKeyed(source.KafkaKeyed(b.name("orders"), codec.String, codec.JSON[order]())).
		Merge(unlike.FromKeyed(source.KafkaKeyed(b.name("more"), codec.String, codec.JSON[order]()))).
		Count("counts").
		Changes(func(user string, n int64) total { return total{User: user, N: n} }).
		To(sink.Kafka(b.name("updates"), codec.JSON[total]()))
	refused(unlike, "topics "+b.name("orders")+" (declared at e2e/bad_test.go:", "and "+b.name("more")+" (declared at e2e/bad_test.go:",
		"have 2 and 3 partitions, so that equal keys would not meet: give both the same number")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := l.Addr().String()
	require.NoError(t, l.Close())
	away := *b
	away.addrs = []string{nobody}
	away.conf = func(c *kafka.Cluster) { c.DialTimeout = 500 * time.Millisecond }
	began := time.Now()
	err = run(t, totals(&away), away.config(t.TempDir())).wait(t)
	require.ErrorContains(t, err, "no broker could be reached at "+nobody+": check the addresses and that the brokers run")
	assert.Less(t, time.Since(began), 10*time.Second)
}

// Wrong credentials are told at the start, without being shown.
func TestCredentials(t *testing.T) {
	t.Parallel()
	b := start(t, totalsTopics(), kfake.EnableSASL(), kfake.Superuser("PLAIN", "ann", "right"))
	password := "wr0ng"
	b.conf = func(c *kafka.Cluster) { c.SASL, c.AllowPlaintextCredentials = kafka.Plain("ann", password), true }
	err := run(t, totals(b), b.config(t.TempDir())).wait(t)
	require.ErrorContains(t, err, "(SASL PLAIN): check user and password")
	assert.ErrorContains(t, err, b.addrs[0])
	assert.NotContains(t, err.Error(), password)
	password = "right"
	in := run(t, totals(b), b.config(t.TempDir()))
	in.tasks(t, 6)
	in.stop(t)
}
