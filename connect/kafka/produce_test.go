package kafka

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
)

// At-least-once the next epoch is written while one is flushed. That flush ends with the last record of its own, and a
// record that fails later is the next one's error, not nobody's.
func TestFlushWhileOthersWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{app: connect.App{Guarantee: connect.AtLeastOnce}}
		require.NoError(t, s.Begin())
		flush := func() chan error {
			done := make(chan error, 1)
			go func() {
				_, err := s.Flush(t.Context())
				done <- err
			}()
			synctest.Wait()
			return done
		}
		own, err := s.expect(2)
		require.NoError(t, err)
		first := flush()
		later, err := s.expect(1)
		require.NoError(t, err)
		own.promise(&kgo.Record{}, nil)
		synctest.Wait()
		require.Empty(t, first, "one of its records is under way")
		own.promise(&kgo.Record{}, nil)
		require.NoError(t, <-first)
		require.NoError(t, s.Commit(t.Context(), nil))

		again, err := s.expect(1) // before Begin
		require.NoError(t, err)
		require.NoError(t, s.Begin())
		second := flush()
		require.Empty(t, second)
		lost := errors.New("lost")
		later.promise(&kgo.Record{}, lost)
		again.promise(&kgo.Record{}, nil)
		err = <-second
		assert.ErrorIs(t, err, lost)
		assert.ErrorIs(t, err, connect.ErrRetry)

		_, err = s.expect(1)
		require.NoError(t, err)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = s.Flush(gone)
		assert.ErrorIs(t, err, context.Canceled)
	})
}
