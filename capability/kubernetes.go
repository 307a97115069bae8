package capability

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// listPayload is the question of both list operations. A pointer says whether
// a field was there.
type listPayload struct {
	APIVersion    *string  `json:"api_version"`
	Kind          *string  `json:"kind"`
	Namespace     *string  `json:"namespace"`
	LabelSelector string   `json:"label_selector"`
	FieldSelector string   `json:"field_selector"`
	FieldMasks    []string `json:"field_masks"`
}

// getPayload is the question of get_resource.
type getPayload struct {
	APIVersion   *string  `json:"api_version"`
	Kind         *string  `json:"kind"`
	Name         *string  `json:"name"`
	Namespace    *string  `json:"namespace"`
	DisableCache bool     `json:"disable_cache"`
	FieldMasks   []string `json:"field_masks"`
}

// canIPayload is the question of can_i. The published Go SDK spells the
// attributes as the API server does.
type canIPayload struct {
	Review *struct {
		User       *string           `json:"user"`
		Groups     []string          `json:"groups"`
		Attributes *accessAttributes `json:"resource_attributes"`
		OfGoSDK    *accessAttributes `json:"resourceAttributes"`
	} `json:"subject_access_review"`
	DisableCache bool `json:"disable_cache"`
}

// accessAttributes are those of an access review, spelt the same there and here.
type accessAttributes struct {
	Namespace   string  `json:"namespace,omitempty"`
	Verb        *string `json:"verb"`
	Group       string  `json:"group,omitempty"`
	Version     string  `json:"version,omitempty"`
	Resource    *string `json:"resource"`
	Subresource string  `json:"subresource,omitempty"`
	Name        string  `json:"name,omitempty"`
}

// accessSpec is the spec of a SubjectAccessReview.
type accessSpec struct {
	User               string            `json:"user"`
	Groups             []string          `json:"groups,omitempty"`
	ResourceAttributes *accessAttributes `json:"resourceAttributes"`
}

// missing names the first of the fields that is nil.
func missing(fields ...any) error {
	for i := 0; i < len(fields); i += 2 {
		if p, ok := fields[i+1].(*string); ok && p == nil {
			return fmt.Errorf("missing field `%s`", fields[i])
		}
	}
	return nil
}

// listAll answers kubernetes/list_resources_all.
func (h *Host) listAll(ctx context.Context, payload []byte) ([]byte, error) {
	var p listPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return nil, err
	}
	if err := missing("api_version", p.APIVersion, "kind", p.Kind); err != nil {
		return nil, err
	}
	answer, _, err := h.list(ctx, listQuery{
		resource: Resource{*p.APIVersion, *p.Kind}, everywhere: true,
		labelSelector: p.LabelSelector, fieldSelector: p.FieldSelector, masks: p.FieldMasks,
	})
	return answer, err
}

// listByNamespace answers kubernetes/list_resources_by_namespace.
func (h *Host) listByNamespace(ctx context.Context, payload []byte) ([]byte, error) {
	var p listPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return nil, err
	}
	if err := missing("api_version", p.APIVersion, "kind", p.Kind, "namespace", p.Namespace); err != nil {
		return nil, err
	}
	answer, _, err := h.list(ctx, listQuery{
		resource: Resource{*p.APIVersion, *p.Kind}, namespace: *p.Namespace,
		labelSelector: p.LabelSelector, fieldSelector: p.FieldSelector, masks: p.FieldMasks,
	})
	return answer, err
}

// list checks what the policy may read, and reads it.
func (h *Host) list(ctx context.Context, q listQuery) ([]byte, uint64, error) {
	if err := h.mayRead(q.resource); err != nil {
		return nil, 0, err
	}
	if !q.everywhere {
		if err := h.mayReadIn(q.namespace); err != nil {
			return nil, 0, err
		}
	}
	c, err := h.cluster()
	if err != nil {
		return nil, 0, err
	}
	if q.everywhere && h.Namespace != "" {
		if err := h.mayReadScope(ctx, c, q.resource); err != nil {
			return nil, 0, err
		}
		q.everywhere, q.namespace = false, h.Namespace
	}
	answer, revision, err := c.list(ctx, q)
	return answer, revision, evaluated(err)
}

