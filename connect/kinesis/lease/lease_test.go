package lease

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/metrics"
)

// spread says that instances have all these shards between them, each once, with at most one above an equal share.
func spread(want []string, instances ...*instance) func() bool {
	return func() bool {
		var all []string
		for _, i := range instances {
			has := i.has()
			if len(has) > len(want)/len(instances)+1 {
				return false
			}
			all = append(all, has...)
		}
		slices.Sort(all)
		return slices.Equal(all, want)
	}
}

func TestOneInstance(t *testing.T) {
	scenario(t, kinesistest.Options{Creating: 3 * time.Second}, func(w *world) {
		ids := w.open(4, 0)
		a := w.join("a")
		w.within(time.Second, "all taken", spread(ids, a))
		w.pass(10 * time.Second)
		children := w.open(2, 15, ids[1])
		require.NoError(w, a.Found(w.Context(), w.list()))
		want := slices.Sorted(slices.Values(append(slices.Delete(slices.Clone(ids), 1, 2), children...)))
		w.within(10*time.Second, "the children follow at once", spread(want, a))
		merged := w.open(1, 20, children...)
		want = append(slices.Delete(slices.Clone(ids), 1, 2), merged...)
		w.within(40*time.Second, "the child of a merge follows both", spread(want, a))
		w.within(30*time.Second, "what was read and passed on is deleted", func() bool { return len(w.rows()) == 4 })
		a.leave()
		for _, r := range w.rows() {
			assert.Empty(w, r.has(), "given back")
		}
		b := w.join("b")
		w.within(time.Second, "nobody waits for an expiry", spread(want, b))
		b.leave()
		assert.Empty(w, w.alarms)
		w.verify()
	})
}

// Leases are kept without checkpoints, too.
func TestIdle(t *testing.T) {
	scenario(t, kinesistest.Options{}, func(w *world) {
		ids := w.open(5, 0)
		a, b := w.join("a"), w.join("b")
		w.within(30*time.Second, "evenly", spread(ids, a, b))
		for _, i := range []*instance{a, b} {
			i.cancel()
			<-i.done
		}
		before := w.rows()
		w.pass(5 * time.Minute)
		for key, r := range w.rows() {
			assert.Equal(w, before[key].owner, r.owner)
			assert.Greater(w, r.counter, before[key].counter+60)
			assert.Less(w, r.counter, before[key].counter+150)
		}
		for _, i := range []*instance{a, b} {
			select {
			case events := <-i.Events():
				assert.Fail(w, "something has happened", "%v", events)
			default:
			}
			require.NoError(w, i.Close(w.Context()))
		}
	})
}

// Three instances, shards from 1 to 8 to 3; they come and go.
func TestReshard(t *testing.T) {
	scenario(t, kinesistest.Options{Lag: 300 * time.Millisecond}, func(w *world) {
		one := w.open(1, 0)
		a, b, c := w.join("a"), w.join("b"), w.join("c")
		all := []*instance{a, b, c}
		w.within(10*time.Second, "one has it", spread(one, all...))
		w.pass(10 * time.Second)
		two := w.open(2, 20, one...)
		four := append(w.open(2, 15, two[0]), w.open(2, 15, two[1])...)
		var eight []string
		for _, s := range four {
			eight = append(eight, w.open(2, 15, s)...)
		}
		w.within(90*time.Second, "eight, evenly, after 30 s more than reading takes", spread(eight, all...))
		w.pass(20 * time.Second)
		three := append(append(w.open(1, 60, eight[:3]...), w.open(1, 60, eight[3:6]...)...), w.open(1, 60, eight[6:]...)...)
		w.within(150*time.Second, "three, evenly", spread(three, all...))
		b.leave()
		w.within(15*time.Second, "two instances go on", spread(three, a, c))
		a.kill()
		w.within(60*time.Second, "one goes on", spread(three, c))
		d := w.join("d")
		w.within(30*time.Second, "a new one gets its share", spread(three, c, d))
		assert.Empty(w, w.alarms)
		assert.Empty(w, append(b.lost, c.lost...), "nobody who lives loses anything that was not asked for")
		w.within(60*time.Second, "old leases go", func() bool { return len(w.rows()) == 3 })
		c.leave()
		d.leave()
		w.verify()
	})
}

