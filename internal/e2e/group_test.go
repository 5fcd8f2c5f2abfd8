package e2e_test

import (
	"fmt"
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
)

// pair starts two instances of an application that has n tasks, and waits until they share them.
func pair(t *testing.T, b *broker, topology func(*broker) *stream.Topology, n int, conf ...func(*stream.Config)) (one, two *instance) {
	t.Helper()
	one = run(t, topology(b), b.config(t.TempDir(), conf...))
	one.tasks(t, n)
	two = run(t, topology(b), b.config(t.TempDir(), conf...))
	two.tasks(t, n/2)
	ids := append(one.tasks(t, n-n/2), two.tasks(t, n/2)...)
	slices.Sort(ids)
	assert.Len(t, slices.Compact(ids), n, "each task is with one of them")
	return one, two
}

// heartbeats makes the group quick: an instance hears of a rebalance at its next heartbeat, every sixth of this.
func heartbeats(c *stream.Config) { c.SessionTimeout = 3 * time.Second }

// Two instances share the work. One that leaves hands over at once, and the results are the same.
func TestLeave(t *testing.T) {
	t.Parallel()
	b, s := start(t, totalsTopics()), newShop(10)
	b.write(t, s.orders(t, 30)...)
	one, two := pair(t, b, totals, 6, heartbeats)
	b.write(t, s.orders(t, 30)...)
	s.check(t, b, false)
	began := time.Now()
	require.NoError(t, two.Leave(waitContext(t)))
	require.NoError(t, two.wait(t))
	one.tasks(t, 6)
	took := time.Since(began)
	t.Log("handed over in", took)
	assert.Less(t, took, 2*time.Second, "much less than the session timeout")
	b.write(t, s.orders(t, 30)...)
	b.write(t, s.end(t)...)
	s.check(t, b, true)
	one.stop(t)
	s.check(t, b, true)
}

// A static member that is back within the session timeout finds its tasks, and the other one's do not move.
func TestStaticRestart(t *testing.T) {
	t.Parallel()
	slow(t)
	b, s := start(t, totalsTopics()), newShop(11)
	b.write(t, s.orders(t, 30)...)
	one, two := pair(t, b, totals, 6)
	s.check(t, b, false)
	before, theirs := two.tasks(t, 3), one.tasks(t, 3)
	restores := len(one.log.find("task restored"))
	two.stop(t)
	b.write(t, s.orders(t, 30)...)
	two.start(t)
	assert.Equal(t, before, two.tasks(t, 3))
	b.write(t, s.end(t)...)
	s.check(t, b, true)
	assert.Equal(t, theirs, one.tasks(t, 3))
	assert.Len(t, one.log.find("task restored"), restores, "nothing moved")
	two.stop(t)
	one.stop(t)
	s.check(t, b, true)
}

// With Config.Dynamic the other one takes over at once.
func TestDynamicStop(t *testing.T) {
	t.Parallel()
	slow(t)
	b, s := start(t, totalsTopics()), newShop(12)
	one, two := pair(t, b, totals, 6, heartbeats, func(c *stream.Config) { c.Dynamic = true })
	b.write(t, s.orders(t, 30)...)
	s.check(t, b, false)
	began := time.Now()
	two.stop(t)
	one.tasks(t, 6)
	assert.Less(t, time.Since(began), 2900*time.Millisecond, "not only after the session timeout")
	b.write(t, s.end(t)...)
	s.check(t, b, true)
	one.stop(t)
}

// Partitions of topics that are merged by their keys stay together, whichever instance has them.
func TestMergeOfKeyedTopics(t *testing.T) {
	t.Parallel()
	slow(t)
	b := start(t, map[string]int32{"orders": 4, "returns": 4, "updates": 1})
	topology := func(b *broker) *stream.Topology {
		t := stream.New("merge")
		t.FromKeyed(source.KafkaKeyed(b.name("orders"), codec.String, codec.JSON[order]())).
			Merge(t.FromKeyed(source.KafkaKeyed(b.name("returns"), codec.String, codec.JSON[order]()))).
			Count("counts").
			Changes(func(user string, n int64) total { return total{User: user, N: n} }).
			To(sink.Kafka(b.name("updates"), codec.JSON[total]()))
		return t
	}
	one, two := pair(t, b, topology, 4)
	n := 0
	write := func() {
		for i := range 40 {
			topic := []string{"orders", "returns"}[i%2]
			user := fmt.Sprint("user-", i/2%10)
			b.write(t, kafkatest.Record{Topic: topic, Partition: -1, Key: []byte(user), Value: encode(t, order{User: user})})
			n++
		}
	}
	check := func() {
		counts := map[string]int64{}
		for _, u := range decode[total](t, b.read(t, "updates", n)) {
			counts[u.User]++
			require.Equal(t, counts[u.User], u.N, "each count of %s once and in order", u.User)
		}
		assert.Len(t, counts, 10)
	}
	write()
	check()
	for _, in := range []*instance{one, two} {
		in.until(t, "positions of both topics in each task", func(s stream.Status) bool {
			for _, k := range s.Tasks {
				p := k.ID[len(k.ID)-1:]
				_, a := k.Positions[b.name("orders")+"/"+p]
				_, z := k.Positions[b.name("returns")+"/"+p]
				if a != z {
					return false
				}
			}
			return true
		})
	}
	two.stop(t)
	write()
	two.start(t)
	check()
	require.NoError(t, one.Leave(waitContext(t)))
	write()
	check()
	two.stop(t)
	b.noMore(t, "updates", n)
}

