package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/warder-dev/warder/api/v1"
)

func TestWhatAClusterLivesOnIsSparedFromWildcards(t *testing.T) {
	everything := []Spared{SparedRequests, SparedKinds, SparedLeases, SparedNodes, SparedReviews, SparedSelf, SparedTokens}
	rule := func(group string, resources ...string) v1.Rule {
		return v1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: resources}
	}
	for name, test := range map[string]struct {
		rules  []v1.Rule
		inside bool
		want   []Spared
	}{
		"pods":                          {rules: []v1.Rule{rule("", "pods")}},
		"pods of any group":             {rules: []v1.Rule{rule("*", "pods", "pods/status")}},
		"everything":                    {rules: []v1.Rule{rule("*", "*/*")}, want: everything},
		"everything but subresources":   {rules: []v1.Rule{rule("*", "*")}, want: []Spared{SparedRequests, SparedKinds, SparedLeases, SparedNodes, SparedReviews, SparedSelf}},
		"the core group":                {rules: []v1.Rule{rule("", "*")}, want: []Spared{SparedNodes, SparedSelf}},
		"everything, and nodes by name": {rules: []v1.Rule{rule("*", "*/*"), rule("", "nodes")}, want: []Spared{SparedRequests, SparedKinds, SparedLeases, SparedReviews, SparedSelf, SparedTokens}},
		"our kinds by name":             {rules: []v1.Rule{rule("policies.kubewarden.io", "*")}, want: []Spared{SparedGoing, SparedSelf}},
		"role bindings":                 {rules: []v1.Rule{rule("rbac.authorization.k8s.io", "clusterrolebindings")}, want: []Spared{SparedSelf}},
		"warder's own namespace":        {rules: []v1.Rule{rule("", "secrets")}, inside: true, want: []Spared{SparedSelf}},
		"leases by name":                {rules: []v1.Rule{rule("coordination.k8s.io", "leases")}},
		"tokens by name":                {rules: []v1.Rule{rule("*", "serviceaccounts/token")}},
		"service accounts, not tokens":  {rules: []v1.Rule{rule("", "serviceaccounts")}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &v1.ClusterAdmissionPolicy{}
			p.Spec.Rules, p.Spec.AllowInsideAdmissionControllerNamespace = test.rules, test.inside
			view, _ := v1.View(p)
			if diff := cmp.Diff(test.want, SparedOf(view)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
