package main

import (
	"time"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// folded is the state of a window.
type folded struct{ N, Sum, Last int64 }

// tally is the state of a key in the process operator.
type tally struct{ N, Sum int64 }

// alarm is the state of an alarm that has not rung.
type alarm struct{ Due int64 }

// total is what a window adds up to.
type total struct{ N, Sum int64 }

// topology is what is tested: event time and a repartition, behind it windows with all their outputs and a process
// operator with timers; another repartition, of windows whose records are added up before it; beside them a keyed topic, read
// as it is, with a count and wall-clock timers. Options are those of the keyed topic.
func topology(p profile, topic func(string) string, keyedBy ...source.Option) *stream.Topology {
	t := stream.New("killtest")
	events := t.From(source.Kafka(topic(topicIn), codec.JSON[event](), source.OnError(onerror.DeadLetter(topic(topicDead))))).
		EventTime(func(e event) time.Time { return time.UnixMilli(e.At) }, stream.Watermark{OutOfOrder: p.bound, Idle: p.idle})
	key := func(e event) string { return e.Key }
	byKey := events.KeyBy(key).Repartition("by-key", stream.Repartitioning{Partitions: repartitions})

	windows := byKey.Window(p.window).Fold("windows", func(a *folded, e event) {
		a.N++
		a.Sum += e.Value
		a.Last = e.ID
	})
	windows.OnUpdate(func(k string, s window.Span, a folded) update {
		return update{k, s.From, int64(s.Revision), a.N, a.Sum, a.Last}
	}).To(sink.Kafka(topic(topicUpdates), codec.JSON[update]()))
	windows.OnClose(func(k string, s window.Span, a folded) result {
		return result{k, s.From, int64(s.Revision), a.N, a.Sum}
	}).To(sink.Kafka(topic(topicResults), codec.JSON[result]()))
	windows.Late(func(k string, l stream.LateRecord[event]) late {
		return late{l.Value.ID, k, l.Time.UnixMilli(), l.Span.To, l.Watermark.UnixMilli()}
	}).To(sink.Kafka(topic(topicLate), codec.JSON[late]()))

	events.KeyBy(key).Repartition("totals-by-key", stream.Repartitioning{Partitions: repartitions}).
		Window(p.totals).FoldMerge("totals", func(a *total, e event) {
		a.N++
		a.Sum += e.Value
	}, func(a *total, b total) {
		a.N += b.N
		a.Sum += b.Sum
	}).OnClose(func(k string, s window.Span, a total) result {
		return result{k, s.From, int64(s.Revision), a.N, a.Sum}
	}).To(sink.Kafka(topic(topicTotals), codec.JSON[result]()))

	byKey.Process("seen", onEvent, onTimer).To(sink.Kafka(topic(topicSeen), codec.JSON[seen]()))

	keyed := t.FromKeyed(source.KafkaKeyed(topic(topicKeyed), codec.String, codec.JSON[event](), keyedBy...))
	keyed.Count("counts").Changes(func(k string, n int64) count { return count{k, n} }).To(sink.Kafka(topic(topicCounts), codec.JSON[count]()))
	keyed.Filter(func(_ string, e event) bool { return e.Due > 0 }).
		Process("alarms", setAlarm, ring).To(sink.Kafka(topic(topicRung), codec.JSON[rung]()))
	return t
}

// onEvent counts, and sets a timer to the end of the record's bucket, unless the watermark has passed it: so no timer
// can fire twice.
func onEvent(p *stream.Process[string, tally, seen], e event) {
	s := p.State()
	s.N++
	s.Sum += e.Value
	out := seen{Key: p.Key(), ID: e.ID, N: s.N, Sum: s.Sum}
	at := (e.At/bucket + 1) * bucket
	if w := p.Watermark(); w.IsZero() || at >= w.UnixMilli() {
		out.Set = at
		p.SetTimer(time.UnixMilli(at))
	}
	p.Emit(out)
}

func onTimer(p *stream.Process[string, tally, seen], t stream.Timer) {
	s, _ := p.Get()
	p.Emit(seen{Key: p.Key(), N: s.N, Sum: s.Sum, Fired: t.At.UnixMilli()})
}

func setAlarm(p *stream.Process[string, alarm, rung], e event) {
	p.State().Due = e.Due
	p.SetWallTimer(time.UnixMilli(e.Due))
}

func ring(p *stream.Process[string, alarm, rung], _ stream.Timer) {
	a, _ := p.Get()
	p.Emit(rung{p.Key(), a.Due})
	p.Clear()
}
