package cel

import (
	"context"
	"math"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apiserver "k8s.io/apiserver/pkg/admission"
	admission "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/lazy"
)

// variables are the compiled variables of one policy.
type variables struct {
	of       *kubernetes
	programs []variable
}

type variable struct {
	name    string
	program celgo.Program
}

// in returns a context in which expressions see the variables. It is of one
// request, and not for concurrent use.
func (v *variables) in(ctx context.Context) context.Context {
	return &variableContext{Context: ctx, variables: v}
}

// variableContext gives expressions their variables: each is evaluated when it
// is first looked at, once for each list of expressions, and its cost is theirs.
type variableContext struct {
	context.Context
	variables *variables
	cost      int64
}

// Variables implements the API server's CompositionContext.
func (c *variableContext) Variables(activation any) ref.Val {
	values := lazy.NewMapValue(c.variables.of.variables)
	for _, v := range c.variables.programs {
		values.Append(v.name, func(*lazy.MapValue) ref.Val { return c.value(v, activation) })
	}
	return values
}

// GetAndResetCost implements the API server's CompositionContext.
func (c *variableContext) GetAndResetCost() int64 {
	cost := c.cost
	c.cost = 0
	return cost
}

// value evaluates a variable. The texts are the API server's.
func (c *variableContext) value(v variable, activation any) ref.Val {
	value, details, err := v.program.ContextEval(c, activation)
	if details == nil {
		return types.NewErr("unable to get evaluation details of variable %q", v.name)
	}
	cost := details.ActualCost()
	if cost == nil {
		return types.NewErr("unable to calculate cost of variable %q", v.name)
	}
	c.cost += int64(min(*cost, math.MaxInt64))
	if err != nil {
		return types.NewErr("composited variable %q fails to evaluate: %v", v.name, err)
	}
	return value
}

// conditions are compiled expressions that see the variables of their policy.
type conditions struct {
	admission.ConditionEvaluator
	variables *variables
}

// ForInput implements the API server's ConditionEvaluator.
//
//nolint:revive // its parameters are the interface's
func (c *conditions) ForInput(ctx context.Context, attributes *apiserver.VersionedAttributes, request *admissionv1.AdmissionRequest,
	optional admission.OptionalVariableBindings, namespace *corev1.Namespace, budget int64) ([]admission.EvaluationResult, int64, error) {
	return c.ConditionEvaluator.ForInput(c.variables.in(ctx), attributes, request, optional, namespace, budget)
}
