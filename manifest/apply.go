package manifest

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	v1 "github.com/warder-dev/warder/api/v1"
)

// Unstructured is the object as server-side apply should get it: without fields
// that say nothing, which would be claimed and set to nothing all the same.
func Unstructured(object v1.Object) (*unstructured.Unstructured, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", object.GetObjectKind().GroupVersionKind().Kind, object.GetName(), err)
	}
	delete(fields, "status")
	if meta, ok := fields["metadata"].(map[string]any); ok {
		delete(meta, "managedFields") // the API server takes none
	}
	dropEmpty(fields)
	return &unstructured.Unstructured{Object: fields}, nil
}

// dropEmpty removes what typed objects say because their Go types cannot leave it
// out. Other empty objects have a meaning: "emptyDir: {}".
func dropEmpty(value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			dropEmpty(field)
			object, isObject := field.(map[string]any)
			switch name {
			case "resources", "strategy", "updateStrategy", "metadata":
				if isObject && len(object) == 0 {
					delete(v, name)
				}
			}
			if field == nil {
				delete(v, name)
			}
		}
	case []any:
		for _, element := range v {
			dropEmpty(element)
		}
	}
}
