package cel

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
)

// ExpressionError is one mistake in an expression.
type ExpressionError struct {
	Line, Column int // from 1, in characters
	Problem      string
	// Text is the line, or what is around the column if it is long.
	Text string
	// At is how many characters of Text are before the place.
	At int
}

// Error points at the place, as CEL does:
//
//	1:6: the group has no member b; did you mean a()?
//	 | a || b()
//	 | .....^
func (e *ExpressionError) Error() string {
	if e.Line == 0 {
		return e.Problem
	}
	return fmt.Sprintf("%d:%d: %s\n | %s\n | %s^", e.Line, e.Column, e.Problem, e.Text, strings.Repeat(".", e.At))
}

// maxMistakes is how many mistakes of one expression are reported.
const maxMistakes = 10

// maxShown is how many characters before a mistake, and after it, are shown.
const maxShown = 60

// fail reports a mistake where the expression is.
func (c *compiler) fail(e ast.Expr, problem string) {
	place := c.info.GetStartLocation(e.ID())
	if e.Kind() == ast.CallKind && isName(e.AsCall().FunctionName()) && !e.AsCall().IsMemberFunction() {
		place = c.nameBefore(place, e.AsCall().FunctionName())
	}
	c.failAt(place, problem)
}

// nameBefore returns where the name of a function is: the parser notes its
// parenthesis.
func (c *compiler) nameBefore(place common.Location, name string) common.Location {
	line, _ := c.source.Snippet(place.Line())
	text := []rune(line)
	before := string(text[:min(place.Column(), len(text))])
	at := strings.LastIndex(before, name)
	if at < 0 {
		return place // the name is on another line
	}
	return common.NewLocation(place.Line(), len([]rune(before[:at])))
}

func (c *compiler) failAt(place common.Location, problem string) {
	if len(c.errs) >= maxMistakes {
		return
	}
	line, ok := c.source.Snippet(place.Line())
	if !ok {
		c.errs = append(c.errs, &ExpressionError{Problem: problem})
		return
	}
	text := []rune(strings.ReplaceAll(line, "\t", " "))
	column := min(max(place.Column(), 0), len(text))
	from, to := max(column-maxShown, 0), min(column+maxShown, len(text))
	c.errs = append(c.errs, &ExpressionError{
		Line: place.Line(), Column: column + 1, Problem: problem, Text: string(text[from:to]), At: column - from,
	})
}

// err returns the mistakes in the order of their places, nil if there are none.
func (c *compiler) err() error {
	slices.SortStableFunc(c.errs, func(a, b error) int {
		var x, y *ExpressionError
		errors.As(a, &x)
		errors.As(b, &y)
		return cmp.Or(cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
	})
	return errors.Join(c.errs...)
}

// syntaxProblem is the parser's message without the list of every token that
// could have been there, of which a group admits few.
func syntaxProblem(message string) string {
	message, _, _ = strings.Cut(message, " expecting ")
	message = strings.TrimPrefix(message, "Syntax error: ")
	return "not an expression: " + strings.ReplaceAll(message, "'<EOF>'", "the end of the expression")
}
