package operator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"unsafe"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// A table is the write-back cache of one store (or of one window of it) in one task. A record touches Go values here,
// never bytes; what has changed is encoded once per epoch, by Cut, for changelog and store together.
//
// An entry is clean (the store has it), pending (handed over, its epoch not applied yet) or changed. Since the bytes
// are made at hand-over, a pending entry may change again at once. Only clean entries are evicted; a deleted one stays,
// dead, until its deletion is applied. One that was looked up ahead in vain is dead as well, and clean. So a look-up that finds an entry needs no other source, and one that finds none
// may ask the store, which holds just the applied epochs. A complete table holds every entry of the store, and never
// asks. One that was complete until entries were evicted asks only for keys that it has had.
type table[K comparable, A any] struct {
	index    index
	seed     maphash.Seed
	pages    [][]entry[K, A] // pages never move, so that a *A stays good while a user's function holds it
	used     uint32          // slots handed out so far
	free     []uint32
	changed  []*entry[K, A]
	dead     []K // deleted, and handed over as such
	complete bool
	had      *keyFilter[K] // nil: there may be any keys in the store, or, if it is complete, none that are not here
	hand     uint32        // of the clock that picks entries to evict
	shape    uint64        // another one with each entry that comes or goes
	asked    uint64        // look-ups so far
}

type entry[K comparable, A any] struct {
	key      K
	val      A
	time     int64  // largest event time among the records in val
	revision uint64 // changes so far
	epoch    uint64 // that the entry was last handed over in; vacant: there is no entry
	live     bool   // it has a value
	changed  bool   // it is in the table's list of changes
	logged   bool   // it has reached the changelog
	recent   bool   // it was used since the hand passed
	unsent   bool   // OnCommit has not emitted its last change
	waits    bool   // it is known to wait for the end of a slice of time; see paced
	absent   bool   // it was looked up ahead, and was not in the store
	listed   bool   // it is among the cells that the store may not have as they are; see Cells
}

const vacant = math.MaxUint64

// The first page is small, because most windows are; the others hold pageSize entries.
const (
	firstPage = 16
	pageSize  = 256
)

func newTable[K comparable, A any](complete bool) *table[K, A] {
	return &table[K, A]{seed: maphash.MakeSeed(), complete: complete}
}

func (t *table[K, A]) slot(i uint32) *entry[K, A] {
	if i < firstPage {
		return &t.pages[0][i]
	}
	i -= firstPage
	return &t.pages[1+i/pageSize][i%pageSize]
}

// lookup finds an entry, live or dead.
func (t *table[K, A]) lookup(k K) *entry[K, A] {
	t.asked++
	e := t.peek(k)
	if e != nil {
		e.recent = true
	}
	return e
}

// peek is lookup by one who does not use the entry.
func (t *table[K, A]) peek(k K) *entry[K, A] {
	_, e := t.seek(k)
	return e
}

// seek finds an entry, and its place in the index.
func (t *table[K, A]) seek(k K) (probe, *entry[K, A]) {
	for p := t.index.probe(maphash.Comparable(t.seed, k)); ; {
		i, ok := t.index.next(&p)
		if !ok {
			return p, nil
		}
		if e := t.slot(i); e.key == k {
			return p, e
		}
	}
}

// entries is how many there are, live or dead.
func (t *table[K, A]) entries() int { return t.index.used }

// absent says that the store does not have a key either that lookup has not found.
func (t *table[K, A]) absent(k K) bool { return t.complete || t.had != nil && !t.had.has(k) }

// lack says that from now on the store has entries that the table, which was complete, does not have.
func (t *table[K, A]) lack() {
	t.complete, t.had = false, newKeyFilter[K](2*t.entries())
	t.each(func(e *entry[K, A]) { t.had.add(e.key) })
}

