package celpolicy

import (
	"context"
	"errors"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
	apiserver "k8s.io/apiserver/pkg/apis/cel"
)

// program is all expressions of a policy, of which one is evaluated at a time.
// A program of CEL holds a table of every function there is, some 25 KB, so
// there is one for the policy and not one for each expression. It is safe for
// concurrent use.
type program struct{ all cel.Program }

// Names that no expression can have.
const (
	pickFunction = "@pick"   // of the call whose arguments are the expressions
	pickedName   = "@picked" // of the variable that says which one
	loopFunction = "@loop"   // of the call whose argument is the condition of a loop
)

// newProgram plans expressions whose types have been checked in any environment
// that has the functions of env.
func newProgram(env *cel.Env, checked []*ast.AST) (*program, error) {
	all, err := env.PlanProgram(join(checked),
		cel.InterruptCheckFrequency(apiserver.CheckFrequency),
		cel.CustomDecoratorV2(planHostCalls()),
		cel.CustomDecoratorV2(planPick),
		cel.CustomDecoratorV2(planLoop),
		cel.CostTrackerOptions(
			interpreter.OverloadCostTracker(hostCallID, costOfHostCall),
			interpreter.OverloadCostTracker(loopFunction, func([]ref.Val, ref.Val) *uint64 { return new(uint64) }),
		),
	)
	if err != nil {
		return nil, err
	}
	return &program{all}, nil
}

// join makes one expression of many, as arguments of a call. Each has numbered
// its nodes from 1.
func join(checked []*ast.AST) *ast.AST {
	var (
		last    int64
		factory = ast.NewExprFactory()
		args    []ast.Expr
		typeOf  = map[int64]*types.Type{}
		refers  = map[int64]*ast.ReferenceInfo{}
	)
	for _, one := range checked {
		numbers := map[int64]int64{}
		expr := factory.CopyExpr(one.Expr())
		expr.RenumberIDs(func(old int64) int64 {
			if _, ok := numbers[old]; !ok && old != 0 { // 0 is the number of what has none
				last++
				numbers[old] = last
			}
			return numbers[old]
		})
		for old, number := range numbers {
			if t, ok := one.TypeMap()[old]; ok {
				typeOf[number] = t
			}
			if r, ok := one.ReferenceMap()[old]; ok {
				refers[number] = r
			}
		}
		ast.PostOrderVisit(expr, ast.NewExprVisitor(func(e ast.Expr) {
			if e.Kind() == ast.ComprehensionKind {
				last++
				markLoop(e, last)
			}
		}))
		args = append(args, expr)
	}
	last++
	return ast.NewCheckedAST(ast.NewAST(factory.NewCall(last, pickFunction, args...), nil), typeOf, refers)
}

// pick is the call that evaluates one of its arguments.
type pick struct {
	id   int64
	args []interpreter.InterpretableV2
}

func planPick(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	if call, ok := i.(interpreter.InterpretableCall); ok && call.Function() == pickFunction {
		return &pick{call.ID(), call.Args()}, nil
	}
	return i, nil
}

// ID implements interpreter.InterpretableV2.
func (p *pick) ID() int64 { return p.id }

// Exec implements interpreter.InterpretableV2.
func (p *pick) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	picked, _ := frame.ResolveName(pickedName)
	at, ok := picked.(int)
	if !ok || at < 0 || at >= len(p.args) {
		return types.NewErr("there is no expression %v", picked)
	}
	return p.args[at].Exec(frame)
}

// Eval implements interpreter.InterpretableV2.
func (p *pick) Eval(vars interpreter.Activation) ref.Val { return p.Exec(interpreter.AsFrame(vars)) }

// loop is the condition of a loop. CEL's count of costs has a stack of values,
// on which each round of a loop leaves some, and looks through all of it for
// values that are not there: 16,000 rounds take seconds. It drops the arguments
// of a call and what is above them. So a loop says that it is its own argument,
// and what the round before has left is dropped. What an expression costs is the
// same.
type loop struct{ interpreter.InterpretableCall }

func planLoop(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	if call, ok := i.(interpreter.InterpretableCall); ok && call.Function() == loopFunction {
		return &loop{call}, nil
	}
	return i, nil
}

// markLoop makes the condition of a comprehension a loop with this number.
func markLoop(e ast.Expr, number int64) {
	factory, c := ast.NewExprFactory(), e.AsComprehension()
	e.SetKindCase(factory.NewComprehensionTwoVar(e.ID(), c.IterRange(), c.IterVar(), c.IterVar2(), c.AccuVar(), c.AccuInit(),
		factory.NewCall(number, loopFunction, c.LoopCondition()), c.LoopStep(), c.Result()))
}

// Args implements interpreter.InterpretableCall.
func (l *loop) Args() []interpreter.InterpretableV2 { return []interpreter.InterpretableV2{l} }

// OverloadID implements interpreter.InterpretableCall.
func (l *loop) OverloadID() string { return loopFunction }

// Exec implements interpreter.InterpretableV2.
func (l *loop) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return l.InterpretableCall.Args()[0].Exec(frame)
}

// Eval implements interpreter.InterpretableV2.
func (l *loop) Eval(vars interpreter.Activation) ref.Val { return l.Exec(interpreter.AsFrame(vars)) }

// picked is the variables of one expression.
type picked struct {
	cel.Activation
	at int
}

// ResolveName implements cel.Activation.
func (p *picked) ResolveName(name string) (any, bool) {
	if name == pickedName {
		return p.at, true
	}
	return p.Activation.ResolveName(name)
}

// evaluate returns the value of the expression with this number and, with an
// error too, what it has cost.
func (p *program) evaluate(ctx context.Context, at int, vars cel.Activation) (ref.Val, uint64, error) {
	value, details, err := p.all.ContextEval(ctx, &picked{vars, at})
	if details == nil || details.ActualCost() == nil {
		return nil, 0, errors.Join(err, errors.New("the cost is not known"))
	}
	return value, *details.ActualCost(), err
}