// getResource answers kubernetes/get_resource.
func (h *Host) getResource(ctx context.Context, payload []byte) ([]byte, error) {
	var p getPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return nil, err
	}
	if err := missing("api_version", p.APIVersion, "kind", p.Kind, "name", p.Name); err != nil {
		return nil, err
	}
	q := objectQuery{resource: Resource{*p.APIVersion, *p.Kind}, name: *p.Name, namespace: p.Namespace, fresh: p.DisableCache}
	if err := h.mayRead(q.resource); err != nil {
		return nil, err
	}
	if q.namespace != nil && *q.namespace != "" {
		if err := h.mayReadIn(*q.namespace); err != nil {
			return nil, err
		}
	}
	c, err := h.cluster()
	if err != nil {
		return nil, err
	}
	if err := h.mayReadScope(ctx, c, q.resource); err != nil {
		return nil, err
	}
	answer, err := c.get(ctx, q)
	if err != nil {
		return nil, evaluated(err)
	}
	if m := newMask(p.FieldMasks); m != nil {
		return m.appendTo(nil, answer), nil
	}
	return answer, nil
}

// canI answers kubernetes/can_i.
func (h *Host) canI(ctx context.Context, payload []byte) ([]byte, error) {
	var p canIPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return nil, err
	}
	if p.Review == nil {
		return nil, errors.New("missing field `subject_access_review`")
	}
	attributes := p.Review.Attributes
	if attributes == nil {
		attributes = p.Review.OfGoSDK
	}
	if attributes == nil {
		return nil, errors.New("missing field `resource_attributes`")
	}
	if err := missing("user", p.Review.User, "resource", attributes.Resource, "verb", attributes.Verb); err != nil {
		return nil, err
	}
	if err := h.mayReadIn(attributes.Namespace); err != nil {
		return nil, err
	}
	c, err := h.cluster()
	if err != nil {
		return nil, err
	}
	spec, err := json.Marshal(accessSpec{*p.Review.User, p.Review.Groups, attributes})
	if err != nil {
		return nil, evaluated(err)
	}
	answer, err := c.review(ctx, spec, p.DisableCache)
	return answer, evaluated(err)
}

// Inventory returns all objects of a kind as kubernetes/list_resources_all does,
// behind the same grants, for a policy that does not call but is given its
// context. The plural is the kind's name in the API ("pods"). The revision
// changes whenever the list of this host's namespace and grants does; it is 0
// when there is none. The list is shared: nobody may change it.
func (h *Host) Inventory(ctx context.Context, apiVersion, kind string) (plural string, list json.RawMessage, revision uint64, err error) {
	const capability = "kubernetes/list_resources_all"
	if h.Allows == nil || !h.Allows(capability) {
		h.Log.Error("capability refused", "policy", h.Policy, "capability", capability)
		return "", nil, 0, refuse("Policy has not been granted access to the '%s' host capability.", capability)
	}
	r := Resource{apiVersion, kind}
	list, revision, err = h.list(ctx, listQuery{resource: r, everywhere: true})
	if err != nil {
		return "", nil, 0, err
	}
	api, err := h.Services.Cluster.discovery.find(ctx, r)
	if err != nil {
		return "", nil, 0, evaluated(err)
	}
	return api.Resource, list, revision, nil
}

// cluster returns the cluster, or an error when there is none.
func (h *Host) cluster() (*Cluster, error) {
	if h.Services.Cluster == nil {
		return nil, evaluated(errors.New("kube::Client was not initialized properly"))
	}
	return h.Services.Cluster, nil
}

// mayRead refuses a kind that the policy was not granted.
func (h *Host) mayRead(r Resource) error {
	if slices.Contains(h.Resources, r) {
		return nil
	}
	h.refused(r.String())
	return refuse("Policy has not been granted access to Kubernetes %s resources.", r)
}

// mayReadIn refuses a policy of one namespace another one, and all of them.
func (h *Host) mayReadIn(namespace string) error {
	if h.Namespace == "" || h.Namespace == namespace {
		return nil
	}
	h.refused("namespace " + namespace)
	where := fmt.Sprintf("namespace '%s'", namespace)
	if namespace == "" {
		where = "all namespaces"
	}
	return refuse("Policy of namespace '%s' has not been granted access to %s.", h.Namespace, where)
}

// mayReadScope refuses a policy of one namespace what is in none.
func (h *Host) mayReadScope(ctx context.Context, c *Cluster, r Resource) error {
	if h.Namespace == "" {
		return nil
	}
	api, err := c.discovery.find(ctx, r)
	if err != nil {
		return evaluated(err)
	}
	if api.namespaced {
		return nil
	}
	h.refused(r.String())
	return refuse("Policy of namespace '%s' has not been granted access to cluster wide %s resources.", h.Namespace, r)
}

// refused reports a violation.
func (h *Host) refused(requested string) {
	allowed := make([]string, 0, len(h.Resources))
	for _, r := range h.Resources {
		allowed = append(allowed, r.String())
	}
	h.Log.Error("kubernetes resource refused", "policy", h.Policy, "resource_requested", requested, "resources_allowed", allowed, "namespace", h.Namespace)
}
