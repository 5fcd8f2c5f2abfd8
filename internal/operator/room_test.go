package operator

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// absent is a store that has nothing.
type absent struct{ task.View }

func (absent) Get(_, dst []byte) ([]byte, bool, error) { return dst, false, nil }

// The stores of a task share what it may hold. One takes what the others leave, and gives it back when they need it. What
// strings have behind their pointers counts.
func TestStoresShareTheRoomOfATask(t *testing.T) {
	const room, length = 1 << 20, 500
	spec := &task.Spec{KeyGroups: 4}
	spec.MaxHeld.Store(room)
	tk := task.New(spec, 0, nil, absent{}, nil)
	var stores [4]rows[int64, string]
	for i := range stores {
		stores[i] = newRows(tk, task.KindValue, fmt.Sprint("store", i), codec.Int64, codec.String)
		stores[i].table = newTable[int64, string](true)
		tk.AddStateful(&stores[i])
	}
	epoch := uint64(0)
	fill := func(s *rows[int64, string], from int64) {
		for k := from; k < from+10_000; k++ {
			e, err := s.store.find(s.table, k, 0)
			require.NoError(t, err)
			e.val, e.live = strings.Repeat("x", length), true
			s.table.touch(e)
		}
		epoch++
		require.NoError(t, s.Cut(&task.Delta{Epoch: epoch}))
		assert.Greater(t, s.Held(), 10_000*length, "of what is changed nothing is dropped yet")
		assert.Greater(t, tk.Grown(), room)
		tk.Applied(epoch)
		assert.Zero(t, tk.Grown())
	}
	fill(&stores[0], 0)
	assert.LessOrEqual(t, tk.Held(), room)
	assert.Greater(t, stores[0].Held(), room*9/10, "the others leave it their shares")
	for i := range stores {
		fill(&stores[i], 20_000)
		assert.LessOrEqual(t, tk.Held(), room)
	}
	for i := range stores {
		assert.Greater(t, stores[i].Held(), room/4*9/10, "each has its share")
	}
}
