package cel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	admission "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"

	"github.com/warder-dev/warder/sdk"
)

// Program is a policy in CEL, compiled. It is safe for concurrent use.
type Program struct {
	host          sdk.Host
	failurePolicy admissionv1.FailurePolicyType
	asks          names
	params        *params
	matcher       matchconditions.Matcher // nil when there are no conditions
	validator     validating.Validator    // nil when it mutates
	mutators      []patch.Patcher
	variables     *variables
}

// params says which objects of the cluster a policy is judged by.
type params struct {
	kind      admissionv1.ParamKind
	ref       admissionv1.ParamRef
	labels    string       // the selector
	namespace string       // of a namespaced policy
	scope     atomic.Int32 // a paramScope, once it is known
}

// SpecError is one mistake in a Spec.
type SpecError struct {
	// Field is where, as in "validations[1].expression".
	Field string
	// Problem is what, in the words of the API server where it finds it too.
	Problem string
}

func (e *SpecError) Error() string { return e.Field + ": " + e.Problem }

// Compile compiles a policy. The error joins a *SpecError for each mistake;
// those that the API server would find when a request comes are among them.
func Compile(spec Spec, opts Options) (*Program, error) {
	c, err := sharedCompiler()
	if err != nil {
		return nil, internalError(err)
	}
	p := &Program{host: opts.Host, failurePolicy: opts.FailurePolicy, asks: namesIn(c, spec)}
	if p.failurePolicy == "" {
		p.failurePolicy = admissionv1.Fail
	}
	b := build{compiler: c, program: p, declared: admission.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}}
	b.check(spec, opts)
	b.expressions(spec)
	if p.params, err = newParams(spec, opts); err != nil {
		b.fail("paramRef.selector", err.Error())
	}
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	return p, nil
}

// build is a policy that is being compiled.
type build struct {
	compiler *kubernetes
	program  *Program
	declared admission.OptionalVariableDeclarations
	errs     []error
}

func (b *build) fail(field, problem string) {
	b.errs = append(b.errs, &SpecError{Field: field, Problem: problem})
}

// expressions compiles all that there are, variables first, each of which sees
// those before it.
func (b *build) expressions(spec Spec) {
	p := b.program
	defer b.compiler.begin()()
	p.variables = &variables{of: b.compiler}
	for i, v := range spec.Variables {
		e := &validating.Variable{Name: v.Name, Expression: v.Expression}
		result := b.compile(fmt.Sprintf("variables[%d].expression", i), e, b.declared)
		b.compiler.declare(v.Name, result.OutputType)
		p.variables.programs = append(p.variables.programs, variable{v.Name, result.Program})
	}
	var matching, validations, messages, annotations []admission.CompilationResult
	for i := range spec.MatchConditions {
		e := (*matchconditions.MatchCondition)(&spec.MatchConditions[i])
		matching = append(matching, b.compile(fmt.Sprintf("matchConditions[%d].expression", i), e, b.declared))
	}
	withoutAuthorizer := admission.OptionalVariableDeclarations{HasParams: b.declared.HasParams}
	for i, v := range spec.Validations {
		e := &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason}
		validations = append(validations, b.compile(fmt.Sprintf("validations[%d].expression", i), e, b.declared))
		message := admission.CompilationResult{} // keeps the place
		if v.MessageExpression != "" {
			e := &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}
			message = b.compile(fmt.Sprintf("validations[%d].messageExpression", i), e, withoutAuthorizer)
		}
		messages = append(messages, message)
	}
	for i, a := range spec.AuditAnnotations {
		e := &validating.AuditAnnotationCondition{Key: a.Key, ValueExpression: a.ValueExpression}
		annotations = append(annotations, b.compile(fmt.Sprintf("auditAnnotations[%d].valueExpression", i), e, b.declared))
	}
	if fail := admissionv1.Fail; len(matching) > 0 {
		p.matcher = matchconditions.NewMatcher(b.conditions(matching), &fail, "policy", "validate", "")
	}
	if len(spec.Mutations) > 0 {
		b.mutations(spec.Mutations)
		return
	}
	fail := admissionv1.Fail
	p.validator = validating.NewValidator(b.conditions(validations), p.matcher, b.conditions(annotations), b.conditions(messages), &fail, nil)
}

// compile compiles one expression, and reports what is wrong with it.
func (b *build) compile(field string, e admission.ExpressionAccessor, declared admission.OptionalVariableDeclarations) admission.CompilationResult {
	if strings.TrimSpace(e.GetExpression()) == "" {
		b.fail(field, "Required value: an expression") // the compiler would speak of its end
		return admission.CompilationResult{}
	}
	result, err := b.compiler.compile(e, declared)
	if err != nil {
		b.fail(field, err.Error())
	}
	return result
}

func (b *build) conditions(results []admission.CompilationResult) admission.ConditionEvaluator {
	evaluator := admission.NewCondition(results)
	if !b.program.asks.variables {
		return evaluator
	}
	return &conditions{evaluator, b.program.variables}
}

// mutations compiles patches.
func (b *build) mutations(mutations []admissionv1.Mutation) {
	declared := b.declared
	declared.HasPatchTypes = true
	for i, m := range mutations {
		at := fmt.Sprintf("mutations[%d]", i)
		switch {
		case m.PatchType == admissionv1.PatchTypeJSONPatch && m.JSONPatch != nil:
			result := b.compile(at+".jsonPatch.expression", &patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}, declared)
			b.program.mutators = append(b.program.mutators, patch.NewJSONPatcher(admission.NewMutatingEvaluator(result)))
		case m.PatchType == admissionv1.PatchTypeApplyConfiguration && m.ApplyConfiguration != nil:
			result := b.compile(at+".applyConfiguration.expression", &patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression}, declared)
			b.program.mutators = append(b.program.mutators, patch.NewApplyConfigurationPatcher(admission.NewMutatingEvaluator(result)))
		}
	}
}

// Close frees nothing: a program is memory alone. It is there for those who hold
// programs of several runtimes.
func (p *Program) Close() {}

// Evaluate judges a request. The error is an *EvaluationError: there is no
// verdict.
func (p *Program) Evaluate(ctx context.Context, req *sdk.Request) (sdk.Verdict, error) {
	d, err := p.Decide(ctx, req)
	if err == nil {
		var v sdk.Verdict
		if v, err = p.verdict(d); err == nil {
			return v, nil
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx) // what expressions say of it is one error of theirs
	}
	var known *EvaluationError
	if !errors.As(err, &known) {
		err = &EvaluationError{Err: err}
	}
	return sdk.Verdict{}, err
}
