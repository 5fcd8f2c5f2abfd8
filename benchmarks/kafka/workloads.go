package main

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

func topology(m *meter) (*stream.Topology, error) {
	topo := stream.New("bench")
	topics := strings.Split(*in, ",")
	if want := inputs[*workload]; want == 0 {
		return nil, fmt.Errorf("-workload %s: use W1, W2, W3, W3-zipf, W4, W5 or KV", *workload)
	} else if len(topics) != want {
		return nil, fmt.Errorf("-in %s: %s reads %d topics, with a comma between", *in, *workload, want)
	}
	read := func(string, *event) { m.read() }
	switch *workload {
	case "W1":
		topo.From(source.Kafka[*event](topics[0], eventCodec{})).
			Filter(func(e *event) bool { m.read(); return e.kind() < 12 }).
			Map(func(e *event) *event { m.outputs.Add(1); return e.doubled() }).
			To(sink.Kafka[*event](*out, eventCodec{}))
	case "W2":
		counted(m, topo.FromKeyed(source.KafkaKeyed[string, stamp](topics[0], codec.String, stampCodec{})))
	case "W3":
		counted(m, topo.From(source.Kafka[*event](topics[0], eventCodec{})).
			KeyBy((*event).amountKey).
			Repartition("by-amount", stream.Repartitioning{Partitions: 4}, eventCodec{}).
			MapValues(func(_ string, e *event) stamp { return stamp(e.stamp()) }))
	case "W3-zipf":
		skewed(m, topo.From(source.Kafka[*event](topics[0], eventCodec{}, source.EndAtNow())))
	case "W4":
		left, right := keyed(topo, topics[0]).Peek(read), keyed(topo, topics[1]).Peek(read)
		left.Join("pairs", right, window.Join{Before: 5 * time.Second, After: 5 * time.Second, Grace: 5 * time.Second},
			func(l, r *event) pair { m.outputs.Add(1); return paired(l, r) }).
			To(sink.Kafka[pair](*out, pairCodec{}))
	case "W5":
		users := topo.Table(source.KafkaKeyed[string, *event](topics[1], codec.String, eventCodec{}), "users")
		keyed(topo, topics[0]).Peek(read).
			JoinTable("enriched", users, func(e, user *event) enriched { m.outputs.Add(1); return enriched{e, user} }).
			To(sink.Kafka[enriched](*out, enrichedCodec{}))
	case "KV":
		topo.Table(source.KafkaKeyed[string, []byte](topics[0], codec.String, codec.Bytes), "kv").
			Updates(func(_ string, ch stream.Change[[]byte]) bool {
				if ch.Old == nil {
					m.inserts.Add(1)
				}
				m.read()
				return false
			}).
			Peek(func(bool) {})
	}
	return topo, nil
}

// inputs is how many topics a workload reads.
var inputs = map[string]int{"W1": 1, "W2": 1, "W3": 1, "W3-zipf": 1, "W4": 2, "W5": 2, "KV": 1}

func keyed(topo *stream.Topology, topic string) stream.Keyed[string, *event] {
	return topo.FromKeyed(source.KafkaKeyed[string, *event](topic, codec.String, eventCodec{}))
}

// counted counts per key in tumbling windows.
func counted(m *meter, s stream.Keyed[string, stamp]) {
	a := s.Peek(func(string, stamp) { m.read() }).
		Window(window.Tumbling{Size: 10 * time.Second, Grace: 5 * time.Second}).
		Fold("counts", (*count).add, countCodec{})
	to := sink.Kafka[result](*out, resultCodec{}).Keyed(func(dst []byte, r result) []byte { return r.appendKey(dst) })
	toResult := func(k string, s window.Span, c count) result {
		m.outputs.Add(1)
		return result{k, s.From, c}
	}
	if *emit == "commit" {
		a.OnCommit(toResult).To(to)
	} else {
		a.OnUpdate(toResult).To(to)
	}
}

