package main

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

func topology(m *meter) (*stream.Topology, error) {
	topo := stream.New("bench")
	switch *workload {
	case "W1":
		topo.From(source.Kafka[*event](*in, eventCodec{})).
			Filter(func(e *event) bool { m.read(); return e.kind() < 12 }).
			Map(func(e *event) *event { m.outputs.Add(1); return e.doubled() }).
			To(sink.Kafka[*event](*out, eventCodec{}))
	case "W2":
		counted(m, topo.FromKeyed(source.KafkaKeyed[string, stamp](*in, codec.String, stampCodec{})))
	case "W3":
		counted(m, topo.From(source.Kafka[*event](*in, eventCodec{})).
			KeyBy((*event).amountKey).
			Repartition("by-amount", stream.Repartitioning{Partitions: 4}, eventCodec{}).
			MapValues(func(_ string, e *event) stamp { return stamp(binary.BigEndian.Uint64(e[offStamp:])) }))
	default:
		return nil, fmt.Errorf("-workload %s: use W1, W2 or W3", *workload)
	}
	return topo, nil
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

// event is the frozen value of 100 bytes; benchmarks/peers/by-hand/internal/bench has its layout.
type event [100]byte

const (
	offStamp  = 16
	offAmount = 24
	offKind   = 28
)

func (e *event) kind() uint32 { return binary.BigEndian.Uint32(e[offKind:]) }

func (e *event) doubled() *event {
	binary.BigEndian.PutUint32(e[offAmount:], 2*binary.BigEndian.Uint32(e[offAmount:]))
	return e
}

func (e *event) amountKey() string {
	return fmt.Sprintf("amt-%04d", binary.BigEndian.Uint32(e[offAmount:]))
}

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
