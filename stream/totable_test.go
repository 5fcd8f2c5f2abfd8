package stream_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// Records of a stream set rows and delete them; deleting one that is not there is no change.
func TestToTableOf(t *testing.T) {
	row := func(_, v string) (int, bool) { return len(v), !strings.HasSuffix(v, "gone") }
	topology := func() *stream.Topology {
		topo := stream.New("rows")
		rows := rekeyed(topo, "in", 0).ToTableOf("rows", row)
		rows.Updates(func(k string, ch stream.Change[int]) string {
			before, now := "-", "-"
			if ch.Old != nil {
				before = fmt.Sprint(*ch.Old)
			}
			if ch.New != nil {
				now = fmt.Sprint(*ch.New)
			}
			return k + " " + before + ">" + now
		}).To(strs("out"))
		return topo
	}
	streamtest.EveryWay(t, topology, func(t *testing.T, d *streamtest.Driver) {
		put(d, "in", "a:gone@1 a:1@2 a:22@3 b:1@4 a:gone@5 a:gone@6 a:333@7")
		assert.Equal(t, []string{"a ->3@2", "a 3>4@3", "b ->3@4", "a 4>-@5", "a ->5@7"}, drained(d, "out"))
	})
}

// What comes too late to be a version of a row is offered, deletions too.
func TestVersionedTableLate(t *testing.T) {
	topology := func() *stream.Topology {
		topo := stream.New("versions")
		rows := topo.VersionedTable(source.KafkaKeyed("rows", codec.String, codec.String), "rows", duration(10)).Watermark(stream.Watermark{OutOfOrder: duration(5)})
		rows.Late(func(k string, l stream.LateRecord[*string]) string {
			return fmt.Sprintf("%s %s %d<%d", k, show(l.Value), l.Time.UnixMilli(), l.Watermark.UnixMilli())
		}).To(strs("late"))
		direct(topo, "in", 0).JoinAsOf("join", rows, func(s, r string) string { return s + "+" + r }).To(strs("out"))
		return topo
	}
	streamtest.EveryWay(t, topology, func(t *testing.T, d *streamtest.Driver) {
		set(d, "rows", "a:1@10 a:2@50")
		put(d, "in", "a:s@60")
		assert.Empty(t, drained(d, "late"))
		set(d, "rows", "a:3@35 a:4@34 a@33")
		assert.Equal(t, []string{"a a:4 34<45@34", "a - 33<45@33"}, drained(d, "late"))
	})
}

// Sessions that end are taken off the table of those that are open.
func ExampleKeyed_ToTableOf() {
	type session struct {
		User string
		Open bool
	}
	topo := stream.New("sessions")
	topo.FromKeyed(source.KafkaKeyed("sessions", codec.String, codec.JSON[session]())).
		ToTableOf("open", func(_ string, s session) (string, bool) { return s.User, s.Open }).
		GroupBy(func(_, user string) string { return user }).
		Count("open-by-user").
		Updates(func(user string, n stream.Change[int64]) string {
			if n.New == nil {
				return user + " has none"
			}
			return fmt.Sprintf("%s has %d", user, *n.New)
		}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("sessions", "1", noon, session{"ann", true})
	d.PipeKeyed("sessions", "2", noon, session{"ann", true})
	d.PipeKeyed("sessions", "1", noon, session{"ann", false})
	d.PipeKeyed("sessions", "2", noon, session{"ann", false})
	printed(d)
	// Output:
	// ann has 1
	// ann has 2
	// ann has 1
	// ann has none
}
