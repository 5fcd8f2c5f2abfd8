package task

import "github.com/millstream-go/millstream/source"

// Proven-idle time. A watermark that follows from records alone stops with them. But when everything that had been
// written to a partition by the time T has been read, then whatever comes later was written after T, and if events reach
// the partition within the bound for disorder, none has a time before T - bound. So such a proof moves the partition's
// watermark as a record of the time T would, which is dropped before the first operator. It is committed like that, with
// the task's marker: a replay begins at the committed watermark, and moves on by proofs of its own.
//
// That the position equals the last stable offset proves nothing: records of a transaction that is open lie behind it,
// and were written before T. The position must have reached the end of all that was written.

// Proof says that at the time At (ms of the wall clock; taken before the partition was asked) the partition ended at End.
type Proof struct {
	At      int64
	End     source.Position
	Nothing bool // it has no records at all
}

// Prove hands in a proof. Any goroutine may call it.
func (p *Port) Prove(x Proof) {
	p.mu.Lock()
	p.proof, p.hasProof = x, true
	p.mu.Unlock()
}

// proven returns the time up to which everything has been read, if there is a proof that was not used.
func (p *Port) proven() (at int64, ok bool) {
	p.mu.Lock()
	x, has := p.proof, p.hasProof
	p.hasProof = false
	p.mu.Unlock()
	if !has || !p.Empty() || !x.Nothing && (!p.known || p.next.Compare(x.End) < 0) {
		return 0, false
	}
	return x.At, true
}

// Promise says that no record with a time before w will be offered, as is known of a partition whose records follow those
// of another, from which w is. Any goroutine may call it. The watermark follows at the next Step.
func (p *Port) Promise(w int64) { p.promised.Store(&w) }

// believe moves the time of a port to what was promised.
func (t *Task) believe(p *Port) (worked bool) {
	w := p.promised.Load()
	if w == nil || *w <= p.Input.Watermark {
		return false
	}
	t.touched = true
	p.seen = max(p.seen, *w+p.Spec.Bound)
	t.observe(p)
	return true
}

// prove moves the time of source ports that have been silent for long enough, and are proven to have been read to their
// end. Repartition topics are not sources: their watermarks are carried by the records.
func (t *Task) prove() (worked bool) {
	for _, p := range t.Ports {
		if !t.Hold && t.err == nil {
			worked = t.believe(p) || worked
		}
		if p.Spec.ProvenAfter <= 0 || p.Spec.Repartition || t.Hold {
			continue
		}
		if p.lastRead == 0 {
			p.lastRead = t.Now
		}
		at, ok := p.proven()
		if !ok || t.Now-p.lastRead < p.Spec.ProvenAfter || at <= p.Time.Max || t.err != nil {
			continue
		}
		t.touched, worked = true, true
		p.seen = max(p.seen, at)
		t.observe(p)
	}
	return worked
}
