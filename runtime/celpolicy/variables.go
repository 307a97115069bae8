package celpolicy

import (
	"fmt"
	"reflect"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// variables is the value of variables in expressions.
type variables struct{ of *evaluation }

// Find implements traits.Mapper: it returns the value of one variable, which is
// evaluated once.
func (v variables) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), true
	}
	at, ok := v.of.rules.names[string(name)]
	if !ok {
		return nil, false
	}
	return once(&v.of.variables[at], func() ref.Val {
		value, err := v.of.evaluate(v.of.rules.variables[at])
		if err != nil {
			return types.WrapErr(err)
		}
		return value
	}), true
}

// Get implements traits.Indexer.
func (v variables) Get(key ref.Val) ref.Val {
	if value, ok := v.Find(key); ok {
		return value
	}
	return types.NewErr("no such key: %v", key)
}

// ConvertToNative implements ref.Val.
func (v variables) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("variables are no %s", to)
}

// ConvertToType implements ref.Val.
func (v variables) ConvertToType(to ref.Type) ref.Val {
	return types.NewErr("variables are no %s", to.TypeName())
}

// Equal implements ref.Val.
func (v variables) Equal(other ref.Val) ref.Val {
	_, ok := other.(variables)
	return types.Bool(ok)
}

// Type implements ref.Val.
func (v variables) Type() ref.Type { return variablesType() }

// Value implements ref.Val.
func (v variables) Value() any { return v.of }
