package controller

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime/cel"
)

// webhookNameSuffix is what Kubewarden's webhooks of single policies end in.
const webhookNameSuffix = ".kubewarden.admission"

// Bounds of the API server. Source: k8s.io/kubernetes
// pkg/apis/admissionregistration/validation.
const (
	maxMatchConditions = 64
	maxTimeoutSeconds  = 30
)

// policyCheck is the check of one policy. The texts of rules that Kubewarden has
// too are Kubewarden's.
type policyCheck struct {
	finding

	view       v1.Policy
	old        *v1.Policy // nil of a new one
	conditions *cel.MatchConditions
	policy     policy.Policy // as a server has it
}

func (c *policyCheck) add(errs ...*field.Error) { c.errs = append(c.errs, errs...) }

// all checks everything but the settings.
func (c *policyCheck) all() {
	spec := field.NewPath("spec")
	c.rules(spec.Child("rules"))
	c.matchConditions(spec.Child("matchConditions"))
	c.selectors(spec)
	c.timeouts(spec)
	if c.old != nil {
		c.update(spec)
	} else {
		c.name()
	}
	if c.view.Group != nil {
		c.group(spec)
	} else if c.view.Single.Module == "" && c.view.Single.CEL == nil {
		c.add(field.Required(spec.Child("module"), "must be non-empty"))
	}
	c.asServer(spec)
	c.cel(spec)
}

// name checks what Kubernetes would not take as the name of a webhook. Names do
// not change, so an update of a policy that is there already is not refused.
func (c *policyCheck) name() {
	unique, name := c.view.UniqueName(), c.view.Object.GetName()
	over := len(unique+webhookNameSuffix) - validation.DNS1123SubdomainMaxLength
	if over <= 0 {
		return
	}
	c.add(field.Invalid(field.NewPath("metadata", "name"), name, fmt.Sprintf(
		"the policy name combined with its namespace and kind produces an identity that is too long (%d characters, max %d); the name must be at most %d characters long",
		len(unique+webhookNameSuffix), validation.DNS1123SubdomainMaxLength, len(name)-over)))
}

func (c *policyCheck) update(spec *field.Path) {
	before, now := c.old.Serving, c.view.Serving
	if cmp.Or(before.PolicyServer, defaultPolicyServer) != cmp.Or(now.PolicyServer, defaultPolicyServer) {
		c.add(field.Forbidden(spec.Child("policyServer"), "the field is immutable"))
	}
	if cmp.Or(before.Mode, v1.Protect) == v1.Protect && now.Mode == v1.Monitor {
		c.add(field.Forbidden(spec.Child("mode"), "field cannot transition from protect to monitor. Recreate instead."))
	}
}

func (c *policyCheck) rules(path *field.Path) {
	if len(c.view.Matching.Rules) == 0 {
		c.add(field.Required(path, "a value must be specified"))
	}
	for i, rule := range c.view.Matching.Rules {
		at := path.Index(i)
		switch {
		case len(rule.Operations) == 0:
			c.add(field.Required(at.Child("operations"), "a value must be specified"))
		case len(rule.APIVersions) == 0 || len(rule.Resources) == 0:
			c.add(field.Required(at, "apiVersions and resources must have specified values"))
		default:
			c.notEmpty(at.Child("operations"), strs(rule.Operations))
			c.notEmpty(at.Child("apiVersions"), rule.APIVersions)
			c.notEmpty(at.Child("resources"), rule.Resources)
		}
		if c.view.Kind.Namespaced() {
			c.ofOneNamespace(at, rule)
		}
	}
}

