package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// Each version adds a mark to what the one before has written.
var (
	plainText = codec.String
	onceRead  = codec.Version(2, plainText, codec.From(plainText, func(s string) (string, error) { return s + "!", nil }))
	twiceRead = codec.Version(3, plainText, codec.From(onceRead, func(s string) (string, error) { return s + "?", nil }))
)

// waiting keeps records in every kind of store in which they wait. Patterns have no counterpart in Kafka Streams.
func waiting(c codec.Codec[string], patterns bool) *stream.Topology {
	topo := stream.New("test")
	in := topo.FromKeyed(source.KafkaKeyed("in", codec.String, c)).Watermark(stream.Watermark{})
	rows := topo.VersionedTable(source.KafkaKeyed("rows", codec.String, codec.String), "versions", duration(1000)).Watermark(stream.Watermark{})
	beside := func(l, r *string) string { return show(l) + "+" + show(r) }
	in.OuterJoin("join", direct(topo, "others", 0), window.Join{Before: duration(10), After: duration(10)}, beside).To(strs("joined"))
	in.LeftJoinAsOf("asof", rows, func(s string, r *string) string { return beside(&s, r) }).To(strs("priced"))
	in.Async("calls", answered, stream.Async[string, string]{}).To(strs("called"))
	if patterns {
		in.Detect("pattern", ab, matched).To(strs("matched"))
	}
	return topo
}

// Records that wait are read as the codec that wrote them calls for, whichever of several it was.
func TestWaitingRecordsEvolve(t *testing.T) {
	second := streamtest.CallsTake(func(string, any) time.Duration { return time.Second })
	kafkaStreams := stream.KafkaStreamsSemantics
	kafkaStreams.EmitInterval = 0
	for name, again := range map[string]func(d *streamtest.Driver){"restart": (*streamtest.Driver).Restart, "wipe": (*streamtest.Driver).WipeState} {
		for _, semantics := range []stream.Semantics{{}, kafkaStreams} {
			patterns := semantics == stream.Semantics{}
			t.Run(fmt.Sprint(name, " ", patterns), func(t *testing.T) {
				d := streamtest.New(t, waiting(plainText, patterns), streamtest.CacheSize(0), streamtest.Semantics(semantics), second)
				put(d, "in", "k:a1@1000 m:x@1002")
				d.Upgrade(waiting(onceRead, patterns))
				again(d)
				put(d, "in", "k:a2@1003")
				d.Upgrade(waiting(twiceRead, patterns))
				again(d)

				put(d, "others", "k:o@1005")
				assert.ElementsMatch(t, []string{"k:a1!?+k:o", "k:a2?+k:o"}, values(drained(d, "joined")))
				put(d, "in", "k:b@1060 j:end@1100")
				set(d, "rows", "k:r@1200")
				put(d, "others", "j:end@1100")
				assert.Subset(t, values(drained(d, "joined")), []string{"m:x!?+-"}, "it has found no match")
				if patterns { // in Kafka Streams a record joins at once
					assert.Subset(t, values(drained(d, "priced")), []string{"k:a1!?+-", "m:x!?+-", "k:a2?+-", "k:b+-"})
					assert.Equal(t, []string{"k:a1!?+b", "k:a2?+b"}, values(drained(d, "matched")))
				}
				d.AdvanceWall(2 * time.Second)
				assert.ElementsMatch(t, []string{"K:A1!?", "M:X!?", "K:A2?", "K:B", "J:END"}, values(drained(d, "called")))
			})
		}
	}
}

// A codec that does not read them is refused.
func TestWaitingRecordsAreRefused(t *testing.T) {
	d := streamtest.New(t, waiting(plainText, true), streamtest.MayStop())
	put(d, "in", "k:a1@1000")
	d.Upgrade(waiting(codec.Version(2, codec.String), true))
	require.ErrorIs(t, d.Err(), stream.ErrCodec)
	assert.ErrorContains(t, d.Err(), `values were written with "string", and the program has "string v2": give that a migration`)
	d.Upgrade(waiting(plainText, true))
	require.NoError(t, d.Err())
}

// suppressed holds changes of a table and records of a stream back.
func suppressed(c codec.Codec[string]) *stream.Topology {
	topo := stream.New("test")
	in := topo.FromKeyed(source.KafkaKeyed("in", codec.String, c)).Watermark(stream.Watermark{})
	in.ToTable("rows").Suppress("slow", stream.Suppression{Limit: duration(50)}).Updates(changed).To(strs("changes"))
	in.SuppressUntil("final", func(string, string) time.Time { return ms(1055) }, 0).To(strs("finals"))
	return topo
}

// Changes that are held back evolve, the row as it was emitted last and as it is now, whether or not a newer one joins them.
func TestSuppressedChangesEvolve(t *testing.T) {
	for name, again := range map[string]func(d *streamtest.Driver){"plain": func(*streamtest.Driver) {}, "restart": (*streamtest.Driver).Restart, "wipe": (*streamtest.Driver).WipeState} {
		t.Run(name, func(t *testing.T) {
			d := streamtest.New(t, suppressed(plainText), streamtest.CacheSize(0))
			put(d, "in", "k:a0@900 m:x0@900 j:j@960")
			assert.Equal(t, []string{"k ->k:a0", "m ->m:x0"}, values(drained(d, "changes")))
			put(d, "in", "k:a1@1000 m:x1@1002")
			d.Upgrade(suppressed(onceRead))
			again(d)
			put(d, "in", "k:a2@1003")
			d.Upgrade(suppressed(twiceRead))
			again(d)
			put(d, "in", "j:end@1060")
			assert.Equal(t, []string{"j ->j:end", "k k:a0!?>k:a2?", "m m:x0!?>m:x1!?"}, values(drained(d, "changes")))
			assert.Equal(t, []string{"j:end", "k:a2?", "m:x1!?"}, values(drained(d, "finals")))
		})
	}
}

// A codec that does not read them is refused.
func TestSuppressedChangesAreRefused(t *testing.T) {
	d := streamtest.New(t, suppressed(plainText), streamtest.MayStop())
	put(d, "in", "k:a1@1000")
	d.Upgrade(suppressed(codec.Version(2, codec.String)))
	require.ErrorIs(t, d.Err(), stream.ErrCodec)
	assert.ErrorContains(t, d.Err(), `values were written with "string", and the program has "string v2": give that a migration`)
	d.Upgrade(suppressed(plainText))
	require.NoError(t, d.Err())
}
