package cel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/go-cmp/cmp"
)

// votes says what members say, and notes who was asked: "a+ b- c?" are a that
// accepts, b that refuses, c that has no verdict.
type votes struct {
	said  map[string]Value
	asked []string
}

func newVotes(text string) *votes {
	v := &votes{said: map[string]Value{}}
	for _, word := range strings.Fields(text) {
		v.said[word[:1]] = map[byte]Value{'+': True, '-': False, '?': Unknown}[word[1]]
	}
	return v
}

func (v *votes) ask(member string) Value {
	v.asked = append(v.asked, member)
	return v.said[member]
}

func members() []string { return []string{"a", "b", "c", "signed"} }

func mustCompile(t testing.TB, expression string) *Group {
	t.Helper()
	g, err := CompileGroup(expression, members())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAMemberIsAskedWhenTheValueNeedsIt(t *testing.T) {
	for _, tt := range []struct {
		expression, votes string
		want              Value
		asked             string
	}{
		{"a()", "a+", True, "a"},
		{"a()", "a-", False, "a"},
		{"a()", "a?", Unknown, "a"},
		{"!a()", "a+", False, "a"},
		{"!a()", "a?", Unknown, "a"},
		{"!!a()", "a-", False, "a"},
		{"a() && b()", "a- b+", False, "a"},
		{"a() && b()", "a+ b+", True, "a b"},
		{"a() && b()", "a? b-", False, "a b"},
		{"a() && b()", "a? b+", Unknown, "a b"},
		{"a() && b()", "a- b?", False, "a"},
		{"a() && b()", "a+ b?", Unknown, "a b"},
		{"a() || b()", "a+ b-", True, "a"},
		{"a() || b()", "a- b-", False, "a b"},
		{"a() || b()", "a? b+", True, "a b"},
		{"a() || b()", "a? b-", Unknown, "a b"},
		{"a() == b()", "a- b-", True, "a b"},
		{"a() == b()", "a- b+", False, "a b"},
		{"a() != b()", "a- b+", True, "a b"},
		{"a() != b()", "a+ b+", False, "a b"},
		{"a() != b()", "a? b+", Unknown, "a"},
		{"a() == b()", "a+ b?", Unknown, "a b"},
		{"!a() == b()", "a- b+", True, "a b"},
		{"a() || b() && c()", "a- b+ c-", False, "a b c"},
		{"a() || b() && c()", "a+ b+ c-", True, "a"},
		{"(a() || b()) && c()", "a+ b+ c-", False, "a c"},
		{"a() && a() && !a()", "a+", False, "a"},
		{"a() || (b() && !a())", "a? b+", Unknown, "a b"},
		{"true || a()", "a+", True, ""},
		{"false", "", False, ""},
		{"signed()\n  || // either\n  a()", "s- a+", True, "signed a"},
	} {
		v := newVotes(tt.votes)
		v.said["signed"] = v.said["s"]
		if have := mustCompile(t, tt.expression).Evaluate(v.ask); have != tt.want {
			t.Errorf("%q with %s = %d, want %d", tt.expression, tt.votes, have, tt.want)
		}
		if asked := strings.Join(v.asked, " "); asked != tt.asked {
			t.Errorf("%q with %s asked %q, want %q", tt.expression, tt.votes, asked, tt.asked)
		}
	}
}

func TestCallsAreTheMembersOfTheExpression(t *testing.T) {
	if diff := cmp.Diff([]string{"a", "c"}, mustCompile(t, "c() && !(a() || c())").Calls()); diff != "" {
		t.Errorf("Calls (-want +have):\n%s", diff)
	}
}

func TestAMistakeSaysWhereItIsAndWhatWasMeant(t *testing.T) {
	const notOf = "a group has only its members' names, true, false, &&, ||, !, ==, != and parentheses"
	for _, tt := range []struct{ expression, want string }{
		{"a() && sgned()", "1:8: the group has no member sgned; did you mean signed()?\n | a() && sgned()\n | .......^"},
		{"signed", "1:1: a member is asked with parentheses: write signed()\n | signed\n | ^"},
		{"sined", "1:1: the group has no member sined; did you mean signed()?\n | sined\n | ^"},
		{"x()", "1:1: the group has no member x; it has a, b, c, signed\n | x()\n | ^"},
		{"a(true)", "1:1: a member takes no arguments: write a()\n | a(true)\n | ^"},
		{"a() ||\n\tb().c()", "2:7: " + notOf + "\n |  b().c()\n | ......^"},
		{"a() + b()", "1:5: " + notOf + "\n | a() + b()\n | ....^"},
		{"a() < b()", "1:5: " + notOf + "\n | a() < b()\n | ....^"},
		{"a() ? b() : c()", "1:5: " + notOf + "\n | a() ? b() : c()\n | ....^"},
		{"[a()]", "1:1: " + notOf + "\n | [a()]\n | ^"},
		{"a() == 1", "1:8: a group is made of yes and no: want true, false or a member, have int\n | a() == 1\n | .......^"},
		{"'a'", "1:1: a group is made of yes and no: want true, false or a member, have string\n | 'a'\n | ^"},
		{"a() & b()", "1:5: not an expression: token recognition error at: '& '\n | a() & b()\n | ....^\n" +
			"1:7: not an expression: mismatched input 'b'\n | a() & b()\n | ......^"},
		{"x() || y()", "1:1: the group has no member x; it has a, b, c, signed\n | x() || y()\n | ^\n" +
			"1:8: the group has no member y; it has a, b, c, signed\n | x() || y()\n | .......^"},
		{strings.Repeat("a() && ", 40) + "signd()" + strings.Repeat(" && a()", 40),
			"1:281: the group has no member signd; did you mean signed()?\n | " +
				strings.Repeat("a() && ", 40)[280-maxShown:] + "signd()" + strings.Repeat(" && a()", 40)[:maxShown-len("signd()")] +
				"\n | " + strings.Repeat(".", maxShown) + "^"},
		{"", "not an expression: mismatched input the end of the expression"},
		{strings.Repeat("(", 1000) + "a()", "not an expression: expression recursion limit exceeded: 250"},
	} {
		_, err := CompileGroup(tt.expression, members())
		if err == nil {
			t.Errorf("%q compiles, want an error", tt.expression)
			continue
		}
		if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
			t.Errorf("%q (-want +have):\n%s", tt.expression, diff)
		}
		if mistake := (*ExpressionError)(nil); !errors.As(err, &mistake) {
			t.Errorf("%q: %T is no *ExpressionError", tt.expression, err)
		}
	}
}

