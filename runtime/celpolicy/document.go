package celpolicy

import (
	"reflect"
	"strconv"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/warder-dev/warder/sdk"
)

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
	if !v.Exists() {
		return types.NullValue
	}
	switch raw := v.Raw(); raw[0] {
	case '{':
		return &jsonObject{view: v}
	case '[':
		var elements []ref.Val
		for _, element := range v.Elements() {
			elements = append(elements, fromView(element))
		}
		return types.NewRefValList(types.DefaultTypeAdapter, elements)
	case '"':
		return types.String(v.String())
	case 't', 'f':
		return types.Bool(v.Bool())
	default:
		return number(string(raw))
	}
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

// jsonObject is an object of a JSON document, a map to expressions. It is read
// when it is looked at, one level at a time: expressions look at little of an
// object. It is used by one goroutine.
type jsonObject struct {
	view    sdk.Value
	members map[string]*member // nil until it is read
	names   []string           // in the document's order
}

type member struct {
	view sdk.Value
	made ref.Val
}

func (o *jsonObject) read() {
	if o.members != nil {
		return
	}
	o.members = map[string]*member{}
	for name, v := range o.view.Members() {
		o.set(name, &member{view: v})
	}
}

// set adds a member. Of two with one name the last one counts, as for the API
// server.
func (o *jsonObject) set(name string, m *member) {
	if o.members[name] == nil {
		o.names = append(o.names, name)
	}
	o.members[name] = m
}

// Find implements traits.Mapper.
func (o *jsonObject) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	o.read()
	m, ok := o.members[string(name)]
	if !ok {
		return nil, false
	}
	return once(&m.made, func() ref.Val { return fromView(m.view) }), true
}

// Get implements traits.Indexer.
func (o *jsonObject) Get(key ref.Val) ref.Val {
	if v, ok := o.Find(key); ok {
		return v
	}
	return types.ValOrErr(key, "no such key: %v", key)
}

// Contains implements traits.Container.
func (o *jsonObject) Contains(key ref.Val) ref.Val {
	_, ok := o.Find(key)
	return types.Bool(ok)
}

// Iterator implements traits.Iterable.
func (o *jsonObject) Iterator() traits.Iterator {
	o.read()
	return types.NewStringList(types.DefaultTypeAdapter, o.names).Iterator()
}

// Size implements traits.Sizer.
func (o *jsonObject) Size() ref.Val {
	o.read()
	return types.Int(len(o.names))
}

// whole is the object as a map of CEL's own.
func (o *jsonObject) whole() traits.Mapper {
	o.read()
	all := map[ref.Val]ref.Val{}
	for _, name := range o.names {
		all[types.String(name)], _ = o.Find(types.String(name))
	}
	return types.NewRefValMap(types.DefaultTypeAdapter, all)
}

// Equal implements ref.Val.
func (o *jsonObject) Equal(other ref.Val) ref.Val { return o.whole().Equal(other) }

// ConvertToNative implements ref.Val.
func (o *jsonObject) ConvertToNative(to reflect.Type) (any, error) {
	return o.whole().ConvertToNative(to)
}

// ConvertToType implements ref.Val.
func (o *jsonObject) ConvertToType(to ref.Type) ref.Val {
	switch to.TypeName() {
	case types.MapType.TypeName():
		return o
	case types.TypeType.TypeName():
		return types.MapType
	}
	return types.NewErr("type conversion error from '%s' to '%s'", types.MapType, to.TypeName())
}

// Type implements ref.Val.
func (o *jsonObject) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (o *jsonObject) Value() any { return o.whole().Value() }