// With in-memory exchange one instance does the work. The other one waits, and goes on where it left.
func TestHotSpare(t *testing.T) {
	t.Parallel()
	b, s := start(t, totalsTopics()), newShop(13)
	conf := func(c *stream.Config) { c.Exchange = stream.InMemory; heartbeats(c) }
	b.write(t, s.orders(t, 30)...)
	one := run(t, totals(b), b.config(t.TempDir(), conf))
	one.tasks(t, 6)
	two := run(t, totals(b), b.config(t.TempDir(), conf))
	b.members(t, 2)
	b.write(t, s.orders(t, 30)...)
	s.check(t, b, false)
	one.tasks(t, 6)
	st, err := two.Status(t.Context())
	require.NoError(t, err)
	assert.Empty(t, st.Tasks)
	require.NoError(t, one.Leave(waitContext(t)))
	require.NoError(t, one.wait(t))
	two.tasks(t, 6)
	b.write(t, s.orders(t, 30)...)
	b.write(t, s.end(t)...)
	s.check(t, b, true)
	two.stop(t)
	s.check(t, b, true)
}

// members waits until the application's group has n members, in a generation of all of them.
func (b *broker) members(t *testing.T, n int) {
	t.Helper()
	adm := b.admin(t)
	require.Eventually(t, func() bool {
		groups, err := adm.DescribeGroups(t.Context(), b.name("app"))
		g := groups[b.name("app")]
		return err == nil && g.State == "Stable" && len(g.Members) == n
	}, patience, 10*time.Millisecond)
}

func (b *broker) grow(t *testing.T, topic string, partitions int) {
	t.Helper()
	_, err := b.admin(t).UpdatePartitions(t.Context(), partitions, b.name(topic))
	require.NoError(t, err)
}

// Partitions that are added to a topic are read, if keys are made after it.
func TestGrownSource(t *testing.T) {
	t.Parallel()
	slow(t)
	for name, conf := range map[string]func(*stream.Config){
		"through topic": func(*stream.Config) {},
		"in memory":     func(c *stream.Config) { c.Exchange = stream.InMemory },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, map[string]int32{"orders": 1, "updates": 1})
			in := run(t, counts(b), b.config(t.TempDir(), conf))
			b.write(t, ok(t, "ann"), ok(t, "bob"))
			b.read(t, "updates", 2)
			b.grow(t, "orders", 3)
			in.tasks(t, 4)
			for p := range int32(3) {
				r := ok(t, "ann")
				r.Partition = p
				b.write(t, r)
			}
			last := map[string]int64{}
			for _, u := range decode[total](t, b.read(t, "updates", 5)) {
				last[u.User] = u.N
			}
			assert.Equal(t, map[string]int64{"ann": 4, "bob": 1}, last)
			in.stop(t)
			in.start(t)
			in.tasks(t, 4)
			b.write(t, ok(t, "bob"))
			got := decode[total](t, b.read(t, "updates", 6))
			assert.Equal(t, total{User: "bob", N: 2}, got[5])
			in.stop(t)
			b.noMore(t, "updates", 6)
		})
	}
}

// Where a topic is read by its own keys they change their place when it grows. That stops the application before the
// state of a key is in two places.
func TestGrownKeyedSource(t *testing.T) {
	t.Parallel()
	slow(t)
	b := start(t, badTopics())
	dir := t.TempDir()
	in := run(t, keyedCounts(b), b.config(dir))
	b.write(t, ok(t, "ann"))
	b.read(t, "updates", 1)
	b.grow(t, "orders", 2)
	for i := range 2 { // when it is noticed, and at the next start
		if i > 0 {
			in = run(t, keyedCounts(b), b.config(dir))
		}
		err := in.wait(t)
		require.ErrorIs(t, err, stream.ErrGrown)
		assert.ErrorContains(t, err, "topic "+b.name("orders")+" has 2 partitions now, and the state of subtopology "+b.name("orders")+" is laid out for 1")
		assert.ErrorContains(t, err, "Read it with source.OnGrowth(source.GrowthRekeys), or with From and KeyBy instead of FromKeyed, under a new AppID")
	}
	b.noMore(t, "updates", 1)
}

// With source.GrowthRekeys it goes on: records come to the tasks of their keys by a repartition, whose partitions stay.
func TestGrownKeyedSourceRekeys(t *testing.T) {
	t.Parallel()
	slow(t)
	b := start(t, badTopics())
	in := run(t, keyedCounts(b, source.OnGrowth(source.GrowthRekeys)), b.config(t.TempDir()))
	in.tasks(t, 2)
	b.write(t, ok(t, "ann"), ok(t, "bob"))
	b.read(t, "updates", 2)
	b.grow(t, "orders", 3)
	in.tasks(t, 4)
	for p := range int32(3) { // a producer that knows of the new partitions, and one that does not yet
		r := ok(t, "ann")
		r.Partition = p
		b.write(t, r)
	}
	last := map[string]int64{}
	for _, u := range decode[total](t, b.read(t, "updates", 5)) {
		last[u.User] = u.N
	}
	assert.Equal(t, map[string]int64{"ann": 4, "bob": 1}, last)
	in.stop(t)
	in.start(t)
	in.tasks(t, 4)
	b.write(t, ok(t, "bob"))
	got := decode[total](t, b.read(t, "updates", 6))
	assert.Equal(t, total{User: "bob", N: 2}, got[5])
	in.stop(t)
	b.noMore(t, "updates", 6)
}
