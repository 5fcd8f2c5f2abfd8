package prom_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/metrics"
	"github.com/millstream-go/millstream/metrics/prom"
)

// every is a sample with a point of each metric.
func every(app string) metrics.Sample {
	s := metrics.Sample{App: app, Instance: "i1"}
	for i, m := range metrics.All() {
		p := metrics.Point{Metric: m, Value: float64(i + 1)}
		for _, l := range m.Labels {
			p.Values = append(p.Values, l+"-value")
		}
		s.Points = append(s.Points, p)
	}
	return s
}

func TestEveryMetricIsGathered(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	c := prom.New()
	require.NoError(t, reg.Register(c))
	c.Receive(every("orders"))
	c.Receive(every("orders")) // a newer sample takes the place of the older
	c.Receive(every("clicks"))
	families, err := reg.Gather()
	require.NoError(t, err)
	require.Len(t, families, len(metrics.All()))
	for _, f := range families {
		i := slices.IndexFunc(metrics.All(), func(m *metrics.Metric) bool { return m.Name == f.GetName() })
		require.GreaterOrEqual(t, i, 0, f.GetName())
		m := metrics.All()[i]
		require.Equal(t, m.Help, f.GetHelp())
		require.Len(t, f.Metric, 2)
		value := f.Metric[0].GetGauge().GetValue()
		if m.Kind == metrics.Counter {
			value = f.Metric[0].GetCounter().GetValue()
		}
		require.EqualValues(t, i+1, value, m.Name)
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName()+"="+l.GetValue())
		}
		want := []string{"application=clicks", "instance_id=i1"}
		for _, l := range m.Labels {
			want = append(want, l+"="+l+"-value")
		}
		require.ElementsMatch(t, want, labels)
	}
}

func TestAnApplicationThatEndedIsNotShown(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	c := prom.New()
	require.NoError(t, reg.Register(c))
	c.Receive(every("orders"))
	c.Receive(metrics.Sample{App: "orders", Instance: "i1"})
	families, err := reg.Gather()
	require.NoError(t, err)
	require.Empty(t, families)
}

func TestAPointWithTheWrongLabelsIsAnError(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	c := prom.New()
	require.NoError(t, reg.Register(c))
	c.Receive(metrics.Sample{App: "orders", Points: []metrics.Point{{Metric: metrics.RecordLag, Values: []string{"only one"}}}})
	_, err := reg.Gather()
	require.Error(t, err)
	require.True(t, strings.Contains(err.Error(), "inconsistent label cardinality"), err)
}
