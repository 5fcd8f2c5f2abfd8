package lease

import (
	"fmt"
	"time"
)

// renewal is what was seen of a lease's holder.
type renewal struct {
	has     string
	counter int64
	at      time.Time // when the holder was last seen to renew it, or it was first seen
	told    bool      // a person was told that nobody does
}

// unread is for how long nobody renews a lease before a person is told: instances that have died do not count any more by then, and one
// that lives was asked for the lease in vain and let it expire.
func (l *leader) unread() time.Duration { return reported + l.HandOver + l.Failover }

// watchHolders looks for leases that nobody renews, though they are given away again and again.
func (l *leader) watchHolders(list []candidate, now time.Time) {
	old, silent := l.renewals, 0
	l.renewals = map[string]renewal{}
	for _, c := range list {
		n, known := old[c.key]
		if !known || c.has() != "" && c.has() == n.has && c.counter != n.counter {
			n = renewal{at: now}
		}
		n.has, n.counter = c.has(), c.counter
		if !n.told && now.Sub(n.at) >= l.unread() {
			n.told = true
			detail := "nobody has its lease"
			if n.has != "" {
				detail = "its lease was given to " + n.has
			}
			l.alarm(Alarm{Kind: Unread, Shard: c.key, Detail: fmt.Sprintf("for %v nobody has renewed it; %s", now.Sub(n.at).Round(time.Second), detail)})
		}
		if n.told {
			silent++
		}
		l.renewals[c.key] = n
	}
	l.setUnread(silent)
}

func (g *group) setUnread(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unread = n
}
