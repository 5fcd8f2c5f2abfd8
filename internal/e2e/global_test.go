package e2e_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// priced joins orders with the prices of what they name, a table that each instance has whole.
func priced(b *broker) *stream.Topology {
	t := stream.New("priced")
	prices := t.GlobalTable(source.KafkaKeyed(b.name("prices"), codec.String, codec.String))
	t.From(source.Kafka(b.name("orders"), codec.String)).
		LeftJoinGlobal(prices, func(o string) (string, bool) { return o, true }, func(o string, price *string) string {
			if price == nil {
				return o + "=?"
			}
			return o + "=" + *price
		}).
		To(sink.Kafka(b.name("out"), codec.String))
	return t
}

// A global table is there, whole, before the first record; then it is followed, and read anew by each start.
func TestGlobalTable(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]int32{"orders": 2, "prices": 3, "out": 1})
	price := func(item, price string) {
		rec := kafkatest.Record{Topic: "prices", Partition: -1, Key: []byte(item), Value: []byte(price)}
		if price == "" {
			rec.Value = nil
		}
		b.write(t, rec)
	}
	n := 0
	// orders writes an order to each partition, and returns what becomes of them.
	orders := func(item string) (string, string) {
		for p := range int32(2) {
			b.write(t, kafkatest.Record{Topic: "orders", Partition: p, Value: []byte(item)})
			n++
		}
		recs := b.read(t, "out", n)
		return string(recs[n-2].Value), string(recs[n-1].Value)
	}
	order := func(item string) string {
		a, b := orders(item)
		require.Equal(t, a, b)
		return a
	}
	for i := range 30 {
		price(fmt.Sprint("item-", i), "1")
	}
	price("item-7", "2")
	one := run(t, priced(b), b.config(t.TempDir()))
	assert.Equal(t, "item-7=2", order("item-7"))
	assert.Equal(t, "item-8=1", order("item-8"))
	assert.Equal(t, "none=?", order("none"))
	one.stop(t)

	price("item-7", "3")
	price("item-8", "")
	two := run(t, priced(b), b.config(t.TempDir()))
	assert.Equal(t, "item-7=3", order("item-7"), "what was written while nobody read")
	assert.Equal(t, "item-8=?", order("item-8"))

	price("item-9", "4")
	for seen := false; !seen; { // it is followed a moment later
		a, b := orders("item-9")
		seen = a == "item-9=4" && b == "item-9=4"
	}
	two.stop(t)
}

// A topic that is not there is named.
func TestGlobalTableWithoutTopic(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]int32{"orders": 1, "out": 1})
	in := run(t, priced(b), b.config(t.TempDir()))
	err := in.wait(t)
	require.ErrorContains(t, err, fmt.Sprintf("global table %q", b.name("prices")))
}

// A record of the table that does not decode ends the application, if it is to.
func TestGlobalTableBadRecord(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]int32{"orders": 1, "prices": 1})
	topo := stream.New("priced")
	prices := topo.GlobalTable(source.KafkaKeyed(b.name("prices"), codec.String, codec.JSON[int](), source.OnError(onerror.Fail)))
	topo.From(source.Kafka(b.name("orders"), codec.String)).
		JoinGlobal(prices, func(o string) (string, bool) { return o, true }, func(o string, _ int) string { return o }).
		Peek(func(string) {})
	b.write(t, kafkatest.Record{Topic: "prices", Partition: 0, Key: []byte("k"), Value: []byte("nonsense")})
	in := run(t, topo, b.config(t.TempDir()))
	require.ErrorContains(t, in.wait(t), "global table "+b.name("prices"))
}
