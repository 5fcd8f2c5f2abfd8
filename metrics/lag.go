package metrics

import (
	"slices"
	"strings"
	"time"
)

// LagLimit is what a partition may lag before somebody is told. A limit of 0 is none.
type LagLimit struct {
	Records int64         // between what was processed and the end of the partition
	Time    time.Duration // age of the newest event time that was processed, while more records wait
}

// Lag is a partition that went over its limit, or came back below.
type Lag struct {
	App, Instance, Topic, Partition string

	Records int64
	Time    time.Duration
	Over    bool // false: it is within its limits again
}

// OnLag returns a receiver that calls f each time a partition goes over a limit, and once when it is within both limits
// again. A partition that is handed to another instance while it is over is not reported as back. f is called from the
// goroutine that takes samples, and should not wait for long.
func OnLag(limit LagLimit, f func(Lag)) Receiver {
	return &lagWatch{limit: limit, f: f, over: map[[2]string]bool{}}
}

type lagWatch struct {
	limit LagLimit
	f     func(Lag)
	over  map[[2]string]bool // by topic and partition
}

// Receive implements Receiver.
func (w *lagWatch) Receive(s Sample) {
	lags := map[[2]string]*Lag{}
	for _, p := range s.Points {
		if p.Metric != RecordLag && p.Metric != TimeLag {
			continue
		}
		key := [2]string{p.Values[0], p.Values[1]}
		l := lags[key]
		if l == nil {
			l = &Lag{App: s.App, Instance: s.Instance, Topic: key[0], Partition: key[1]}
			lags[key] = l
		}
		if p.Metric == RecordLag {
			l.Records = int64(p.Value)
		} else {
			l.Time = time.Duration(p.Value * float64(time.Second))
		}
	}
	var news []Lag
	for key, l := range lags {
		l.Over = w.limit.Records > 0 && l.Records > w.limit.Records || w.limit.Time > 0 && l.Time > w.limit.Time
		if l.Over != w.over[key] {
			news = append(news, *l)
		}
		w.over[key] = l.Over
	}
	for key := range w.over {
		if lags[key] == nil {
			delete(w.over, key)
		}
	}
	slices.SortFunc(news, func(a, b Lag) int {
		return strings.Compare(a.Topic+"/"+a.Partition, b.Topic+"/"+b.Partition)
	})
	for _, l := range news {
		w.f(l)
	}
}