// A lease that nobody can take is given away again and again. A person is told, once.
func TestUnread(t *testing.T) {
	scenario(t, kinesistest.Options{}, func(w *world) {
		ids := w.open(3, 0)
		w.server.Fault(kinesistest.Fault{Action: "GetItem", Shard: ids[0], Times: 1 << 30, Error: "InternalServerError"})
		a, b := w.join("a"), w.join("b")
		told := func() []Alarm {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.alarms)
		}
		w.within(30*time.Second, "the others are read", func() bool { return len(a.has())+len(b.has()) == 2 })
		unread := func() (shards, alarms float64) {
			for _, i := range []*instance{a, b} {
				i.Membership.(connect.Measured).Measure(func(m *metrics.Metric, value float64, labels ...string) {
					switch {
					case m == metrics.KinesisUnread:
						shards += value
					case m == metrics.KinesisAlarms && labels[1] == "unread":
						alarms += value
					}
					assert.Equal(w, "s", labels[0])
				})
			}
			return shards, alarms
		}
		w.pass(time.Minute)
		require.Empty(w, told(), "it may be on its way")
		shards, counted := unread()
		assert.Zero(w, shards+counted)
		w.within(2*time.Minute, "a person is told", func() bool { return len(told()) > 0 })
		w.pass(3 * time.Minute)
		alarms := told()
		require.Len(w, alarms, 1)
		assert.Equal(w, Alarm{Kind: Unread, Stream: "s", Shard: ids[0], Detail: alarms[0].Detail}, alarms[0])
		assert.Contains(w, alarms[0].Detail, "nobody has renewed it; its lease was given to ")
		shards, counted = unread()
		assert.Equal(w, []float64{1, 1}, []float64{shards, counted})
		w.server.Heal()
		w.within(2*time.Minute, "all are read", spread(ids, a, b))
		w.pass(5 * time.Minute)
		assert.Len(w, told(), 1)
		shards, counted = unread()
		assert.Equal(w, []float64{0, 1}, []float64{shards, counted})
		a.leave()
		b.leave()
		w.verify()
	})
}

// An instance that was cut off gives its leases up before others take them, and what it has sent meanwhile arrives too late.
func TestCutOff(t *testing.T) {
	scenario(t, kinesistest.Options{}, func(w *world) {
		ids := w.open(6, 0)
		a, b := w.join("a"), w.join("b")
		w.within(30*time.Second, "evenly", spread(ids, a, b))
		for round := range 2 {
			for _, cut := range []*instance{a, a, b, b} { // the leader, and then one that does not lead
				other := b
				if cut == b {
					other = a
				}
				w.pass(10 * time.Second)
				mine := cut.has()
				cut.line.set(true, false)
				given := time.Now()
				for taken := 0; taken < 6; taken = len(other.has()) {
					w.pass(50 * time.Millisecond)
					for _, s := range mine {
						require.False(w, slices.Contains(other.has(), s) && slices.Contains(cut.has(), s), "both have %s", s)
					}
					require.Less(w, time.Since(given), time.Minute)
				}
				require.Empty(w, cut.has())
				w.pass(5 * time.Second)
				cut.line.set(false, false)
				if round == 0 {
					cut.line.arrive()
				}
				w.within(60*time.Second, "evenly again", spread(ids, a, b))
				if round > 0 { // it has leases back with which it has sent before
					cut.line.arrive()
				}
			}
		}
		a.leave()
		b.leave()
		w.verify()
	})
}

// Whatever answers are lost or refused, leases stay where they are, and nothing is written twice or by two.
func TestLostAnswers(t *testing.T) {
	scenario(t, kinesistest.Options{}, func(w *world) {
		ids := w.open(6, 0)
		a, b := w.join("a"), w.join("b")
		w.within(30*time.Second, "evenly", spread(ids, a, b))
		for i := range 60 {
			for _, action := range []string{"UpdateItem", "GetItem", "Query", "Scan", "PutItem"} {
				w.server.Fault(kinesistest.Fault{Action: action, After: i % 4, LoseAnswer: true})
				w.server.Fault(kinesistest.Fault{Action: action, After: i % 3, Error: "ThrottlingException"})
				w.server.Fault(kinesistest.Fault{Action: action, After: i % 5, Delay: time.Duration(i) * 100 * time.Millisecond})
				w.server.Fault(kinesistest.Fault{Action: action, After: i % 2, Error: "InternalServerError"})
			}
			w.pass(2 * time.Second)
		}
		w.server.Heal()
		w.within(2*time.Minute, "evenly", spread(ids, a, b))
		a.leave()
		b.leave()
		w.verify()
	})
}

// One that does not answer when it is asked loses the lease after a while, and is fenced.
func TestHandOverLate(t *testing.T) {
	scenario(t, kinesistest.Options{}, func(w *world) {
		ids := w.open(2, 0)
		a := w.join("a")
		w.within(time.Second, "all taken", spread(ids, a))
		a.mu.Lock()
		a.mute = true
		a.mu.Unlock()
		b := w.join("b", func(t *Table) { t.HandOver = 20 * time.Second })
		begun := time.Now()
		w.within(60*time.Second, "the second has one", func() bool { return len(b.has()) == 1 && len(a.has()) == 1 })
		assert.GreaterOrEqual(w, time.Since(begun), 20*time.Second)
		assert.Len(w, a.lost, 1)
		a.leave()
		b.leave()
		w.verify()
	})
}

