package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/policy"
)

// Native is a policy as the API server enforces it by itself: a
// ValidatingAdmissionPolicy and its binding or, of one with mutations, a
// MutatingAdmissionPolicy and its binding. Both have the policy's unique name.
type Native struct {
	Policy, Binding v1.Object
	// Warnings say what of the policy means nothing there.
	Warnings []string
}

// NativeInput is what decides on a Native.
type NativeInput struct {
	Policy v1.Policy
	// Server is the policy's, which may say that it expands workloads.
	Server  v1.PolicyServerSpec
	Options Options
}

// UnsuitedError is why the API server cannot enforce a policy by itself.
type UnsuitedError struct {
	// Field is its path in the policy.
	Field string
	// Problem says what is in the way, and what to do.
	Problem string
}

func (e *UnsuitedError) Error() string { return e.Field + ": " + e.Problem }

// NativeOf makes what the API server needs to enforce a policy by itself. It
// judges the requests that a webhook of the policy would, by the same expressions.
// The error joins an *UnsuitedError for each reason why that cannot be.
func NativeOf(in NativeInput) (Native, error) {
	if in.Policy.Single == nil {
		return Native{}, &UnsuitedError{"spec.policies", "the API server knows no groups of policies; leave spec.enforceAt out"}
	}
	cel := in.Policy.Single.CEL
	if cel == nil {
		return Native{}, &UnsuitedError{"spec.enforceAt", fmt.Sprintf(
			"the API server runs nothing but CEL, and the policy is the module %q; write it in spec.cel, or leave enforceAt out", in.Policy.Single.Module)}
	}
	if err := errors.Join(in.unsuited()...); err != nil {
		return Native{}, err
	}
	n := Native{}
	if in.Policy.Single.TimeoutEvalSeconds != nil {
		n.Warnings = append(n.Warnings, "spec.timeoutEvalSeconds: the API server bounds the cost of expressions, and not their time")
	}
	if len(cel.Mutations) > 0 {
		n.Policy, n.Binding = in.mutating()
	} else {
		n.Policy, n.Binding = in.validating()
	}
	return n, nil
}

// Rename gives both objects another name, and takes from them what the controller
// would know them by.
func Rename(n Native, name string) {
	for _, o := range []v1.Object{n.Policy, n.Binding} {
		o.SetName(name)
		o.SetLabels(nil)
		o.SetAnnotations(nil)
	}
	switch b := n.Binding.(type) {
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		b.Spec.PolicyName = name
	case *admissionv1.MutatingAdmissionPolicyBinding:
		b.Spec.PolicyName = name
	}
}

// unsuited are the reasons why the API server cannot do it.
func (in NativeInput) unsuited() []error {
	var errs []error
	no := func(field, format string, args ...any) {
		errs = append(errs, &UnsuitedError{field, fmt.Sprintf(format, args...)})
	}
	pol, cel := in.Policy, in.Policy.Single.CEL
	if name := pol.UniqueName(); len(name) > validation.DNS1123SubdomainMaxLength {
		no("metadata.name", "makes the name %q, which has %d characters; the API server takes %d", name, len(name), validation.DNS1123SubdomainMaxLength)
	}
	if policy.WorkloadsOf(pol, in.Server) == policy.ExpandWorkloads && len(policy.ExpansionRules(policy.RulesOf(pol), in.Server.WorkloadTemplates)) > 0 {
		no("spec.workloads", "the API server cannot judge workloads by the pods that they would make; set it to Ignore, or leave enforceAt out")
	}
	own := pol.Object.GetNamespace()
	if ref := cel.ParamRef; pol.Kind.Namespaced() && ref != nil && ref.Namespace != "" && ref.Namespace != own {
		no("spec.cel.paramRef.namespace", "is %q; the params of a policy of namespace %q are of that namespace", ref.Namespace, own)
	}
	if len(cel.Mutations) == 0 {
		return errs
	}
	if len(cel.Validations) > 0 || len(cel.AuditAnnotations) > 0 {
		no("spec.cel.mutations", "a policy with mutations has no validations and no auditAnnotations; make two policies of it")
	}
	if pol.Serving.Mode == v1.Monitor {
		no("spec.mode", "the API server knows no mode in which a mutation is not done; leave enforceAt out while the policy is in mode monitor")
	}
	if pol.Single.Order != 0 {
		no("spec.order", "the API server mutates in the order of names; leave order or enforceAt out")
	}
	for i, r := range pol.Matching.Rules {
		for _, op := range r.Operations {
			if op != "CREATE" && op != "UPDATE" {
				no(fmt.Sprintf("spec.rules[%d].operations", i), "has %q; the API server mutates on CREATE and UPDATE alone", op)
			}
		}
	}
	return errs
}

