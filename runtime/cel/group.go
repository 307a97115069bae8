// Package cel evaluates expressions in CEL, the language of the API server's
// own policies. Compile makes a Program of what a ValidatingAdmissionPolicy or a
// MutatingAdmissionPolicy says, and judges by it as the API server does, with its
// own packages. CompileGroup is for the expressions of policy groups: yes and no
// over the verdicts of their members.
//
// Language: https://github.com/google/cel-spec/blob/master/doc/langdef.md.
package cel

import (
	"slices"
	"strings"

	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/parser"

	"github.com/warder-dev/warder/sdk"
)

// Value is what a member says, or an expression. The zero Value is Unknown.
type Value int8

// Unknown is a member without a verdict, and every expression whose value
// depends on one.
const (
	Unknown Value = iota
	False
	True
)

// Group is the expression of a policy group, compiled. It is safe for
// concurrent use.
type Group struct {
	root    *node
	members []string // those that the expression calls, sorted
}

// operator says what a node does.
type operator int8

const (
	literal operator = iota
	member
	not
	and
	or
	equal
	unequal
)

type node struct {
	op          operator
	value       Value // of a literal
	member      int   // index in Group.members
	left, right *node // left alone of not
}

// maxNesting bounds the levels of an expression. Source: the parser's own
// default.
const maxNesting = 250

// CompileGroup compiles an expression over the members of a group: a call of a
// member without arguments, true, false, &&, ||, !, ==, != and parentheses. All
// of these are bool, and so is what passes. The error joins an *ExpressionError
// for each mistake.
func CompileGroup(expression string, members []string) (*Group, error) {
	p, err := parser.NewParser(parser.ErrorReportingLimit(maxMistakes), parser.MaxRecursionDepth(maxNesting))
	if err != nil {
		return nil, err
	}
	source := common.NewStringSource(expression, "expression")
	tree, problems := p.Parse(source)
	c := compiler{source: source, info: tree.SourceInfo(), known: slices.Sorted(slices.Values(members))}
	if found := problems.GetErrors(); len(found) > 0 {
		for _, f := range found {
			c.failAt(f.Location, syntaxProblem(f.Message))
		}
		return nil, c.err()
	}
	c.calls(tree.Expr())
	root := c.compile(tree.Expr())
	if err := c.err(); err != nil {
		return nil, err
	}
	return &Group{root: root, members: c.called}, nil
}

// Calls returns the members that the expression calls, sorted.
func (g *Group) Calls() []string { return slices.Clone(g.members) }

// Evaluate returns the value of the expression. It asks a member when the
// expression needs it, from left to right, and at most once.
//
// A member without a verdict is neither true nor false, as in CEL: the value is
// Unknown when it depends on that member, and what it is when it does not.
func (g *Group) Evaluate(ask func(member string) Value) Value {
	e := evaluation{group: g, ask: ask, asked: make([]bool, len(g.members)), said: make([]Value, len(g.members))}
	return e.value(g.root)
}

// evaluation is one request.
type evaluation struct {
	group *Group
	ask   func(member string) Value
	asked []bool
	said  []Value
}

func (e *evaluation) value(n *node) Value {
	switch n.op {
	case member:
		if !e.asked[n.member] {
			e.asked[n.member], e.said[n.member] = true, e.ask(e.group.members[n.member])
		}
		return e.said[n.member]
	case not:
		return inverse(e.value(n.left))
	case and:
		return e.decided(n, False)
	case or:
		return e.decided(n, True)
	case equal, unequal:
		return e.compared(n)
	default:
		return n.value
	}
}

// decided is && and ||: one side that has the deciding value is enough, whatever
// the other one is.
func (e *evaluation) decided(n *node, deciding Value) Value {
	left := e.value(n.left)
	if left == deciding {
		return deciding
	}
	right := e.value(n.right)
	if right == deciding {
		return deciding
	}
	return min(left, right) // Unknown if one is, else both are the other value
}

// compared is == and !=, which need both sides.
func (e *evaluation) compared(n *node) Value {
	left := e.value(n.left)
	if left == Unknown {
		return Unknown
	}
	right := e.value(n.right)
	switch {
	case right == Unknown:
		return Unknown
	case (left == right) == (n.op == equal):
		return True
	}
	return False
}

func inverse(v Value) Value {
	switch v {
	case True:
		return False
	case False:
		return True
	default:
		return Unknown
	}
}

// compiler makes nodes of what the parser has read.
type compiler struct {
	source common.Source
	info   *ast.SourceInfo
	known  []string
	called []string
	errs   []error
}

// calls notes which members the expression calls.
func (c *compiler) calls(e ast.Expr) {
	if e.Kind() != ast.CallKind {
		return
	}
	call := e.AsCall()
	if name := call.FunctionName(); !call.IsMemberFunction() && slices.Contains(c.known, name) {
		if at, ok := slices.BinarySearch(c.called, name); !ok {
			c.called = slices.Insert(c.called, at, name)
		}
	}
	for _, arg := range call.Args() {
		c.calls(arg)
	}
}

func (c *compiler) compile(e ast.Expr) *node {
	switch e.Kind() {
	case ast.LiteralKind:
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return &node{op: literal, value: valueOf(bool(b))}
		}
		c.fail(e, "a group is made of yes and no: want true, false or a member, have "+e.AsLiteral().Type().TypeName())
	case ast.IdentKind:
		c.identifier(e)
	case ast.CallKind:
		return c.call(e)
	default:
		c.fail(e, notAdmitted)
	}
	return &node{} // there is a mistake, nobody will ask it
}

const notAdmitted = "a group has only its members' names, true, false, &&, ||, !, ==, != and parentheses"

func valueOf(b bool) Value {
	if b {
		return True
	}
	return False
}

// identifier reports a name that is not called.
func (c *compiler) identifier(e ast.Expr) {
	name := e.AsIdent()
	if slices.Contains(c.known, name) {
		c.fail(e, "a member is asked with parentheses: write "+name+"()")
		return
	}
	c.unknown(e, name)
}

func (c *compiler) unknown(e ast.Expr, name string) {
	problem := "the group has no member " + name
	if near := sdk.Nearest(name, c.known); near != "" {
		problem += "; did you mean " + near + "()?"
	} else if len(c.known) > 0 {
		problem += "; it has " + strings.Join(c.known, ", ")
	}
	c.fail(e, problem)
}

func (c *compiler) call(e ast.Expr) *node {
	call := e.AsCall()
	args := call.Args()
	operators := map[string]operator{
		operators.LogicalNot: not, operators.LogicalAnd: and, operators.LogicalOr: or,
		operators.Equals: equal, operators.NotEquals: unequal,
	}
	name := call.FunctionName()
	op, isOperator := operators[name]
	switch {
	case call.IsMemberFunction() || !isOperator && !isName(name):
		c.fail(e, notAdmitted)
	case op == not:
		return &node{op: op, left: c.compile(args[0])}
	case isOperator:
		return &node{op: op, left: c.compile(args[0]), right: c.compile(args[1])}
	case !slices.Contains(c.known, name):
		c.unknown(e, name)
	case len(args) > 0:
		c.fail(e, "a member takes no arguments: write "+name+"()")
	default:
		at, _ := slices.BinarySearch(c.called, name)
		return &node{op: member, member: at}
	}
	return &node{}
}

// isName says whether a function is called by its name: CEL's other operators
// are functions too, called "_+_" and the like.
func isName(function string) bool {
	for i, r := range function {
		digit := '0' <= r && r <= '9'
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (!digit || i == 0) {
			return false
		}
	}
	return function != ""
}