// skewed counts per amount, of which some are frequent, in tumbling windows behind a repartition. With FoldMerge records are
// added up before it, with Fold each of them goes through it. The run ends when all is processed, since reading is not where
// the last record is.
func skewed(m *meter, s stream.Stream[*event]) {
	add := func(c *count, e *event) { c.add(stamp(e.stamp())) }
	merge := func(c *count, d count) { c.n, c.stamp = c.n+d.n, max(c.stamp, d.stamp) }
	w := s.KeyBy(func(e *event) string { m.processed(); return e.amountKey() }).
		Repartition("by-amount", stream.Repartitioning{Partitions: 8}, eventCodec{}).
		Window(window.Tumbling{Size: 10 * time.Second, Grace: 5 * time.Second})
	var a stream.Aggregated[string, *event, count]
	if *merges {
		a = w.FoldMerge("counts", add, merge, countCodec{})
	} else {
		a = w.Fold("counts", add, countCodec{})
	}
	a.OnCommit(func(k string, s window.Span, c count) result {
		m.outputs.Add(1)
		m.last.Store(int64(time.Since(m.start)))
		return result{k, s.From, c}
	}).To(sink.Kafka[result](*out, resultCodec{}).Keyed(func(dst []byte, r result) []byte { return r.appendKey(dst) }))
}

// event is the frozen value of 100 bytes; benchmarks/peers/by-hand/internal/bench has its layout.
type event [100]byte

const (
	offSeq    = 8
	offStamp  = 16
	offAmount = 24
	offKind   = 28
)

func (e *event) kind() uint32   { return binary.BigEndian.Uint32(e[offKind:]) }
func (e *event) amount() uint32 { return binary.BigEndian.Uint32(e[offAmount:]) }
func (e *event) stamp() uint64  { return binary.BigEndian.Uint64(e[offStamp:]) }

func (e *event) doubled() *event {
	binary.BigEndian.PutUint32(e[offAmount:], 2*e.amount())
	return e
}

func (e *event) amountKey() string { return amountKeys[e.amount()] }

// amountKeys are made in advance, as the programs that it is compared with make them.
var amountKeys = func() (keys [10_000]string) {
	for i := range keys {
		keys[i] = fmt.Sprintf("amt-%04d", i)
	}
	return keys
}()

type eventCodec struct{}

func (eventCodec) Append(dst []byte, e *event) ([]byte, error) { return append(dst, e[:]...), nil }

func (eventCodec) Decode(b []byte) (*event, error) {
	if len(b) != len(event{}) {
		return nil, fmt.Errorf("event of %d bytes", len(b))
	}
	e := event(b)
	return &e, nil
}

func (eventCodec) Name() string { return "event" }

// stamp is what a count needs of an event: when it was sent.
type stamp uint64

type stampCodec struct{}

func (stampCodec) Append(dst []byte, s stamp) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(s)), nil
}

func (stampCodec) Decode(b []byte) (stamp, error) {
	if len(b) != len(event{}) {
		return 0, fmt.Errorf("event of %d bytes", len(b))
	}
	return stamp(binary.BigEndian.Uint64(b[offStamp:])), nil
}

func (stampCodec) Name() string { return "stamp" }

// count is the state of W2 and W3: records, and the newest send time.
type count struct{ n, stamp uint64 }

func (c *count) add(s stamp) {
	c.n++
	c.stamp = max(c.stamp, uint64(s))
}

type countCodec struct{}

func (countCodec) Append(dst []byte, c count) ([]byte, error) {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, c.n), c.stamp), nil
}

func (countCodec) Decode(b []byte) (count, error) {
	if len(b) != 16 {
		return count{}, fmt.Errorf("count of %d bytes", len(b))
	}
	return count{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, nil
}

func (countCodec) Name() string { return "count" }

// result is a count with its key and window, which make the output's key.
type result struct {
	key   string
	start int64
	count count
}

func (r result) appendKey(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(append(dst, r.key...), uint64(r.start))
}

type resultCodec struct{}

func (resultCodec) Append(dst []byte, r result) ([]byte, error) {
	return countCodec{}.Append(dst, r.count)
}

func (resultCodec) Decode(b []byte) (result, error) {
	c, err := countCodec{}.Decode(b)
	return result{count: c}, err
}

func (resultCodec) Name() string { return "result" }
