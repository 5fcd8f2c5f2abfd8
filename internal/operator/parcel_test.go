package operator

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// crossing is a task that sends what it reads, and one that gets it.
type crossing[K comparable, V any] struct {
	from, to *task.Task
	got      []string
	bad      []task.Bad
}

// cross makes one: key and value are made of the text of a record. The task that gets it rejects values of which the text has
// "=666", by a dead letter.
func cross[K comparable, V any](t require.TestingT, partitions int32, key codec.Codec[K], value codec.Codec[V], split func(string) (K, V)) *crossing[K, V] {
	x := &crossing[K, V]{}
	newTask := func(spec task.PortSpec, of int32) *task.Task {
		ts := &task.Spec{Subtopology: "s", KeyGroups: 8}
		return task.New(ts, 0, []*task.Port{{Part: source.Partition{Stream: spec.Name, Index: of}, Spec: &spec}}, &shelved{entries: map[string]string{}}, func(b task.Bad) { x.bad = append(x.bad, b) })
	}
	x.from = newTask(task.PortSpec{Name: "in", OnError: onerror.Skip}, 0)
	op := x.from.AddOperator("repartition", "here")
	hand := NewSender(x.from, Lane{Op: op, Topic: "across", Partitions: partitions}, key, value, new(sync.Pool))
	send := Repartition(hand.Lane, hand, -1, key, value)
	x.from.Ports[0].Run = func(c *task.Ctx, r *source.Record) {
		k, v := split(string(r.Value))
		send(c, k, v)
		if strings.Contains(string(r.Value), "twice") {
			send(c, k, v)
		}
		if strings.Contains(string(r.Value), "reject") {
			c.Reject(errors.New("given up on behind the repartition"), nil)
		}
	}
	x.to = newTask(task.PortSpec{Name: "across", Repartition: true, Memory: true, Upstream: 1, OnError: onerror.DeadLetter("dead")}, 0)
	read := x.to.AddOperator("source", "there")
	KeyedSource(x.to.Ports[0], Reader{Op: read, EventTime: true}, key, value, func(c *task.Ctx, k K, b []byte) {
		x.got = append(x.got, fmt.Sprintf("%v=%d of %q at %d", k, c.Of, b, c.Time))
	}, func(c *task.Ctx, k K, v V) {
		text := fmt.Sprintf("%v=%v at %d", k, v, c.Time)
		for _, h := range c.Headers {
			text += fmt.Sprintf(" %s:%s", h.Key, h.Value)
		}
		x.got = append(x.got, text)
		if strings.Contains(text, "=666") {
			c.Reject(errors.New("a bad value"), nil)
		}
		want, err := key.Append(nil, k)
		require.NoError(t, err)
		require.Equal(t, want, c.Key)
	})
	for _, tk := range []*task.Task{x.from, x.to} {
		tk.Ready()
		require.NoError(t, tk.Restore())
		tk.Ports[0].Start(nil, true)
	}
	return x
}

// run sends texts, and lets the other task read what comes for partition 0.
func (x *crossing[K, V]) run(t require.TestingT, records ...source.Record) (parcels int) {
	for i := range records {
		records[i].Position = source.At(int64(i))
	}
	x.from.Ports[0].Offer(source.Batch{Records: records, Next: source.At(int64(len(records)))})
	_, err := x.from.Step(0, len(records)+1)
	for x.from.Err() == nil && !x.from.Ports[0].Empty() { // a panic ends a step
		_, err = x.from.Step(0, len(records))
	}
	require.NoError(t, err)
	x.from.Cross.Take(func(to source.Partition, p task.Parcel) {
		require.Equal(t, "across", to.Stream)
		require.NotZero(t, p.Len())
		require.Positive(t, p.Bytes())
		parcels++
		if to.Index > 0 {
			p.Release()
			return
		}
		x.to.Ports[0].Hand(source.Batch{Partition: to, Bytes: p.Bytes(), Release: p.Release}, p)
	})
	require.True(t, x.from.Cross.Empty())
	for !x.to.Ports[0].Empty() {
		_, err = x.to.Step(0, 1000)
		require.NoError(t, err)
	}
	return parcels
}

func texts(list ...string) (records []source.Record) {
	for i, s := range list {
		records = append(records, source.Record{Value: []byte(s), Time: int64(i)})
	}
	return records
}

func digits(s string) int64 {
	n := int64(0)
	for _, c := range s {
		if '0' <= c && c <= '9' {
			n = 10*n + int64(c-'0')
		}
	}
	return n
}

