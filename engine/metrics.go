package engine

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/policy"
)

// metrics counts evaluations. Labels are IDs of policies and words of ours,
// never texts of a policy.
type metrics struct {
	evaluations *prometheus.CounterVec
	duration    *prometheus.HistogramVec
}

// Outcomes of an evaluation, before mode and other rules.
const (
	outcomeAccepted = "accepted"
	outcomeRejected = "rejected"
	outcomeMutated  = "mutated"
	outcomeError    = "error"
)

func newMetrics(e *Engine, registry prometheus.Registerer) *metrics {
	m := &metrics{
		evaluations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warder_evaluations_total",
			Help: "Verdicts by policy and outcome: accepted, mutated, rejected, error (no verdict).",
		}, []string{"policy", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "warder_evaluation_duration_seconds",
			Help:    "Time that a policy had a request, waiting for a worker and for the host included.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"policy", "runtime"}),
	}
	if registry != nil {
		registry.MustRegister(m.evaluations, m.duration, newStateCollector(e))
	}
	return m
}

// counters are the metrics of one policy, looked up once.
type counters struct {
	accepted, mutated, rejected, failed prometheus.Counter
	duration                            prometheus.Observer // nil for a policy that did not load
}

func (m *metrics) of(ent *entry) counters {
	count := func(outcome string) prometheus.Counter {
		return m.evaluations.WithLabelValues(string(ent.policy.ID), outcome)
	}
	c := counters{count(outcomeAccepted), count(outcomeMutated), count(outcomeRejected), count(outcomeError), nil}
	if ent.err == nil {
		c.duration = m.duration.WithLabelValues(string(ent.policy.ID), ent.runtime)
	}
	return c
}

func (c counters) judged(d Decision) {
	switch {
	case d.Err != nil:
		c.failed.Inc()
	case !d.Response.Allowed:
		c.rejected.Inc()
	case d.Response.Patch != nil:
		c.mutated.Inc()
	default:
		c.accepted.Inc()
	}
	if c.duration != nil {
		c.duration.Observe(d.Took.Seconds())
	}
}

// count gives an entry its counters, and the members of a group theirs. Those
// that were members before have them.
func (m *metrics) count(ent *entry) {
	ent.counters = m.of(ent)
	if ent.group == nil {
		return
	}
	for _, member := range ent.group.members {
		if member.counters.accepted == nil {
			member.counters = m.of(member)
		}
	}
}

// forget drops what was counted of an entry and is not of the next one, which
// may be nil.
func (m *metrics) forget(old, next *entry) {
	left := next.ids()
	for _, id := range old.ids() {
		if !slices.Contains(left, id) {
			m.evaluations.DeletePartialMatch(prometheus.Labels{"policy": string(id)})
			m.duration.DeletePartialMatch(prometheus.Labels{"policy": string(id)})
		}
	}
}

// ids returns the policy's ID, and those of a group's members.
func (ent *entry) ids() []policy.ID {
	if ent == nil {
		return nil
	}
	ids := []policy.ID{ent.policy.ID}
	if ent.group != nil {
		for name := range ent.group.members {
			ids = append(ids, memberID(ent.policy.ID, name))
		}
	}
	return ids
}

// stateCollector counts the policies by state when it is asked, and names those
// that are not as they should be.
type stateCollector struct {
	engine                 *Engine
	states, failures, away *prometheus.Desc
}

func newStateCollector(e *Engine) *stateCollector {
	return &stateCollector{
		engine: e,
		states: prometheus.NewDesc("warder_policies",
			"Policies by state: loaded, stale (an older revision serves), degraded (members of a group did not load), failed.", []string{"state"}, nil),
		failures: prometheus.NewDesc("warder_policy_load_failed",
			"1 for a policy whose wanted revision did not load, by how far it came: fetch, verify, compile, settings, "+
				"and of a group expression, members.",
			[]string{"policy", "stage"}, nil),
		away: prometheus.NewDesc("warder_policy_module_away",
			"1 for a policy whose module comes from the store since its host could not be asked.", []string{"policy"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.states
	out <- c.failures
	out <- c.away
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, n int, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), labels...)
	}
	count := map[State]int{Loaded: 0, Stale: 0, Degraded: 0, Failed: 0}
	for _, s := range c.engine.Statuses() {
		count[s.State]++
		for _, s := range append([]Status{s}, s.Members...) {
			if s.Stage != "" {
				gauge(c.failures, 1, string(s.ID), string(s.Stage))
			}
			if s.Away != "" {
				gauge(c.away, 1, string(s.ID))
			}
		}
	}
	for state, n := range count {
		gauge(c.states, n, string(state))
	}
}