// insert adds an entry that is not there.
func (t *table[K, A]) insert(k K) *entry[K, A] {
	var i uint32
	if n := len(t.free); n > 0 {
		i = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		i = t.used
		t.used++
		switch {
		case i == 0:
			t.pages = append(t.pages, make([]entry[K, A], firstPage))
		case i >= firstPage && (i-firstPage)%pageSize == 0:
			t.pages = append(t.pages, make([]entry[K, A], pageSize))
		}
	}
	t.shape++
	if t.had != nil {
		t.had.add(k)
	}
	e := t.slot(i)
	*e = entry[K, A]{key: k, recent: true}
	t.index.add(maphash.Comparable(t.seed, k), i)
	return e
}

func (t *table[K, A]) remove(e *entry[K, A]) {
	p, found := t.seek(e.key)
	if found == nil { // its key is not equal to itself, as NaN
		return
	}
	t.free = append(t.free, t.index.remove(p))
	t.shape++
	*e = entry[K, A]{epoch: vacant}
}

// touch puts the entry on the list of changes.
func (t *table[K, A]) touch(e *entry[K, A]) {
	if !e.changed {
		e.changed = true
		t.changed = append(t.changed, e)
	}
}

// each calls f for every entry, in the order in which they lie in memory; f may remove the one it was given.
func (t *table[K, A]) each(f func(e *entry[K, A])) {
	for i := range t.used {
		if e := t.slot(i); e.epoch != vacant {
			f(e)
		}
	}
}

// backing ties tables to the bytes in changelog and store.
type backing[K comparable, A any] struct {
	task   *task.Task
	name   string
	kind   byte
	id     uint32
	keys   codec.Codec[K]
	vals   codec.Codec[A]
	groups int
	group  func(key []byte, groups int) uint16 // of a key
	buf    []byte                              // for keys
	val    []byte                              // for values

	written written[A]

	keyBulk, valBulk bulk
}

func newBacking[K comparable, A any](t *task.Task, kind byte, name string, keys codec.Codec[K], vals codec.Codec[A]) backing[K, A] {
	return backing[K, A]{task: t, name: name, kind: kind, id: task.ID(name), keys: keys, vals: vals, groups: t.Spec.KeyGroups, group: task.Group, written: newWritten(vals),
		keyBulk: newBulk[K](), valBulk: newBulk[A]()}
}

// open reads with which codecs the store was written, see written.
func (s *backing[K, A]) open() error {
	return s.written.open(s.task, s.name, appendWrittenKey(nil, s.id), s.keys.Name(), s.vals)
}

// timed says that the keys have a window's or pane's start in them.
func (s *backing[K, A]) timed() bool { return s.kind == task.KindWindow || s.kind == task.KindPane }

// appendKey appends the whole key of an entry. start counts for window stores only.
func (s *backing[K, A]) appendKey(b []byte, k K, start int64) ([]byte, error) {
	at := len(b)
	b = task.AppendPrefix(b, s.kind, s.id, 0)
	if s.timed() {
		b = task.AppendTime(b, start)
	}
	user := len(b)
	b, err := s.keys.Append(b, k)
	if err != nil {
		return b, &task.StateError{Store: s.name, Doing: "encode key", Err: err}
	}
	binary.BigEndian.PutUint16(b[at+5:], s.group(b[user:], s.groups))
	return b, nil
}

// userKey is the part of an entry's key that the user's codec made.
func (s *backing[K, A]) userKey(key []byte) []byte {
	n := task.PrefixLen
	if s.timed() {
		n += 8
	}
	return key[n:]
}

func (s *backing[K, A]) appendValue(b []byte, e *entry[K, A]) ([]byte, error) {
	b = binary.AppendUvarint(s.written.tag(b, e.revision), e.revision)
	b = binary.AppendVarint(b, e.time)
	b, err := s.vals.Append(b, e.val)
	if err != nil {
		return b, &task.StateError{Store: s.name, Doing: "encode state", Err: err}
	}
	return b, nil
}

