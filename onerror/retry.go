package onerror

import "time"

// Retry is how often something is tried, and how long to wait in between. The zero value is to try once.
type Retry struct {
	Attempts   int           // how often it is tried at most, the first time included
	Backoff    time.Duration // after the first failure; it doubles with each further one. The default is 100 ms
	MaxBackoff time.Duration // that it does not grow beyond. The default is 10 s
}

// Then is the policy of trying a record again before it is given up on as p says. Meanwhile the record stays where it is: its
// task reads nothing else, so that no record overtakes it, and commits, timers and other tasks go on. After a restart it is
// tried from the first attempt on. A panic is not tried again.
//
// It is for what fails for a passing reason, in a function that is quick as a rule (Stream.TryMap), or in a codec that asks
// others (source.OnError). It is not for what stands behind state, which would see a record again with each attempt: that
// does not build, and Async is for it.
func (r Retry) Then(p Policy) Policy {
	p.Retry = r
	return p
}

// Delay is the time to wait after so many failures. Half of it is chosen by seed, so that those who failed together do not
// try again together.
func (r Retry) Delay(failures int, seed uint64) time.Duration {
	d, most := r.Backoff, r.MaxBackoff
	if d <= 0 {
		d = 100 * time.Millisecond
	}
	if most <= 0 {
		most = 10 * time.Second
	}
	for ; failures > 1 && d < most; failures-- {
		d *= 2
	}
	d = min(d, most)
	return d/2 + time.Duration(seed%uint64(d/2+1))
}