// validating are a ValidatingAdmissionPolicy and its binding.
func (in NativeInput) validating() (*admissionv1.ValidatingAdmissionPolicy, *admissionv1.ValidatingAdmissionPolicyBinding) {
	cel := in.Policy.Single.CEL
	action := admissionv1.Deny
	if in.Policy.Serving.Mode == v1.Monitor {
		action = admissionv1.Audit
	}
	return &admissionv1.ValidatingAdmissionPolicy{
			TypeMeta: nativeType("ValidatingAdmissionPolicy"), ObjectMeta: in.meta(),
			Spec: admissionv1.ValidatingAdmissionPolicySpec{
				ParamKind: cel.ParamKind, MatchConstraints: in.constraints(), Validations: in.validations(),
				FailurePolicy:    or(in.Policy.Matching.FailurePolicy, admissionv1.Fail),
				AuditAnnotations: cel.AuditAnnotations, MatchConditions: in.conditions(), Variables: cel.Variables,
			},
		}, &admissionv1.ValidatingAdmissionPolicyBinding{
			TypeMeta: nativeType("ValidatingAdmissionPolicyBinding"), ObjectMeta: in.meta(),
			Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: in.Policy.UniqueName(), ParamRef: in.paramRef(), ValidationActions: []admissionv1.ValidationAction{action},
			},
		}
}

// mutating are a MutatingAdmissionPolicy and its binding. As the webhooks of
// mutating policies it is not asked again.
func (in NativeInput) mutating() (*admissionv1.MutatingAdmissionPolicy, *admissionv1.MutatingAdmissionPolicyBinding) {
	cel := in.Policy.Single.CEL
	return &admissionv1.MutatingAdmissionPolicy{
			TypeMeta: nativeType("MutatingAdmissionPolicy"), ObjectMeta: in.meta(),
			Spec: admissionv1.MutatingAdmissionPolicySpec{
				ParamKind: cel.ParamKind, MatchConstraints: in.constraints(), Variables: cel.Variables, Mutations: cel.Mutations,
				FailurePolicy:   or(in.Policy.Matching.FailurePolicy, admissionv1.Fail),
				MatchConditions: in.conditions(), ReinvocationPolicy: admissionv1.NeverReinvocationPolicy,
			},
		}, &admissionv1.MutatingAdmissionPolicyBinding{
			TypeMeta: nativeType("MutatingAdmissionPolicyBinding"), ObjectMeta: in.meta(),
			Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: in.Policy.UniqueName(), ParamRef: in.paramRef()},
		}
}

func nativeType(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: kind}
}

func (in NativeInput) meta() metav1.ObjectMeta {
	annotations := annotationsOf(in.Policy)
	annotations[annotationGeneration] = fmt.Sprint(in.Policy.Object.GetGeneration())
	return metav1.ObjectMeta{Name: in.Policy.UniqueName(), Labels: bundledLabels(in.Policy.Serving.PolicyServer), Annotations: annotations}
}

// constraints say all that the API server would fill in.
func (in NativeInput) constraints() *admissionv1.MatchResources {
	m := in.Policy.Matching
	out := &admissionv1.MatchResources{
		MatchPolicy:       or(m.MatchPolicy, admissionv1.Equivalent),
		NamespaceSelector: namespaceSelector(in.Policy, in.Options.namespace()),
		ObjectSelector:    ordered(m.ObjectSelector),
	}
	var rules []rule
	for _, r := range policy.RulesOf(in.Policy) {
		rules = append(rules, newRule(rule{
			operations: r.Operations, groups: r.APIGroups, versions: r.APIVersions, resources: r.Resources,
			scope: admissionv1.ScopeType(cmp.Or(r.Scope, policy.EveryScope)),
		}))
	}
	for _, r := range wire(rules) {
		out.ResourceRules = append(out.ResourceRules, admissionv1.NamedRuleWithOperations{RuleWithOperations: r})
	}
	return out
}

// conditions are those of the webhook, and those of the CEL policy. More than the
// API server takes become one.
func (in NativeInput) conditions() []admissionv1.MatchCondition {
	o := in.Options
	o.NoMatchConditions = false // which is about webhooks: all these API servers know them
	all := conditionsOf(in.Policy, o)
	taken := map[string]bool{}
	for _, c := range all {
		taken[c.Name] = true
	}
	for _, c := range in.Policy.Single.CEL.MatchConditions {
		for name, i := c.Name, 2; taken[c.Name]; i++ {
			c.Name = fmt.Sprintf("%s-%d", name, i)
		}
		taken[c.Name] = true
		all = append(all, c)
	}
	for len(all) > maxConditions {
		last := all[len(all)-1]
		all = all[:len(all)-1]
		all[len(all)-1].Expression = "(\n" + all[len(all)-1].Expression + "\n) && (\n" + last.Expression + "\n)"
	}
	return all
}

// validations have the message of the policy, if it has one.
func (in NativeInput) validations() []admissionv1.Validation {
	all := slices.Clone(in.Policy.Single.CEL.Validations)
	if message := in.Policy.Single.Message; message != "" {
		for i := range all {
			all[i].Message, all[i].MessageExpression = message, ""
		}
	}
	return all
}

// paramRef of a policy of one namespace never leaves that, whatever the params are:
// who may write policies there must not read the cluster's objects through them.
func (in NativeInput) paramRef() *admissionv1.ParamRef {
	ref := in.Policy.Single.CEL.ParamRef.DeepCopy()
	if ref != nil && in.Policy.Kind.Namespaced() {
		ref.Namespace = in.Policy.Object.GetNamespace()
	}
	return ref
}
