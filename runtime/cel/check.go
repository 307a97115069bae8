package cel

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// check reports what the API server would refuse in a policy before it compiles
// its expressions.
func (b *build) check(spec Spec, opts Options) {
	switch validates := len(spec.Validations)+len(spec.AuditAnnotations) > 0; {
	case len(spec.Mutations) > 0 && validates:
		b.fail("mutations", "a policy either mutates or validates: make two of it")
	case len(spec.Mutations) == 0 && !validates:
		b.fail("validations", "Required value: validations, auditAnnotations or mutations must be specified")
	}
	switch opts.FailurePolicy {
	case "", admissionv1.Fail, admissionv1.Ignore:
	default:
		b.fail("failurePolicy", fmt.Sprintf("Unsupported value: %q: supported values: %q, %q", opts.FailurePolicy, admissionv1.Fail, admissionv1.Ignore))
	}
	b.checkParams(spec, opts)
	b.checkValidations(spec.Validations)
	for i, m := range spec.Mutations {
		b.checkMutation(fmt.Sprintf("mutations[%d]", i), m)
	}
}

// reasons are those that a validation may give. Source: the validation of
// ValidatingAdmissionPolicy, which refuses the Unauthorized that its
// documentation names.
func reasons() []metav1.StatusReason {
	return []metav1.StatusReason{metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge}
}

func (b *build) checkValidations(validations []admissionv1.Validation) {
	for i, v := range validations {
		at := fmt.Sprintf("validations[%d]", i)
		message := strings.TrimSpace(v.Message)
		switch {
		case v.Message != "" && message == "":
			b.fail(at+".message", "message must be non-empty if specified")
		case strings.Contains(message, "\n"):
			b.fail(at+".message", "message must not contain line breaks")
		case message == "" && strings.Contains(strings.TrimSpace(v.Expression), "\n"):
			b.fail(at+".message", "message must be specified if expression contains line breaks")
		}
		if v.Reason != nil && !slices.Contains(reasons(), *v.Reason) {
			b.fail(at+".reason", fmt.Sprintf("Unsupported value: %q: supported values: %q", *v.Reason, reasons()))
		}
	}
}

func (b *build) checkMutation(at string, m admissionv1.Mutation) {
	switch {
	case m.PatchType == "":
		b.fail(at+".patchType", `Required value: "ApplyConfiguration" or "JSONPatch"`)
	case m.PatchType == admissionv1.PatchTypeJSONPatch && (m.JSONPatch == nil || m.ApplyConfiguration != nil):
		b.fail(at+".jsonPatch", "must be specified, and alone, when patchType is JSONPatch")
	case m.PatchType == admissionv1.PatchTypeApplyConfiguration && (m.ApplyConfiguration == nil || m.JSONPatch != nil):
		b.fail(at+".applyConfiguration", "must be specified, and alone, when patchType is ApplyConfiguration")
	case m.PatchType != admissionv1.PatchTypeJSONPatch && m.PatchType != admissionv1.PatchTypeApplyConfiguration:
		b.fail(at+".patchType", fmt.Sprintf(`Unsupported value: %q: supported values: "ApplyConfiguration", "JSONPatch"`, m.PatchType))
	}
}

func (b *build) checkParams(spec Spec, opts Options) {
	if k := spec.ParamKind; k != nil {
		if k.APIVersion == "" {
			b.fail("paramKind.apiVersion", "Required value")
		}
		if k.Kind == "" {
			b.fail("paramKind.kind", "Required value")
		}
	}
	ref := spec.ParamRef
	if ref == nil {
		return
	}
	if spec.ParamKind == nil {
		b.fail("paramKind", "Required value: paramRef says which objects, and paramKind of which kind")
	}
	if (ref.Name == "") == (ref.Selector == nil) {
		b.fail("paramRef.name", "one of name or selector must be specified, and not both")
	}
	switch action := ref.ParameterNotFoundAction; {
	case action == nil:
		b.fail("paramRef.parameterNotFoundAction", `Required value: "Allow" or "Deny"`)
	case *action != admissionv1.AllowAction && *action != admissionv1.DenyAction:
		b.fail("paramRef.parameterNotFoundAction", fmt.Sprintf(`Unsupported value: %q: supported values: "Allow", "Deny"`, *action))
	}
	if opts.Namespace != "" && ref.Namespace != "" && ref.Namespace != opts.Namespace {
		b.fail("paramRef.namespace", fmt.Sprintf("a policy of namespace %s has its params there: leave it out, have %q", opts.Namespace, ref.Namespace))
	}
}