func (s *backing[K, A]) decodeValue(b []byte, e *entry[K, A]) error {
	by, rev, t, b, err := writtenHead(b)
	if err != nil {
		return &task.StateError{Store: s.name, Doing: "read entry", Err: err}
	}
	if by == uint64(s.written.now) {
		e.val, err = s.vals.Decode(b)
	} else {
		e.val, err = s.written.decode(by, b)
	}
	if err != nil {
		return &task.StateError{Store: s.name, Doing: "decode state", Err: err}
	}
	s.valBulk.saw(len(b))
	e.revision, e.time, e.live, e.logged = rev, t, true, true
	return nil
}

// entryHead reads what an entry's value begins with, and returns the rest.
func entryHead(b []byte) (revision uint64, time int64, rest []byte, err error) {
	_, revision, time, rest, err = writtenHead(b)
	return revision, time, rest, err
}

// writtenHead is entryHead with the number of the codec that has written the entry.
func writtenHead(b []byte) (by, revision uint64, time int64, rest []byte, err error) {
	n := 0
	if len(b) > 0 && b[0] == 0 {
		if by, n = binary.Uvarint(b[1:]); n <= 0 {
			return 0, 0, 0, nil, errDamaged
		}
		b = b[1+n:]
	}
	if revision, n = binary.Uvarint(b); n <= 0 {
		return 0, 0, 0, nil, errDamaged
	}
	b = b[n:]
	if time, n = binary.Varint(b); n <= 0 {
		return 0, 0, 0, nil, errDamaged
	}
	return by, revision, time, b[n:], nil
}

// find returns the entry of a key, from the table or the store; a new one that is not live if there is none.
func (s *backing[K, A]) find(t *table[K, A], k K, start int64) (*entry[K, A], error) {
	if e := t.lookup(k); e != nil {
		return e, nil
	}
	if t.absent(k) {
		return t.insert(k), nil
	}
	key, err := s.appendKey(s.buf[:0], k, start)
	s.buf = key
	if err != nil {
		return nil, err
	}
	val, found, err := s.task.View.Get(key, s.val[:0])
	s.val = val[:0]
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", s.name, err)
	}
	return s.put(t, k, key, val, found)
}

// put adds an entry that has been looked for in the store, at key. If it cannot be decoded there is none: it would look like a
// new one.
func (s *backing[K, A]) put(t *table[K, A], k K, key, val []byte, found bool) (*entry[K, A], error) {
	if !found {
		return t.insert(k), nil
	}
	s.keyBulk.saw(len(s.userKey(key)))
	var read entry[K, A]
	if err := s.decodeValue(val, &read); err != nil {
		return nil, err
	}
	e := t.insert(k)
	read.key, read.recent = k, true
	*e = read
	return e, nil
}

const cutTogether = 32 // entries

// cut hands over the changed entries of a table.
func (s *backing[K, A]) cut(t *table[K, A], d *task.Delta, start int64) error {
	if len(t.changed) > 0 && !s.written.noted {
		s.written.note(d, appendWrittenKey(d.Buf(256), s.id), s.keys.Name())
	}
	for some := range slices.Chunk(t.changed, cutTogether) {
		changed := 0
		for _, e := range some { // all are fetched from memory at the same time; see approach
			if e.changed {
				changed++
			}
		}
		if changed == 0 {
			continue
		}
		for _, e := range some {
			if err := s.cutOne(t, e, d, start); err != nil {
				return err
			}
		}
	}
	clear(t.changed)
	t.changed = t.changed[:0]
	return nil
}

func (s *backing[K, A]) cutOne(t *table[K, A], e *entry[K, A], d *task.Delta, start int64) error {
	if !e.changed {
		return nil
	}
	e.changed = false
	if !e.live && !e.logged {
		t.remove(e)
		return nil
	}
	b, err := s.appendKey(d.Buf(512), e.key, start)
	if err != nil {
		return err
	}
	n := len(b)
	if e.live {
		if b, err = s.appendValue(b, e); err != nil {
			return err
		}
		s.keyBulk.saw(len(s.userKey(b[:n])))
		s.valBulk.saw(len(b) - n)
	}
	d.Put(b, n, !e.live, false)
	e.epoch, e.logged = d.Epoch, e.live
	if !e.live {
		t.dead = append(t.dead, e.key)
	}
	return nil
}

