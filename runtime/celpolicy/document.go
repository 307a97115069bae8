package celpolicy

import (
	"strconv"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/warder-dev/warder/sdk"
)

// lazy is a value of a JSON document, made when it is looked at: expressions
// look at little of an object.
type lazy struct {
	view sdk.Value
	made ref.Val
}

// lazyAdapter makes the values of maps and lists.
type lazyAdapter struct{}

// NativeToValue implements types.Adapter.
func (lazyAdapter) NativeToValue(v any) ref.Val {
	if l, ok := v.(*lazy); ok {
		return once(&l.made, func() ref.Val { return fromView(l.view) })
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

// fromJSON makes a value of a JSON document.
func fromJSON(text []byte) ref.Val {
	checked, err := sdk.CheckText(text)
	if err != nil {
		return types.WrapErr(err)
	}
	return fromView(checked.View())
}

// fromView makes a value of a place in a document, null of one that is absent.
func fromView(v sdk.Value) ref.Val {
	raw := v.Raw()
	if !v.Exists() {
		return types.NullValue
	}
	switch raw[0] {
	case '{':
		members := map[string]any{}
		for name, member := range v.Members() {
			members[name] = &lazy{view: member}
		}
		return types.NewStringInterfaceMap(lazyAdapter{}, members)
	case '[':
		var elements []*lazy
		for _, element := range v.Elements() {
			elements = append(elements, &lazy{view: element})
		}
		return types.NewDynamicList(lazyAdapter{}, elements)
	case '"':
		return types.String(v.String())
	case 't', 'f':
		return types.Bool(v.Bool())
	}
	return number(string(raw))
}

// number is an integer when it has neither a fraction nor an exponent, and fits,
// as in the API server's expressions.
func number(text string) ref.Val {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return types.Int(n)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Double(f)
}
