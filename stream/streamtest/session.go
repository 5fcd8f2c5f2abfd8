package streamtest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// session is the connect.Session of the broker in memory. It is used from one goroutine, and never waits.
type session struct {
	b         *broker
	app       connect.App
	latest    map[string]bool
	changelog map[string]bool
	started   map[source.Partition]int // place among the entries
	begun     bool
	txn       []*entry
}

var _ connect.Session = (*session)(nil)

func (b *broker) session(app connect.App) *session {
	s := &session{b: b, app: app, latest: map[string]bool{}, changelog: map[string]bool{}, started: map[source.Partition]int{}}
	for _, src := range app.Sources {
		s.latest[src.Name] = src.Range.Start == source.Latest
	}
	for _, in := range app.Internal {
		s.changelog[in.Name] = in.Purpose == connect.Changelog
	}
	return s
}

func (s *session) Partitions() map[string]int32 {
	counts := map[string]int32{}
	for name := range s.b.topics {
		counts[name] = s.b.count(name)
	}
	return counts
}

func (s *session) Limits(stream string) connect.Limits { return s.b.d.o.limits[stream] }

func (s *session) Committed(_ context.Context, parts []source.Partition) (map[source.Partition]connect.Committed, error) {
	m := map[source.Partition]connect.Committed{}
	for _, p := range parts {
		if c, ok := s.b.committed[p]; ok {
			m[p] = c
		}
	}
	return m, nil
}

// ReadChangelog reads two records at a time, so that a restore can be interrupted early.
func (s *session) ReadChangelog(_ context.Context, part source.Partition, from source.Position, apply func([]source.Record) error) (source.Position, error) {
	p := s.b.partition(part)
	var recs []source.Record
	flush := func() error {
		if len(recs) == 0 {
			return nil
		}
		if err := apply(recs); err != nil {
			return err
		}
		for i := range recs {
			spoil(&recs[i])
		}
		recs = recs[:0]
		if s.b.d.dies(DuringRestore) {
			return errKilled
		}
		return nil
	}
	for i := p.from(from.Offset()); p.at(i) != nil; i++ {
		recs = append(recs, p.at(i).record())
		if len(recs) == 2 {
			if err := flush(); err != nil {
				return from, err
			}
		}
	}
	if err := flush(); err != nil {
		return from, err
	}
	return source.At(p.end), nil
}

func (s *session) Start(_ context.Context, positions map[source.Partition]*source.Position) (caughtUp []source.Partition, err error) {
	for part, at := range positions {
		p := s.b.partition(part)
		switch {
		case at != nil:
			s.started[part] = p.from(at.Offset())
		case s.latest[part.Stream]:
			s.started[part] = len(p.entries)
		default:
			s.started[part] = 0
		}
		if p.at(s.started[part]) == nil {
			caughtUp = append(caughtUp, part)
		}
	}
	return caughtUp, nil
}

func (s *session) transactional() bool { return s.app.Guarantee == connect.ExactlyOnce }

func (s *session) Transactional() bool { return s.transactional() }

func (s *session) Begin() error {
	if s.begun {
		return errors.New("Begin in an open epoch")
	}
	s.begun = true
	return nil
}

func (s *session) Produce(_ context.Context, recs []sink.Record) error {
	if !s.begun {
		return errors.New("Produce without Begin")
	}
	for i := range recs {
		r := &recs[i]
		t := s.b.topics[r.Stream]
		if t == nil {
			return fmt.Errorf("record for the topic %q, which the topology does not write", r.Stream)
		}
		if r.Partition >= int32(len(t.partitions)) {
			return fmt.Errorf("record for partition %d of the topic %q, which has %d", r.Partition, r.Stream, len(t.partitions))
		}
		e := t.choose(r).append(*r, s.transactional(), false)
		if x := s.b.d.explain; x != nil && x.under != nil {
			e.origin = &x.under.origin
		}
		s.txn = append(s.txn, e)
	}
	return nil
}

func (s *session) Flush(context.Context) (map[source.Partition]source.Position, error) {
	if s.b.d.dies(BeforeFlush) {
		return nil, errKilled
	}
	ends := map[source.Partition]source.Position{}
	for _, e := range s.txn {
		if s.changelog[e.Stream] {
			ends[source.Partition{Stream: e.Stream, Index: e.Partition}] = source.At(e.offset + 1)
		}
	}
	if s.b.d.dies(AfterFlush) {
		return nil, errKilled
	}
	return ends, nil
}

func (s *session) Commit(_ context.Context, positions []connect.PositionCommit) error {
	if s.b.d.dies(BeforeCommit) {
		return errKilled
	}
	s.finish(true)
	for _, c := range positions {
		s.b.committed[c.Partition] = connect.Committed{Position: c.Next, Metadata: c.Metadata}
	}
	switch {
	case s.b.d.dies(AfterCommit):
		return errKilled
	case s.b.d.dies(LostAnswer):
		return connect.ErrUnknown
	}
	return nil
}

// finish ends the epoch. A transaction's end takes an offset in each of its partitions.
func (s *session) finish(commit bool) {
	if x := s.b.d.explain; x != nil {
		x.finish(commit)
	}
	touched := map[*partition]bool{}
	for _, e := range s.txn {
		p := s.b.topics[e.Stream].partitions[e.Partition]
		if !e.open {
			continue
		}
		e.open = false
		if commit {
			p.topic.visible = append(p.topic.visible, e)
		} else {
			p.entries = slices.DeleteFunc(p.entries, func(x *entry) bool { return x == e })
		}
		touched[p] = true
	}
	for p := range touched {
		p.end++
	}
	s.txn, s.begun = nil, false
}

func (s *session) Abort(context.Context) { s.finish(false) }

// What follows is for sessions that run beside the engine.

func (s *session) Run(ctx context.Context, _ connect.Handler) error { return ctx.Err() }

func (s *session) Pause([]source.Partition)  {}
func (s *session) Resume([]source.Partition) {}
func (s *session) Wake()                     {}

func (s *session) Purge(context.Context, map[source.Partition]source.Position) error { return nil }
func (s *session) Leave(context.Context) error                                       { return nil }
func (s *session) Close(context.Context)                                             {}
