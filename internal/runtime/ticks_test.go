package runtime

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTicks(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		comes []time.Duration // when records come
		ends  []time.Duration // when epochs end
	}{
		"nothing comes":                   {nil, []time.Duration{100 * ms, 200 * ms, 300 * ms}},
		"right after an answer":           {[]time.Duration{80 * ms, 92 * ms}, []time.Duration{93 * ms, 193 * ms}},
		"the first answer of the tenth":   {[]time.Duration{91 * ms, 92 * ms, 99 * ms}, []time.Duration{92 * ms, 192 * ms}},
		"not later than its interval":     {[]time.Duration{99*ms + ms/2}, []time.Duration{100 * ms, 200 * ms}},
		"each from the end of the last":   {[]time.Duration{92 * ms, 185 * ms}, []time.Duration{93 * ms, 186 * ms, 286 * ms}},
		"an answer before the tenth only": {[]time.Duration{5 * ms, 89 * ms}, []time.Duration{100 * ms, 200 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, began := newTicks(100*ms), time.Now()
				defer k.timer.Stop()
				for _, at := range c.comes {
					time.AfterFunc(at, k.records)
				}
				var ends []time.Duration
				for len(ends) < len(c.ends) {
					select {
					case <-k.came:
						k.close()
					case <-k.timer.C:
						if k.ends() {
							ends = append(ends, time.Since(began))
						}
					}
				}
				require.Equal(t, c.ends, ends)
			})
		})
	}
}
