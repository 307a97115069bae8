package controller

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	v1 "github.com/warder-dev/warder/api/v1"
)

// metrics are the controller's own.
type metrics struct {
	mu    sync.Mutex
	gauge *prometheus.GaugeVec
}

// newMetrics registers the metrics; those of a controller in the same process
// before are taken over.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "warder_policies", Help: "Policies by policy server and by status: unscheduled, scheduled, pending or active.",
	}, []string{"server", "status"})
	err := r.Register(gauge)
	if registered, ok := err.(prometheus.AlreadyRegisteredError); ok { //nolint:errorlint // as its documentation says
		if old, ok := registered.ExistingCollector.(*prometheus.GaugeVec); ok {
			return &metrics{gauge: old}, nil
		}
	}
	return &metrics{gauge: gauge}, err
}

// policies says how many policies of the server there are in each state.
func (m *metrics) policies(server string, counts map[v1.PolicyState]int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gauge.DeletePartialMatch(prometheus.Labels{"server": server})
	for state, n := range counts {
		m.gauge.WithLabelValues(server, string(state)).Set(float64(n))
	}
}
