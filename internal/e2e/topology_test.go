package e2e_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// order is what most tests read.
type order struct {
	User   string
	Amount int64
	At     int64 // ms since the epoch
}

// total is an order's place in the sums of its window.
type total struct {
	User  string
	From  int64
	N     int64
	Sum   int64
	Rev   uint64
	Final bool
}

// tally is the state behind it.
type tally struct{ N, Sum int64 }

func (s *tally) add(o order) { s.N++; s.Sum += o.Amount }

const size = 10 * time.Second

func orderTime(o order) time.Time { return time.UnixMilli(o.At) }

// totals is the topology of most tests: orders, without those of no amount and with cents made of the others, summed by
// user in windows of ten seconds behind a repartition. Every update goes to "updates", closed windows to "finals".
func totals(b *broker) *stream.Topology { return totalsTo(b, "updates", "finals") }

func totalsTo(b *broker, updates, finals string, opts ...source.Option) *stream.Topology {
	t := stream.New("totals")
	w := t.From(source.Kafka(b.name("orders"), codec.JSON[order](), opts...)).
		Filter(func(o order) bool { return o.Amount > 0 }).
		Map(func(o order) order { o.Amount *= 100; return o }).
		EventTime(orderTime, stream.Watermark{OutOfOrder: time.Second}).
		KeyBy(func(o order) string { return o.User }).
		Window(window.Tumbling{Size: size}).
		Fold("totals", (*tally).add)
	result := func(user string, s window.Span, a tally) total {
		return total{user, s.From, a.N, a.Sum, s.Revision, s.Final}
	}
	w.OnUpdate(result).To(sink.Kafka(b.name(updates), codec.JSON[total]()))
	w.OnClose(result).To(sink.Kafka(b.name(finals), codec.JSON[total]()))
	return t
}

// counts counts the orders of each user.
func counts(b *broker) *stream.Topology {
	t := stream.New("counts")
	t.From(source.Kafka(b.name("orders"), codec.JSON[order]())).
		KeyBy(func(o order) string { return o.User }).
		Count("counts").
		Changes(func(user string, n int64) total { return total{User: user, N: n} }).
		To(sink.Kafka(b.name("updates"), codec.JSON[total]()))
	return t
}

// totalsTopics are its topics.
func totalsTopics() map[string]int32 { return map[string]int32{"orders": 3, "updates": 2, "finals": 2} }

// shop makes orders, always the same for a seed. In each partition their times go forward by about a second each, out of
// order by less than the watermark's bound.
type shop struct {
	rand *rand.Rand
	at   [3]int64
	all  []order
}

func newShop(seed uint64) *shop { return &shop{rand: rand.New(rand.NewPCG(seed, seed))} }

// orders makes n orders for each of the partitions.
func (s *shop) orders(t *testing.T, n int) (recs []kafkatest.Record) {
	for range n {
		for p := range s.at {
			s.at[p] += s.rand.Int64N(2000)
			o := order{fmt.Sprintf("user-%d", s.rand.IntN(7)), s.rand.Int64N(5), s.at[p] - s.rand.Int64N(1000)}
			s.all = append(s.all, o)
			recs = append(recs, s.record(t, p, o))
		}
	}
	return recs
}

// end makes one order for each partition, so late that all windows before it close.
func (s *shop) end(t *testing.T) (recs []kafkatest.Record) {
	for p := range s.at {
		o := order{"end", 1, 1_000_000_000}
		s.all = append(s.all, o)
		recs = append(recs, s.record(t, p, o))
	}
	return recs
}

func (s *shop) record(t *testing.T, p int, o order) kafkatest.Record {
	return kafkatest.Record{Topic: "orders", Partition: int32(p), Key: []byte("k"), Value: encode(t, o), Time: time.Now()}
}

// want recomputes the windows from all orders so far.
func (s *shop) want() map[string]tally {
	w := map[string]tally{}
	for _, o := range s.all {
		if o.Amount > 0 {
			from := o.At - ((o.At%size.Milliseconds())+size.Milliseconds())%size.Milliseconds()
			k := place(o.User, from)
			s := w[k]
			s.N++
			s.Sum += o.Amount * 100
			w[k] = s
		}
	}
	return w
}

func place(user string, from int64) string { return fmt.Sprintf("%s@%d", user, from) }

// updates is how many updates there must be.
func (s *shop) updates() (n int) {
	for _, w := range s.want() {
		n += int(w.N)
	}
	return n
}

// check compares the output with the recomputation: of each window the updates 1 to n, each once and in order, the last
// of which has the sum; and, if all have closed, one final result each, the same as the last update.
func (s *shop) check(t *testing.T, b *broker, closed bool) {
	t.Helper()
	s.checkIn(t, b, "updates", "finals", closed)
}

func (s *shop) checkIn(t *testing.T, b *broker, updates, finals string, closed bool) {
	t.Helper()
	want := s.want()
	n := s.updates()
	last := map[string]total{}
	for _, u := range decode[total](t, b.read(t, updates, n)) {
		k := place(u.User, u.From)
		require.Equal(t, last[k].Rev+1, u.Rev, "update of %s: none may be missing or there twice", k)
		require.Equal(t, int64(u.Rev), u.N, k)
		last[k] = u
	}
	assert.Len(t, last, len(want))
	for k, w := range want {
		assert.Equal(t, w, tally{last[k].N, last[k].Sum}, k)
	}
	b.noMore(t, updates, n)
	if !closed {
		return
	}
	delete(want, place("end", 1_000_000_000))
	results := decode[total](t, b.read(t, finals, len(want)))
	b.noMore(t, finals, len(want))
	seen := map[string]bool{}
	for _, f := range results {
		k := place(f.User, f.From)
		assert.False(t, seen[k], "%s has closed twice", k)
		seen[k] = true
		assert.True(t, f.Final)
		assert.Equal(t, want[k], tally{f.N, f.Sum}, k)
	}
}

// restored waits for the lines that tell how n tasks were restored, ordered by task.
func restored(t *testing.T, in *instance, n int) []line {
	t.Helper()
	in.tasks(t, n)
	lines := in.log.find("task restored")
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.attrs["task"].String(), b.attrs["task"].String()) })
	require.Len(t, lines, n)
	return lines
}
