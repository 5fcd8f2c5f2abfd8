package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// Global is a table that each process has whole: its topic is read beside the tasks, from its beginning at each start.
type Global struct {
	Topic  string
	Opened string // where the topology declares it, for errors
	Reset  func()
	Apply  func(recs []source.Record, skipped func(r *source.Record, err error)) error
}

// followEvery is how often global tables are looked at for what is new.
const followEvery = 200 * time.Millisecond

// globals reads the global tables for one session.
type globals struct {
	list    []Global
	session connect.Session
	log     *slog.Logger
	at      map[source.Partition]source.Position
	skipped int
}

// load reads every table to the end that its topic has now.
func (g *globals) load(ctx context.Context) error {
	for _, t := range g.list {
		t.Reset()
		begin, n := time.Now(), 0
		for _, p := range g.partitions(t) {
			read, err := g.read(ctx, t, p)
			if err != nil {
				return err
			}
			n += read
		}
		g.log.Info("global table read", "topic", t.Topic, "records", n, "took", time.Since(begin))
	}
	return nil
}

// follow applies what is new, until ctx ends or a table cannot be read any more.
func (g *globals) follow(ctx context.Context) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := g.update(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, connect.ErrStop):
			return err
		case err != nil && !failed:
			g.log.Warn("global tables cannot be followed; tried again", "err", err)
		}
		failed = err != nil
	}
}

func (g *globals) update(ctx context.Context) error {
	var all []source.Partition
	for _, t := range g.list {
		all = append(all, g.partitions(t)...)
	}
	var ends map[source.Partition]source.Position
	s, known := g.session.(connect.Ender)
	if known {
		var err error
		if ends, err = s.Ends(ctx, all); err != nil {
			return err
		}
	}
	for _, t := range g.list {
		for _, p := range g.partitions(t) {
			if known && ends[p].Compare(g.at[p]) == 0 || known && ends[p] == (source.Position{}) {
				continue
			}
			if _, err := g.read(ctx, t, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *globals) partitions(t Global) (list []source.Partition) {
	for i := range g.session.Partitions()[t.Topic] {
		list = append(list, source.Partition{Stream: t.Topic, Index: i})
	}
	return list
}

// read applies what a partition has behind what was read of it.
func (g *globals) read(ctx context.Context, t Global, p source.Partition) (n int, err error) {
	var bad error
	next, err := g.session.ReadChangelog(ctx, p, g.at[p], func(recs []source.Record) error {
		n += len(recs)
		bad = t.Apply(recs, func(r *source.Record, err error) { g.skip(p, r, err) })
		return bad
	})
	switch {
	case bad != nil:
		return n, fmt.Errorf("%w: global table %s (%s), partition %d: %w", connect.ErrStop, t.Topic, t.Opened, p.Index, bad)
	case err != nil:
		return n, fmt.Errorf("read global table %s (%s): %w", t.Topic, t.Opened, err)
	}
	g.at[p] = next
	return n, nil
}

// skip logs records that are given up on: the first few, then fewer and fewer.
func (g *globals) skip(p source.Partition, r *source.Record, err error) {
	if g.skipped++; g.skipped <= 3 || g.skipped&(g.skipped-1) == 0 {
		g.log.Warn("record of a global table skipped", "partition", p.String(), "position", r.Position.String(), "err", err, "skipped so far", g.skipped)
	}
}

// topics are the names of the global tables' topics.
func (p *Program) globalTopics() (list []string) {
	for _, g := range p.Globals {
		list = append(list, g.Topic)
	}
	slices.Sort(list)
	return list
}

// loadGlobals reads the global tables, before the instance takes any work, and has them followed.
func (e *engine) loadGlobals(run context.Context) error {
	if len(e.prog.Globals) == 0 {
		return nil
	}
	g := &globals{list: e.prog.Globals, session: e.session, log: e.log, at: map[source.Partition]source.Position{}}
	if err := g.load(run); err != nil {
		if run.Err() != nil {
			return nil
		}
		return err
	}
	e.background.Go(func() {
		if err := g.follow(run); err != nil {
			e.fail(err)
		}
	})
	return nil
}
