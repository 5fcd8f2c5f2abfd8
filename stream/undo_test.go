package stream_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// A record that is given up on behind an aggregate, or in a function of the user, leaves the state as it was, timers too.
func TestStateOfRefusedRecordsIsTakenBack(t *testing.T) {
	type tally struct {
		N    int
		Last string
	}
	bad := func(s string) (string, error) {
		if strings.Contains(s, "!") {
			return "", errBad
		}
		return s, nil
	}
	count := func(k string, n int64) string { return fmt.Sprint(k, n) }
	for name, build := range map[string]func(topo *stream.Topology){
		"count, and an error behind it": func(topo *stream.Topology) {
			last := ""
			texts(topo).Peek(func(s string) { last = s }).KeyBy(letter).Repartition("r", stream.Repartitioning{}).
				Peek(func(_, s string) { last = s }).Count("n").Changes(count).
				TryMap(func(s string) (string, error) { _, err := bad(last); return s, err }, onerror.Skip).To(to("out"))
		},
		"fold that panics half way": func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Fold("n", func(a *tally, s string) {
				a.N++
				a.Last = s
				if strings.Contains(s, "!") {
					panic("boom")
				}
			}).Changes(func(k string, a tally) string { return fmt.Sprint(k, a.N) }).To(to("out"))
		},
		"process": func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Process("n", func(p *stream.Process[string, tally, string], s string) {
				p.State().N++
				p.SetTimer(ms(2000))
				if strings.Contains(s, "!!") {
					p.Clear()
					p.SetTimer(ms(1000))
					p.ClearTimer(ms(2000))
				}
				p.Emit(fmt.Sprint(p.Key(), p.State().N) + strings.Trim(s, "abcd123456789"))
			}, func(p *stream.Process[string, tally, string], tm stream.Timer) {
				p.Emit(fmt.Sprint(p.Key(), tm.At.UnixMilli()))
			}).TryMap(bad).To(to("out"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
				for i, v := range strings.Fields("a1 b! a! a2 b3 a!! b4 c!!") {
					d.Pipe("in", ms(int64(i)), v)
				}
				assert.Equal(t, []string{"a1", "a2", "b1", "b2"}, d.Drain[string]("out"))
				d.Advance(ms(3000))
				if name == "process" {
					assert.Equal(t, []string{"a2000", "b2000"}, d.Drain[string]("out"))
				}
			})
		})
	}
}

// A key that is only asked for leaves nothing in memory.
func TestProcessGetKeepsNothing(t *testing.T) {
	streamtest.EveryWay(t, made(func(topo *stream.Topology) {
		texts(topo).KeyBy(func(s string) string { return s }).Process("p", func(p *stream.Process[string, int, string], s string) {
			_, before := p.Get()
			p.Clear()
			if s[0] == 'a' {
				*p.State() = 7
			}
			n, ok := p.Get()
			p.Emit(fmt.Sprint(s, before, n, ok))
		}, nil).To(to("out"))
	}), func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("in", noon, "a", "b", "a", "b")
		assert.Equal(t, []string{"afalse 7 true", "bfalse 0 false", "atrue 7 true", "bfalse 0 false"}, d.Drain[string]("out"))
		d.Pipe("in", noon.Add(time.Hour), "c", "a")
		assert.Equal(t, []string{"cfalse 0 false", "atrue 7 true"}, d.Drain[string]("out"))
	})
}
