package policy

import (
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	fieldpath "k8s.io/apimachinery/pkg/util/validation/field"

	v1 "github.com/warder-dev/warder/api/v1"
)

// Bounds of CEL policies. Source: k8s.io/kubernetes
// pkg/apis/admissionregistration/validation.
const (
	maxMatchConditions  = 64
	maxAuditAnnotations = 20
	maxAuditValueBytes  = 5 << 10
	// maxExpressions bounds the other lists. The API server has no bound for them.
	maxExpressions = 256
)

// reasons of a rejection. Source: as above.
func reasons() []metav1.StatusReason {
	return []metav1.StatusReason{
		metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonUnauthorized,
	}
}

// source checks that there is one thing to judge with: a module or CEL.
func (v *validator) source(p Policy) {
	switch {
	case p.CEL == nil && p.Module == "":
		v.fail("module", "is missing: say where the module is")
	case p.CEL == nil:
	case p.Module != "":
		v.fail("cel", "a policy has a module or is written in CEL; this one has both")
	case len(p.Settings) > 0:
		v.fail("settings", "settings are of a module: a policy in CEL has params")
	}
	if p.CEL != nil {
		c := celValidator{validator{id: v.id, path: v.path + "cel."}, p}
		c.all(p.CEL)
		v.errs = append(v.errs, c.errs...)
	}
}

// celValidator checks all of a policy in CEL but the expressions themselves. It
// takes what the API server takes of a ValidatingAdmissionPolicy, or a
// MutatingAdmissionPolicy, and its binding.
type celValidator struct {
	validator
	policy Policy
}

func (v *celValidator) all(c *v1.CELSpec) {
	switch {
	case len(c.Mutations) > 0 && len(c.Validations) > 0:
		v.fail("mutations", "a policy has either validations or mutations; make two of it")
	case len(c.Mutations) > 0 && len(c.AuditAnnotations) > 0:
		v.fail("auditAnnotations", "are for policies with validations; leave them out of one with mutations")
	case len(c.Mutations)+len(c.Validations)+len(c.AuditAnnotations) == 0:
		v.fail("", "has nothing to do: want validations, mutations or auditAnnotations")
	}
	v.params(c)
	v.matchConditions(c.MatchConditions)
	v.variables(c.Variables)
	v.validations(c.Validations)
	v.auditAnnotations(c.AuditAnnotations)
	v.mutations(c.Mutations)
}

// expression reports whether there is one.
func (v *celValidator) expression(path, text string) bool {
	if strings.TrimSpace(text) == "" {
		v.fail(path, "is missing or empty")
		return false
	}
	return true
}

func (v *celValidator) atMost(path string, n, most int) {
	if n > most {
		v.fail(path, "%d are too many: at most %d", n, most)
	}
}

func (v *celValidator) params(c *v1.CELSpec) {
	kind, ref := c.ParamKind, c.ParamRef
	switch {
	case kind != nil && ref == nil:
		v.fail("paramRef", "is missing: say which objects of paramKind are the params")
	case kind == nil && ref != nil:
		v.fail("paramKind", "is missing: say of which kind the params of paramRef are")
	}
	if kind != nil {
		if _, err := schema.ParseGroupVersion(kind.APIVersion); kind.APIVersion == "" {
			v.fail("paramKind.apiVersion", "is missing or empty")
		} else if err != nil {
			v.fail("paramKind.apiVersion", "want GROUP/VERSION or, in the core group, VERSION, have %q", kind.APIVersion)
		}
		if kind.Kind == "" {
			v.fail("paramKind.kind", "is missing or empty")
		}
	}
	if ref != nil {
		v.paramRef(*ref)
	}
}

func (v *celValidator) paramRef(ref admissionv1.ParamRef) {
	switch {
	case ref.Name == "" && ref.Selector == nil:
		v.fail("paramRef", "want a name or a selector; selector: {} is all objects of the kind")
	case ref.Name != "" && ref.Selector != nil:
		v.fail("paramRef.selector", "want a name or a selector, have both")
	}
	for _, problem := range validation.IsDNS1123Subdomain(ref.Name) {
		if ref.Name != "" {
			v.fail("paramRef.name", "%q: %s", ref.Name, problem)
		}
	}
	at := fieldpath.NewPath("paramRef", "selector")
	for _, bad := range metav1validation.ValidateLabelSelector(ref.Selector, metav1validation.LabelSelectorValidationOptions{}, at) {
		v.fail(bad.Field, "%s", bad.ErrorBody())
	}
	if own := v.policy.Namespace; own != "" && ref.Namespace != "" && ref.Namespace != own {
		v.fail("paramRef.namespace", "%q is not the policy's own namespace, and a policy of namespace %q sees no other; leave it out", ref.Namespace, own)
	}
	switch action := ref.ParameterNotFoundAction; {
	case action == nil || *action == "":
		v.fail("paramRef.parameterNotFoundAction", "is missing: say Allow or Deny, for when there are no params")
	case *action != admissionv1.AllowAction && *action != admissionv1.DenyAction:
		v.fail("paramRef.parameterNotFoundAction", "want Allow or Deny, have %q", *action)
	}
}

