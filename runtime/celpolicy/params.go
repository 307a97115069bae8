package celpolicy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/common/types/ref"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/warder-dev/warder/sdk"
)

// paramSource is where the objects come from that params is.
type paramSource struct {
	kind      ParamKind
	ref       ParamRef
	selector  string // of ref
	mayBeNone bool   // that there are none accepts the request
}

// newParamSource returns nil when params is nothing.
func newParamSource(s *Settings) *paramSource {
	if s.ParamKind == nil || s.ParamRef == nil {
		return nil
	}
	p := &paramSource{kind: *s.ParamKind, ref: *s.ParamRef, mayBeNone: s.ParamRef.ParameterNotFoundAction == Allow}
	if s.ParamRef.Selector != nil {
		if selector, err := metav1.LabelSelectorAsSelector(s.ParamRef.Selector); err == nil {
			p.selector = selector.String()
		}
	}
	return p
}

// errNoParams says that there is no object that params could be.
var errNoParams = errors.New("no parameters found")

// find returns the objects, at least one.
func (p *paramSource) find(ctx context.Context, req *sdk.Request) ([]ref.Val, error) {
	namespace := p.ref.Namespace
	if namespace == "" {
		namespace = req.Namespace
	}
	if p.ref.Selector != nil {
		return p.list(ctx, namespace)
	}
	found, err := sdk.GetResource(ctx, sdk.GetQuery{
		APIVersion: p.kind.APIVersion, Kind: p.kind.Kind, Name: p.ref.Name, Namespace: namespace,
	})
	switch {
	case err == nil:
		return []ref.Val{fromJSON(found)}, nil
	case isNotFound(err):
		return nil, fmt.Errorf("%w: %w", errNoParams, err)
	}
	return nil, fmt.Errorf("cannot get Kubernetes resource: %w", err)
}

func (p *paramSource) list(ctx context.Context, namespace string) ([]ref.Val, error) {
	q := sdk.ListQuery{APIVersion: p.kind.APIVersion, Kind: p.kind.Kind, Namespace: namespace, LabelSelector: p.selector}
	raw, err := sdk.ListResources(ctx, q)
	if err != nil && isClusterWide(err) && p.ref.Namespace == "" {
		q.Namespace = "" // that of the request, which says nothing about params
		raw, err = sdk.ListResources(ctx, q)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list Kubernetes resources: %w", err)
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("cannot list Kubernetes resources: answer: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, errNoParams
	}
	found := make([]ref.Val, 0, len(list.Items))
	for _, item := range list.Items {
		if of := sdk.View(item).Get("metadata", "namespace").String(); of != "" && namespace == "" {
			return nil, fmt.Errorf("a %s is of a namespace and the request is of none: set paramRef.namespace", p.kind.Kind)
		}
		found = append(found, fromJSON(item))
	}
	return found, nil
}

// isNotFound reports whether the host has no such object: that it has no such
// kind is another thing. A guest is told an error as text, and so are we in a
// recorded session.
func isNotFound(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "cannot find ") && !strings.Contains(text, "cannot find resource ") || strings.Contains(text, "not found")
}

// isClusterWide reports whether the host refuses to look into a namespace for a
// kind that has none. It is text for the same reason.
func isClusterWide(err error) bool { return strings.Contains(err.Error(), "is cluster wide") }

// withoutParams is the verdict when there are no params.
func (r *rules) withoutParams(ctx context.Context, err error) sdk.Verdict {
	if r.params.mayBeNone && errors.Is(err, errNoParams) {
		return sdk.Accept()
	}
	text := "failed to get params for performing policy evaluation: " + err.Error()
	if r.ignore {
		sdk.Log(ctx, sdk.LevelWarn, "there are no params and failurePolicy is Ignore", map[string]any{"error": text})
		return sdk.Accept()
	}
	return sdk.Verdict{Message: text, Code: Invalid.code()}
}
