package lease

import "time"

// An instance that holds a lease raises the row's counter again and again. Whoever watches the row takes the lease to be
// expired when the counter has not changed for the time of failover, on the watcher's own clock: clocks of two machines are
// never compared. The holder counts from before it sent the write that raised the counter, so it gives up before anybody
// can take the lease.

// watch is what one instance has seen of counters, by row.
type watch map[string]seen

type seen struct {
	what  string    // the row's owner and counter
	since time.Time // when they were first seen
}

// observe takes in what a look at the table at some time has found. Rows that are gone are forgotten.
func (w watch) observe(found map[string]string, now time.Time) {
	for key := range w {
		if _, ok := found[key]; !ok {
			delete(w, key)
		}
	}
	for key, what := range found {
		if s, ok := w[key]; !ok || s.what != what {
			w[key] = seen{what, now}
		}
	}
}

// unchanged is how long a row has been seen unchanged.
func (w watch) unchanged(key string, now time.Time) time.Duration {
	s, ok := w[key]
	if !ok {
		return 0
	}
	return now.Sub(s.since)
}
