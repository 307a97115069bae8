package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func mustGrants(t *testing.T, patterns ...string) policy.Grants {
	t.Helper()
	g, err := policy.ParseGrants(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// samples returns what a registry has as lines: name{label="value"} number. Of a
// histogram the number is how often it was observed.
func samples(t *testing.T, registry *prometheus.Registry) []string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			lines = append(lines, fmt.Sprintf("%s{%s} %g", f.GetName(), strings.Join(labels, ","), value))
		}
	}
	slices.Sort(lines)
	return lines
}

func TestVerdictsAndStatesAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	e := newEngine(t, Options{Metrics: registry})
	broken := builtinPolicy("broken", "pod-privileged", `{"nope":1}`)
	drops := dropAll("drops")
	drops.Mode = policy.Monitor // which changes nothing of what is counted
	list := []policy.Policy{
		builtinPolicy("judges", "pod-privileged", ""), drops, broken,
		guestPolicy("lost", portable(t, sdktest.WASI), script(`{"error":"no idea"}`)),
	}
	_ = e.Apply(t.Context(), list) // one is broken
	stale := builtinPolicy("judges", "pod-privileged", `{"nope":1}`)
	if err := e.Load(t.Context(), stale); err == nil {
		t.Fatal("a broken revision was loaded")
	}
	for id, n := range map[policy.ID]int{"judges": 2, "drops": 1, "broken": 3, "lost": 1} {
		for range n {
			evaluate(t, e, id, privilegedPod(t))
		}
	}
	evaluate(t, e, "judges", plainPod(t))
	want := []string{
		`warder_evaluation_duration_seconds{policy="drops",runtime="native"} 1`,
		`warder_evaluation_duration_seconds{policy="judges",runtime="native"} 3`,
		`warder_evaluation_duration_seconds{policy="lost",runtime="wasi"} 1`,
		`warder_evaluations_total{outcome="accepted",policy="judges"} 1`,
		`warder_evaluations_total{outcome="error",policy="broken"} 3`,
		`warder_evaluations_total{outcome="error",policy="lost"} 1`,
		`warder_evaluations_total{outcome="mutated",policy="drops"} 1`,
		`warder_evaluations_total{outcome="rejected",policy="judges"} 2`,
		`warder_policies{state="failed"} 1`,
		`warder_policies{state="loaded"} 2`,
		`warder_policies{state="stale"} 1`,
		`warder_policy_load_failed{policy="broken",stage="settings"} 1`,
		`warder_policy_load_failed{policy="judges",stage="settings"} 1`,
	}
	counted := slices.DeleteFunc(samples(t, registry), func(line string) bool { return strings.HasSuffix(line, " 0") })
	if diff := cmp.Diff(want, counted); diff != "" {
		t.Errorf("metrics (-want +have):\n%s", diff)
	}
	mustApply(t, e)
	gone := []string{`warder_policies{state="degraded"} 0`, `warder_policies{state="failed"} 0`, `warder_policies{state="loaded"} 0`, `warder_policies{state="stale"} 0`}
	if diff := cmp.Diff(gone, samples(t, registry)); diff != "" {
		t.Errorf("metrics without policies (-want +have):\n%s", diff)
	}
}
