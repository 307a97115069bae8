package celpolicy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	"k8s.io/apiserver/pkg/cel/environment"
)

// rules are settings, compiled.
type rules struct {
	program     *program
	variables   []expression
	names       map[string]int // of variables
	validations []validation
	ignore      bool // failurePolicy
	params      *paramSource
}

// expression is one expression and where it is in the settings.
type expression struct {
	path string
	at   int // in the program
}

type validation struct {
	expression
	message           string // what a rejection says without messageExpression
	messageExpression *expression
	code              uint16
}

// Names that expressions know.
const (
	objectName    = "object"
	oldObjectName = "oldObject"
	requestName   = "request"
	namespaceName = "namespaceObject"
	paramsName    = "params"
	variablesName = "variables"
)

// baseEnvironment is what every policy's expressions have in common. It takes
// some 50 ms to make, and is never changed.
var baseEnvironment = sync.OnceValues(func() (*cel.Env, error) {
	base := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).StoredExpressionsEnv()
	options := []cel.EnvOption{
		ext.Encoders(),
		cel.Variable(objectName, cel.DynType),
		cel.Variable(oldObjectName, cel.DynType),
		cel.Variable(requestName, cel.DynType),
		cel.Variable(namespaceName, cel.DynType),
		cel.Variable(variablesName, variablesType()),
	}
	for _, f := range functions() {
		options = append(options, f.declare())
	}
	return base.Extend(options...)
})

// variablesTypeName is the type of variables, whose fields each policy has its
// own.
const variablesTypeName = "kw.variables"

func variablesType() *cel.Type { return cel.ObjectType(variablesTypeName) }

// variableTypes is a provider of types that knows the variables so far.
type variableTypes struct {
	types.Provider
	fields map[string]*types.FieldType
}

func (v *variableTypes) FindStructType(name string) (*types.Type, bool) {
	if name == variablesTypeName {
		return types.NewTypeTypeWithParam(variablesType()), true
	}
	return v.Provider.FindStructType(name)
}

func (v *variableTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if name == variablesTypeName {
		t, ok := v.fields[field]
		return t, ok
	}
	return v.Provider.FindStructFieldType(name, field)
}

func (v *variableTypes) FindStructFieldNames(name string) ([]string, bool) {
	if name != variablesTypeName {
		return v.Provider.FindStructFieldNames(name)
	}
	return slices.Sorted(maps.Keys(v.fields)), true
}

// compiler compiles the expressions of one policy.
type compiler struct {
	env     *cel.Env
	known   *variableTypes
	base    *cel.Env
	checked []checkedExpression
	places  *places
}

// checkedExpression is an expression that is fine as far as the checker can say.
type checkedExpression struct {
	path, text string
	ast        *ast.AST
}

// compile compiles the expressions of settings. What is wrong goes to places.
func compile(s *Settings, p *places) *rules {
	c, err := newCompiler(s, p)
	if err != nil {
		p.errs = append(p.errs, err)
		return nil
	}
	r := &rules{ignore: s.FailurePolicy == Ignore, names: map[string]int{}, params: newParamSource(s)}
	var taken []string
	for i, v := range s.Variables {
		path := fmt.Sprintf("variables[%d]", i)
		named := p.variableName(path+".name", v.Name, taken)
		e, t := c.expression(path+".expression", v.Expression, nil)
		if !named || t == nil {
			continue
		}
		taken = append(taken, v.Name)
		c.known.fields[v.Name] = &types.FieldType{Type: t}
		r.names[v.Name] = len(r.variables)
		r.variables = append(r.variables, e)
	}
	for i, v := range s.Validations {
		r.validations = append(r.validations, c.validation(fmt.Sprintf("validations[%d]", i), v))
	}
	if p.err() == nil {
		r.program = c.program()
	}
	return r
}

func newCompiler(s *Settings, p *places) (*compiler, error) {
	base, err := baseEnvironment()
	if err != nil {
		return nil, err
	}
	known := &variableTypes{Provider: base.CELTypeProvider(), fields: map[string]*types.FieldType{}}
	options := []cel.EnvOption{cel.CustomTypeProvider(known)}
	if s.ParamKind != nil {
		options = append(options, cel.Variable(paramsName, cel.DynType))
	}
	env, err := base.Extend(options...)
	if err != nil {
		return nil, err
	}
	return &compiler{env: env, known: known, base: base, places: p}, nil
}

// program plans all expressions. One at a time they are planned to find the one
// with a regular expression that is none.
func (c *compiler) program() *program {
	var all []*ast.AST
	for _, x := range c.checked {
		all = append(all, x.ast)
	}
	p, err := newProgram(c.base, all)
	if err == nil {
		return p
	}
	for _, x := range c.checked {
		if _, err := newProgram(c.base, []*ast.AST{x.ast}); err != nil {
			c.places.invalid(x.path, x.text, err.Error())
		}
	}
	if c.places.err() == nil {
		c.places.errs = append(c.places.errs, err)
	}
	return nil
}

func (c *compiler) validation(path string, v Validation) validation {
	out := validation{message: v.Message, code: v.Reason.code()}
	out.expression, _ = c.expression(path+".expression", v.Expression, cel.BoolType)
	if out.message == "" {
		out.message = "failed expression: " + strings.TrimSpace(v.Expression)
	}
	switch {
	case v.MessageExpression == "":
	case strings.TrimSpace(v.MessageExpression) == "":
		c.places.invalid(path+".messageExpression", v.MessageExpression, "must be non-empty if specified")
	default:
		e, _ := c.expression(path+".messageExpression", v.MessageExpression, cel.StringType)
		out.messageExpression = &e
	}
	c.places.message(path+".message", v.Message)
	if out.code == 0 {
		c.places.unsupported(path+".reason", string(v.Reason),
			string(Unauthorized), string(Forbidden), string(Invalid), string(RequestEntityTooLarge))
	}
	return out
}

// expression compiles an expression, which must be of the type want unless that
// is nil, and returns its type. A nil type means that it has been reported.
func (c *compiler) expression(path, text string, want *cel.Type) (expression, *cel.Type) {
	if strings.TrimSpace(text) == "" {
		c.places.required(path, "expression is not specified")
		return expression{}, nil
	}
	checked, issues := c.env.Compile(text)
	if issues.Err() != nil {
		c.places.invalid(path, text, issues.Err().Error())
		return expression{}, nil
	}
	if want != nil && !checked.OutputType().IsExactType(want) {
		c.places.invalid(path, text, fmt.Sprintf("must evaluate to %s but got %s", want, checked.OutputType()))
		return expression{}, nil
	}
	c.checked = append(c.checked, checkedExpression{path, text, checked.NativeRep()})
	return expression{path, len(c.checked) - 1}, checked.OutputType()
}
