package runtime

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What a caller has given up on never runs: it may use again what its function refers to.
func TestWorkerDoGivenUp(t *testing.T) {
	w := newWorker(&engine{gone: make(chan struct{})}, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range cap(w.ctl) {
		assert.False(t, w.do(ctx, func() { assert.Fail(t, "it runs") }))
	}
	assert.NotEmpty(t, w.ctl, "some were handed in before they were given up")
	for len(w.ctl) > 0 {
		(<-w.ctl)()
	}
}
