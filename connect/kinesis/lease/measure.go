package lease

import (
	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/metrics"
)

var _ connect.Measured = (*member)(nil)

// alarmNames are the alarms' names in metrics.
var alarmNames = map[AlarmKind]string{Forgotten: "forgotten", Missing: "missing", Hole: "hole", Unread: "unread", Broken: "broken"}

// Measure implements connect.Measured; the connector's session asks.
func (mb *member) Measure(add func(m *metrics.Metric, value float64, labels ...string)) {
	mb.mu.Lock()
	var groups []*group
	for _, g := range mb.groups {
		groups = append(groups, g)
	}
	mb.mu.Unlock()
	for _, g := range groups {
		g.mu.Lock()
		add(metrics.KinesisUnread, float64(g.unread), g.stream)
		for kind, name := range alarmNames {
			add(metrics.KinesisAlarms, float64(g.alarms[kind]), g.stream, name)
		}
		g.mu.Unlock()
	}
}
