package celpolicy

import (
	"fmt"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// object is a value that has functions and no fields: what the kw libraries pass
// from one call of a chain to the next. It is never changed.
type object struct {
	typ   *cel.Type
	value any
}

// ConvertToNative implements ref.Val.
func (o object) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s is no %s", o.typ, to)
}

// ConvertToType implements ref.Val.
func (o object) ConvertToType(to ref.Type) ref.Val {
	switch to.TypeName() {
	case o.typ.TypeName():
		return o
	case types.TypeType.TypeName():
		return o.typ
	}
	return types.NewErr("%s is no %s", o.typ, to.TypeName())
}

// Equal implements ref.Val.
func (o object) Equal(other ref.Val) ref.Val {
	x, ok := other.(object)
	return types.Bool(ok && x.typ.TypeName() == o.typ.TypeName() && reflect.DeepEqual(x.value, o.value))
}

// Type implements ref.Val.
func (o object) Type() ref.Type { return o.typ }

// Value implements ref.Val.
func (o object) Value() any { return o.value }

// as returns what is in an argument, whose type has been checked.
func as[T any](v ref.Val) T {
	t, _ := v.Value().(T)
	return t
}

// failed is an error of a function, which errors.Is and errors.As see through.
func failed(format string, err error) ref.Val { return types.WrapErr(fmt.Errorf(format, err)) }
