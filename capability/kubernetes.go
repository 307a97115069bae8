package capability

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/warder-dev/warder/sdk"
)

// accessSpec is the spec of a SubjectAccessReview.
type accessSpec struct {
	User        string                 `json:"user"`
	UID         string                 `json:"uid,omitempty"`
	Groups      []string               `json:"groups,omitempty"`
	Extra       map[string][]string    `json:"extra,omitempty"`
	Resource    *accessAttributes      `json:"resourceAttributes,omitempty"`
	NonResource *nonResourceAttributes `json:"nonResourceAttributes,omitempty"`
}

// accessAttributes are resourceAttributes as the API server wants them: without
// those that say nothing.
type accessAttributes struct {
	Group         *string         `json:"group,omitempty"`
	Name          *string         `json:"name,omitempty"`
	Namespace     *string         `json:"namespace,omitempty"`
	Resource      string          `json:"resource"`
	Subresource   *string         `json:"subresource,omitempty"`
	Verb          string          `json:"verb"`
	Version       *string         `json:"version,omitempty"`
	FieldSelector *accessSelector `json:"fieldSelector,omitempty"`
	LabelSelector *accessSelector `json:"labelSelector,omitempty"`
}

type accessSelector struct {
	Requirements []requirement `json:"requirements"`
}

// newAccessSpec is the question as the API server wants it.
func newAccessSpec(r accessReview) accessSpec {
	spec := accessSpec{User: r.User, UID: r.UID, Groups: r.Groups, Extra: r.Extra, NonResource: r.NonResource}
	if a := r.Attributes; a != nil {
		spec.Resource = &accessAttributes{
			Group: a.Group, Name: a.Name, Namespace: a.Namespace, Resource: a.Resource, Subresource: a.Subresource, Verb: a.Verb, Version: a.Version,
			FieldSelector: newAccessSelector(a.FieldSelector), LabelSelector: newAccessSelector(a.LabelSelector),
		}
	}
	return spec
}

func newAccessSelector(requirements []requirement) *accessSelector {
	if len(requirements) == 0 {
		return nil
	}
	return &accessSelector{requirements}
}

// listAll answers kubernetes/list_resources_all.
func (h *Host) listAll(ctx context.Context, payload []byte) ([]byte, error) {
	var f listAllFields
	if err := decodeKind(payload, &f); err != nil {
		return nil, err
	}
	q := listQuery{resource: Resource(f.kindFields), everywhere: true, masks: f.FieldMasks}
	q.labelSelector, q.fieldSelector = deref(f.LabelSelector), deref(f.FieldSelector)
	answer, _, err := h.list(ctx, q)
	return answer, err
}

// listByNamespace answers kubernetes/list_resources_by_namespace.
func (h *Host) listByNamespace(ctx context.Context, payload []byte) ([]byte, error) {
	var f listFields
	if err := decodeKind(payload, &f, "namespace"); err != nil {
		return nil, err
	}
	q := listQuery{resource: Resource(f.kindFields), namespace: f.Namespace, masks: f.FieldMasks}
	q.labelSelector, q.fieldSelector = deref(f.LabelSelector), deref(f.FieldSelector)
	answer, _, err := h.list(ctx, q)
	return answer, err
}

// deref is what p points to; nothing is empty.
func deref(p *string) string {
	if p == nil {
		return ""
	}
	return *p
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
	var f getFields
	if err := decodeKind(payload, &f, "name"); err != nil {
		return nil, err
	}
	q := objectQuery{resource: Resource(f.kindFields), name: f.Name, namespace: f.Namespace, fresh: f.DisableCache}
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
	own := h.OwnNamespace && q.resource == Resource{"v1", "Namespace"} && q.name == h.Namespace
	if !own {
		if err := h.mayReadScope(ctx, c, q.resource); err != nil {
			return nil, err
		}
	}
	answer, err := c.get(ctx, q)
	if err != nil {
		return nil, evaluated(err)
	}
	if m := newMask(f.FieldMasks); m != nil {
		return m.appendTo(nil, answer), nil
	}
	return answer, nil
}

// canI answers kubernetes/can_i.
func (h *Host) canI(ctx context.Context, payload []byte) ([]byte, error) {
	f, err := decodeCanI(payload)
	if err != nil {
		return nil, err
	}
	r := f.Request
	namespace := "" // of a path, which is in none
	if r.Attributes != nil {
		namespace = deref(r.Attributes.Namespace)
	}
	if err := h.mayReadIn(namespace); err != nil {
		return nil, err
	}
	c, err := h.cluster()
	if err != nil {
		return nil, err
	}
	spec, err := json.Marshal(newAccessSpec(r))
	if err != nil {
		return nil, evaluated(err)
	}
	answer, err := c.review(ctx, spec, f.DisableCache)
	return answer, evaluated(err)
}

// Inventory returns all objects of a kind as kubernetes/list_resources_all does,
// behind the same grants, for a policy that does not call but is given its
// context. The plural is the kind's name in the API ("pods"). The revision
// changes whenever the list of this host's namespace and grants does; it is 0
// when there is none. The list is shared: nobody may change it.
func (h *Host) Inventory(ctx context.Context, apiVersion, kind string) (plural string, list json.RawMessage, revision uint64, err error) {
	start := time.Now()
	call := sdk.HostCall{Binding: sdk.Binding, Namespace: "kubernetes", Operation: "list_resources_all"}
	var of struct { // what ask finds; nobody looks at it once ctx is done
		plural   string
		revision uint64
	}
	ask := func(ctx context.Context) ([]byte, error) {
		r := Resource{apiVersion, kind}
		text, revision, err := h.list(ctx, listQuery{resource: r, everywhere: true})
		if err != nil {
			return nil, err
		}
		api, err := h.Services.Cluster.discovery.find(ctx, r)
		of.plural, of.revision = api.Resource, revision
		return text, evaluated(err)
	}
	if _, err = h.admit(call); err == nil {
		list, err = attended(ctx, ask)
	}
	h.Services.Metrics.answered(call, time.Since(start), err)
	if err != nil {
		return "", nil, 0, err
	}
	return of.plural, list, of.revision, nil
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
