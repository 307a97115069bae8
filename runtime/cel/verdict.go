package cel

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/warder-dev/warder/sdk"
)

// EvaluationError says why there is no verdict. The text is the API server's.
type EvaluationError struct{ Err error }

func (e *EvaluationError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *EvaluationError) Unwrap() error { return e.Err }

// Stage is where evaluations fail: in the call.
func (e *EvaluationError) Stage() string { return "call" }

// Result is what one expression says of a request.
type Result string

// The results. Source: k8s.io/apiserver's PolicyDecisionEvaluation.
const (
	Admit Result = "admit"
	Deny  Result = "deny"
	// Errored is an expression without a value; the failurePolicy decides.
	Errored Result = "error"
)

// Outcome is what one expression says, or one mutation.
type Outcome struct {
	Result  Result
	Message string // why not
	Reason  metav1.StatusReason
}

// Judgement is what the policy says of a request by one of its params.
type Judgement struct {
	// Params is NAMESPACE/NAME of the params, "" if there are none.
	Params string
	// Outcomes are those of validations, or of mutations, in order. There is one
	// when matchConditions err or the cost is used up, and none when a condition
	// does not match.
	Outcomes []Outcome
	// AuditAnnotations are those that have a value.
	AuditAnnotations map[string]string
	// AuditErrors are why others have none.
	AuditErrors []string
}

// Decision is all that a policy says of a request.
type Decision struct {
	Judgements []Judgement
	// MutatedObject is the object as the mutations leave it; nil if they change
	// nothing.
	MutatedObject []byte
}

// verdict is the answer: every reason there is. An expression without a value is
// a reason among others, unless the failurePolicy is Ignore, and alone it is an
// error. What others annotate or mutate is kept under Ignore, with a warning.
func (p *Program) verdict(d Decision) (sdk.Verdict, error) {
	var reasons []Outcome
	var errs []string
	for _, j := range d.Judgements {
		outcomes := j.Outcomes
		for _, text := range j.AuditErrors {
			outcomes = append(outcomes[:len(outcomes):len(outcomes)], Outcome{Result: Errored, Message: text})
		}
		for _, o := range outcomes {
			if o.Result == Errored {
				errs = append(errs, o.Message)
			}
			if o.Result == Deny || o.Result == Errored && p.failurePolicy != admissionv1.Ignore {
				reasons = append(reasons, o)
			}
		}
	}
	v := sdk.Verdict{Accepted: len(reasons) == 0, MutatedObject: d.MutatedObject, AuditAnnotations: annotations(d.Judgements)}
	denied := slices.ContainsFunc(reasons, func(o Outcome) bool { return o.Result == Deny })
	switch kept := v.MutatedObject != nil || v.AuditAnnotations != nil; {
	case len(errs) > 0 && !denied && (p.failurePolicy != admissionv1.Ignore || !kept):
		return sdk.Verdict{}, &EvaluationError{errors.New(joined(errs, "expressions have no value"))}
	case len(errs) > 0 && v.Accepted:
		v.Warnings = []string{"failurePolicy Ignore: " + joined(errs, "expressions have no value")}
	case !v.Accepted:
		v.MutatedObject = nil
		v.Message, v.Code = joined(messages(reasons), "reasons to refuse this request"), code(reasons[0].Reason)
	}
	return v, nil
}

// annotations are those of all judgements; what several say of one key is said
// with commas.
func annotations(judgements []Judgement) map[string]string {
	values := map[string][]string{}
	for _, j := range judgements {
		for key, value := range j.AuditAnnotations {
			if !slices.Contains(values[key], value) {
				values[key] = append(values[key], value)
			}
		}
	}
	if len(values) == 0 {
		return nil
	}
	all := map[string]string{}
	for key, several := range values {
		all[key] = strings.Join(several, ", ")
	}
	return all
}

func messages(outcomes []Outcome) []string {
	all := make([]string, len(outcomes))
	for i, o := range outcomes {
		all[i] = o.Message
	}
	return all
}

// joined is one text as it is, and several a line each. What is said twice is
// said once.
func joined(texts []string, what string) string {
	var said []string
	for _, t := range texts {
		if !slices.Contains(said, t) {
			said = append(said, t)
		}
	}
	if len(said) == 1 {
		return said[0]
	}
	return fmt.Sprintf("%d %s:\n- %s", len(said), what, strings.Join(said, "\n- "))
}

// code is the HTTP status of a reason. Source: k8s.io/apiserver's validating
// policies.
func code(reason metav1.StatusReason) uint16 {
	switch reason {
	case metav1.StatusReasonForbidden:
		return http.StatusForbidden
	case metav1.StatusReasonUnauthorized:
		return http.StatusUnauthorized
	case metav1.StatusReasonRequestEntityTooLarge:
		return http.StatusRequestEntityTooLarge
	default:
		return http.StatusUnprocessableEntity
	}
}
