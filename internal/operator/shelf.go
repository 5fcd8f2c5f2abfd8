package operator

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// A shelf keeps records by key and time until the watermark is past them: one side of a window join, or what a temporal
// join holds back. It is a write-back cache like a table, of lists instead of single entries.
//
// Records lie in buckets of time. Within a bucket each key has a list, in the order of (time, arrival). In changelog and
// store every record is an entry of its own, so that a long list costs no more to add to than a short one; a bucket that
// is over is deleted by one range per key group.
//
// A record is due when the watermark is more than hold past its time: nothing can come any more that it waits for. Then
// the operator may take it, in the order of (time, key), and it is of no more use. To find the next one, the bucket that
// it is in is opened: read as a whole, and put into a heap. Records that were due by the watermark of the last epoch
// have been taken in it.
type shelf[K comparable, V any] struct {
	task   *task.Task
	name   string
	id     uint32
	side   byte
	keys   codec.Codec[K]
	vals   codec.Codec[V]
	bulk   bulk // of values
	codecs written[V]
	group  func(key []byte) uint16
	groups int
	width  int64 // of a bucket, ms
	hold   int64 // ms
	takes  bool  // due records are taken, not just forgotten
	taken  int64 // the watermark up to which due records were taken

	buckets map[int64]*bucket[K, V]
	due     int64 // the watermark at which there is something to do
	records int
	lists   int
	changed int
	usual   int // lists of the bucket that was dropped last
	dropped []droppedBucket
	gone    task.Delta // what the changelog has of them
	buf     []byte     // scratch, as those that follow
	prefixB []byte
	starts  []int64
}

type bucket[K comparable, V any] struct {
	start    int64
	lists    map[K]*list[V]
	complete bool   // it holds every list of the store
	saved    bool   // some of it has reached the store, or will
	groups   []bool // that some of that is in
	open     bool
	waiting  queue[wait[K]]
}

// list is what a key has in a bucket: seldom more than one record, which needs no memory of its own.
type list[V any] struct {
	recs   []held[V]
	first  [1]held[V]
	dirty  bool
	epoch  uint64 // that it was last handed over in
	recent bool
}

type held[V any] struct {
	time    int64
	n       uint32 // among those of the same key and time
	val     V
	matched bool
	changed bool
	logged  bool
}

// wait is a record that will be due.
type wait[K comparable] struct {
	bytes string // the key's
	n     uint32
	key   K
}

func (w wait[K]) before(o wait[K]) bool { return w.bytes < o.bytes || w.bytes == o.bytes && w.n < o.n }

type droppedBucket struct {
	start  int64
	groups []bool
}

func newShelf[K comparable, V any](t *task.Task, name string, side byte, keys codec.Codec[K], vals codec.Codec[V], width, hold int64, takes bool) *shelf[K, V] {
	return &shelf[K, V]{task: t, name: name, id: task.ID(name), side: side, keys: keys, vals: vals, codecs: newWritten(vals), bulk: newBulk[V](), groups: t.Spec.KeyGroups,
		group: func(key []byte) uint16 { return task.Group(key, t.Spec.KeyGroups) },
		width: width, hold: hold, takes: takes, taken: eventtime.None, buckets: map[int64]*bucket[K, V]{}, due: math.MaxInt64}
}

func (s *shelf[K, V]) start(t int64) int64 { return t - eventtime.FloorMod(t, s.width) }

// prefix is the beginning of the keys of a bucket, or of all buckets.
func (s *shelf[K, V]) prefix(b []byte, group uint16, start *int64) []byte {
	b = append(task.AppendPrefix(b, task.KindRecords, s.id, group), s.side)
	if start != nil {
		b = task.AppendTime(b, *start)
	}
	return b
}

// keyPrefix is the beginning of the keys of a list.
func (s *shelf[K, V]) keyPrefix(b []byte, start int64, k K) ([]byte, error) {
	key, err := s.keyBytes(k)
	if err != nil {
		return b, err
	}
	b = s.prefix(b, s.group(key), &start)
	return append(binary.AppendUvarint(b, uint64(len(key))), key...), nil
}

