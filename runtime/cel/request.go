package cel

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	apiserver "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/warder-dev/warder/sdk"
)

// Shared returns a context in which programs decode the objects of a request
// once for all of them. It is for the programs that judge one request, be it at
// the same time.
func Shared(ctx context.Context) context.Context {
	return context.WithValue(ctx, sharedKey{}, &decoded{})
}

type sharedKey struct{}

// decoded are objects by their bytes: of one request, or of what the policies
// before have made of its object.
type decoded struct {
	mu      sync.Mutex
	objects []decodedObject
}

type decodedObject struct {
	text   json.RawMessage
	object *unstructured.Unstructured
}

// decode returns the object that is text; nobody may change it. Numbers without
// a fraction are int64, as everywhere in Kubernetes.
func decode(ctx context.Context, name string, text json.RawMessage) (*unstructured.Unstructured, error) {
	shared, _ := ctx.Value(sharedKey{}).(*decoded)
	if shared == nil {
		return decodeObject(name, text)
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for _, d := range shared.objects {
		if len(d.text) == len(text) && &d.text[0] == &text[0] {
			return d.object, nil
		}
	}
	object, err := decodeObject(name, text)
	if err == nil {
		shared.objects = append(shared.objects, decodedObject{text, object})
	}
	return object, err
}

func decodeObject(name string, text json.RawMessage) (*unstructured.Unstructured, error) {
	object := map[string]any{}
	if err := utiljson.Unmarshal(text, &object); err != nil {
		return nil, fmt.Errorf("request.%s: %w", name, err)
	}
	return &unstructured.Unstructured{Object: object}, nil
}

// isNull says whether a document of a request is none.
func isNull(text json.RawMessage) bool { return len(text) == 0 || string(text) == "null" }

// attributes makes of a request what the API server's admission works on: the
// kind and the resource that were asked for, and the objects in the version that
// the webhook was called with.
func attributes(ctx context.Context, req *sdk.Request) (*apiserver.VersionedAttributes, error) {
	if req.Raw != nil {
		return nil, fmt.Errorf("request: a policy in CEL judges requests to the API server, and this is a raw document")
	}
	record := apiserver.NewAttributesRecord(nil, nil, kindOf(orElse(req.RequestKind, req.Kind)), req.Namespace, req.Name,
		resourceOf(orElse(req.RequestResource, req.Resource)), subresource(req), apiserver.Operation(req.Operation),
		options(req), req.DryRun != nil && *req.DryRun, &user.DefaultInfo{
			Name: req.UserInfo.Username, UID: req.UserInfo.UID, Groups: req.UserInfo.Groups, Extra: req.UserInfo.Extra,
		})
	out := &apiserver.VersionedAttributes{Attributes: record, VersionedKind: kindOf(req.Kind)}
	if !isNull(req.Object) {
		object, err := decode(ctx, "object", req.Object)
		if err != nil {
			return nil, err
		}
		out.VersionedObject.Set(object)
	}
	if !isNull(req.OldObject) {
		object, err := decode(ctx, "oldObject", req.OldObject)
		if err != nil {
			return nil, err
		}
		out.VersionedOldObject.Set(object)
	}
	return out, nil
}

func subresource(req *sdk.Request) string {
	if req.RequestSubResource != "" {
		return req.RequestSubResource
	}
	return req.SubResource
}

func orElse[T any](p *T, otherwise T) T {
	if p != nil {
		return *p
	}
	return otherwise
}

func kindOf(k sdk.GroupVersionKind) schema.GroupVersionKind { return schema.GroupVersionKind(k) }

func resourceOf(r sdk.GroupVersionResource) schema.GroupVersionResource {
	return schema.GroupVersionResource(r)
}

// options are decoded when an expression looks at them.
func options(req *sdk.Request) runtime.Object {
	if isNull(req.Options) {
		return nil
	}
	return &runtime.Unknown{Raw: req.Options, ContentType: runtime.ContentTypeJSON}
}