func TestTheErrorsOfOneExpressionAreBounded(t *testing.T) {
	_, err := CompileGroup(strings.Repeat("x() || ", 1000)+"x()", members())
	if n := strings.Count(err.Error(), "no member x"); n != maxMistakes {
		t.Errorf("%d mistakes are reported, want %d", n, maxMistakes)
	}
}

// reference evaluates an expression with CEL's own interpreter, in which an
// error is what Unknown is here.
func reference(t testing.TB, expression string, said map[string]Value) (Value, bool) {
	t.Helper()
	binary := []*cel.Type{cel.BoolType, cel.BoolType}
	options := []cel.EnvOption{
		cel.Function(operators.LogicalAnd, cel.Overload("logical_and", binary, cel.BoolType)),
		cel.Function(operators.LogicalOr, cel.Overload("logical_or", binary, cel.BoolType)),
		cel.Function(operators.LogicalNot, cel.Overload("logical_not", binary[:1], cel.BoolType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			return !v.(types.Bool)
		}))),
		cel.Function(operators.Equals, cel.Overload("equals", binary, cel.BoolType)),
		cel.Function(operators.NotEquals, cel.Overload("not_equals", binary, cel.BoolType)),
	}
	for _, name := range members() {
		options = append(options, cel.Function(name, cel.Overload(name+"_member", nil, cel.BoolType, cel.FunctionBinding(func(...ref.Val) ref.Val {
			switch said[name] {
			case True:
				return types.True
			case False:
				return types.False
			default:
				return types.NewErr("no verdict")
			}
		}))))
	}
	env, err := cel.NewCustomEnv(options...)
	if err != nil {
		t.Fatal(err)
	}
	checked, issues := env.Compile(expression)
	if issues.Err() != nil || checked.OutputType() != cel.BoolType {
		return Unknown, false
	}
	program, err := env.Program(checked)
	if err != nil {
		t.Fatal(err)
	}
	value, _, err := program.Eval(cel.NoVars())
	if err != nil {
		return Unknown, true
	}
	return valueOf(bool(value.(types.Bool))), true
}

// FuzzGroup holds the compiler to CEL's own: what compiles here does so there,
// with the same value, and the other way round; and no member is asked twice.
func FuzzGroup(f *testing.F) {
	for _, seed := range []string{
		"a()", "a() && b() || !c()", "a() == (b() != c())", "!(!a() || signed())", "a() ? b() : c()", "a", "a(", "a() && 1",
		"true && !false", "a().b()", "`a`()", ".a()", "a()\n|| // x\nb()", "[a()][0]", "has(a.b)", "\"\\u00e9\" == a()", "{a():b()}",
	} {
		f.Add(seed, uint8(0b01_10_00_01))
		f.Add(seed, uint8(0b00_01_10_10))
	}
	f.Fuzz(func(t *testing.T, expression string, bits uint8) {
		if len(expression) > 500 {
			return
		}
		v := votes{said: map[string]Value{}}
		for i, name := range members() {
			v.said[name] = Value(bits >> (2 * i) % 4 % 3)
		}
		g, err := CompileGroup(expression, members())
		if err != nil {
			_ = err.Error()
			return
		}
		have := g.Evaluate(v.ask)
		if want, ok := reference(t, expression, v.said); !ok || have != want {
			t.Errorf("%q with %v = %d, want %d (it compiles in CEL: %t)", expression, v.said, have, want, ok)
		}
		slices.Sort(v.asked)
		if asked := slices.Compact(slices.Clone(v.asked)); len(asked) != len(v.asked) {
			t.Errorf("%q asked %v", expression, v.asked)
		}
	})
}

func BenchmarkCompileGroup(b *testing.B) {
	for b.Loop() {
		if _, err := CompileGroup("a() && (b() || !c())", members()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	g := mustCompile(b, "a() && (b() || !c())")
	b.ReportAllocs()
	for b.Loop() {
		if g.Evaluate(func(string) Value { return True }) != True {
			b.Fatal("want true")
		}
	}
}

// ExampleCompileGroup shows what a group says when a member has no verdict.
func ExampleCompileGroup() {
	g, err := CompileGroup("signed() || trusted()", []string{"signed", "trusted"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(g.Evaluate(func(member string) Value {
		if member == "signed" {
			return Unknown
		}
		return True
	}) == True)
	// Output: true
}
