package rego

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/warder-dev/warder/runtime/internal/guest"
)

// maxDepth bounds how deep values are nested, as encoding/json does.
const maxDepth = 10000

var errDeep = fmt.Errorf("it is nested more than %d deep", maxDepth)

// parseValue reads a value as opa_value_dump writes it: JSON, with sets as
// {1, 2} and set(), and any values as names of an object.
func parseValue(text []byte) (*ast.Term, error) {
	d := util.NewJSONDecoder(bytes.NewReader(text))
	var plain any
	if err := d.Decode(&plain); err == nil {
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("trailing characters at offset %d", d.InputOffset())
		}
		value, err := ast.InterfaceToValue(plain)
		return ast.NewTerm(value), err
	}
	if depth(text) > maxDepth {
		return nil, errDeep
	}
	term, err := ast.ParseTerm(string(text))
	if err != nil {
		return nil, err
	}
	if !isData(term) {
		return nil, errors.New("it is not a value")
	}
	return term, nil
}

// depth is how deep brackets are nested at most, outside of strings.
func depth(text []byte) (most int) {
	now, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[' || c == '(':
			now++
			most = max(most, now)
		case c == '}' || c == ']' || c == ')':
			now--
		}
	}
	return most
}

// isData reports whether a term is nothing that has to be evaluated.
func isData(term *ast.Term) bool {
	data := true
	ast.WalkTerms(term, func(t *ast.Term) bool {
		switch t.Value.(type) {
		case ast.Null, ast.Boolean, ast.Number, ast.String, *ast.Array, ast.Object, ast.Set:
		default:
			data = false
		}
		return !data
	})
	return data
}

// formatValue is a value as opa_value_parse reads it, unless it is longer than
// the limit. (ast.Value.String escapes as Go does, which it does not read.)
func formatValue(value ast.Value, limit int) ([]byte, error) {
	e := encoder{limit: limit}
	e.value(value, 0)
	return e.dst, e.err
}

type encoder struct {
	dst   []byte
	limit int
	err   error
}

func (e *encoder) value(value ast.Value, depth int) {
	switch {
	case e.err != nil:
		return
	case depth > maxDepth:
		e.err = errDeep
		return
	case len(e.dst) > e.limit:
		e.err = &guest.LimitError{What: "output", Limit: e.limit}
		return
	}
	switch v := value.(type) {
	case ast.Null:
		e.dst = append(e.dst, "null"...)
	case ast.Boolean, ast.Number:
		e.dst = append(e.dst, v.String()...)
	case ast.String:
		text, err := json.Marshal(string(v))
		e.dst, e.err = append(e.dst, text...), err
	case *ast.Array:
		e.dst = append(e.dst, '[')
		v.Foreach(func(t *ast.Term) { e.element(t, depth) })
		e.dst = append(e.dst, ']')
	case ast.Set:
		if v.Len() == 0 {
			e.dst = append(e.dst, "set()"...)
			return
		}
		e.dst = append(e.dst, '{')
		v.Foreach(func(t *ast.Term) { e.element(t, depth) })
		e.dst = append(e.dst, '}')
	case ast.Object:
		e.dst = append(e.dst, '{')
		v.Foreach(func(name, t *ast.Term) {
			e.element(name, depth)
			e.dst = append(e.dst, ':')
			e.value(t.Value, depth+1)
		})
		e.dst = append(e.dst, '}')
	default:
		e.err = fmt.Errorf("%s is not a value", ast.ValueName(value))
	}
}

func (e *encoder) element(t *ast.Term, depth int) {
	if c := e.dst[len(e.dst)-1]; c != '[' && c != '{' {
		e.dst = append(e.dst, ',')
	}
	e.value(t.Value, depth+1)
}