func (v *celValidator) matchConditions(list []admissionv1.MatchCondition) {
	v.atMost("matchConditions", len(list), maxMatchConditions)
	var seen []string
	for i, m := range list {
		path := index("matchConditions", i)
		v.qualified(path+".name", m.Name, &seen)
		v.expression(path+".expression", m.Expression)
	}
}

// qualified checks a name that is one as labels have them, and not there yet.
func (v *celValidator) qualified(path, name string, seen *[]string) {
	if name == "" {
		v.fail(path, "is missing or empty")
		return
	}
	for _, problem := range validation.IsQualifiedName(name) {
		v.fail(path, "%q: %s", name, problem)
	}
	v.once(path, name, seen)
}

func (v *celValidator) once(path, name string, seen *[]string) {
	if slices.Contains(*seen, name) {
		v.fail(path, "%q is there already", name)
	}
	*seen = append(*seen, name)
}

func (v *celValidator) variables(list []admissionv1.Variable) {
	v.atMost("variables", len(list), maxExpressions)
	var seen []string
	for i, one := range list {
		path := index("variables", i)
		switch {
		case one.Name == "":
			v.fail(path+".name", "is missing or empty")
		case !isIdentifier(one.Name) || slices.Contains(reservedWords(), one.Name):
			v.fail(path+".name", "%q cannot be written after \"variables.\": use letters, digits and underscores, and no reserved word", one.Name)
		default:
			v.once(path+".name", one.Name, &seen)
		}
		v.expression(path+".expression", one.Expression)
	}
}

func (v *celValidator) validations(list []admissionv1.Validation) {
	v.atMost("validations", len(list), maxExpressions)
	for i, one := range list {
		path := index("validations", i)
		if v.expression(path+".expression", one.Expression) {
			v.message(path, one)
		}
		if one.MessageExpression != "" {
			v.expression(path+".messageExpression", one.MessageExpression)
		}
		if r := one.Reason; r != nil && !slices.Contains(reasons(), *r) {
			v.fail(path+".reason", "want Forbidden, Invalid, RequestEntityTooLarge or Unauthorized, have %q", *r)
		}
	}
}

// message checks what a user is told: one line, which the expression is too when
// there is none.
func (v *celValidator) message(path string, one admissionv1.Validation) {
	lines := func(text string) bool { return strings.ContainsAny(strings.TrimSpace(text), "\n\r") }
	switch {
	case one.Message != "" && strings.TrimSpace(one.Message) == "":
		v.fail(path+".message", "is blank; say something, or leave it out")
	case lines(one.Message):
		v.fail(path+".message", "has line breaks; want one line")
	case one.Message == "" && lines(one.Expression):
		v.fail(path+".message", "is missing: it is needed where the expression has line breaks")
	}
}

func (v *celValidator) auditAnnotations(list []admissionv1.AuditAnnotation) {
	v.atMost("auditAnnotations", len(list), maxAuditAnnotations)
	var seen []string
	for i, one := range list {
		path := index("auditAnnotations", i)
		if strings.Contains(one.Key, "/") { // the API server puts the policy's name before a slash
			v.fail(path+".key", "%q has a slash: the name of the policy is put before it", one.Key)
		} else {
			v.qualified(path+".key", one.Key, &seen)
		}
		if v.expression(path+".valueExpression", one.ValueExpression) && len(one.ValueExpression) > maxAuditValueBytes {
			v.fail(path+".valueExpression", "is longer than %d bytes", maxAuditValueBytes)
		}
	}
}

func (v *celValidator) mutations(list []admissionv1.Mutation) {
	v.atMost("mutations", len(list), maxExpressions)
	for i, one := range list {
		path := index("mutations", i)
		apply, patch := one.ApplyConfiguration, one.JSONPatch
		switch one.PatchType {
		case admissionv1.PatchTypeApplyConfiguration:
			if patch != nil {
				v.fail(path+".jsonPatch", "has no place beside patchType ApplyConfiguration")
			}
			if apply == nil {
				v.fail(path+".applyConfiguration", "is missing: it has the expression")
			} else {
				v.expression(path+".applyConfiguration.expression", apply.Expression)
			}
		case admissionv1.PatchTypeJSONPatch:
			if apply != nil {
				v.fail(path+".applyConfiguration", "has no place beside patchType JSONPatch")
			}
			if patch == nil {
				v.fail(path+".jsonPatch", "is missing: it has the expression")
			} else {
				v.expression(path+".jsonPatch.expression", patch.Expression)
			}
		case "":
			v.fail(path+".patchType", "is missing: want ApplyConfiguration or JSONPatch")
		default:
			v.fail(path+".patchType", "want ApplyConfiguration or JSONPatch, have %q", one.PatchType)
		}
	}
}
