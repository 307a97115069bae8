package cel

import (
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	apiserver "k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// objectInterfaces are for objects without a Go type.
var objectInterfaces = sync.OnceValue(func() apiserver.ObjectInterfaces {
	return apiserver.NewObjectInterfacesFromScheme(runtime.NewScheme())
})

// converterFor says how an ApplyConfiguration is merged into an object of the
// kind: by its schema. Other kinds than those of Kubernetes itself have one that
// is deduced: maps are merged, and lists cannot be changed in part.
func converterFor(kind schema.GroupVersionKind) managedfields.TypeConverter {
	if scheme.Scheme.Recognizes(kind) {
		return builtinTypes()
	}
	return managedfields.NewDeducedTypeConverter()
}

// builtins knows the schema of the kinds that Kubernetes comes with. It is made
// when it is first wanted: it has 30,000 lines of YAML to read.
type builtins struct {
	managedfields.TypeConverter
	open typed.Parser
}

var builtinTypes = sync.OnceValue(func() *builtins {
	b := &builtins{TypeConverter: applyconfigurations.NewTypeConverter(scheme.Scheme)}
	known := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	if sample, err := b.TypeConverter.ObjectToTyped(known); err == nil {
		b.open.Schema.Types = open(sample.Schema().Types)
	}
	return b
})

// deduced is the type in a schema of what the schema does not describe.
const deduced = "__untyped_deduced_"

// open returns the types with room for fields that they do not have.
func open(types []smd.TypeDef) []smd.TypeDef {
	out := make([]smd.TypeDef, len(types))
	other := deduced
	for i, t := range types {
		out[i] = smd.TypeDef{Name: t.Name, Atom: t.Atom}
		if m := t.Map; m != nil && len(m.Fields) > 0 && m.ElementType.NamedType == nil && m.ElementType.Inlined == (smd.Atom{}) {
			out[i].Map = &smd.Map{
				Fields: m.Fields, Unions: m.Unions, ElementRelationship: m.ElementRelationship, ElementType: smd.TypeRef{NamedType: &other},
			}
		}
	}
	return out
}

// ObjectToTyped implements managedfields.TypeConverter. A configuration has
// fields of the schema alone. The object that it is merged into may have others:
// the cluster may be newer than the schema. Objects come with options, and
// configurations without.
func (b *builtins) ObjectToTyped(object runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	u, ok := object.(*unstructured.Unstructured)
	name, err := scheme.Scheme.ToOpenAPIDefinitionName(object.GetObjectKind().GroupVersionKind())
	if !ok || err != nil || len(b.open.Schema.Types) == 0 {
		return b.TypeConverter.ObjectToTyped(object, options...)
	}
	if len(options) == 0 {
		if strict, err := b.TypeConverter.ObjectToTyped(object); err != nil {
			return strict, err
		}
	}
	return b.open.Type(name).FromUnstructured(u.Object, options...)
}
