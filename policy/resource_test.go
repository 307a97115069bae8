package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/warder-dev/warder/api/v1"
)

// TestWorkloadsAreThePolicysOrTheServers: whoever says it last, and templates only
// where they are used.
func TestWorkloadsAreThePolicysOrTheServers(t *testing.T) {
	templates := map[string]string{"rollouts.argoproj.io": "spec.template"}
	tests := []struct {
		policy, server v1.Workloads
		want           Workloads
	}{
		{"", "", IgnoreWorkloads},
		{"", v1.Expand, ExpandWorkloads},
		{v1.Ignore, v1.Expand, IgnoreWorkloads},
		{v1.Expand, v1.Ignore, ExpandWorkloads},
	}
	for _, tt := range tests {
		object := &v1.ClusterAdmissionPolicy{}
		object.Name, object.Spec.Module, object.Spec.Workloads = "p", "builtin://x", tt.policy
		object.Spec.Rules = []v1.Rule{{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Operations: []v1.Operation{"CREATE"}}}
		view, _ := v1.View(object)
		p, err := FromResource(view, v1.PolicyServerSpec{Workloads: tt.server, WorkloadTemplates: templates})
		if err != nil {
			t.Fatal(err)
		}
		var want map[string]string
		if tt.want == ExpandWorkloads {
			want = templates
		}
		if diff := cmp.Diff(want, p.WorkloadTemplates); p.Workloads != tt.want || diff != "" {
			t.Errorf("policy %q, server %q: %q, want %q; templates: %s", tt.policy, tt.server, p.Workloads, tt.want, diff)
		}
	}
}
