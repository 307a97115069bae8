package sdk

import (
	"context"
	"encoding/json"
)

// GetQuery asks for one object of the cluster.
type GetQuery struct {
	APIVersion string `json:"api_version"` // "v1", "apps/v1"
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	// Namespace is empty for a kind that has none.
	Namespace string `json:"namespace,omitempty"`
	// DisableCache asks the API server itself; otherwise the answer may be up
	// to 5 s old.
	DisableCache bool `json:"disable_cache"`
	// FieldMasks keep only these dotted paths (and apiVersion, kind and
	// metadata, which are always there).
	FieldMasks []string `json:"field_masks,omitempty"`
}

// ListQuery asks for the objects of a kind.
type ListQuery struct {
	APIVersion string `json:"api_version"`
	Kind       string `json:"kind"`
	// Namespace limits the list to one; empty asks for all.
	Namespace     string   `json:"namespace,omitempty"`
	LabelSelector string   `json:"label_selector,omitempty"`
	FieldSelector string   `json:"field_selector,omitempty"`
	FieldMasks    []string `json:"field_masks,omitempty"`
}

// GetResource returns one object of the cluster as JSON. It needs the
// capability kubernetes/get_resource and the kind among the policy's
// contextAwareResources.
func GetResource(ctx context.Context, q GetQuery) (json.RawMessage, error) {
	return askRaw(ctx, "kubernetes", "get_resource", q)
}

// ListResources returns a List of objects as JSON. It needs the capability
// kubernetes/list_resources_all, or kubernetes/list_resources_by_namespace
// when the query has a namespace, and the kind among the policy's
// contextAwareResources.
func ListResources(ctx context.Context, q ListQuery) (json.RawMessage, error) {
	if q.Namespace == "" {
		return askRaw(ctx, "kubernetes", "list_resources_all", q)
	}
	return askRaw(ctx, "kubernetes", "list_resources_by_namespace", q)
}

// AccessReview asks whether somebody may do something: to a resource, or to a
// path that is none.
type AccessReview struct {
	User       string             `json:"user"`
	Groups     []string           `json:"groups,omitempty"`
	Attributes ResourceAttributes `json:"resource_attributes,omitzero"`

	// What follows is an extension: Kubewarden's policy server ignores it.

	UID   string              `json:"uid,omitempty"`
	Extra map[string][]string `json:"extra,omitempty"`
	// NonResource stands in place of Attributes.
	NonResource *NonResourceAttributes `json:"non_resource_attributes,omitempty"`
}

// ResourceAttributes is what somebody would do to which resource.
type ResourceAttributes struct {
	Namespace   string `json:"namespace,omitempty"`
	Verb        string `json:"verb"`
	Group       string `json:"group,omitempty"`
	Version     string `json:"version,omitempty"`
	Resource    string `json:"resource"`
	Subresource string `json:"subresource,omitempty"`
	Name        string `json:"name,omitempty"`

	// FieldSelector and LabelSelector say which objects a list, a watch or a
	// deletion is about. They are an extension.
	FieldSelector []SelectorRequirement `json:"field_selector,omitempty"`
	LabelSelector []SelectorRequirement `json:"label_selector,omitempty"`
}

// NonResourceAttributes is what somebody would do to which path.
type NonResourceAttributes struct {
	Path string `json:"path"` // "/healthz"
	Verb string `json:"verb"` // "get"
}

// SelectorRequirement is one condition of a selector.
type SelectorRequirement struct {
	Key string `json:"key"`
	// Operator is In, NotIn, Exists or DoesNotExist.
	Operator string   `json:"operator"`
	Values   []string `json:"values,omitempty"`
}

// AccessStatus is the API server's answer to an AccessReview.
type AccessStatus struct {
	Allowed         bool   `json:"allowed"`
	Denied          bool   `json:"denied,omitempty"`
	Reason          string `json:"reason,omitempty"`
	EvaluationError string `json:"evaluationError,omitempty"`
}

// CanI asks the API server with a SubjectAccessReview. It needs the capability
// kubernetes/can_i.
func CanI(ctx context.Context, review AccessReview) (AccessStatus, error) {
	return ask[AccessStatus](ctx, "kubernetes", "can_i", struct {
		Review       AccessReview `json:"subject_access_review"`
		DisableCache bool         `json:"disable_cache"`
	}{review, false})
}
