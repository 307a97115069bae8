package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/runtime/cel"
	"github.com/warder-dev/warder/sdk"
)

// validationFailures is where the audit log has what failed, at most fifty.
const (
	validationFailures    = "validation.policy.admission.k8s.io/validation_failure"
	maxValidationFailures = 50
)

// said is what one side says of a request by one policy.
type said struct {
	failures    []string            // "INDEX: MESSAGE", sorted
	annotations map[string][]string // values, of one side joined
}

// host answers the policies as a policy server does.
func (c *celCluster) host(policy string) sdk.Host {
	return &capability.Host{
		Policy: policy, Allows: func(name string) bool { return strings.HasPrefix(name, "kubernetes/") }, Log: slog.New(slog.DiscardHandler),
		Resources: []capability.Resource{
			{APIVersion: "v1", Kind: "Namespace"}, {APIVersion: "v1", Kind: "ConfigMap"},
			{APIVersion: "celdiff.example.com/v1", Kind: "Limit"}, {APIVersion: "celdiff.example.com/v1", Kind: "ClusterLimit"},
		},
		Services: capability.Services{Cluster: c.ours},
	}
}

// compile makes our programs of policies.
func (c *celCluster) compile(policies []*celPolicy) {
	c.Helper()
	for _, p := range policies {
		var err error
		if p.program, err = cel.Compile(p.spec, cel.Options{Host: c.host(p.name), FailurePolicy: p.failure}); err != nil {
			c.Errorf("policy %s: %v", p.name, err)
		}
	}
	if c.Failed() {
		c.FailNow()
	}
}

// bind gives the API server policies, and binds them to where labels say.
func (c *celCluster) bind(policies []*celPolicy, action admissionv1.ValidationAction, where func(i int) *admissionv1.MatchResources) {
	c.Helper()
	api := c.client.AdmissionregistrationV1()
	c.sendAll(len(policies), func(i int) error {
		p := policies[i]
		_, err := api.ValidatingAdmissionPolicies().Create(c.Context(), &admissionv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: p.name},
			Spec: admissionv1.ValidatingAdmissionPolicySpec{
				ParamKind: p.spec.ParamKind, MatchConditions: p.spec.MatchConditions, Variables: p.spec.Variables, Validations: p.spec.Validations,
				AuditAnnotations: p.spec.AuditAnnotations, FailurePolicy: &p.failure, MatchConstraints: &admissionv1.MatchResources{ResourceRules: p.rule.named()},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("policy %s: %w\n%s", p.name, err, p)
		}
		_, err = api.ValidatingAdmissionPolicyBindings().Create(c.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: p.name},
			Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: p.name, ParamRef: p.spec.ParamRef, ValidationActions: []admissionv1.ValidationAction{action}, MatchResources: where(i),
			},
		}, metav1.CreateOptions{})
		return err
	})
	if c.Failed() {
		c.FailNow()
	}
}

// String is the policy as JSON, to try it elsewhere.
func (p *celPolicy) String() string {
	text, err := json.MarshalIndent(struct {
		Name          string
		FailurePolicy admissionv1.FailurePolicyType
		Spec          cel.Spec
	}{p.name, p.failure, p.spec}, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// theirs reads what the audit log says of a request, by policy.
func theirs(annotations map[string]string) (map[string]*said, error) {
	all := map[string]*said{}
	of := func(policy string) *said {
		if all[policy] == nil {
			all[policy] = &said{annotations: map[string][]string{}}
		}
		return all[policy]
	}
	if text := annotations[validationFailures]; text != "" {
		var failures []struct {
			Message, Policy, Binding string
			ExpressionIndex          int
		}
		if err := json.Unmarshal([]byte(text), &failures); err != nil {
			return nil, err
		}
		if len(failures) >= maxValidationFailures {
			return nil, fmt.Errorf("%d failures: the audit log has no more; bind fewer policies at once", len(failures))
		}
		for _, f := range failures {
			s := of(f.Policy)
			s.failures = append(s.failures, fmt.Sprintf("%d: %s", f.ExpressionIndex, f.Message))
		}
	}
	for name, value := range annotations {
		if policy, key, ok := strings.Cut(name, "/"); ok && !strings.Contains(policy, ".") {
			of(policy).annotations[key] = []string{value}
		}
	}
	for _, s := range all {
		slices.Sort(s.failures)
	}
	return all, nil
}

// ours asks our program.
func ours(ctx context.Context, p *celPolicy, req *sdk.Request) (*said, error) {
	d, err := p.program.Decide(ctx, req)
	s := &said{annotations: map[string][]string{}}
	if err != nil {
		if p.failure == admissionv1.Ignore && strings.HasPrefix(err.Error(), "failed to configure binding: ") {
			return s, nil
		}
		return nil, err
	}
	for _, j := range d.Judgements {
		for i, o := range j.Outcomes {
			if o.Result == cel.Deny || o.Result == cel.Errored && p.failure == admissionv1.Fail {
				s.failures = append(s.failures, fmt.Sprintf("%d: %s", i, o.Message))
			}
		}
		for key, value := range j.AuditAnnotations {
			if !slices.Contains(s.annotations[key], value) {
				s.annotations[key] = append(s.annotations[key], value)
			}
		}
		if p.failure == admissionv1.Fail && len(j.AuditErrors) > 0 {
			return nil, fmt.Errorf("audit annotations: %v", j.AuditErrors)
		}
	}
	slices.Sort(s.failures)
	return s, nil
}

// difference says how the two differ, "" if they do not. The API server lists
// the params of a selector in any order, and so the values of an annotation.
func difference(theirs, ours *said) string {
	if theirs == nil {
		theirs = &said{}
	}
	if !slices.Equal(theirs.failures, ours.failures) {
		return fmt.Sprintf("failures\n  API server: %q\n  ours:       %q", theirs.failures, ours.failures)
	}
	same := len(theirs.annotations) == len(ours.annotations)
	for key, values := range ours.annotations {
		have, length := strings.Join(theirs.annotations[key], ""), 2*(len(values)-1)
		for _, v := range values {
			length += len(v)
			same = same && strings.Contains(have, v)
		}
		same = same && length == len(have)
	}
	if !same {
		return fmt.Sprintf("audit annotations\n  API server: %q\n  ours:       %q", theirs.annotations, ours.annotations)
	}
	return ""
}
