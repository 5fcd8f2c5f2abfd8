package streamtest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

type txn struct {
	Card   string
	Amount int64
	At     time.Time
}

type spend struct {
	Card string
	From time.Time
	Sum  int64
	Rev  uint64
}

var noon = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

func spending() *stream.Topology {
	topo := stream.New("spending")
	w := topo.From(source.Kafka("txns", codec.JSON[txn]())).
		EventTime(func(t txn) time.Time { return t.At }, stream.Watermark{OutOfOrder: 5 * time.Second}).
		KeyBy(func(t txn) string { return t.Card }).
		Window(window.Tumbling{Size: time.Minute, Grace: 10 * time.Second}).
		Fold("spend", func(a *int64, t txn) { *a += t.Amount })
	to := func(card string, s window.Span, sum int64) spend { return spend{card, s.Start(), sum, s.Revision} }
	w.OnUpdate(to).To(sink.Kafka("updates", codec.JSON[spend]()))
	w.OnClose(to).To(sink.Kafka("closed", codec.JSON[spend]()))
	return topo
}

func TestSpend(t *testing.T) {
	streamtest.EveryWay(t, spending, func(t *testing.T, d *streamtest.Driver) {
		at := noon
		d.Pipe("txns", at, txn{"a", 10, at}, txn{"b", 5, at.Add(time.Second)}, txn{"a", 1, at.Add(2 * time.Second)})
		assert.Len(t, d.Drain[spend]("updates"), 3)
		assert.Empty(t, d.Drain[spend]("closed"))
		d.Pipe("txns", at, txn{"a", 100, at.Add(3 * time.Second)})
		d.Advance(at.Add(time.Minute + 14*time.Second))
		assert.Empty(t, d.Drain[spend]("closed"))
		d.Advance(at.Add(time.Minute + 15*time.Second))
		assert.ElementsMatch(t, []spend{{"a", noon, 111, 3}, {"b", noon, 5, 1}}, d.Drain[spend]("closed"))
	}, streamtest.Partitions(2))
}
