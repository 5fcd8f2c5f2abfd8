package task

// A record that is given up on has often changed state already: the operator that gives up on it stands behind one with
// state. Operators whose changes are cheap to take back say so before each of them, and the task has them taken back, the
// last one first.

// Undoer is an operator that can take back what it has changed.
type Undoer interface {
	// Undo takes back the newest change that it told of.
	Undo()
	// Keep says that all of them stay.
	Keep()
}

// Changing says that u is about to change its state for the record, timer or window at hand.
func (t *Task) Changing(u Undoer) { t.changes = append(t.changes, u) }

// keep says that what was changed so far stays.
func (t *Task) keep() {
	for i, u := range t.changes {
		u.Keep()
		t.changes[i] = nil
	}
	t.changes = t.changes[:0]
}

// takeBack takes back the changes but the first n.
func (t *Task) takeBack(n int) {
	for i := len(t.changes) - 1; i >= n; i-- {
		t.changes[i].Undo()
		t.changes[i] = nil
	}
	t.changes = t.changes[:min(n, len(t.changes))]
}
