package controller

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/warder-dev/warder/api/v1"
)

// warn says what of a policy is legal and most likely not meant.
func (c *policyCheck) warn(ctx context.Context, reader client.Reader) {
	say := func(format string, args ...any) { c.warnings = append(c.warnings, fmt.Sprintf(format, args...)) }
	server := v1.PolicyServer{}
	name := cmp.Or(c.view.Serving.PolicyServer, defaultPolicyServer)
	if reader != nil && apierrors.IsNotFound(reader.Get(ctx, types.NamespacedName{Name: name}, &server)) {
		say("spec.policyServer: policy server %q does not exist yet: the policy waits for it and judges nothing", name)
	}
	if between := c.mutatesBetween(); between != "" {
		say("spec.rules: a mutating policy of %s changes what their owner has made, and the owner makes it again, without end; "+
			"let it judge pods alone, or what people apply", between)
	}
	if c.locksOut() {
		say("spec.rules: the policy judges everything in every namespace and failurePolicy is Fail: while no replica of policy server %q answers, "+
			"nothing in the cluster can be changed, not even by its own controllers; narrow the rules or set spec.namespaceSelector", name)
	}
}

// mutatesBetween returns the resource that a mutating policy changes although it
// is made by another resource and makes others itself, "" if there is none.
// Source: https://github.com/kubewarden/helm-charts/issues/374.
func (c *policyCheck) mutatesBetween() string {
	if !c.view.Mutating() {
		return ""
	}
	for _, between := range []struct{ group, resource string }{{"apps", "replicasets"}, {"batch", "jobs"}} {
		for _, rule := range c.view.Matching.Rules {
			names := func(r string) bool { return r == between.resource || r == "*" || r == "*/*" }
			group := slices.Contains(rule.APIGroups, "*") || slices.Contains(rule.APIGroups, between.group)
			if group && slices.ContainsFunc(rule.Resources, names) {
				return between.resource
			}
		}
	}
	return ""
}

// locksOut reports whether a cluster whose policy server is away cannot be used
// any more.
func (c *policyCheck) locksOut() bool {
	m := c.view.Matching
	narrows := func(s *metav1.LabelSelector) bool { return s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0 }
	if c.view.Cluster == nil || m.FailurePolicy != nil && *m.FailurePolicy == admissionregistrationv1.Ignore || len(m.MatchConditions) > 0 {
		return false
	}
	if narrows(c.view.Cluster.NamespaceSelector) || narrows(m.ObjectSelector) {
		return false
	}
	return slices.ContainsFunc(m.Rules, func(r v1.Rule) bool {
		all := func(resource string) bool { return strings.HasPrefix(resource, "*") }
		writes := func(op v1.Operation) bool { return op == "*" || op == "CREATE" || op == "UPDATE" }
		return slices.Contains(r.APIGroups, "*") && slices.ContainsFunc(r.Resources, all) && slices.ContainsFunc(r.Operations, writes)
	})
}
