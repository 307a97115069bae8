package cel

import (
	"slices"
	"strings"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/decls"
	"github.com/google/cel-go/common/stdlib"
	"github.com/google/cel-go/interpreter"
	"k8s.io/apimachinery/pkg/util/version"
	admission "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
)

// lean plans expressions that call nothing but CEL's own functions, as most do,
// in an environment with those functions alone. A program of the interpreter
// keeps a table of every function of its environment, which is 12 of its 15 KB
// in the API server's: what ten thousand policies keep is that table.
//
// The API server's libraries have costs of their own that only their environment
// knows, and so an expression that calls one of them is planned there.
type lean struct {
	full      map[admission.OptionalVariableDeclarations]*celgo.Env
	functions map[string]*decls.FunctionDecl // of CEL itself, as the API server has them
	planning  map[string]*celgo.Env          // by the names of their functions
}

// maxPlanning bounds the environments that are kept. Policies have few functions
// in common combinations: who makes up others shall not take the memory.
const maxPlanning = 512

// newLean extends the environment as the API server's compiler does.
func newLean(set *environment.EnvSet) (*lean, error) {
	l := &lean{full: map[admission.OptionalVariableDeclarations]*celgo.Env{}, functions: map[string]*decls.FunctionDecl{}, planning: map[string]*celgo.Env{}}
	request, namespace := admission.BuildRequestType(), admission.BuildNamespaceType()
	for _, options := range []admission.OptionalVariableDeclarations{{}, {HasParams: true}, {HasAuthorizer: true}, {HasParams: true, HasAuthorizer: true}} {
		declared := []celgo.EnvOption{
			celgo.Variable(admission.ObjectVarName, celgo.DynType), celgo.Variable(admission.OldObjectVarName, celgo.DynType),
			celgo.Variable(admission.NamespaceVarName, namespace.CelType()), celgo.Variable(admission.RequestVarName, request.CelType()),
		}
		if options.HasParams {
			declared = append(declared, celgo.Variable(admission.ParamsVarName, celgo.DynType))
		}
		if options.HasAuthorizer {
			declared = append(declared, celgo.Variable(admission.AuthorizerVarName, library.AuthorizerType),
				celgo.Variable(admission.RequestResourceAuthorizerVarName, library.ResourceCheckType))
		}
		extended, err := set.Extend(environment.VersionedOptions{
			IntroducedVersion: version.MajorMinor(1, 0), EnvOptions: declared, DeclTypes: []*apiservercel.DeclType{namespace, request},
		}, environment.StrictCostOpt)
		if err != nil {
			return nil, err
		}
		if l.full[options], err = extended.Env(environment.StoredExpressions); err != nil {
			return nil, err
		}
	}
	all := l.full[admission.OptionalVariableDeclarations{}].Functions()
	for _, f := range stdlib.Functions() {
		l.functions[f.Name()] = all[f.Name()]
	}
	return l, nil
}

// compile compiles an expression, if it can be planned here. What is wrong with
// others the API server's compiler says in its own words.
func (l *lean) compile(e admission.ExpressionAccessor, options admission.OptionalVariableDeclarations) (admission.CompilationResult, bool) {
	env := l.full[options]
	if env == nil {
		return admission.CompilationResult{}, false
	}
	checked, issues := env.Compile(e.GetExpression())
	if issues.Err() != nil || !slices.ContainsFunc(e.ReturnTypes(), func(t *celgo.Type) bool {
		return checked.OutputType().IsExactType(t) || celgo.AnyType.IsExactType(t)
	}) {
		return admission.CompilationResult{}, false
	}
	called, ok := l.calls(checked)
	if !ok {
		return admission.CompilationResult{}, false
	}
	planning, err := l.environment(env, called)
	if err != nil {
		return admission.CompilationResult{}, false
	}
	// What the API server's environment gives to programs, but for libraries.
	program, err := planning.Program(checked, celgo.EvalOptions(celgo.OptOptimize, celgo.OptTrackCost), celgo.CostLimit(celconfig.PerCallLimit),
		celgo.CostTrackerOptions(interpreter.PresenceTestHasCost(false)), celgo.CostTracking(&library.CostEstimator{}),
		celgo.InterruptCheckFrequency(celconfig.CheckFrequency))
	if err != nil {
		return admission.CompilationResult{}, false
	}
	return admission.CompilationResult{Program: program, ExpressionAccessor: e, OutputType: checked.OutputType()}, true
}

// calls returns the functions that an expression calls, sorted, or false if there
// is one of a library.
func (l *lean) calls(checked *celgo.Ast) (names []string, ok bool) {
	root := ast.NavigateAST(checked.NativeRep())
	for _, e := range ast.MatchDescendants(root, ast.KindMatcher(ast.CallKind)) {
		name := e.AsCall().FunctionName()
		if l.functions[name] == nil {
			return nil, false
		}
		if at, found := slices.BinarySearch(names, name); !found {
			names = slices.Insert(names, at, name)
		}
	}
	return names, true
}

// environment returns one with these functions. Types are those of the API
// server, whichever optional variables there are.
func (l *lean) environment(full *celgo.Env, names []string) (*celgo.Env, error) {
	key := strings.Join(names, " ")
	if env := l.planning[key]; env != nil {
		return env, nil
	}
	var functions []*decls.FunctionDecl
	for _, name := range names {
		functions = append(functions, l.functions[name])
	}
	env, err := celgo.NewCustomEnv(celgo.CustomTypeAdapter(full.CELTypeAdapter()), celgo.CustomTypeProvider(full.CELTypeProvider()),
		celgo.FunctionDecls(functions...))
	if err != nil {
		return nil, err
	}
	if len(l.planning) >= maxPlanning {
		clear(l.planning)
	}
	l.planning[key] = env
	return env, nil
}