// A checkpoint fails when the lease has gone to another, with an error that says so; the others are written.
func TestFenced(t *testing.T) {
	scenario(t, kinesistest.Options{}, func(w *world) {
		ids := w.open(2, 0)
		a := w.join("a")
		w.within(time.Second, "all taken", spread(ids, a))
		a.cancel()
		<-a.done
		id := func(n int) kinesis.ShardID { return kinesis.ShardID{Stream: "s", Shard: ids[n]} }
		term := func(n int) uint64 { return a.reads[ids[n]].term }
		other := w.table()
		_, err := other.apply(w.Context(), ids[0], assigned(w.rows()[ids[0]], "z"))
		require.NoError(w, err)
		err = a.Checkpoint(w.Context(), []kinesis.Checkpoint{{ShardID: id(0), Next: record(7), Term: term(0)}, {ShardID: id(1), Next: record(8), Term: term(1)}})
		require.ErrorIs(w, err, kinesis.ErrLeaseLost)
		assert.ErrorContains(w, err, ids[0])
		rows := w.rows()
		assert.Equal(w, "z", rows[ids[0]].owner)
		assert.Equal(w, trimHorizon, rows[ids[0]].checkpoint)
		at, err := rows[ids[1]].position()
		require.NoError(w, err)
		assert.Equal(w, record(8), *at)
		require.ErrorIs(w, a.Checkpoint(w.Context(), []kinesis.Checkpoint{{ShardID: id(1), Next: record(9), Term: term(1) - 1}}), kinesis.ErrLeaseLost, "of another term")
		events := <-a.Events()
		assert.Equal(w, []kinesis.LeaseEvent{{ShardID: id(0), Change: kinesis.Lost, Term: term(0)}}, events)
		require.NoError(w, a.Close(context.Background()))
		_, open := <-a.Events()
		assert.False(w, open)
	})
}

// A lease that has changed in any way but by this instance's own writes is lost, also if it seems to be with it again.
func TestChanged(t *testing.T) {
	for name, change := range map[string]func(r row) *edit{
		"given to another": func(r row) *edit { return assigned(r, "z") },
		"given to another, by a program that leaves the counter": func(row) *edit {
			e := &edit{}
			e.put(attrOwner, text("z"))
			return e
		},
		"given back": func(r row) *edit {
			e := &edit{}
			e.put(attrCounter, integer(r.counter+2))
			e.put(attrCheckpoint, text("500000000000000000000000000000000000000000000000"))
			return e
		},
		"freed": func(row) *edit {
			e := &edit{}
			e.drop(attrOwner)
			return e
		},
		"a later holder's who was asked": func(r row) *edit {
			e := &edit{}
			e.put(attrHolder, text("z"))
			return e
		},
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, kinesistest.Options{}, func(w *world) {
				ids := w.open(1, 0)
				a := w.join("a")
				w.within(time.Second, "taken", spread(ids, a))
				w.pass(5 * time.Second)
				a.cancel()
				<-a.done
				other := w.table()
				_, err := other.apply(w.Context(), ids[0], change(w.rows()[ids[0]]))
				require.NoError(w, err)
				before := w.rows()
				c := kinesis.Checkpoint{ShardID: kinesis.ShardID{Stream: "s", Shard: ids[0]}, Next: record(9), Term: a.reads[ids[0]].term}
				require.ErrorIs(w, a.Checkpoint(w.Context(), []kinesis.Checkpoint{c}), kinesis.ErrLeaseLost)
				require.Equal(w, before, w.rows())
				_ = a.Close(w.Context())
			})
		})
	}
}

// Of answers that are lost nothing is lost.
func TestOnlyAnswersLost(t *testing.T) {
	scenario(t, kinesistest.Options{}, func(w *world) {
		ids := w.open(4, 0)
		a := w.join("a")
		w.within(time.Second, "taken", spread(ids, a))
		for range 40 {
			w.server.Fault(kinesistest.Fault{Action: "UpdateItem", After: 1, LoseAnswer: true})
			w.pass(time.Second)
		}
		w.pass(10 * time.Second)
		assert.Zero(w, w.server.Pending())
		assert.Empty(w, a.lost)
		a.leave()
		w.verify()
	})
}

// One that goes when it was asked for a lease, and does not know it yet, leaves it to whom it was promised.
func TestLeavesWhenAsked(t *testing.T) {
	scenario(t, kinesistest.Options{}, func(w *world) {
		ids := w.open(1, 0)
		a := w.join("a")
		w.within(time.Second, "taken", spread(ids, a))
		w.pass(5 * time.Second)
		_, err := w.table().apply(w.Context(), ids[0], asked(w.rows()[ids[0]], "z"))
		require.NoError(w, err)
		a.leave()
		r := w.rows()[ids[0]]
		assert.Equal(w, []string{"z", ""}, []string{r.owner, r.holder})
	})
}

// A table that may not be used ends the membership with the reason.
func TestHopeless(t *testing.T) {
	scenario(t, kinesistest.Options{}, func(w *world) {
		ids := w.open(1, 0)
		a := w.join("a")
		w.within(time.Second, "taken", spread(ids, a))
		w.server.Fault(kinesistest.Fault{Action: "UpdateItem", Error: "AccessDeniedException", Times: 1000})
		<-a.done
		assert.ErrorContains(w, a.Err(), "AccessDeniedException")
		assert.Error(w, a.Found(w.Context(), w.list()))
		_ = a.Close(w.Context())
	})
}
