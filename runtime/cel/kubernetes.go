package cel

import (
	"errors"
	"fmt"
	"sync"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/traits"
	"k8s.io/apimachinery/pkg/util/version"
	admission "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// kubernetes compiles expressions of one policy after the other, all in the API
// server's environment. There is one environment for all policies: the type of
// "variables", whose fields are those of one policy, is only looked at while an
// expression is compiled, and so one that changes hands does for all. An
// environment for each, as the API server has it, would be 100 KB and 2 ms.
type kubernetes struct {
	mu         sync.Mutex
	admission  admission.Compiler
	conditions func() admission.Compiler // without variables, which matchConditions do not have
	lean       *lean
	parser     *celgo.Env
	variables  *apiservercel.DeclType
}

// sharedCompiler makes the one compiler of the process, when it is first wanted.
var sharedCompiler = sync.OnceValues(newCompiler)

// variablesType is what the API server calls the type of "variables".
const variablesType = "kubernetes.variables"

func newCompiler() (*kubernetes, error) {
	variables := apiservercel.NewObjectType(variablesType, map[string]*apiservercel.DeclField{})
	base := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
	set, err := base.Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions:        []celgo.EnvOption{celgo.Variable(admission.VariableVarName, variables.CelType())},
		DeclTypes:         []*apiservercel.DeclType{variables},
	})
	if err != nil {
		return nil, err
	}
	parser, err := set.Env(environment.StoredExpressions)
	if err != nil {
		return nil, err
	}
	planner, err := newLean(set)
	if err != nil {
		return nil, err
	}
	conditions := sync.OnceValue(func() admission.Compiler { return admission.NewCompiler(base) })
	return &kubernetes{admission: admission.NewCompiler(set), conditions: conditions, lean: planner, parser: parser, variables: variables}, nil
}

// begin starts with another policy, and holds the compiler until end is called.
func (c *kubernetes) begin() (end func()) {
	c.mu.Lock()
	c.variables.Fields = map[string]*apiservercel.DeclField{}
	return func() {
		c.variables.Fields = map[string]*apiservercel.DeclField{}
		c.mu.Unlock()
	}
}

// compile compiles one expression.
func (c *kubernetes) compile(e admission.ExpressionAccessor, options admission.OptionalVariableDeclarations) (admission.CompilationResult, error) {
	compiler, lean := c.admission, true
	if _, condition := e.(*matchconditions.MatchCondition); condition {
		used := names{}
		if used.find(c, e.GetExpression()); used.variables {
			compiler, lean = c.conditions(), false
		}
	}
	if lean {
		if result, ok := c.lean.compile(e, options); ok {
			return result, nil
		}
	}
	result := compiler.CompileCELExpression(e, options, environment.StoredExpressions)
	if result.Error == nil {
		return result, nil
	}
	text := result.Error.Detail
	if bad := (*apiservercel.CompilationError)(nil); errors.As(result.Error.Cause, &bad) {
		text += c.suggestions(bad.Issues, options)
	}
	return result, errors.New(text)
}

// declare makes a variable known to the expressions that come after it.
func (c *kubernetes) declare(name string, of *celgo.Type) {
	c.variables.Fields[name] = apiservercel.NewDeclField(name, declared(of), true, nil, nil)
}

// declared is the type of a variable as the API server declares it: scalars,
// lists and maps, and everything else is dyn.
func declared(t *celgo.Type) *apiservercel.DeclType {
	if t == nil {
		return apiservercel.DynType
	}
	for of, is := range map[*celgo.Type]*apiservercel.DeclType{
		celgo.AnyType: apiservercel.AnyType, celgo.BoolType: apiservercel.BoolType, celgo.BytesType: apiservercel.BytesType,
		celgo.DoubleType: apiservercel.DoubleType, celgo.DurationType: apiservercel.DurationType, celgo.IntType: apiservercel.IntType,
		celgo.NullType: apiservercel.NullType, celgo.StringType: apiservercel.StringType, celgo.TimestampType: apiservercel.TimestampType,
		celgo.UintType: apiservercel.UintType,
	} {
		if t == of {
			return is
		}
	}
	if parameters := t.Parameters(); t.HasTrait(traits.ContainerType) && t.HasTrait(traits.IndexerType) {
		switch len(parameters) {
		case 1:
			return apiservercel.NewListType(declared(parameters[0]), -1)
		case 2:
			return apiservercel.NewMapType(declared(parameters[0]), declared(parameters[1]), -1)
		}
	}
	return apiservercel.DynType
}

// internalError is an error that only a mistake of ours leads to.
func internalError(err error) error { return fmt.Errorf("the CEL environment: %w", err) }
