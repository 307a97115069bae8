package celpolicy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	apiserver "k8s.io/apiserver/pkg/apis/cel"

	"github.com/warder-dev/warder/sdk"
)

// errOutOfBudget is the API server's text.
var errOutOfBudget = errors.New("validation failed due to running out of cost budget, no further validation rules will be run")

// evaluation is one request: what its expressions know. It is used by one
// goroutine. Everything is made when it is asked for, and kept.
type evaluation struct {
	ctx   context.Context // CEL's functions are called without one
	rules *rules
	req   *sdk.Request

	object, oldObject, request, namespace ref.Val

	// These are of one object that params is.
	params    ref.Val
	variables []ref.Val
	budget    int64 // that is left of the API server's limit
}

func (r *rules) judge(ctx context.Context, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, errors.New("want a request to the API server, have another document")
	}
	e := &evaluation{ctx: ctx, rules: r, req: req}
	params := []ref.Val{types.NullValue}
	if r.params != nil {
		found, err := r.params.find(ctx, req)
		if ctx.Err() != nil {
			return sdk.Verdict{}, context.Cause(ctx)
		}
		if err != nil {
			return r.withoutParams(ctx, err), nil
		}
		params = found
	}
	for _, p := range params {
		e.params, e.variables, e.budget = p, make([]ref.Val, len(r.variables)), apiserver.RuntimeCELCostBudget
		if v, err := e.validate(); err != nil || !v.Accepted {
			return v, err
		}
	}
	return sdk.Accept(), nil
}

// validate asks every validation, until one says no or cannot say.
func (e *evaluation) validate() (sdk.Verdict, error) {
	for _, v := range e.rules.validations {
		value, err := e.evaluate(v.expression)
		switch {
		case err == nil && value == types.True:
		case err == nil:
			message, err := e.message(v)
			if err != nil {
				return sdk.Verdict{}, err
			}
			return sdk.Verdict{Message: message, Code: v.code}, nil
		case !e.mayIgnore(err):
			return sdk.Verdict{}, err
		default:
			sdk.Log(e.ctx, sdk.LevelWarn, "a validation has no value and failurePolicy is Ignore", map[string]any{"error": err.Error()})
		}
	}
	return sdk.Accept(), nil
}

// mayIgnore says whether failurePolicy covers the error.
func (e *evaluation) mayIgnore(err error) bool {
	var u *untrusted
	return e.rules.ignore && e.ctx.Err() == nil && !errors.As(err, &u)
}

// message is what a rejection says. A message without a value never lets the
// request in: the validation is false.
func (e *evaluation) message(v validation) (string, error) {
	if v.messageExpression == nil {
		return v.message, nil
	}
	value, err := e.evaluate(*v.messageExpression)
	if e.ctx.Err() != nil {
		return "", err
	}
	text, _ := value.(types.String)
	if err == nil && strings.TrimSpace(string(text)) != "" && len(text) <= apiserver.MaxEvaluatedMessageExpressionSizeBytes {
		return string(text), nil
	}
	if err != nil {
		sdk.Log(e.ctx, sdk.LevelWarn, "a message has no value", map[string]any{"error": err.Error()})
	}
	return v.message, nil
}

// evaluate returns the value of an expression. The error names it.
func (e *evaluation) evaluate(x expression) (ref.Val, error) {
	if e.budget < 0 {
		return nil, fmt.Errorf("%s: %w", x.path, errOutOfBudget)
	}
	value, cost, err := e.rules.program.evaluate(e.ctx, x.at, e)
	e.budget -= int64(min(cost, math.MaxInt32)) // what variables have cost is gone already
	switch {
	case e.ctx.Err() != nil: // || and && hide errors
		return nil, fmt.Errorf("%s: %w", x.path, context.Cause(e.ctx))
	case e.budget < 0:
		return nil, fmt.Errorf("%s: %w", x.path, errOutOfBudget)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", x.path, err)
	}
	return value, nil
}

// ResolveName implements cel.Activation.
func (e *evaluation) ResolveName(name string) (any, bool) {
	if name == evaluationName {
		return e, true
	}
	v := e.value(name)
	return v, v != nil
}

// value returns what expressions know under the name, nil for nothing.
func (e *evaluation) value(name string) ref.Val {
	switch name {
	case objectName:
		return once(&e.object, func() ref.Val { return fromView(e.req.ViewObject()) })
	case oldObjectName:
		return once(&e.oldObject, func() ref.Val { return fromView(e.req.ViewOldObject()) })
	case requestName:
		return once(&e.request, e.makeRequest)
	case namespaceName:
		return once(&e.namespace, e.findNamespace)
	case paramsName:
		return e.params
	case variablesName:
		return variables{e}
	}
	return nil
}

// Parent implements cel.Activation.
func (e *evaluation) Parent() cel.Activation { return nil }

// once makes a value that is not there yet.
func once(kept *ref.Val, make func() ref.Val) ref.Val {
	if *kept == nil {
		*kept = make()
	}
	return *kept
}

// makeRequest is the request as a policy gets it. Its objects are those that
// expressions know as object and oldObject.
func (e *evaluation) makeRequest() ref.Val {
	rest := *e.req
	rest.Object, rest.OldObject = nil, nil
	r := &jsonObject{view: sdk.View(rest.AppendJSON(nil))}
	r.read()
	if e.req.Object != nil {
		r.set(objectName, &member{made: e.value(objectName)})
	}
	if e.req.OldObject != nil {
		r.set(oldObjectName, &member{made: e.value(oldObjectName)})
	}
	return r
}

// findNamespace asks for the namespace of the request, null if it has none. A
// Namespace has none, as for the API server.
func (e *evaluation) findNamespace() ref.Val {
	name := e.req.Namespace
	for _, object := range []sdk.Value{e.req.ViewObject(), e.req.ViewOldObject()} {
		if name == "" { // a request that somebody has written
			name = object.Get("metadata", "namespace").String()
		}
	}
	kind := sdk.GroupVersionKind{Version: "v1", Kind: "Namespace"}
	if name == "" || e.req.Kind == kind {
		return types.NullValue
	}
	found, err := sdk.GetResource(e.ctx, sdk.GetQuery{APIVersion: kind.Version, Kind: kind.Kind, Name: name})
	if err != nil {
		return failed("cannot get namespace data: %w. `namespaceObject` cannot be populated", err)
	}
	return fromJSON(found)
}