func (s *shelf[K, V]) keyBytes(k K) ([]byte, error) {
	key, err := s.keys.Append(s.buf[:0], k)
	s.buf = key
	if err != nil {
		return nil, &task.StateError{Store: s.name, Doing: "encode key", Err: err}
	}
	return key, nil
}

// parse splits a stored entry: the user's key, the record less its value, and the bytes of that.
func (s *shelf[K, V]) parse(key, value []byte) (user []byte, r held[V], by uint64, val []byte, err error) {
	damaged := &task.StateError{Store: s.name, Doing: "read entry", Err: errDamaged}
	at := task.PrefixLen + 1 + 8
	if len(key) < at {
		return nil, r, 0, nil, damaged
	}
	n, w := binary.Uvarint(key[at:])
	at += w
	head, hw := binary.Uvarint(value)
	if w <= 0 || hw <= 0 || n > math.MaxInt32 || len(key) != at+int(n)+12 {
		return nil, r, 0, nil, damaged
	}
	user = key[at : at+int(n)]
	rest := key[at+int(n):]
	r = held[V]{time: task.Time(rest), n: binary.BigEndian.Uint32(rest[8:]), matched: head&1 == 1, logged: true}
	return user, r, head >> 1, value[hw:], nil
}

// appendValue appends a number, of which the lowest bit says that the record is matched and the others are the number of
// its codec, and the value.
func (s *shelf[K, V]) appendValue(b []byte, r *held[V]) ([]byte, error) {
	head := uint64(s.codecs.now) << 1
	if r.matched {
		head |= 1
	}
	n := len(b)
	b, err := s.vals.Append(binary.AppendUvarint(b, head), r.val)
	if err != nil {
		return b, &task.StateError{Store: s.name, Doing: "encode a record", Err: err}
	}
	s.bulk.saw(len(b) - n)
	return b, nil
}

func (s *shelf[K, V]) decode(by uint64, val []byte) (V, error) {
	s.bulk.saw(len(val))
	v, err := s.codecs.decode(by, val)
	if err != nil {
		return v, &task.StateError{Store: s.name, Doing: "decode a record", Err: err}
	}
	return v, nil
}

// writtenKey is where it is said with which codecs the shelf was written.
func (s *shelf[K, V]) writtenKey(b []byte) []byte { return appendWrittenKey(b, s.id, 1+s.side) }

