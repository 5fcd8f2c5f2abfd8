// Package otel brings the metrics of an application to OpenTelemetry:
//
//	receiver, err := otel.New(provider.Meter("millstream"))
//	topology.Build(stream.Config{ … Metrics: []metrics.Receiver{receiver}})
//
// Every metric has two attributes beside its own: application and instance_id. The package uses OpenTelemetry's API; the
// SDK and its exporters are the program's choice.
package otel

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/millstream-go/millstream/metrics"
)

// Receiver observes the newest samples of the applications that it is a receiver of, as of when they were taken. It may
// be used by several applications of a process.
type Receiver struct {
	instruments map[*metrics.Metric]metric.Float64Observable
	callback    metric.Registration

	mu      sync.Mutex
	samples map[[2]string]metrics.Sample // by application and instance
}

var _ metrics.Receiver = (*Receiver)(nil)

// New makes an asynchronous instrument for each metric, by its name.
func New(meter metric.Meter) (*Receiver, error) {
	r := &Receiver{instruments: map[*metrics.Metric]metric.Float64Observable{}, samples: map[[2]string]metrics.Sample{}}
	var all []metric.Observable
	var errs []error
	for _, m := range metrics.All() {
		var o metric.Float64Observable
		var err error
		if m.Kind == metrics.Counter {
			o, err = meter.Float64ObservableCounter(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
		} else {
			o, err = meter.Float64ObservableGauge(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("make instrument %s: %w", m.Name, err))
			continue
		}
		r.instruments[m] = o
		all = append(all, o)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var err error
	if r.callback, err = meter.RegisterCallback(r.observe, all...); err != nil {
		return nil, fmt.Errorf("register the metrics' callback: %w", err)
	}
	return r, nil
}

// Close takes the receiver's callback from the meter.
func (r *Receiver) Close() error { return r.callback.Unregister() }

// Receive implements metrics.Receiver.
func (r *Receiver) Receive(s metrics.Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key := [2]string{s.App, s.Instance}; len(s.Points) > 0 {
		r.samples[key] = s
	} else {
		delete(r.samples, key)
	}
}

func (r *Receiver) observe(_ context.Context, o metric.Observer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.samples {
		for _, p := range s.Points {
			to := r.instruments[p.Metric]
			if to == nil {
				continue // a metric of the program's own, without an instrument
			}
			attrs := []attribute.KeyValue{attribute.String("application", s.App), attribute.String("instance_id", s.Instance)}
			for i, l := range p.Metric.Labels {
				attrs = append(attrs, attribute.String(l, p.Values[i]))
			}
			o.ObserveFloat64(to, p.Value, metric.WithAttributes(attrs...))
		}
	}
	return nil
}
