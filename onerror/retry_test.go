package onerror_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/millstream-go/millstream/onerror"
)

func TestRetryDelay(t *testing.T) {
	r := onerror.Retry{Backoff: 100 * time.Millisecond, MaxBackoff: time.Second}
	for failures, whole := range []time.Duration{1: 100, 2: 200, 3: 400, 4: 800, 5: 1000, 60: 1000} {
		if whole == 0 {
			continue
		}
		whole *= time.Millisecond
		assert.Equal(t, whole/2, r.Delay(failures, 0))
		assert.Equal(t, whole, r.Delay(failures, uint64(whole/2)))
		assert.LessOrEqual(t, r.Delay(failures, 1<<63+12345), whole)
	}
	assert.Equal(t, 50*time.Millisecond, onerror.Retry{}.Delay(1, 0), "the defaults")
	assert.Equal(t, 5*time.Second, onerror.Retry{}.Delay(100, 0))
}
