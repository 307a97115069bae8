package cel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/cel-go/interpreter"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/warder-dev/warder/sdk"
)

// access answers "authorizer" in expressions by asking the host who may do what.
type access struct{ host context.Context }

// Authorize implements the API server's UnconditionalAuthorizer.
//
// An error that it returned would read as "not allowed" to an expression. That
// nobody could be asked must not: it ends the evaluation of the expression, in
// the way in which the interpreter itself ends one that costs too much.
func (a access) Authorize(_ context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	status, err := sdk.CanI(a.host, reviewOf(attributes))
	switch {
	case err != nil:
		panic(interpreter.EvalCancelledError{
			Message: fmt.Sprintf("authorizer: %v: it needs a cluster to ask, and kubernetes/can_i among hostCapabilities", err),
			Cause:   interpreter.ContextCancelled,
		})
	case status.EvaluationError != "":
		err = errors.New(status.EvaluationError)
	}
	switch {
	case status.Allowed:
		return authorizer.DecisionAllow, status.Reason, err
	case status.Denied:
		return authorizer.DecisionDeny, status.Reason, err
	default:
		return authorizer.DecisionNoOpinion, status.Reason, err
	}
}

// reviewOf asks the same as a SubjectAccessReview.
func reviewOf(a authorizer.Attributes) sdk.AccessReview {
	review := sdk.AccessReview{}
	if u := a.GetUser(); u != nil {
		review.User, review.UID, review.Groups, review.Extra = u.GetName(), u.GetUID(), u.GetGroups(), u.GetExtra()
	}
	if !a.IsResourceRequest() {
		review.NonResource = &sdk.NonResourceAttributes{Path: a.GetPath(), Verb: a.GetVerb()}
		return review
	}
	review.Attributes = sdk.ResourceAttributes{
		Namespace: a.GetNamespace(), Verb: a.GetVerb(), Group: a.GetAPIGroup(), Version: a.GetAPIVersion(),
		Resource: a.GetResource(), Subresource: a.GetSubresource(), Name: a.GetName(),
	}
	// A selector that does not parse narrows nothing, nor does a requirement that
	// a review cannot say: the question is then about more than was meant.
	if fields, err := a.GetFieldSelector(); err == nil {
		review.Attributes.FieldSelector = fieldRequirements(fields)
	}
	if labels, err := a.GetLabelSelector(); err == nil {
		review.Attributes.LabelSelector = labelRequirements(labels)
	}
	return review
}

func fieldRequirements(all fields.Requirements) []sdk.SelectorRequirement {
	var out []sdk.SelectorRequirement
	for _, r := range all {
		operator := metav1.FieldSelectorOpIn
		if r.Operator == selection.NotEquals {
			operator = metav1.FieldSelectorOpNotIn
		}
		out = append(out, sdk.SelectorRequirement{Key: r.Field, Operator: string(operator), Values: []string{r.Value}})
	}
	return out
}

func labelRequirements(all labels.Requirements) []sdk.SelectorRequirement {
	operators := map[selection.Operator]metav1.LabelSelectorOperator{
		selection.In: metav1.LabelSelectorOpIn, selection.Equals: metav1.LabelSelectorOpIn, selection.DoubleEquals: metav1.LabelSelectorOpIn,
		selection.NotIn: metav1.LabelSelectorOpNotIn, selection.NotEquals: metav1.LabelSelectorOpNotIn,
		selection.Exists: metav1.LabelSelectorOpExists, selection.DoesNotExist: metav1.LabelSelectorOpDoesNotExist,
	}
	var out []sdk.SelectorRequirement
	for _, r := range all {
		if operator, ok := operators[r.Operator()]; ok {
			out = append(out, sdk.SelectorRequirement{Key: r.Key(), Operator: string(operator), Values: slices.Sorted(maps.Keys(r.Values()))})
		}
	}
	return out
}
