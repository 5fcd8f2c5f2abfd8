package runtime

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What an application takes whatever it does is in its budget, and leaves at least half of it.
func TestBudgetLessTheProgramItself(t *testing.T) {
	for _, c := range []struct{ budget, divided int64 }{
		{1 << 40, 1<<40 - 48<<20},
		{12 << 30, 12<<30 - 48<<20},
		{1 << 30, 1<<30 - 48<<20},
		{256 << 20, 208 << 20},
		{96 << 20, 48 << 20},
		{64 << 20, 32 << 20},
		{16 << 20, 8 << 20},
	} {
		cfg := Config{Memory: c.budget}
		require.Equal(t, c.divided, cfg.divided(), "%d bytes", c.budget)
		require.LessOrEqual(t, 2*(cfg.fetchBytes()+cfg.keptBytes()+2*cfg.dirtyBytes()+cfg.outputBytes())+cfg.storeBytes()+ownBytes, max(c.budget, 2*ownBytes))
	}
}
