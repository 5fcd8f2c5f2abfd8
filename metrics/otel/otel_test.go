package otel_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/millstream-go/millstream/metrics"
	"github.com/millstream-go/millstream/metrics/otel"
)

// every is a sample with a point of each metric.
func every() metrics.Sample {
	s := metrics.Sample{App: "orders", Instance: "i1"}
	for i, m := range metrics.All() {
		p := metrics.Point{Metric: m, Value: float64(i + 1)}
		for _, l := range m.Labels {
			p.Values = append(p.Values, l+"-value")
		}
		s.Points = append(s.Points, p)
	}
	return s
}

func collect(t *testing.T, reader *sdk.ManualReader) (list []metricdata.Metrics) {
	t.Helper()
	var out metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &out))
	for _, s := range out.ScopeMetrics {
		list = append(list, s.Metrics...)
	}
	return list
}

func TestEveryMetricIsCollected(t *testing.T) {
	reader := sdk.NewManualReader()
	provider := sdk.NewMeterProvider(sdk.WithReader(reader))
	r, err := otel.New(provider.Meter("millstream"))
	require.NoError(t, err)
	r.Receive(every())
	r.Receive(every()) // a newer sample takes the place of the older
	got := collect(t, reader)
	require.Len(t, got, len(metrics.All()))
	for _, g := range got {
		i := slices.IndexFunc(metrics.All(), func(m *metrics.Metric) bool { return m.Name == g.Name })
		require.GreaterOrEqual(t, i, 0, g.Name)
		m := metrics.All()[i]
		require.Equal(t, m.Unit, g.Unit)
		require.Equal(t, m.Help, g.Description)
		var points []metricdata.DataPoint[float64]
		if m.Kind == metrics.Counter {
			sum, ok := g.Data.(metricdata.Sum[float64])
			require.True(t, ok, m.Name)
			require.True(t, sum.IsMonotonic)
			points = sum.DataPoints
		} else {
			value, ok := g.Data.(metricdata.Gauge[float64])
			require.True(t, ok, m.Name)
			points = value.DataPoints
		}
		require.Len(t, points, 1)
		require.EqualValues(t, i+1, points[0].Value)
		want := []attribute.KeyValue{attribute.String("application", "orders"), attribute.String("instance_id", "i1")}
		for _, l := range m.Labels {
			want = append(want, attribute.String(l, l+"-value"))
		}
		require.Equal(t, attribute.NewSet(want...), points[0].Attributes)
	}
	r.Receive(metrics.Sample{App: "orders", Instance: "i1"}) // it has ended
	require.Empty(t, collect(t, reader))
	r.Receive(every())
	require.NoError(t, r.Close())
	require.Empty(t, collect(t, reader), "after Close nothing is observed")
}
