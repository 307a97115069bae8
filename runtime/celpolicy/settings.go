package celpolicy

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Settings are the settings of cel-policy. Names and meaning are those of
// ValidatingAdmissionPolicy and its binding.
type Settings struct {
	// Variables are expressions with a name, each of which may use those before
	// it. One is evaluated when an expression needs it.
	Variables []Variable `json:"variables"`
	// Validations must all be true. There is at least one.
	Validations []Validation `json:"validations"`
	// FailurePolicy says what it means when an expression has no value, or
	// params are not found: "Fail" (the default) or "Ignore".
	FailurePolicy FailurePolicy `json:"failurePolicy"`
	// ParamKind is the kind of params.
	ParamKind *ParamKind `json:"paramKind"`
	// ParamRef says which objects of that kind params is, one after the other.
	ParamRef *ParamRef `json:"paramRef"`

	rules *rules
}

// Variable is an expression that others know as variables.NAME.
type Variable struct {
	Name       string `json:"name"`
	Expression string `json:"expression"`
}

// Validation is an expression that must be true.
type Validation struct {
	// Expression is true or false: false rejects.
	Expression string `json:"expression"`
	// Message is what a rejection says. Default: the expression.
	Message string `json:"message"`
	// MessageExpression makes the message. When it has no value, Message is it.
	MessageExpression string `json:"messageExpression"`
	// Reason chooses the code of a rejection. Default: Invalid.
	Reason Reason `json:"reason"`
}

// FailurePolicy says what it means when there is no value.
type FailurePolicy string

// The failure policies.
const (
	Fail   FailurePolicy = "Fail"
	Ignore FailurePolicy = "Ignore"
)

// Reason is why a validation rejects.
type Reason string

// The reasons, and the codes that they stand for.
const (
	Unauthorized          Reason = "Unauthorized"          // 401
	Forbidden             Reason = "Forbidden"             // 403
	Invalid               Reason = "Invalid"               // 400
	RequestEntityTooLarge Reason = "RequestEntityTooLarge" // 413
)

// code is the code of a rejection, 0 for a reason that there is not.
func (r Reason) code() uint16 {
	switch r {
	case "", Invalid:
		return http.StatusBadRequest
	case Unauthorized:
		return http.StatusUnauthorized
	case Forbidden:
		return http.StatusForbidden
	case RequestEntityTooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return 0
}

// ParamKind is a kind of the cluster.
type ParamKind struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// ParamRef names objects, by their name or by their labels.
type ParamRef struct {
	Name     string                `json:"name"`
	Selector *metav1.LabelSelector `json:"selector"`
	// Namespace of the objects. Default: that of the request.
	Namespace string `json:"namespace"`
	// ParameterNotFoundAction says what it means when there is none: "Allow"
	// accepts the request, "Deny" leaves it to the failure policy.
	ParameterNotFoundAction NotFoundAction `json:"parameterNotFoundAction"`
}

// NotFoundAction says what it means when there are no params.
type NotFoundAction string

// The actions.
const (
	Allow NotFoundAction = "Allow"
	Deny  NotFoundAction = "Deny"
)

// Validate reports every place that is wrong, and compiles the expressions.
func (s *Settings) Validate() error {
	p := places{}
	p.params(s)
	switch s.FailurePolicy {
	case "":
		s.FailurePolicy = Fail
	case Fail, Ignore:
	default:
		p.required("failurePolicy", "failurePolicy must be either 'Ignore' or 'Fail'")
	}
	if len(s.Validations) == 0 {
		p.required("validations", "validations must contain at least one item")
	}
	s.rules = compile(s, &p)
	return p.err()
}

// places collects what is wrong, in upstream's words.
type places struct{ errs []error }

func (p *places) required(path, text string) {
	p.errs = append(p.errs, fmt.Errorf("%s: Required value: %s", path, text))
}

func (p *places) invalid(path, value, text string) {
	p.errs = append(p.errs, fmt.Errorf("%s: Invalid value: %q: %s", path, value, text))
}

func (p *places) unsupported(path, value string, known ...string) {
	p.errs = append(p.errs, fmt.Errorf("%s: Unsupported value: %q: want one of %s", path, value, strings.Join(known, ", ")))
}

func (p *places) err() error { return errors.Join(p.errs...) }

func (p *places) params(s *Settings) {
	kind, ref := s.ParamKind, s.ParamRef
	if kind == nil {
		if ref != nil {
			p.required("paramKind", "paramKind must be specified when paramRef is configured")
		}
		return
	}
	if kind.APIVersion == "" || kind.Kind == "" {
		p.required("paramKind", "paramKind must have both APIVersion and Kind specified")
	}
	if ref == nil {
		return
	}
	switch {
	case ref.Name == "" && ref.Selector == nil:
		p.required("paramRef", "paramRef must have either Name or Selector specified")
	case ref.Name != "" && ref.Selector != nil:
		p.invalid("paramRef", ref.Name, "paramRef cannot have both Name and Selector specified")
	case ref.Selector != nil:
		if _, err := metav1.LabelSelectorAsSelector(ref.Selector); err != nil {
			p.errs = append(p.errs, fmt.Errorf("paramRef.selector: %w", err))
		}
	}
	if ref.ParameterNotFoundAction != Allow && ref.ParameterNotFoundAction != Deny {
		p.invalid("paramRef.parameterNotFoundAction", string(ref.ParameterNotFoundAction),
			"parameterNotFoundAction must be 'Deny' or 'Allow' if paramRef is specified")
	}
}

// variableName reports what is wrong with the name of a variable. Those before
// it are taken.
func (p *places) variableName(path, name string, taken []string) bool {
	before := len(p.errs)
	switch {
	case strings.TrimSpace(name) == "":
		p.required(path, "name is not specified")
	case !isIdentifier(name):
		p.invalid(path, name, "name is not a valid CEL identifier")
	case name == "params":
		p.invalid(path, name, "'params' name is not allowed. It conflicts with 'params' from the policy parameters configuration")
	case slices.Contains(taken, name):
		p.invalid(path, name, "another variable has this name")
	}
	return len(p.errs) == before
}

// isIdentifier says whether CEL reads text as a name.
// Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax.
func isIdentifier(text string) bool {
	reserved := []string{
		"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
		"let", "loop", "package", "namespace", "return", "var", "void", "while",
	}
	return regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`).MatchString(text) && !slices.Contains(reserved, text)
}

// message reports what is wrong with the message of a validation.
func (p *places) message(path, text string) {
	switch trimmed := strings.TrimSpace(text); {
	case text != "" && trimmed == "":
		p.invalid(path, text, "message must be non-empty if specified")
	case strings.Contains(trimmed, "\n"):
		p.invalid(path, text, "message must not contain line breaks")
	}
}
