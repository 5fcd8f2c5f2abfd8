package task

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
)

// Age is how new a whole store is, for a system that has no changelogs to tell it by (connect.Sharded). Every epoch's batch
// holds one. The store of a later term is newer, however few epochs it has had: what the process of an earlier term has
// done since the later one began is not part of its history.
type Age struct {
	Term  uint64 `json:"term"`  // of the process that committed last, see internal/snapshot; 0: there are no snapshots
	Epoch uint64 `json:"epoch"` // how many there have been, in all terms
	// Part says that the store is being brought back, and holds a part of what it will.
	Part bool `json:"-"`
}

// Compare returns which of two is newer: 1 if it is a, -1 if it is o.
func (a Age) Compare(o Age) int {
	return cmp.Or(cmp.Compare(a.Term, o.Term), cmp.Compare(a.Epoch, o.Epoch))
}

// String returns a form for logs.
func (a Age) String() string { return fmt.Sprintf("epoch %d of term %d", a.Epoch, a.Term) }

// AgeKey is the key under which a store keeps its age, in partition 0.
func AgeKey() []byte { return []byte{KindAge} }

// AppendAge appends the encoding of a, a version byte first.
func AppendAge(b []byte, a Age) []byte {
	b = append(b, markerVersion)
	b = binary.AppendUvarint(b, a.Term)
	b = binary.AppendUvarint(b, a.Epoch)
	return appendBool(b, a.Part)
}

// DecodeAge reads what AppendAge wrote.
func DecodeAge(b []byte) (Age, error) {
	d := decoder{b: b}
	if v := d.byte(); v != markerVersion {
		return Age{}, fmt.Errorf("age of the state has format %d, this program knows %d", v, markerVersion)
	}
	a := Age{Term: d.uvarint(), Epoch: d.uvarint(), Part: d.bool()}
	if d.bad || len(d.b) > 0 {
		return Age{}, errors.New("age of the state is damaged")
	}
	return a, nil
}