// applied removes the dead entries whose deletion is in the store now.
func (t *table[K, A]) applied(epoch uint64) {
	keep := t.dead[:0]
	for _, k := range t.dead {
		e := t.lookup(k)
		switch {
		case e == nil || e.live || e.changed: // it lives again, or will be handed over again
		case e.epoch <= epoch:
			t.remove(e)
		default:
			keep = append(keep, k)
		}
	}
	t.dead = keep
}

// size is about how many bytes the entries of a table take.
func (s *backing[K, A]) size(t *table[K, A]) int { return t.entries()*s.entrySize() + t.had.bytes() }

func (s *backing[K, A]) entrySize() int { return s.bareSize() + s.valBulk.bytes() }

// bareSize is entrySize without what a value has behind its pointers. An entry's part of the index, the list of changes and what of
// pages and places is free are in the 48 bytes.
func (s *backing[K, A]) bareSize() int {
	return int(unsafe.Sizeof(entry[K, A]{})) + 48 + s.keyBulk.bytes()
}

// evict drops up to n clean entries, those that were not used since the hand last passed first, and more for the room that
// it takes to remember that there were such.
func (s *backing[K, A]) evict(t *table[K, A], n int, applied uint64) (evicted int) {
	if had := t.had.bytes(); had > s.task.Room(had)*3/4 {
		t.had = nil // the entries need the room
	}
	for tries := 2 * t.used; tries > 0 && evicted < n && t.used > 0; tries-- {
		t.hand = (t.hand + 1) % t.used
		e := t.slot(t.hand)
		if !e.live && !e.absent || e.changed || e.epoch > applied {
			continue
		}
		if e.recent {
			e.recent = false
			continue
		}
		if t.complete {
			t.lack()
			n += t.had.bytes()/s.entrySize() + 1
		}
		t.remove(e)
		evicted++
	}
	return evicted
}

var (
	errStop    = errors.New("stop")
	errDamaged = errors.New("it is damaged")
)

// bounds are the first key of a key group's entries, or of one window of it, and the first key after them.
func (s *backing[K, A]) bounds(group uint16, start *int64) (lo, hi []byte) {
	lo = task.AppendPrefix(nil, s.kind, s.id, group)
	if start != nil {
		return task.AppendTime(slices.Clone(lo), *start), after(task.AppendTime(slices.Clone(lo), *start))
	}
	return lo, after(slices.Clone(lo))
}

// after makes b the first key that does not begin with b.
func after(b []byte) []byte {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b
		}
	}
	return append(b, bytes.Repeat([]byte{0xff}, 64)...)
}

// load completes a table from the store.
func (s *backing[K, A]) load(t *table[K, A], start *int64) error {
	if t.complete {
		return nil
	}
	for g := range s.groups {
		lo, hi := s.bounds(uint16(g), start)
		err := s.task.View.Scan(lo, hi, func(key, value []byte) error {
			k, err := s.keys.Decode(s.userKey(key))
			if err != nil {
				return &task.StateError{Store: s.name, Doing: "decode key", Err: err}
			}
			if t.lookup(k) != nil {
				return nil
			}
			return s.decodeValue(value, t.insert(k))
		})
		if err != nil {
			return err
		}
	}
	t.complete, t.had = true, nil
	return nil
}

// holds opens the store, and says whether it has any entry.
func (s *backing[K, A]) holds() (bool, error) {
	if err := s.open(); err != nil {
		return false, err
	}
	lo, _ := s.bounds(0, nil)
	_, hi := s.bounds(uint16(s.groups-1), nil)
	err := s.task.View.Scan(lo, hi, func(_, _ []byte) error { return errStop })
	if errors.Is(err, errStop) {
		return true, nil
	}
	return false, err
}
