package runtimeenforcer_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/warder-dev/warder/library/runtimeenforcer"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, runtimeenforcer.Policy(), "testdata") }

func TestAsksForTheWorkloadPolicy(t *testing.T) {
	const labels = `"metadata": {"labels": {"security.rancher.io/policy": "p"}}`
	pod := `{"metadata": {"namespace": "shop", "name": "web", "labels": {"security.rancher.io/policy": "p"}}}`
	deployment := `{"metadata": {"namespace": "shop", "name": "web"}, "spec": {"template": {` + labels + `}}}`
	cronJob := `{"metadata": {"namespace": "shop", "generateName": "web"}, "spec": {"jobTemplate": {"spec": {"template": {` + labels + `}}}}}`
	tests := []struct {
		name, kind, object string
		err                error
		code               uint16
		want               string
	}{
		{"found", "Deployment", deployment, nil, 0, ""},
		{"missing for a pod", "Pod", pod, errors.New(`workloadpolicies.security.rancher.io "p" not found`), 403,
			`The WorkloadPolicy 'shop/p' specified in the Pod 'shop/web' is not found. Create it, or change the label metadata.labels["security.rancher.io/policy"]`},
		{"missing for a cron job", "CronJob", cronJob, errors.New("Cannot find security.rancher.io/v1alpha1/WorkloadPolicy named 'p' inside of namespace 'Some(\"shop\")'"), 403,
			`The WorkloadPolicy 'shop/p' specified in the CronJob 'shop/web' is not found. Create it, or change the label spec.jobTemplate.spec.template.metadata.labels["security.rancher.io/policy"]`},
		{"not readable", "Deployment", deployment, errors.New("forbidden"), 500,
			`Failed to read the WorkloadPolicy 'shop/p' specified in the Deployment 'shop/web': forbidden`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			host := sdktest.NewHost(t, sdktest.Answer{
				Capability: "kubernetes/get_resource",
				Question:   json.RawMessage(`{"api_version": "security.rancher.io/v1alpha1", "kind": "WorkloadPolicy", "namespace": "shop", "name": "p", "disable_cache": false}`),
				Payload:    json.RawMessage(`{}`),
				Err:        tt.err,
			})
			v, err := sdktest.Load(t, runtimeenforcer.Policy(), nil)(sdk.WithHost(t.Context(), host), sdktest.Request(t, tt.kind, tt.object))
			if err != nil || v.Accepted != (tt.err == nil) || v.Code != tt.code || v.Message != tt.want {
				t.Errorf("verdict %+v, %v, want code %d and %q", v, err, tt.code, tt.want)
			}
		})
	}
}
