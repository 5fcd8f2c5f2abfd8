package metrics_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/metrics"
)

func lagged(topic string, records, seconds float64) []metrics.Point {
	return []metrics.Point{
		{Metric: metrics.RecordLag, Values: []string{topic, "0"}, Value: records},
		{Metric: metrics.TimeLag, Values: []string{topic, "0"}, Value: seconds},
		{Metric: metrics.Tasks, Values: []string{"running"}, Value: 1e9}, // no lag
	}
}

func TestOnLagTellsOfChangesOnly(t *testing.T) {
	var told []metrics.Lag
	r := metrics.OnLag(metrics.LagLimit{Records: 100, Time: time.Minute}, func(l metrics.Lag) { told = append(told, l) })
	receive := func(points ...[]metrics.Point) []metrics.Lag {
		told = nil
		s := metrics.Sample{App: "a", Instance: "i"}
		for _, p := range points {
			s.Points = append(s.Points, p...)
		}
		r.Receive(s)
		return told
	}
	lag := func(topic string, records int64, d time.Duration, over bool) metrics.Lag {
		return metrics.Lag{App: "a", Instance: "i", Topic: topic, Partition: "0", Records: records, Time: d, Over: over}
	}
	require.Empty(t, receive(lagged("x", 100, 60)), "at the limits is not over them")
	require.Equal(t, []metrics.Lag{lag("x", 101, 0, true)}, receive(lagged("x", 101, 0)))
	require.Empty(t, receive(lagged("x", 5000, 0)), "still over")
	require.Empty(t, receive(lagged("x", 1, 61)), "over by the other limit")
	require.Equal(t, []metrics.Lag{lag("x", 1, 59*time.Second, false), lag("y", 0, time.Hour, true)}, receive(lagged("y", 0, 3600), lagged("x", 1, 59)))
	require.Empty(t, receive(), "both partitions have moved away")
	require.Equal(t, []metrics.Lag{lag("y", 101, 0, true)}, receive(lagged("y", 101, 0)), "news again for the one that it comes to")
}

func TestWithoutALimitNothingIsOver(t *testing.T) {
	r := metrics.OnLag(metrics.LagLimit{}, func(l metrics.Lag) { t.Errorf("told of %v", l) })
	r.Receive(metrics.Sample{Points: lagged("x", 1e12, 1e9)})
}