// Keys and values go as they are, or encoded, each by its type.
func TestParcel(t *testing.T) {
	numbers := cross(t, 1, codec.Int64, codec.Int64, func(s string) (int64, int64) { return digits(s) % 2, digits(s) })
	strings := cross(t, 1, codec.String, codec.String, func(s string) (string, string) { return s[:1], s })
	keys := cross(t, 1, codec.Int64, codec.String, func(s string) (int64, string) { return digits(s), s })
	values := cross(t, 1, codec.String, codec.Int64, func(s string) (string, int64) { return s[:1], digits(s) })
	for _, c := range []struct {
		name string
		send []string
		want [4][]string // numbers, strings, keys, values
	}{
		{"nothing", nil, [4][]string{}},
		{"records", []string{"a1", "b2"}, [4][]string{{"1=1 at 0", "0=2 at 1"}, {"a=a1 at 0", "b=b2 at 1"}, {"1=a1 at 0", "2=b2 at 1"}, {"a=1 at 0", "b=2 at 1"}}},
		{"given up on, with all that they sent", []string{"a1", "b2 reject", "c3 twice reject", "d4"},
			[4][]string{{"1=1 at 0", "0=4 at 3"}, {"a=a1 at 0", "d=d4 at 3"}, {"1=a1 at 0", "4=d4 at 3"}, {"a=1 at 0", "d=4 at 3"}}},
		{"the last one", []string{"a1", "b2 reject"}, [4][]string{{"1=1 at 0"}, {"a=a1 at 0"}, {"1=a1 at 0"}, {"a=1 at 0"}}},
		{"twice", []string{"a1 twice"}, [4][]string{{"1=1 at 0", "1=1 at 0"}, {"a=a1 twice at 0", "a=a1 twice at 0"}, {"1=a1 twice at 0", "1=a1 twice at 0"}, {"a=1 at 0", "a=1 at 0"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			numbers.got, strings.got, keys.got, values.got = nil, nil, nil, nil
			numbers.run(t, texts(c.send...)...)
			strings.run(t, texts(c.send...)...)
			keys.run(t, texts(c.send...)...)
			values.run(t, texts(c.send...)...)
			assert.Equal(t, c.want, [4][]string{numbers.got, strings.got, keys.got, values.got})
		})
	}

	t.Run("headers of some", func(t *testing.T) {
		x := cross(t, 1, codec.Int64, codec.Int64, func(s string) (int64, int64) { return 0, digits(s) })
		records := texts("1", "2", "3 reject", "4", "5")
		lent := []byte("lent")
		records[1].Headers = []source.Header{{Key: "h", Value: lent}}
		records[2].Headers = []source.Header{{Key: "gone", Value: []byte("x")}}
		x.from.Ports[0].Offer(source.Batch{Records: records[:3], Next: source.At(3)})
		_, err := x.from.Step(0, 3)
		require.NoError(t, err)
		copy(lent, "reus")
		x.run(t, records[3:]...)
		assert.Equal(t, []string{"0=1 at 0", "0=2 at 1 h:lent", "0=4 at 3", "0=5 at 4"}, x.got)
		x.got = nil
		x.run(t, texts("6")...)
		assert.Equal(t, []string{"0=6 at 0"}, x.got, "not those of a record that the parcel had before")
	})

	t.Run("a dead letter is what a topic would have had", func(t *testing.T) {
		key, _ := codec.Int64.Append(nil, 7)
		number, _ := codec.Int64.Append(nil, 666)
		typed := cross(t, 1, codec.Int64, codec.Int64, func(s string) (int64, int64) { return 7, digits(s) })
		encoded := cross(t, 1, codec.Int64, codec.String, func(s string) (int64, string) { return 7, s })
		typed.run(t, texts("1", "666", "3")...)
		encoded.run(t, texts("1", "=666", "3")...)
		assert.Len(t, typed.bad, 1)
		assert.Len(t, encoded.bad, 1)
		for want, tk := range map[string]*task.Task{string(number): typed.to, "=666": encoded.to} {
			require.Len(t, tk.Out.Records, 1)
			assert.Equal(t, key, tk.Out.Records[0].Key)
			assert.Equal(t, want, string(tk.Out.Records[0].Value))
		}
	})

	t.Run("aggregates of several", func(t *testing.T) {
		x := cross(t, 1, codec.Int64, codec.Int64, func(s string) (int64, int64) { return digits(s), 0 })
		key, _ := codec.Int64.Append(nil, 5)
		hand := NewSender(x.from, Lane{Topic: "across", Partitions: 1}, codec.Int64, codec.Int64, new(sync.Pool))
		hand.Gathered(0, 5, key, []byte("sum"), 99, 3)
		x.run(t)
		assert.Equal(t, []string{`5=3 of "sum" at 99`}, x.got)
	})
}

// Whatever is sent, in whatever steps, and given up on: what arrives is what was sent, once and in order, and a parcel is filled again
// only when it has been read.
func TestParcelsKeepWhatWasSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := cross(t, 3, codec.Int64, codec.String, func(s string) (int64, string) { return digits(s), s })
		var want []string
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			var list []string
			for range rapid.IntRange(0, 40).Draw(t, "records") {
				text := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "key"), rapid.SampledFrom([]string{"", " reject", " twice", " twice reject"}).Draw(t, "how"))
				list = append(list, text)
				key, _ := codec.Int64.Append(nil, digits(text))
				if strings.Contains(text, "reject") || task.Group(key, 8)%3 != 0 {
					continue
				}
				line := fmt.Sprintf("%d=%s at %d", digits(text), text, len(list)-1)
				want = append(want, line)
				if strings.Contains(text, "twice") {
					want = append(want, line)
				}
			}
			x.run(t, texts(list...)...)
		}
		require.Equal(t, want, x.got)
	})
}

// What a user's function keeps of a value, and changes later, is not what the other task reads.
func TestParcelsShareNothing(t *testing.T) {
	var kept [][]byte
	x := cross(t, 1, codec.Int64, codec.Bytes, func(s string) (int64, []byte) {
		b := []byte(s)
		kept = append(kept, b)
		return 0, b
	})
	x.from.Ports[0].Offer(source.Batch{Records: texts("mine", "yours")})
	_, err := x.from.Step(0, 2)
	require.NoError(t, err)
	for _, b := range kept {
		copy(b, bytes.Repeat([]byte("#"), len(b)))
	}
	x.run(t)
	assert.Equal(t, []string{fmt.Sprintf("0=%v at 0", []byte("mine")), fmt.Sprintf("0=%v at 1", []byte("yours"))}, x.got)
	assert.Equal(t, int64(eventtime.None), x.to.Watermark())
}
