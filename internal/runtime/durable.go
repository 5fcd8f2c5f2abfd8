package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	"github.com/millstream-go/millstream/internal/snapshot"
	"github.com/millstream-go/millstream/internal/store"
)

// Snapshots where there is no changelog (connect.Sharded). There are two copies of the state then, the store and the newest
// snapshot, each with the positions that it belongs to. Before the first session the older of the two gives way: an empty
// disk, or an old one that was put back, gets all that the snapshot has, and the sources are read on from there. Which is older
// says their age, whose terms also see to it that of two instances only the one that was started last goes on.

// lookEvery is how often an instance looks whether another one has been started.
const lookEvery = 10 * time.Second

// lastFor is how long the end of an application waits for its last snapshot.
const lastFor = 20 * time.Second

// number is the term of this process; 0: it has none.
func (c *snapshots) number() uint64 {
	if c == nil {
		return 0
	}
	return c.term.Number()
}

// bringBack begins a term, and takes the newest snapshot if that is newer than the store. It does so once.
func (c *snapshots) bringBack(ctx context.Context, st *store.Store) error {
	have, err := checkpoint.Age(st)
	if err != nil {
		return err
	}
	if c != nil && c.number() == 0 {
		begin := time.Now()
		if err := c.term.Begin(ctx, have.Term, begin); err != nil {
			return superseded(fmt.Errorf("begin to use the snapshots: %w", err))
		}
		loaded, err := c.load.LoadAll(ctx, have)
		if err != nil {
			return fmt.Errorf("bring the state back from a snapshot: %w", err)
		}
		if loaded.Snapshot != "" {
			c.log.Info("state taken from a snapshot", "snapshot", loaded.Snapshot, "it is of", loaded.Age.String(), "the disk had", have.String(),
				"entries", loaded.Entries, "bytes fetched", loaded.Bytes, "took", time.Since(begin))
			have = loaded.Age
		}
	}
	if have.Part {
		return fmt.Errorf("the state directory holds a part of a snapshot that was being brought back, and there is none now: set Config.Snapshots to where they are, or begin with an empty directory: %w", connect.ErrStop)
	}
	if c != nil {
		c.ready = true
	}
	return nil
}

// superseded adds to an error what the engine goes by.
func superseded(err error) error {
	if errors.Is(err, snapshot.ErrSuperseded) {
		return fmt.Errorf("%w: %w", connect.ErrStop, err)
	}
	return err
}

// takeAll makes a snapshot, unless the last one is as new.
func (c *snapshots) takeAll(ctx context.Context) error {
	age, err := checkpoint.Age(c.store)
	if err != nil || age.Epoch == 0 || age == c.made {
		return err
	}
	if _, err := c.write.TakeAll(ctx, age, time.Now()); err != nil {
		return err
	}
	c.made = age
	return nil
}

// last makes the snapshot with which an application ends in good order.
func (c *snapshots) last() {
	if c == nil || !c.ready {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastFor)
	defer cancel()
	if err := c.takeAll(ctx); err != nil {
		c.log.Warn("no last snapshot was made; what has changed since the one before is on the disk only", "err", err)
	}
}

// watchTerm ends the application when another instance has been started.
func (a *App) watchTerm(ctx context.Context, c *snapshots) {
	tick := time.NewTicker(min(a.cfg.Snapshots.Every, lookEvery))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if c.number() == 0 {
			continue
		}
		switch err := c.term.Check(ctx); {
		case errors.Is(err, snapshot.ErrSuperseded):
			select {
			case a.fault <- superseded(err):
			default:
			}
			return
		case err != nil && ctx.Err() == nil:
			c.log.Warn("it cannot be seen whether another instance has been started; looking again", "err", err)
		}
	}
}
