package store

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Pebble, closed under a flush, may end the process. So a store that fails while a copy is made of it, whose maker does not
// wait any more, closes the database when Pebble is done with the copy, and not before.
func TestFailureDuringCheckpoint(t *testing.T) {
	failed := errors.New("input/output error")
	flushing, goOn := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool
	var once sync.Once
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed.Load() && op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".log") {
			once.Do(func() { close(flushing) })
			<-goOn
		}
		return nil
	}))
	s, err := OpenMem(Options{FS: fs, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, commitNumber(s, 1, true))
	armed.Store(true)
	copied := make(chan error, 1)
	go func() {
		_, err := s.Checkpoint()
		copied <- err
	}()
	receive(t, "a flush", flushing)
	s.guard.fail(failed)
	require.ErrorIs(t, receive(t, "the end of the call", copied), failed)
	within(t, "Close", func() { require.ErrorIs(t, s.Close(), failed) })
	assert.EqualValues(t, 1, s.calls.Load(), "Pebble is still at work")
	close(goOn)
}
