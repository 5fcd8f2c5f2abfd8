// Package prom shows the metrics of an application to Prometheus:
//
//	collector := prom.New()
//	prometheus.MustRegister(collector)
//	topology.Build(stream.Config{ … Metrics: []metrics.Receiver{collector}})
//
// Every metric has two labels beside its own: application and instance_id.
package prom

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millstream-go/millstream/metrics"
)

// Collector shows the newest samples of the applications that it is a receiver of, as of when they were taken. It is a
// prometheus.Collector and a metrics.Receiver, and may be used by several applications of a process.
type Collector struct {
	descs map[*metrics.Metric]*prometheus.Desc

	mu      sync.Mutex
	samples map[[2]string]metrics.Sample // by application and instance
}

var (
	_ prometheus.Collector = (*Collector)(nil)
	_ metrics.Receiver     = (*Collector)(nil)
)

// New returns a collector without samples.
func New() *Collector {
	c := &Collector{descs: map[*metrics.Metric]*prometheus.Desc{}, samples: map[[2]string]metrics.Sample{}}
	for _, m := range metrics.All() {
		c.descs[m] = prometheus.NewDesc(m.Name, m.Help, append([]string{"application", "instance_id"}, m.Labels...), nil)
	}
	return c
}

// Receive implements metrics.Receiver.
func (c *Collector) Receive(s metrics.Sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key := [2]string{s.App, s.Instance}; len(s.Points) > 0 {
		c.samples[key] = s
	} else {
		delete(c.samples, key)
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics.All() {
		ch <- c.descs[m]
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.samples {
		for _, p := range s.Points {
			desc := c.descs[p.Metric]
			if desc == nil {
				continue // a metric of the program's own, which was not described
			}
			kind := prometheus.GaugeValue
			if p.Metric.Kind == metrics.Counter {
				kind = prometheus.CounterValue
			}
			m, err := prometheus.NewConstMetric(desc, kind, p.Value, slices.Concat([]string{s.App, s.Instance}, p.Values)...)
			if err != nil {
				m = prometheus.NewInvalidMetric(desc, err)
			}
			ch <- m
		}
	}
}
