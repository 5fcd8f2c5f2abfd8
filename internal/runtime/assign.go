package runtime

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// post hands f to the coordinator and waits until it has run; it gives up when the coordinator has ended.
func (e *engine) post(f func()) {
	done := make(chan struct{})
	select {
	case e.events <- func() { f(); close(done) }:
	case <-e.gone:
		return
	}
	select {
	case <-done:
	case <-e.gone:
	}
}

// Assigned implements connect.Handler.
func (e *engine) Assigned(ctx context.Context, parts []source.Partition) {
	e.post(func() { e.assign(parts) })
}

// Revoked implements connect.Handler.
func (e *engine) Revoked(ctx context.Context, parts []source.Partition) {
	e.post(func() {
		if e.sharded != nil && e.prog.Memory {
			e.end(e.run, parts)
			return
		}
		if err := e.revoke(e.run, parts); err != nil {
			e.fail(err)
		}
	})
}

// Lost implements connect.Handler. The open epoch holds what these partitions have caused, so it cannot be committed.
func (e *engine) Lost(parts []source.Partition) {
	e.fail(fmt.Errorf("partitions were given to another instance while this one was silent: %w", connect.ErrFenced))
}

// Deliver implements connect.Handler.
func (e *engine) Deliver(b source.Batch) {
	e.mu.RLock()
	p := e.ports[b.Partition]
	e.mu.RUnlock()
	release := b.Release
	if p == nil {
		if release != nil {
			release()
		}
		return
	}
	n := int64(b.Bytes)
	queued, limit := e.queued.Add(n), e.cfg.fetchBytes()
	if queued >= limit && queued-n < limit {
		e.notes.room(false)
		defer e.pokeAll() // tasks that stand pause their partitions
	}
	b.Release = func() {
		if release != nil {
			release()
		}
		if left := e.queued.Add(-n); left < limit && left+n >= limit {
			e.notes.room(true)
			e.session.Wake()
		}
		e.resume(p)
	}
	p.Offer(b)
	// A partition whose task is slow, or that waits for others, must not take the room of all others.
	if e.waits(p) || int64(p.Queued()) > limit/2 {
		e.pause(p)
	}
	if w := p.worker.Load(); w != nil {
		w.poke()
	}
	if n > 0 {
		e.ticks.records()
	}
}

// assign makes the tasks whose partitions are all here.
func (e *engine) assign(parts []source.Partition) {
	for _, p := range parts {
		e.assigned[p] = true
	}
	counts := e.counts()
	if e.prog.Memory && !e.ownsAll(counts) {
		e.log.Info("waiting: with in-memory exchange one instance does all the work, and another one has it")
		return
	}
	for _, sub := range e.prog.Subtopologies {
		for p := range sub.Tasks(counts) {
			key := slotKey{sub, p}
			if e.slots[key] != nil || !e.complete(sub, p, counts) {
				continue
			}
			if err := e.create(key, counts); err != nil {
				e.fail(err)
				return
			}
		}
	}
	e.shareMemory()
}

func (e *engine) complete(sub *Subtopology, p int32, counts map[string]int32) bool {
	for _, in := range sub.Inputs {
		if !in.Port.Memory && p < counts[in.Port.Name] && !e.assigned[source.Partition{Stream: in.Port.Name, Index: p}] {
			return false
		}
	}
	return true
}

// create makes a task and begins to restore it.
func (e *engine) create(key slotKey, counts map[string]int32) error {
	sub := key.sub
	if n := counts[sub.Changelog]; sub.Changelog != "" && key.partition >= n && e.sharded == nil {
		return fmt.Errorf("%w: topic %s has %d partitions now, and the state of subtopology %s is laid out for %d: keys have changed their partitions, so their state would be split. Read it with source.OnGrowth(source.GrowthRekeys), or with From and KeyBy instead of FromKeyed, under a new AppID",
			ErrGrown, sub.Inputs[0].Port.Name, sub.Tasks(counts), sub.Name, n)
	}
	t := e.prog.NewTask(sub, e.spec(sub), key.partition, e.session, e.cfg.Guarantee, &countedView{View: e.store.View(key.partition)}, e.bad.note)
	ctx, stop := context.WithCancel(e.run)
	t.Call = e.caller(ctx, t)
	t.Align(e.alignment)
	e.hot.watch(t)
	s := &slot{key: key, task: t, stop: stop, done: make(chan struct{})}
	e.slots[key] = s
	e.exchange.ready.Store(false)
	e.mu.Lock()
	for _, p := range t.Ports {
		e.ports[p.Part] = &port{Port: p}
	}
	e.mu.Unlock()
	copied := e.unfollow(key)
	e.background.Go(func() {
		defer close(s.done)
		<-copied
		e.restore(ctx, s)
	})
	return nil
}

func (e *engine) spec(sub *Subtopology) *task.Spec {
	spec := e.specs[sub]
	if spec == nil {
		spec = &task.Spec{Subtopology: sub.Name, Owner: e.owner, Changelog: sub.Changelog, KeyGroups: e.cfg.KeyGroups}
		e.specs[sub] = spec
	}
	return spec
}