// list returns what a key has in a bucket; nil if nothing.
func (s *shelf[K, V]) list(b *bucket[K, V], k K) (*list[V], error) {
	if l := b.lists[k]; l != nil {
		l.recent = true
		return l, nil
	}
	if b.complete {
		return nil, nil
	}
	lo, err := s.keyPrefix(nil, b.start, k)
	if err != nil {
		return nil, err
	}
	var l *list[V]
	err = s.task.View.Scan(lo, after(slices.Clone(lo)), func(key, value []byte) error {
		_, r, by, val, err := s.parse(key, value)
		if err == nil {
			r.val, err = s.decode(by, val)
		}
		if err != nil {
			return err
		}
		if l == nil {
			l = s.newList(b, k)
		}
		l.recs = append(l.recs, r)
		s.records++
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", s.name, err)
	}
	return l, nil
}

func (s *shelf[K, V]) newList(b *bucket[K, V], k K) *list[V] {
	l := &list[V]{recent: true}
	l.recs = l.first[:0]
	b.lists[k] = l
	s.lists++
	return l
}

// add puts a record on the shelf.
func (s *shelf[K, V]) add(k K, t int64, v V, matched bool) error {
	start := s.start(t)
	b := s.buckets[start]
	if b == nil {
		b = &bucket[K, V]{start: start, lists: make(map[K]*list[V], s.usual), complete: true, groups: make([]bool, s.groups)}
		s.buckets[start] = b
	}
	l, err := s.list(b, k)
	if err != nil {
		return err
	}
	if l == nil {
		l = s.newList(b, k)
	}
	r := held[V]{time: t, val: v, matched: matched, changed: true}
	i := len(l.recs)
	for i > 0 && l.recs[i-1].time > t {
		i--
	}
	if i > 0 && l.recs[i-1].time == t {
		r.n = l.recs[i-1].n + 1
	}
	l.recs = slices.Insert(l.recs, i, r)
	l.dirty = true
	s.records++
	s.changed++
	if b.open && !matched {
		key, err := s.keyBytes(k)
		if err != nil {
			return err
		}
		b.waiting.push(t, wait[K]{string(key), r.n, k})
	}
	s.due = min(s.due, s.next(b))
	return nil
}

// each calls f for the records of a key with lo <= time <= hi, in the order of (time, arrival). The list is given with
// the record to be marked.
func (s *shelf[K, V]) each(k K, lo, hi int64, f func(l *list[V], r *held[V])) error {
	if hi < lo {
		return nil
	}
	for start := s.start(lo); start <= hi; start += s.width {
		b := s.buckets[start]
		if b == nil {
			continue
		}
		l, err := s.list(b, k)
		if err != nil {
			return err
		}
		if l == nil {
			continue
		}
		i, _ := slices.BinarySearchFunc(l.recs, lo, func(r held[V], t int64) int {
			if r.time < t {
				return -1
			}
			return 1
		})
		for ; i < len(l.recs) && l.recs[i].time <= hi; i++ {
			f(l, &l.recs[i])
		}
	}
	return nil
}

// match marks a record as matched: it will not be taken.
func (s *shelf[K, V]) match(l *list[V], r *held[V]) {
	if r.matched {
		return
	}
	r.matched, r.changed, l.dirty = true, true, true
	s.changed++
}

// next is the watermark at which a bucket has something to do.
func (s *shelf[K, V]) next(b *bucket[K, V]) int64 {
	over := b.start + s.width + s.hold
	switch {
	case !s.takes:
		return over
	case !b.open:
		return b.start + s.hold + 1
	case len(b.waiting.list) > 0:
		return min(over, b.waiting.next()+s.hold+1)
	}
	return over
}

// due is a record that is taken.
type dueRecord[K comparable, V any] struct {
	wait[K]
	time int64
	val  V
}

// advance takes the records that are due at the watermark w, in the order of (time, key, arrival), and deletes the
// buckets that are over.
func (s *shelf[K, V]) advance(w int64) (list []dueRecord[K, V], err error) {
	if w < s.due {
		s.taken = max(s.taken, w)
		return nil, nil
	}
	s.due = math.MaxInt64
	for _, start := range s.sorted() {
		b := s.buckets[start]
		for s.takes && w >= s.next(b) && !(b.open && len(b.waiting.list) == 0) {
			if !b.open {
				if err := s.open(b); err != nil {
					return nil, err
				}
				continue
			}
			if b.waiting.next()+s.hold >= w {
				break
			}
			t := b.waiting.next()
			x := b.waiting.pop()
			l, err := s.list(b, x.key)
			if err != nil {
				return nil, err
			}
			for i := range l.recs {
				if r := &l.recs[i]; r.time == t && r.n == x.n && !r.matched {
					list = append(list, dueRecord[K, V]{x, t, r.val})
				}
			}
		}
		if w >= b.start+s.width+s.hold {
			if err := s.drop(b); err != nil {
				return nil, err
			}
			continue
		}
		s.due = min(s.due, s.next(b))
	}
	s.taken = max(s.taken, w)
	return list, nil
}

// open reads a bucket as a whole, and finds those that will be due.
func (s *shelf[K, V]) open(b *bucket[K, V]) error {
	if err := s.load(b); err != nil {
		return err
	}
	b.open, b.waiting.before = true, wait[K].before
	for k, l := range b.lists {
		key, err := s.keyBytes(k)
		if err != nil {
			return err
		}
		for _, r := range l.recs {
			if !r.matched && r.time+s.hold >= s.taken {
				b.waiting.push(r.time, wait[K]{string(key), r.n, k})
			}
		}
	}
	return nil
}

// load completes a bucket from the store.
func (s *shelf[K, V]) load(b *bucket[K, V]) error {
	if b.complete {
		return nil
	}
	have := b.lists
	for g, has := range b.groups {
		if !has {
			continue
		}
		lo := s.prefix(nil, uint16(g), &b.start)
		err := s.task.View.Scan(lo, after(slices.Clone(lo)), func(key, value []byte) error {
			user, r, by, val, err := s.parse(key, value)
			if err != nil {
				return err
			}
			k, err := s.keys.Decode(user)
			if err != nil {
				return &task.StateError{Store: s.name, Doing: "decode key", Err: err}
			}
			l := have[k]
			if l == nil {
				l = s.newList(b, k)
				l.epoch = math.MaxUint64 // from this scan
			}
			if l.epoch != math.MaxUint64 {
				return nil // it was there before, and is newer
			}
			if r.val, err = s.decode(by, val); err != nil {
				return err
			}
			s.records++
			l.recs = append(l.recs, r)
			return nil
		})
		if err != nil {
			return fmt.Errorf("store %s: %w", s.name, err)
		}
	}
	for _, l := range b.lists {
		if l.epoch == math.MaxUint64 {
			l.epoch = 0
		}
	}
	b.complete = true
	return nil
}

// waits counts the records that will be taken. It reads what is not in memory, and keeps none of it.
func (s *shelf[K, V]) waits() (n int, err error) {
	count := func(r *held[V]) {
		if !r.matched && r.time+s.hold >= s.taken {
			n++
		}
	}
	for _, b := range s.buckets {
		for _, l := range b.lists {
			for i := range l.recs {
				count(&l.recs[i])
			}
		}
		for g, has := range b.groups {
			if !has || b.complete {
				continue
			}
			lo := s.prefix(nil, uint16(g), &b.start)
			err := s.task.View.Scan(lo, after(slices.Clone(lo)), func(key, value []byte) error {
				user, r, _, _, err := s.parse(key, value)
				if err != nil {
					return err
				}
				k, err := s.keys.Decode(user)
				if err != nil {
					return &task.StateError{Store: s.name, Doing: "decode key", Err: err}
				}
				if b.lists[k] == nil { // else it has been counted, as it is now
					count(&r)
				}
				return nil
			})
			if err != nil {
				return 0, fmt.Errorf("store %s: %w", s.name, err)
			}
		}
	}
	return n, nil
}

// drop deletes a bucket. The changelog has to be told of every record that it has.
func (s *shelf[K, V]) drop(b *bucket[K, V]) error {
	if b.saved {
		if err := s.load(b); err != nil {
			return err
		}
		for k, l := range b.lists {
			if !slices.ContainsFunc(l.recs, func(r held[V]) bool { return r.logged }) {
				continue
			}
			if err := s.setPrefix(b.start, k); err != nil {
				return err
			}
			for i := range l.recs {
				if r := &l.recs[i]; r.logged {
					x := recordKey(append(s.gone.Buf(len(s.prefixB)+12), s.prefixB...), r)
					s.gone.Put(x, len(x), true, true)
				}
			}
		}
		s.dropped = append(s.dropped, droppedBucket{b.start, b.groups})
	}
	for _, l := range b.lists {
		s.records -= len(l.recs)
	}
	s.usual = len(b.lists)
	s.lists -= len(b.lists)
	delete(s.buckets, b.start)
	return nil
}

// setPrefix makes prefixB the beginning of the keys of a list.
func (s *shelf[K, V]) setPrefix(start int64, k K) (err error) {
	s.prefixB, err = s.keyPrefix(s.prefixB[:0], start, k)
	return err
}

func recordKey[V any](prefix []byte, r *held[V]) []byte {
	return binary.BigEndian.AppendUint32(task.AppendTime(prefix, r.time), r.n)
}

// restore finds the buckets that the store holds.
func (s *shelf[K, V]) restore(m *task.Marker) error {
	if err := s.codecs.open(s.task, s.name, s.writtenKey(nil), s.keys.Name(), s.vals); err != nil {
		return err
	}
	if m != nil {
		for _, c := range m.Closed {
			if c.Store == s.id {
				s.taken = c.Through
			}
		}
	}
	for g := range s.groups {
		lo := s.prefix(nil, uint16(g), nil)
		hi := after(slices.Clone(lo))
		for {
			var start int64
			err := s.task.View.Scan(lo, hi, func(key, _ []byte) error {
				if len(key) < task.PrefixLen+9 {
					return &task.StateError{Store: s.name, Doing: "read entry", Err: errDamaged}
				}
				start = task.Time(key[task.PrefixLen+1:])
				return errStop
			})
			if err == nil {
				break
			}
			if err != errStop {
				return fmt.Errorf("store %s: %w", s.name, err)
			}
			b := s.buckets[start]
			if b == nil {
				b = &bucket[K, V]{start: start, lists: map[K]*list[V]{}, saved: true, groups: make([]bool, s.groups)}
				s.buckets[start] = b
				s.due = min(s.due, s.next(b))
			}
			b.groups[g] = true
			lo = after(s.prefix(nil, uint16(g), &start))
		}
	}
	return nil
}

// cut hands over what has changed.
func (s *shelf[K, V]) cut(d *task.Delta) error {
	if s.changed > 0 && !s.codecs.noted {
		s.codecs.note(d, s.writtenKey(d.Buf(256)), s.keys.Name())
	}
	for start, b := range s.buckets {
		for k, l := range b.lists {
			if !l.dirty {
				continue
			}
			l.dirty = false
			if err := s.setPrefix(start, k); err != nil {
				return err
			}
			for i := range l.recs {
				r := &l.recs[i]
				if !r.changed {
					continue
				}
				x := recordKey(append(d.Buf(512), s.prefixB...), r)
				n := len(x)
				x, err := s.appendValue(x, r)
				if err != nil {
					return err
				}
				d.Put(x, n, false, false)
				r.changed, r.logged = false, true
			}
			l.epoch, b.saved, b.groups[task.GroupOf(s.prefixB)] = d.Epoch, true, true
		}
	}
	slices.SortFunc(s.dropped, func(a, b droppedBucket) int { return cmp.Compare(a.start, b.start) })
	d.Take(&s.gone)
	for gone := s.dropped; len(gone) > 0; {
		n := s.neighbours(gone)
		for g := range s.groups {
			if !slices.ContainsFunc(gone[:n], func(x droppedBucket) bool { return x.groups[g] }) {
				continue
			}
			d.Ranges = append(d.Ranges, task.Range{Lo: s.prefix(nil, uint16(g), &gone[0].start), Hi: after(s.prefix(nil, uint16(g), &gone[n-1].start))})
		}
		gone = gone[n:]
	}
	s.dropped, s.changed = nil, 0
	return nil
}

// neighbours is how many of the dropped buckets, from the first on, have no other one between them: they are deleted as one range, since
// the store weighs each range again and again.
func (s *shelf[K, V]) neighbours(gone []droppedBucket) int {
	next := int64(math.MaxInt64)
	for start := range s.buckets {
		if start > gone[0].start {
			next = min(next, start)
		}
	}
	n := 1
	for n < len(gone) && gone[n].start < next {
		n++
	}
	return n
}

// evict drops lists until no more than room bytes are held. Those that were used since the last time go last, and of the others
// those of the oldest buckets first: nothing may be looked for in them any more, while in a bucket that lacks a list
// every key that it does not have is looked for in the store.
func (s *shelf[K, V]) evict(room int, applied uint64) {
	if s.held() <= room {
		return
	}
	starts := s.sorted()
	for _, all := range []bool{false, true} {
		for _, start := range starts {
			b := s.buckets[start]
			for k, l := range b.lists {
				if s.held() <= room {
					return
				}
				if l.dirty || l.epoch > applied || l.recent && !all {
					l.recent = false
					continue
				}
				delete(b.lists, k)
				s.records -= len(l.recs)
				s.lists--
				b.complete = false
			}
		}
	}
}

// sorted are the buckets' starts, until it is called again.
func (s *shelf[K, V]) sorted() []int64 {
	s.starts = slices.AppendSeq(s.starts[:0], keysOf(s.buckets))
	slices.Sort(s.starts)
	return s.starts
}

func (s *shelf[K, V]) held() int { return s.records*s.recordSize() + s.lists*128 }

func (s *shelf[K, V]) recordSize() int { return int(unsafe.Sizeof(held[V]{})) + 32 + s.bulk.bytes() }