func strs[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

func (c *policyCheck) notEmpty(path *field.Path, list []string) {
	for i, s := range list {
		if s == "" {
			c.add(field.Required(path.Index(i), "must be non-empty"))
		}
	}
}

// ofOneNamespace refuses what whoever may write policies of one namespace shall
// not judge: everything, and the reports of others.
func (c *policyCheck) ofOneNamespace(at *field.Path, rule v1.Rule) {
	everything := func(r string) bool { return r == "*" || r == "*/*" }
	if slices.Contains(rule.APIGroups, "*") && slices.ContainsFunc(rule.Resources, everything) {
		c.add(field.Forbidden(at, "apiGroups/resources cannot use wildcards when using AdmissionPolicy or AdmissionPolicyGroup"))
	}
	for _, report := range []struct{ group, resource string }{{"wgpolicyk8s.io", "policyreports"}, {"openreports.io", "reports"}} {
		named := slices.Contains(rule.APIGroups, report.group)
		matches := func(pattern string) bool {
			resource, _, _ := strings.Cut(pattern, "/")
			// "*" in the group is refused above unless the resource is named, and
			// then the report's is not it.
			return resource == report.resource || named && resource == "*"
		}
		if (named || slices.Contains(rule.APIGroups, "*")) && slices.ContainsFunc(rule.Resources, matches) {
			c.add(field.Forbidden(at, fmt.Sprintf(
				"{APIGroup: %s, Resource: %s} resources cannot be targeted by AdmissionPolicy or AdmissionPolicyGroup", report.group, report.resource)))
		}
	}
}

func (c *policyCheck) matchConditions(path *field.Path) {
	conditions := c.view.Matching.MatchConditions
	if len(conditions) > maxMatchConditions {
		c.add(field.TooMany(path, len(conditions), maxMatchConditions))
		return
	}
	seen := map[string]bool{}
	for i, m := range conditions {
		at := path.Index(i)
		if strings.TrimSpace(m.Expression) == "" {
			c.add(field.Required(at.Child("expression"), ""))
		} else if err := c.conditions.Check(m.Expression); err != nil {
			c.add(field.Invalid(at.Child("expression"), m.Expression, err.Error()))
		}
		if m.Name == "" {
			c.add(field.Required(at.Child("name"), ""))
			continue
		}
		for _, problem := range validation.IsQualifiedName(m.Name) {
			c.add(field.Invalid(at.Child("name"), m.Name, problem))
		}
		if seen[m.Name] {
			c.add(field.Duplicate(at.Child("name"), m.Name))
		}
		seen[m.Name] = true
	}
}

// selectors checks what else the API server would refuse in the webhook, so that
// the policy would never be registered.
func (c *policyCheck) selectors(spec *field.Path) {
	m := c.view.Matching
	opts := metav1validation.LabelSelectorValidationOptions{}
	c.add(metav1validation.ValidateLabelSelector(m.ObjectSelector, opts, spec.Child("objectSelector"))...)
	if c.view.Cluster != nil {
		c.add(metav1validation.ValidateLabelSelector(c.view.Cluster.NamespaceSelector, opts, spec.Child("namespaceSelector"))...)
	}
	oneOf(c, spec.Child("matchPolicy"), m.MatchPolicy, admissionregistrationv1.Exact, admissionregistrationv1.Equivalent)
	oneOf(c, spec.Child("sideEffects"), m.SideEffects,
		admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.SideEffectClassNoneOnDryRun)
}

// oneOf refuses a value that is set and none of the list.
func oneOf[T ~string](c *policyCheck, path *field.Path, value *T, list ...T) {
	if value != nil && *value != "" && !slices.Contains(list, *value) {
		c.add(field.NotSupported(path, *value, list))
	}
}

func (c *policyCheck) timeouts(spec *field.Path) {
	timeout := c.view.Matching.TimeoutSeconds
	c.seconds(spec.Child("timeoutSeconds"), timeout)
	if c.view.Single == nil {
		return
	}
	eval, at := c.view.Single.TimeoutEvalSeconds, spec.Child("timeoutEvalSeconds")
	c.seconds(at, eval)
	if timeout != nil && eval != nil && *eval > *timeout {
		c.add(field.Invalid(at, *eval, "timeoutEvalSeconds cannot be greater than timeoutSeconds"))
	}
}

func (c *policyCheck) seconds(path *field.Path, value *int32) {
	if value != nil && (*value < 2 || *value > maxTimeoutSeconds) {
		c.add(field.Invalid(path, *value, fmt.Sprintf("should be from 2 to %d", maxTimeoutSeconds)))
	}
}

// asServer checks what the policy servers check, so that nothing is taken that
// they refuse. What was found already is not said twice.
func (c *policyCheck) asServer(spec *field.Path) {
	var err error
	c.policy, err = policy.FromResource(c.view, v1.PolicyServerSpec{})
	known := make([]string, len(c.errs))
	for i, e := range c.errs {
		known[i] = e.Field
	}
	for _, bad := range invalidErrors(err) {
		path := fieldOf(spec, bad.Path, slices.Sorted(maps.Keys(c.view.Members)))
		if path == nil || slices.ContainsFunc(known, func(k string) bool { return overlap(k, path.String()) }) {
			continue
		}
		c.add(field.Invalid(path, field.OmitValueType{}, bad.Problem))
	}
}

// invalidErrors takes joined *policy.InvalidErrors apart.
func invalidErrors(err error) []*policy.InvalidError {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the joined one itself, not one inside
		var all []*policy.InvalidError
		for _, e := range joined.Unwrap() {
			all = append(all, invalidErrors(e)...)
		}
		return all
	}
	if one := (*policy.InvalidError)(nil); errors.As(err, &one) {
		return []*policy.InvalidError{one}
	}
	return nil
}

// fieldOf is the field of a resource that policies.yml calls path: nil for the
// name of a member, which is checked with the group.
func fieldOf(spec *field.Path, path string, members []string) *field.Path {
	for _, name := range members {
		switch rest, ok := strings.CutPrefix(path, "policies."+name); {
		case ok && rest == "":
			return nil
		case ok && rest[0] == '.':
			return spec.Child("policies").Key(name).Child(rest[1:])
		}
	}
	switch path {
	case "":
		return field.NewPath("metadata", "name")
	case "policyMode":
		return spec.Child("mode")
	case "allowedToMutate":
		return spec.Child("mutating")
	case "policies":
		return nil
	}
	return spec.Child(path)
}

// overlap reports whether one field is the other, or part of it. Names of members
// are reported at spec.policies, which says nothing about the members.
func overlap(a, b string) bool {
	within := func(outer, inner string) bool {
		rest, ok := strings.CutPrefix(inner, outer)
		return ok && outer != "spec.policies" && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	return within(a, b) || within(b, a)
}
