package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/state"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// basket is what the first version of a program keeps of each item; trade is what the second does.
type (
	basket struct{ Pieces int }
	trade  struct{ Pieces, Times int }
)

// baskets keeps how much of each item a customer has, by handles whose values have this codec, and emits all of them with
// each record, of which it is one piece more.
func baskets[V any](b *broker, c codec.Codec[V], add func(*V), show func(V) string) *stream.Topology {
	topo := stream.New("baskets")
	topo.FromKeyed(source.KafkaKeyed(b.name("in"), codec.String, codec.String)).
		ProcessWith("baskets", func(h *stream.Handles[string]) state.Map[string, V] {
			return h.Map("items", state.MapSpec[string, V]{Codec: c})
		}, func(p *stream.Process[string, state.Map[string, V], string], item string) {
			items := *p.State()
			v, _ := items.Get(item)
			add(&v)
			items.Put(item, v)
			s := p.Key()
			for item, v := range items.All() {
				s += " " + item + show(v)
			}
			p.Emit(s)
		}, nil).To(sink.Kafka(b.name("out"), codec.String))
	return topo
}

func ofFirst(b *broker) *stream.Topology {
	return baskets(b, codec.JSON[basket](), func(x *basket) { x.Pieces++ }, func(x basket) string { return fmt.Sprint(x.Pieces) })
}

func ofSecond(b *broker, reads ...codec.Older[trade]) *stream.Topology {
	return baskets(b, codec.Version(2, codec.JSON[trade](), reads...), func(x *trade) { x.Pieces++; x.Times++ }, func(x trade) string { return fmt.Sprintf("%d/%d", x.Pieces, x.Times) })
}

// A program whose values have another form goes on with the state of the one before, from the local copy and from the
// changelog alone; one that cannot read it is refused, and harms nothing.
func TestStateEvolves(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]int32{"in": 1, "out": 1})
	dir := t.TempDir()
	id := func(c *stream.Config) { c.InstanceID = "one" }
	wipe := func() { require.NoError(t, os.RemoveAll(filepath.Join(dir, b.name("app")))) }
	var want []string
	buy := func(items ...string) {
		t.Helper()
		for _, item := range items {
			b.write(t, kafkatest.Record{Topic: "in", Key: []byte("ann"), Value: []byte(item), Time: time.Now()})
		}
	}
	emits := func(lines ...string) {
		t.Helper()
		want = append(want, lines...)
		var got []string
		for _, r := range b.read(t, "out", len(want)) {
			got = append(got, string(r.Value))
		}
		assert.Equal(t, want, got)
	}

	in := run(t, ofFirst(b), b.config(dir, id))
	buy("pear", "apple", "pear")
	emits("ann pear1", "ann apple1 pear1", "ann apple1 pear2")
	in.stop(t)

	for _, local := range []bool{true, false} {
		if !local {
			wipe()
		}
		err := run(t, ofSecond(b), b.config(dir, id)).wait(t)
		require.ErrorIs(t, err, stream.ErrCodec, "with a local copy: %v", local)
		assert.ErrorContains(t, err, `store baskets/items: open: state was written with a codec that the program does not read: values were written with "json", and the program has "json v2": give that a migration`)
	}

	migrated := codec.From(codec.JSON[basket](), func(x basket) (trade, error) { return trade{x.Pieces, x.Pieces}, nil })
	in = run(t, ofSecond(b, migrated), b.config(dir, id))
	buy("plum", "pear")
	emits("ann apple1/1 pear2/2 plum1/1", "ann apple1/1 pear3/3 plum1/1")
	in.stop(t)
	in = run(t, ofSecond(b, migrated), b.config(dir, id))
	buy("apple")
	emits("ann apple2/2 pear3/3 plum1/1")
	in.stop(t)
	wipe()
	in = run(t, ofSecond(b, migrated), b.config(dir, id))
	buy("pear")
	emits("ann apple2/2 pear4/4 plum1/1")
	in.stop(t)

	err := run(t, ofFirst(b), b.config(dir, id)).wait(t)
	require.ErrorIs(t, err, stream.ErrCodec)
	assert.ErrorContains(t, err, `values were written with "json v2", and the program has "json"`)
}
