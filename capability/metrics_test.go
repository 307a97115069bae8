package capability

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/warder-dev/warder/sdk"
)

func TestCallsAreCountedByCapabilityAndOutcome(t *testing.T) {
	registry := prometheus.NewRegistry()
	granted := func(c string) bool { return c != "net/v1/dns_lookup_host" }
	h, _ := hostFor(granted)
	h.Services = Services{Images: &documents{manifest: "{"}, Metrics: NewMetrics(registry)}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		call sdk.HostCall
	}{
		{t.Context(), call("oci", "v1/manifest_digest", `"a"`)},
		{t.Context(), call("oci", "v1/manifest_digest", `"b"`)},
		{over, call("oci", "v1/manifest_digest", `"c"`)},
		{t.Context(), call("oci", "v1/oci_manifest", `"a"`)},
		{t.Context(), call("oci", "v1/oci_manifest", `{}`)},
		{t.Context(), call("net", "v1/dns_lookup_host", `"a"`)},
		{t.Context(), call("net", "made by the policy", ``)},
		{t.Context(), call("tracing", "log", `{}`)},
	} {
		_, _ = h.Call(c.ctx, c.call)
	}
	want := map[string]float64{
		"warder_host_calls_total oci/v1/manifest_digest answered":  2,
		"warder_host_calls_total oci/v1/manifest_digest ended":     1,
		"warder_host_calls_total oci/v1/oci_manifest failed":       1,
		"warder_host_calls_total oci/v1/oci_manifest invalid":      1,
		"warder_host_calls_total net/v1/dns_lookup_host refused":   1,
		"warder_host_calls_total unknown invalid":                  1,
		"warder_host_calls_total tracing/log answered":             1,
		"warder_host_call_duration_seconds oci/v1/manifest_digest": 3,
		"warder_host_call_duration_seconds oci/v1/oci_manifest":    2,
		"warder_host_call_duration_seconds net/v1/dns_lookup_host": 1,
		"warder_host_call_duration_seconds unknown":                1,
		"warder_host_call_duration_seconds tracing/log":            1,
	}
	have := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			have[name] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("metrics (-want +have):\n%s", diff)
	}
}
