package kafka

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// joinData is what a member adds to the protocol's own fields when it joins. Its format begins with a version; fields are
// only ever added at the end, so that members of two releases understand each other while one replaces the other.
type joinData struct {
	instance string
	ownAll   bool
	groups   [][]string
	round    uint32 // changes to make the broker rebalance

	keeps    map[string]bool // the topics whose tasks keep state
	copies   map[source.Partition]connect.Copy
	standbys int
	zone     string
	// start is the session that joins. The leader repeats it in what it gives to the member, which knows by it that this was
	// decided when it had joined.
	start string
}

const joinDataVersion = 1

func (u joinData) encode() []byte {
	b := []byte{joinDataVersion, 0}
	if u.ownAll {
		b[1] = 1
	}
	b = binary.AppendUvarint(b, uint64(u.round))
	b = appendString(b, u.instance)
	b = binary.AppendUvarint(b, uint64(len(u.groups)))
	for _, g := range u.groups {
		b = appendStrings(b, g)
	}
	b = appendStrings(b, slices.Sorted(maps.Keys(u.keeps)))
	b = appendTopics(b, slices.Collect(maps.Keys(u.copies)), func(b []byte, p source.Partition) []byte {
		c, flags := u.copies[p], uint64(0)
		if c.Followed {
			flags |= 1
		}
		if c.Current {
			flags |= 2
		}
		return binary.AppendUvarint(binary.AppendUvarint(b, flags), uint64(max(0, c.Progress)))
	})
	b = binary.AppendUvarint(b, uint64(u.standbys))
	return appendString(appendString(b, u.zone), u.start)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

// appendTopics appends partitions by their topics, each followed by what is to be said of it.
func appendTopics(b []byte, parts []source.Partition, what func(b []byte, p source.Partition) []byte) []byte {
	byTopic := map[string][]source.Partition{}
	for _, p := range parts {
		byTopic[p.Stream] = append(byTopic[p.Stream], p)
	}
	b = binary.AppendUvarint(b, uint64(len(byTopic)))
	for _, t := range slices.Sorted(maps.Keys(byTopic)) {
		b = appendString(b, t)
		b = binary.AppendUvarint(b, uint64(len(byTopic[t])))
		for _, p := range slices.SortedFunc(slices.Values(byTopic[t]), func(x, y source.Partition) int { return cmp.Compare(x.Index, y.Index) }) {
			b = what(binary.AppendUvarint(b, uint64(p.Index)), p)
		}
	}
	return b
}

var errJoinData = errors.New("its join data is damaged, or it is not a Millstream application: two applications must not share an id")

func decodeJoinData(b []byte) (u joinData, err error) {
	if len(b) < 2 || b[0] < joinDataVersion {
		return u, errJoinData
	}
	u.ownAll = b[1] == 1
	r := reader{b: b[2:]}
	u.round = uint32(r.number())
	u.instance = r.text()
	for range r.count() {
		if g := r.texts(); len(g) > 0 {
			u.groups = append(u.groups, g)
		}
	}
	if len(r.b) == 0 && !r.bad { // a release that knew of no copies
		return u, nil
	}
	u.keeps = map[string]bool{}
	for _, t := range r.texts() {
		u.keeps[t] = true
	}
	u.copies = map[source.Partition]connect.Copy{}
	r.topics(func(p source.Partition) {
		flags := r.number()
		u.copies[p] = connect.Copy{Followed: flags&1 != 0, Current: flags&2 != 0, Progress: int64(r.number())}
	})
	u.standbys = int(r.number())
	u.zone = r.text()
	if len(r.b) > 0 {
		u.start = r.text()
	}
	if r.bad {
		return u, errJoinData
	}
	return u, nil
}

// told is what the leader adds to a member's assignment: the tasks whose state it is to copy, those that it is to have
// next, which session of the member all this is for, and whether another round is to come.
type told struct {
	follow, next []source.Partition
	start        string
	moving       bool // some partitions are nobody's until those who have them have given them up, and joined again
}

const toldVersion = 1

func (t told) encode() []byte {
	nothing := func(b []byte, _ source.Partition) []byte { return b }
	b := appendTopics(appendTopics([]byte{toldVersion}, t.follow, nothing), t.next, nothing)
	b = appendString(b, t.start)
	if t.moving {
		return append(b, 1)
	}
	return append(b, 0)
}

// decodeTold reads what encode wrote. What it cannot read it leaves out: that is a leader of another release.
func decodeTold(b []byte) (t told) {
	if len(b) == 0 || b[0] < toldVersion {
		return told{}
	}
	r := reader{b: b[1:]}
	r.topics(func(p source.Partition) { t.follow = append(t.follow, p) })
	r.topics(func(p source.Partition) { t.next = append(t.next, p) })
	if len(r.b) > 0 {
		t.start = r.text()
	}
	if len(r.b) > 0 {
		t.moving = r.number() == 1
	}
	if r.bad {
		return told{}
	}
	return t
}

// reader reads what a member has sent. Once something is wrong all it reads is empty.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() uint64 {
	n, k := binary.Uvarint(r.b)
	if k <= 0 || n > 1<<62 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[k:]
	return n
}

// count reads how many things follow, each of which takes a byte at least.
func (r *reader) count() int {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return 0
	}
	return int(n)
}

func (r *reader) text() string {
	n := r.count()
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) texts() (list []string) {
	for range r.count() {
		list = append(list, r.text())
	}
	return list
}

func (r *reader) topics(f func(p source.Partition)) {
	for range r.count() {
		t := r.text()
		for range r.count() {
			if p := r.number(); p <= 1<<31-1 {
				f(source.Partition{Stream: t, Index: int32(p)})
			} else {
				r.bad = true
			}
		}
	}
}
