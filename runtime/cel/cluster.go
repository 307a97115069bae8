package cel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/warder-dev/warder/sdk"
)

// namespaceOf returns the namespace of the request as expressions see it: nil
// for what is in none, and for a Namespace itself.
func (p *Program) namespaceOf(ctx context.Context, req *sdk.Request) (*corev1.Namespace, error) {
	kind := orElse(req.RequestKind, req.Kind)
	if !p.asks.namespace || req.Namespace == "" || kind == (sdk.GroupVersionKind{Version: "v1", Kind: "Namespace"}) {
		return nil, nil
	}
	raw, err := sdk.GetResource(ctx, sdk.GetQuery{APIVersion: "v1", Kind: "Namespace", Name: req.Namespace})
	if err != nil {
		return nil, fmt.Errorf("namespaceObject: %w", explained(err))
	}
	namespace := &corev1.Namespace{}
	if err := json.Unmarshal(raw, namespace); err != nil {
		return nil, fmt.Errorf("namespaceObject: %w", err)
	}
	return namespace, nil
}

// explained says what to do where there is nobody to ask.
func explained(err error) error {
	if errors.Is(err, sdk.ErrNoHost) {
		return fmt.Errorf("%w: connect a cluster, or replay a recorded session", err)
	}
	return err
}

// paramScope is where objects of the paramKind are.
type paramScope int32

const (
	unknownScope paramScope = iota
	inNamespaces
	inCluster
)

// paramsOf returns the params to judge by, one after the other; one that is nil
// when the policy has none. The error is one of configuration, with the API
// server's text.
func (p *Program) paramsOf(ctx context.Context, req *sdk.Request) ([]runtime.Object, error) {
	if p.params == nil {
		return []runtime.Object{nil}, nil
	}
	found, err := p.params.find(ctx, req.Namespace)
	if err != nil {
		return nil, fmt.Errorf("failed to configure binding: %w", err)
	}
	if deny := p.params.ref.ParameterNotFoundAction; len(found) == 0 && deny != nil && *deny == admissionv1.DenyAction {
		return nil, errors.New("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	return found, nil
}

// find lists the params for a request in that namespace. In which scope the kind
// is the host does not say before there is an object of it: until then all of
// them are asked for, which are none.
func (p *params) find(ctx context.Context, namespace string) ([]runtime.Object, error) {
	if p.ref.Namespace != "" {
		namespace = p.ref.Namespace
	}
	scope := paramScope(p.scope.Load())
	if p.namespace != "" {
		scope, namespace = inNamespaces, p.namespace
	}
	q := sdk.ListQuery{APIVersion: p.kind.APIVersion, Kind: p.kind.Kind, LabelSelector: p.labels}
	if p.ref.Name != "" {
		q.FieldSelector = "metadata.name=" + p.ref.Name
	}
	if scope == inNamespaces && namespace != "" {
		q.Namespace = namespace
	}
	if err := p.check(scope, namespace); err != nil {
		return nil, err
	}
	raw, err := sdk.ListResources(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("params: %w", explained(err))
	}
	list := unstructured.UnstructuredList{}
	if err := list.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("params: the answer of the host: %w", err)
	}
	if scope == unknownScope && len(list.Items) > 0 {
		if scope = inCluster; list.Items[0].GetNamespace() != "" {
			scope = inNamespaces
		}
		p.scope.Store(int32(scope))
		if err := p.check(scope, namespace); err != nil {
			return nil, err
		}
	}
	var found []runtime.Object
	for i := range list.Items {
		item := &list.Items[i]
		if scope == inNamespaces && item.GetNamespace() != namespace || p.ref.Name != "" && item.GetName() != p.ref.Name {
			continue
		}
		if item.GetKind() == "" { // items of a list need not say what they are
			item.SetAPIVersion(p.kind.APIVersion)
			item.SetKind(p.kind.Kind)
		}
		found = append(found, item)
	}
	return found, nil
}

// check reports a reference that does not go with the scope of its kind.
func (p *params) check(scope paramScope, namespace string) error {
	switch {
	case scope == inNamespaces && namespace == "":
		return errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
	case scope == inCluster && p.ref.Namespace != "":
		return errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	default:
		return nil
	}
}

// newParams prepares the lookup of params; nil when there is none to do.
func newParams(spec Spec, opts Options) (*params, error) {
	if spec.ParamKind == nil || spec.ParamRef == nil {
		return nil, nil
	}
	p := &params{kind: *spec.ParamKind, ref: *spec.ParamRef, namespace: opts.Namespace}
	if spec.ParamRef.Selector != nil {
		selector, err := metav1.LabelSelectorAsSelector(spec.ParamRef.Selector)
		if err != nil {
			return nil, err
		}
		p.labels = selector.String()
	}
	return p, nil
}
