package cel

import (
	"context"
	"fmt"

	"github.com/google/cel-go/interpreter"
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
func (a access) Authorize(ctx context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	review, err := reviewOf(attributes)
	if err != nil {
		return authorizer.DecisionNoOpinion, "", err
	}
	status, err := sdk.CanI(a.host, review)
	switch {
	case err != nil:
		panic(interpreter.EvalCancelledError{Message: fmt.Sprintf("authorizer: %v", explained(err)), Cause: interpreter.ContextCancelled})
	case status.EvaluationError != "":
		err = fmt.Errorf("%s", status.EvaluationError)
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
func reviewOf(a authorizer.Attributes) (sdk.AccessReview, error) {
	review := sdk.AccessReview{}
	if u := a.GetUser(); u != nil {
		review.User, review.Groups = u.GetName(), u.GetGroups()
	}
	review.Attributes = sdk.ResourceAttributes{
		Namespace: a.GetNamespace(), Verb: a.GetVerb(), Group: a.GetAPIGroup(), Version: a.GetAPIVersion(),
		Resource: a.GetResource(), Subresource: a.GetSubresource(), Name: a.GetName(),
	}
	return review, nil
}
