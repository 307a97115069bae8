package celpolicy

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
	apiserver "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/library"
)

// planner makes programs. It does what cel.Env.Program does, with one table of
// functions for all programs: that one makes a table for each, of some 25 KB,
// and a policy has a program for each expression.
type planner struct {
	env     *cel.Env
	table   interpreter.Dispatcher
	options []interpreter.PlannerOption
}

// newPlanner returns the planner for the functions of env. Limits, costs and
// optimizations are those that the API server has.
func newPlanner(env *cel.Env) (*planner, error) {
	table := interpreter.NewDispatcher()
	for _, f := range env.Functions() {
		bindings, err := f.Bindings()
		if err != nil {
			return nil, err
		}
		if err := table.Add(bindings...); err != nil {
			return nil, err
		}
	}
	costs, err := interpreter.NewCostTracker(&library.CostEstimator{},
		interpreter.PresenceTestHasCost(false), interpreter.CostTrackerLimit(apiserver.PerCallLimit),
		interpreter.OverloadCostTracker(hostCallID, costOfHostCall))
	if err != nil {
		return nil, err
	}
	return &planner{env, table, []interpreter.PlannerOption{
		interpreter.CustomDecoratorV2(planHostCalls()),
		interpreter.InterruptableEval(),
		interpreter.Optimize(),
		interpreter.CompileRegexConstants(interpreter.MatchesRegexOptimization, library.FindRegexOptimization, library.FindAllRegexOptimization),
		interpreter.CostObserver(interpreter.CostTrackerFactory(costs.Clone)),
	}}, nil
}

// program is an expression that can be evaluated. It is safe for concurrent
// use.
type program struct {
	plan *interpreter.ObservableInterpretable
}

// plan makes the program of an expression whose types have been checked with
// this provider.
func (p *planner) plan(checked *ast.AST, provider types.Provider) (*program, error) {
	adapter := p.env.CELTypeAdapter()
	attributes := interpreter.NewAttributeFactory(p.env.Container, adapter, provider)
	plan, err := interpreter.NewInterpreter(p.table, p.env.Container, provider, adapter, attributes).NewInterpretable(checked, p.options...)
	if err != nil {
		return nil, err
	}
	observable, ok := plan.(*interpreter.ObservableInterpretable)
	if !ok {
		return nil, fmt.Errorf("the plan is a %T, whose cost is not counted", plan)
	}
	return &program{observable}, nil
}

// evaluate returns the value of the program, and what it has cost so far when
// there is an error.
func (p *program) evaluate(ctx context.Context, vars interpreter.Activation) (value ref.Val, cost uint64, err error) {
	var spent *interpreter.CostTracker
	defer func() {
		if r := recover(); r != nil {
			cancelled, ok := r.(interpreter.EvalCancelledError)
			if !ok {
				cancelled.Message = fmt.Sprintf("internal error: %v", r)
			}
			value, err = nil, errors.New(cancelled.Message)
		}
		if spent != nil {
			cost = spent.ActualCost()
		}
	}()
	frame, err := interpreter.NewExecutionFrame(vars)
	if err != nil {
		return nil, 0, err
	}
	defer frame.Close()
	if err := frame.SetContext(ctx, apiserver.CheckFrequency); err != nil {
		return nil, 0, err
	}
	value = p.plan.ObserveExec(frame, func(observed any) {
		if tracker, ok := observed.(*interpreter.CostTracker); ok {
			spent = tracker
		}
	})
	if failure, ok := value.(*types.Err); ok {
		return nil, 0, failure
	}
	return value, 0, nil
}
