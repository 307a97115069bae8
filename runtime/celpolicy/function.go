package celpolicy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// function is a function of the kw libraries for arguments of certain types.
type function struct {
	name string
	// on is the type that it is called on, nil for a name alone (kw.net.lookupHost).
	on     *cel.Type
	args   []*cel.Type
	result *cel.Type

	// Either it makes a value of its arguments alone, or it asks the host. The
	// functions of one name all do the same of the two.
	build func(args []ref.Val) ref.Val
	ask   func(ctx context.Context, args []ref.Val) ref.Val
}

// functions are all functions of the kw libraries.
func functions() []function {
	return slices.Concat(kubernetesFunctions(), ociFunctions(), sigstoreFunctions(), cryptoFunctions(), netFunctions())
}

// parameters are the types of all arguments, the one that it is called on first.
func (f function) parameters() []*cel.Type {
	if f.on == nil {
		return f.args
	}
	return append([]*cel.Type{f.on}, f.args...)
}

// id names the function among all there are.
func (f function) id() string {
	id := f.name
	if f.on != nil {
		id = f.on.TypeName() + "." + f.name
	}
	return fmt.Sprintf("%s_%d", strings.ReplaceAll(id, ".", "_"), len(f.args))
}

// declare makes the function known to the checker and, unless it asks the host,
// to the interpreter.
func (f function) declare() cel.EnvOption {
	binding := cel.LateFunctionBinding()
	if f.build != nil {
		binding = cel.FunctionBinding(func(args ...ref.Val) ref.Val { return f.build(args) })
	}
	if f.on != nil {
		return cel.Function(f.name, cel.MemberOverload(f.id(), f.parameters(), f.result, binding))
	}
	return cel.Function(f.name, cel.Overload(f.id(), f.parameters(), f.result, binding))
}

// accepts says whether the function takes these arguments.
func (f function) accepts(args []ref.Val) bool {
	return slices.EqualFunc(f.parameters(), args, func(t *cel.Type, v ref.Val) bool { return v.Type().TypeName() == t.TypeName() })
}

// evaluationName is what a hostCall finds its evaluation under. Nobody can write
// it.
const evaluationName = "@kw"

// hostCall is a call that asks the host. A function of CEL gets no context, and
// a program is shared by all requests: so this part of the program looks for the
// evaluation where the variables are.
type hostCall struct {
	interpreter.InterpretableCall
	candidates []function // of this name
}

// planHostCalls returns the decorator that plans hostCalls.
func planHostCalls() interpreter.InterpretableDecoratorV2 {
	byName := map[string][]function{}
	for _, f := range functions() {
		if f.ask != nil {
			byName[f.name] = append(byName[f.name], f)
		}
	}
	return func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		call, ok := i.(interpreter.InterpretableCall)
		if !ok {
			return i, nil
		}
		candidates := byName[call.Function()]
		if len(candidates) == 0 {
			return i, nil
		}
		return &hostCall{call, candidates}, nil
	}
}

// Exec implements interpreter.InterpretableV2.
func (c *hostCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	args := make([]ref.Val, 0, 3)
	for _, arg := range c.Args() {
		v := arg.Exec(frame)
		if types.IsUnknownOrError(v) {
			return v
		}
		args = append(args, v)
	}
	at := slices.IndexFunc(c.candidates, func(f function) bool { return f.accepts(args) })
	if at < 0 {
		return types.NewErrWithNodeID(c.ID(), "no such overload: %s", c.Function())
	}
	found, _ := frame.ResolveName(evaluationName)
	e, ok := found.(*evaluation)
	if !ok {
		return types.NewErrWithNodeID(c.ID(), "%s: there is no request", c.Function())
	}
	return c.candidates[at].ask(e.ctx, args)
}

// Eval implements interpreter.InterpretableV2.
func (c *hostCall) Eval(vars interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(vars))
}

// hostCallID names hostCalls for the count of costs: the overload of a call is
// not known beforehand when what it is called on is dyn.
const hostCallID = "@kw_host_call"

// OverloadID implements interpreter.InterpretableCall.
func (c *hostCall) OverloadID() string { return hostCallID }

// costOfHostCall makes every call of the host cost the same. The API server's
// limits let one expression ask a hundred times, and all together a thousand.
func costOfHostCall([]ref.Val, ref.Val) *uint64 {
	cost := uint64(9_000)
	return &cost
}