// restore runs beside the coordinator.
func (e *engine) restore(ctx context.Context, s *slot) {
	e.restores.Add(1)
	defer e.restores.Add(-1)
	begin := time.Now()
	filled := e.store.Fill()
	var r *checkpoint.Restored
	err := e.load(ctx, s.task)
	switch {
	case err != nil:
	case e.sharded != nil:
		r, err = checkpoint.RestoreKept(ctx, e.sharded, e.store, s.task)
	default:
		r, err = checkpoint.Restore(ctx, watched{e.session, &s.progress, e.log, s.task.ID(), "task is being restored"}, e.store, s.task, e.cfg.Guarantee, time.UnixMilli(e.now()), e.prog.Inputs(s.task, e.counts()))
	}
	filled()
	var caughtUp []source.Partition
	fresh := map[source.Partition]bool{}
	if err == nil {
		for p, at := range r.Start {
			fresh[p] = at == nil
		}
		caughtUp, err = e.session.Start(ctx, r.Start)
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		e.fail(err)
		return
	}
	e.discarded(s.task, r)
	e.log.Info("task restored", "task", s.task.ID(), "changelog", s.task.Spec.Changelog, "local", r.Local, "from", r.From.String(), "records", r.Records, "took", time.Since(begin))
	e.background.Go(func() { e.post(func() { e.begin(s, r, caughtUp, fresh) }) }) // not waited for: whoever waits for this restore may hold the coordinator
}

// begin lets a restored task run. fresh are the inputs for which nothing was committed.
func (e *engine) begin(s *slot, r *checkpoint.Restored, caughtUp []source.Partition, fresh map[source.Partition]bool) {
	if e.slots[s.key] != s {
		return // it was revoked meanwhile
	}
	w := e.workers[0]
	load := func(w *worker) (n int) {
		for _, o := range e.slots {
			if o.worker == w {
				n++
			}
		}
		return n
	}
	for _, o := range e.workers[1:] {
		if load(o) < load(w) {
			w = o
		}
	}
	for _, p := range s.task.Ports {
		at := r.Start[p.Part]
		up := p.Spec.Memory
		for _, c := range caughtUp {
			up = up || c == p.Part
		}
		p.Start(at, up)
		if at != nil && !fresh[p.Part] { // the first position of a new application is committed with its first epoch
			e.committer.Started(p.Part, *at)
		}
	}
	s.worker = w
	if !w.do(e.run, func() { w.add(s.task) }) {
		return
	}
	e.mu.RLock()
	for _, p := range s.task.Ports {
		e.ports[p.Part].worker.Store(w)
	}
	e.mu.RUnlock()
	w.poke()
	for _, o := range e.slots {
		if o.worker == nil {
			return
		}
	}
	e.announce(e.run)
	e.exchange.ready.Store(true)
	e.leaveOver(e.run)
	e.pokeAll()
}

// revoke finishes the epoch and gives tasks away.
func (e *engine) revoke(run context.Context, parts []source.Partition) error {
	var gone []*slot
	running := false
	for _, s := range e.slots {
		for _, p := range parts {
			if s.key.reads(p) {
				gone = append(gone, s)
				running = running || s.worker != nil
				break
			}
		}
	}
	if e.prog.Memory && len(gone) > 0 { // tasks behind an exchange in memory do not stay alone
		gone = gone[:0]
		for _, s := range e.slots {
			gone = append(gone, s)
		}
	}
	for _, s := range gone {
		s.stop()
		<-s.done
	}
	var err error
	if running {
		err = e.settle(run, func(t *task.Task) bool { return slices.ContainsFunc(gone, func(s *slot) bool { return s.task == t }) })
	}
	if len(gone) > 0 {
		e.exchange.ready.Store(false)
	}
	for _, s := range gone {
		if s.worker != nil {
			s.worker.do(run, func() { s.worker.remove(s.task) })
		}
		delete(e.slots, s.key)
		e.mu.Lock()
		for _, p := range s.task.Ports {
			delete(e.ports, p.Part)
		}
		e.mu.Unlock()
		s.task.Close()
		for _, p := range s.task.Ports {
			e.committer.Released(p.Part)
		}
	}
	for _, p := range parts {
		delete(e.assigned, p)
	}
	e.shareMemory()
	if err == nil {
		e.follow()
	}
	return err
}

func (k slotKey) reads(p source.Partition) bool {
	if p.Index != k.partition {
		return false
	}
	for _, in := range k.sub.Inputs {
		if in.Port.Name == p.Stream {
			return true
		}
	}
	return false
}

// shareMemory divides the caches' budget among the tasks that keep state.
func (e *engine) shareMemory() {
	n := int64(0)
	for k := range e.slots {
		if k.sub.Changelog != "" {
			n++
		}
	}
	for _, s := range e.specs {
		s.MaxHeld.Store(e.cfg.keptBytes() / max(n, 1))
	}
}
