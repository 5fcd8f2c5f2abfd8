package task

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

type keeps struct{ Stateful }

func (keeps) StoreID() uint32 { return 7 }

// A task's part of the store is deleted, and taken from a snapshot, by ranges: every kind of state is in one of them, and nothing
// that is not the stores'.
func TestRangesHaveAllKindsOfState(t *testing.T) {
	tk := New(&Spec{Subtopology: "s"}, 0, nil, nil, nil)
	tk.AddStateful(keeps{})
	has := func(kind byte) bool {
		key := append(AppendPrefix(nil, kind, 7, 3), "key"...)
		for _, r := range tk.Ranges() {
			if bytes.Compare(r.Lo, key) <= 0 && bytes.Compare(key, r.Hi) < 0 {
				return true
			}
		}
		return false
	}
	for _, kind := range []byte{KindValue, KindWindow, KindPane, KindTimer, KindSpans, KindWaiting, KindSubscription, KindLink, KindRecords, KindVersions, KindGroup,
		KindNumbers, KindKept, KindUnmatched, KindCell, KindCodecs, KindRuns} {
		assert.True(t, has(kind), "kind %#x", kind)
	}
	for _, kind := range []byte{KindMarker, KindLocal, KindInput, KindAge} {
		assert.False(t, has(kind), "kind %#x", kind)
	}
}
