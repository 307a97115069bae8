package cel

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	apiserver "k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
)

// objectInterfaces are for objects without a Go type.
var objectInterfaces = sync.OnceValue(func() apiserver.ObjectInterfaces {
	return apiserver.NewObjectInterfacesFromScheme(runtime.NewScheme())
})

// builtinTypes knows the schema of the kinds that Kubernetes comes with.
var builtinTypes = sync.OnceValue(func() managedfields.TypeConverter {
	return applyconfigurations.NewTypeConverter(scheme.Scheme)
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
