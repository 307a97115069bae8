package capability

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/sdk"
)

// Metrics counts the calls of all policies. The labels are the capabilities
// that there are and words of ours, never texts of a policy.
type Metrics struct {
	calls    *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// Outcomes of a call.
const (
	outcomeAnswered = "answered"
	outcomeRefused  = "refused" // no grant
	outcomeInvalid  = "invalid" // no such capability, or a payload that is none of its
	outcomeFailed   = "failed"
	outcomeEnded    = "ended" // the policy's time was over first
)

// NewMetrics returns metrics that registry shows; nil shows them to nobody.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warder_host_calls_total",
			Help: "Calls of policies by capability and outcome: answered, refused (no grant), invalid (no such capability or payload), failed, ended (the policy's time was over first).",
		}, []string{"capability", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "warder_host_call_duration_seconds",
			Help:    "Time that policies wait for the host, by capability.",
			Buckets: []float64{.00001, .0001, .0005, .001, .005, .01, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"capability"}),
	}
	if registry != nil {
		registry.MustRegister(m.calls, m.duration)
	}
	return m
}

// answered counts one call; it may be called on nil.
func (m *Metrics) answered(c sdk.HostCall, took time.Duration, err error) {
	if m == nil {
		return
	}
	capability := "unknown"
	if _, err := operationOf(c.Namespace, c.Operation); err == nil {
		capability = c.Capability()
	}
	m.calls.WithLabelValues(capability, outcomeOf(err)).Inc()
	m.duration.WithLabelValues(capability).Observe(took.Seconds())
}

func outcomeOf(err error) string {
	if err == nil {
		return outcomeAnswered
	}
	var (
		refused *refusal
		failure *failure
	)
	switch {
	case errors.As(err, &refused):
		return outcomeRefused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return outcomeEnded
	case errors.As(err, &failure):
		return outcomeFailed
	}
	return outcomeInvalid
}
