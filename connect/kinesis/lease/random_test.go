package lease

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/connect/kinesis/kpl"
)

// Instances come, go, die and are cut off at random, DynamoDB fails at random, and shards are split and merged. At any moment no
// checkpoint goes back, and no shard is begun before its parents were read; in the end every shard is read to its end, and the
// open ones are shared evenly.
func TestRandom(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			lag := time.Duration(seed%3) * 400 * time.Millisecond
			scenario(t, kinesistest.Options{Lag: lag}, func(w *world) { (&chaos{world: w, r: rand.New(rand.NewPCG(seed, 7))}).run() })
		})
	}
}

type chaos struct {
	*world
	r    *rand.Rand
	live []*instance
	n    int
}

func (c *chaos) run() {
	c.begin()
	for range 60 {
		c.step()
		c.pass(time.Duration(c.r.IntN(8000)) * time.Millisecond)
	}
	c.server.Heal()
	c.finish()
}

func (c *chaos) begin() {
	c.open(3, 0)
	c.come()
}

// finish lets all lines work, waits until all is as it should be, and checks what has happened.
func (c *chaos) finish() {
	for _, i := range c.live {
		i.line.set(false, false)
		i.line.arrive()
	}
	c.within(10*time.Minute, "all is read, and the open shards are shared", func() bool {
		var open []string
		for _, s := range c.list() {
			if !s.Closed {
				open = append(open, s.Shard)
			}
		}
		slices.Sort(open)
		rows := c.rows()
		for _, s := range c.list() {
			if r, ok := rows[s.Shard]; s.Closed && ok && !r.ended() || !s.Closed && !ok {
				return false
			}
		}
		return spread(open, c.live...)()
	})
	for _, i := range c.live {
		i.leave()
	}
	// Where one after the other dies that a lease was given to, nobody reads it for long.
	c.alarms = slices.DeleteFunc(c.alarms, func(a Alarm) bool { return a.Kind == Unread })
	assert.Empty(c, c.alarms)
	c.verify()
	c.complete()
}

// complete checks that each closed shard's end was reached, in a row or before the row was deleted.
func (c *chaos) complete() {
	rows := c.rows()
	for _, s := range c.list() {
		if !s.Closed {
			continue
		}
		r, ok := rows[s.Shard]
		ended := ok && r.ended()
		for _, x := range c.writes {
			ended = ended || x.shard == s.Shard && x.checkpoint == shardEnd
		}
		// The answer to the write of an end may have been lost; then its children, which wait for it, were begun.
		for _, child := range c.list() {
			ended = ended || slices.Contains(child.Parents, s.Shard) && slices.ContainsFunc(c.writes, func(x write) bool { return x.shard == child.Shard })
		}
		assert.True(c, ended, "%s was not read to its end", s.Shard)
	}
}

func (c *chaos) come() {
	c.n++
	c.live = append(c.live, c.join(fmt.Sprint("i", c.n)))
}

// pick takes one of those that live out of the list.
func (c *chaos) pick() *instance {
	k := c.r.IntN(len(c.live))
	i := c.live[k]
	c.live = slices.Delete(c.live, k, k+1)
	return i
}

func (c *chaos) step() {
	switch k := c.r.IntN(12); {
	case k < 2 && len(c.live) < 4:
		c.come()
	case k == 2 && len(c.live) > 1:
		i := c.pick()
		i.line.set(false, false)
		i.cancel()
		<-i.done
		_ = i.Close(c.Context()) // what cannot be given back expires
		i.line.arrive()
	case k == 3 && len(c.live) > 1:
		c.pick().kill()
	case k < 6:
		i := c.live[c.r.IntN(len(c.live))]
		i.line.set(c.r.IntN(2) == 0, false)
		if c.r.IntN(2) == 0 {
			i.line.arrive()
		}
	case k < 9:
		for range 1 + c.r.IntN(5) {
			f := kinesistest.Fault{Action: []string{"", "UpdateItem", "GetItem", "Scan", "Query", "PutItem"}[c.r.IntN(6)], After: c.r.IntN(20), Times: 1 + c.r.IntN(3)}
			switch c.r.IntN(4) {
			case 0:
				f.LoseAnswer = true
			case 1:
				f.Error = "ThrottlingException"
			case 2:
				f.Error = "InternalServerError"
			case 3:
				f.Delay = time.Duration(c.r.IntN(15000)) * time.Millisecond
			}
			c.server.Fault(f)
		}
	default:
		c.reshard()
	}
}

// reshard splits a shard in the middle, or merges two that lie side by side.
func (c *chaos) reshard() {
	var open []kinesis.Shard
	for _, s := range c.list() {
		if !s.Closed {
			open = append(open, s)
		}
	}
	slices.SortFunc(open, func(a, b kinesis.Shard) int { return a.Hashes.Start.Compare(b.Hashes.Start) })
	k := c.r.IntN(len(open))
	end := uint64(c.r.IntN(40))
	c.mu.Lock()
	defer c.mu.Unlock()
	add := func(h kpl.Range, parents ...string) {
		c.shards = append(c.shards, kinesis.Shard{ShardID: kinesis.ShardID{Stream: "s", Shard: shardID(len(c.shards))}, Parents: parents, Hashes: h})
	}
	closing := func(s kinesis.Shard) {
		for i := range c.shards {
			if c.shards[i].Shard == s.Shard {
				c.shards[i].Closed = true
			}
		}
		// A reader may be further than this already; what it has read counts.
		c.records[s.Shard] = end
	}
	if len(open) > 6 && k+1 < len(open) {
		closing(open[k])
		closing(open[k+1])
		add(kpl.Range{Start: open[k].Hashes.Start, End: open[k+1].Hashes.End}, open[k].Shard, open[k+1].Shard)
		return
	}
	a, b := open[k].Hashes, open[k].Hashes
	middle := a.Start
	middle[2] += (a.End[2] - a.Start[2]) / 2
	middle[15] ^= 1
	if middle.Compare(a.Start) <= 0 || middle.Compare(a.End) >= 0 {
		return
	}
	closing(open[k])
	a.End, b.Start = predecessor(middle), middle
	add(a, open[k].Shard)
	add(b, open[k].Shard)
}
