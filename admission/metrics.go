package admission

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics counts reviews. Labels have few values: no policy, no message.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	shed     prometheus.Counter
	page     http.Handler
}

func newMetrics(to prometheus.Registerer, from prometheus.Gatherer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warder_requests_total",
			Help: "Reviews answered, by route (validate, validate_raw, audit, review) and HTTP status.",
		}, []string{"route", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "warder_request_duration_seconds",
			Help: "Time from the first byte of a review to its answer.",
			// From a built-in's fraction of a millisecond to the 30 s that the
			// API server waits at most.
			Buckets: []float64{.0002, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "warder_requests_in_flight",
			Help: "Reviews being read or judged.",
		}),
		shed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "warder_requests_shed_total",
			Help: "Reviews answered with 429 because too many were in flight.",
		}),
		page: promhttp.HandlerFor(from, promhttp.HandlerOpts{}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.inFlight, m.shed} {
		errs = append(errs, to.Register(c))
	}
	return m, errors.Join(errs...)
}

func (m *metrics) observe(name route, status int, took time.Duration) {
	m.requests.WithLabelValues(string(name), strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(string(name)).Observe(took.Seconds())
}
