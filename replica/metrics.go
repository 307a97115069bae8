package replica

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what a replica does.
type Metrics struct {
	registry prometheus.Registerer
	writes   *prometheus.CounterVec
}

// Outcomes of writing a report.
const (
	outcomeWritten = "written"
	outcomeError   = "error"
)

// NewMetrics returns the metrics of one replica, registered; nil registers them
// nowhere.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		registry: registry,
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warder_replica_report_writes_total",
			Help: "Reports of this replica by outcome: written, error.",
		}, []string{"outcome"}),
	}
	if registry != nil {
		registry.MustRegister(m.writes)
	}
	for _, outcome := range []string{outcomeWritten, outcomeError} {
		m.writes.WithLabelValues(outcome) // 0 is said, too
	}
	return m
}

func (m *Metrics) wrote(err error) {
	outcome := outcomeWritten
	if err != nil {
		outcome = outcomeError
	}
	m.writes.WithLabelValues(outcome).Inc()
}

// follow registers what is asked of the replica itself.
func (m *Metrics) follow(r *Replica) {
	if m.registry != nil {
		m.registry.MustRegister(ages{r, newAgeDescriptions()})
	}
}

// ages says how old it is what a replica knows, and what is known of it.
type ages struct {
	replica *Replica
	desc    ageDescriptions
}

type ageDescriptions struct{ observed, report *prometheus.Desc }

func newAgeDescriptions() ageDescriptions {
	return ageDescriptions{
		observed: prometheus.NewDesc("warder_replica_observed_age_seconds",
			"Time since the API server has last said something of a resource; without changes it does so about once a minute.",
			[]string{"resource"}, nil),
		report: prometheus.NewDesc("warder_replica_report_age_seconds",
			"Time since the replica's report was last written.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (a ages) Describe(to chan<- *prometheus.Desc) {
	to <- a.desc.observed
	to <- a.desc.report
}

// Collect implements prometheus.Collector.
func (a ages) Collect(to chan<- prometheus.Metric) {
	k, r := a.replica.keeper, a.replica.report
	k.mu.Lock()
	for _, resource := range resources() {
		to <- age(a.desc.observed, k.seen[resource], resource)
	}
	k.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	to <- age(a.desc.report, r.wrote.at)
}

// age is how long ago something was, and infinite of what never was: an alert on
// it goes off then, too.
func age(desc *prometheus.Desc, at time.Time, labels ...string) prometheus.Metric {
	value := math.Inf(1)
	if !at.IsZero() {
		value = time.Since(at).Seconds()
	}
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}
