package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk"
)

// judge asks a program and makes a response of what it says, without the
// policy's mode and other rules. Where the policy expands workloads it is asked
// about the pod that the request's object would create, and what it says is
// moved to where that is in the object.
func (e *Engine) judge(ctx context.Context, ent *entry, req *sdk.Request) Decision {
	way := ent.expands(req)
	if way == nil {
		return e.judgeAsIs(ctx, ent, req)
	}
	x := expanded(ctx, req, way)
	if why := x.spared(ent.policy); why != "" {
		e.opts.Log.Debug("workload not judged", "policy", ent.policy.ID, "request", req.UID, "reason", why)
		return Decision{
			Policy: ent.policy.ID, Template: x.base(),
			Response: review.Response{UID: req.UID, Allowed: true},
		}
	}
	return x.moved(ent, req, e.judgeAsIs(ctx, ent, x.pod))
}

// expands is the policy's Expands. When an older revision serves, the webhook
// may have been asked for the newer one.
func (ent *entry) expands(req *sdk.Request) []string {
	way := ent.policy.Expands(req)
	if way == nil && ent.stale != nil && !ent.policy.Matches(req) {
		return ent.newer.Expands(req)
	}
	return way
}

// expansion is the pod that a workload would create.
type expansion struct {
	way  []string     // names that lead to the pod template in the workload
	pod  *sdk.Request // to create the pod; nil when nothing is to be judged
	why  string       // there is nothing to be judged
	made kind         // what made the workload itself, none as a rule
}

// kind is that of the controller of an object.
type kind struct{ group, name string }

func (x *expansion) base() string { return strings.Join(x.way, ".") }

// spared says why the policy does not judge the expansion, "" if it does.
//
// What a workload of a kind that is expanded too has made is not judged again.
// A policy that changed the ReplicaSet of a Deployment would do harm: its
// controller would not know it any more and make another one, and so on.
func (x *expansion) spared(p policy.Policy) string {
	if x.pod != nil && x.made != (kind{}) && p.ExpandsKind(x.made.group, x.made.name) {
		return "the workload that made it was judged"
	}
	return x.why
}

// expand makes the request to create the pod that the template at way in the
// request's object describes.
//
// A workload whose template is what it was is left alone: it can be scaled, and
// its status be written, also when a later policy would refuse it. So is one
// that is being deleted, whose finalizers are taken away by updates. Whether it
// is, is asked of what is stored; the new object is the user's word. Nor is
// there anything to judge where there is no pod template: the API server will
// refuse that.
func expand(req *sdk.Request, way []string) *expansion {
	x := &expansion{way: way}
	object := req.ViewObject()
	parts := object.Fields("metadata", way[0])
	template := parts[1].Get(way[1:]...)
	inner := template.Fields("metadata", "spec")
	switch old := req.ViewOldObject(); {
	case object.Err() != nil || !isObject(template) || !isObject(inner[1]) || inner[0].Exists() && !isObject(inner[0]):
		x.why = "there is no pod template"
		return x
	case req.Operation != sdk.Update:
	case old.Get("metadata", "deletionTimestamp").Exists():
		x.why = "it is being deleted"
		return x
	case review.Equal(old.Get(way...).Raw(), template.Raw()):
		x.why = "the pod template has not changed"
		return x
	}
	x.made = controllerOf(parts[0])
	x.pod = &sdk.Request{
		UID: req.UID, Operation: sdk.Create, Namespace: req.Namespace, UserInfo: req.UserInfo, DryRun: req.DryRun,
		Kind:     sdk.GroupVersionKind{Version: "v1", Kind: "Pod"},
		Resource: sdk.GroupVersionResource{Version: "v1", Resource: "pods"},
	}
	pod, err := sdk.CheckText(podText(req, parts[0], inner[0], inner[1]))
	if err != nil { // the request was not checked
		x.pod, x.why = nil, "it is not JSON"
		return x
	}
	x.pod.SetObject(pod)
	x.pod.RequestKind, x.pod.RequestResource = &x.pod.Kind, &x.pod.Resource
	if req.Operation == sdk.Create {
		x.pod.Options = req.Options // those of an update are of another kind
	}
	return x
}

func isObject(v sdk.Value) bool { return v.Exists() && v.Raw()[0] == '{' }

// controllerOf returns the kind of the owner that controls the object of the
// metadata.
func controllerOf(metadata sdk.Value) kind {
	for _, owner := range metadata.Get("ownerReferences").Elements() {
		if f := owner.Fields("controller", "apiVersion", "kind"); f[0].Bool() {
			group, _, found := strings.Cut(f[1].String(), "/")
			if !found {
				group = ""
			}
			return kind{group, f[2].String()}
		}
	}
	return kind{}
}

// added is the metadata that a pod has and its template has not.
type added struct {
	Namespace       string           `json:"namespace,omitempty"`
	GenerateName    string           `json:"generateName,omitempty"`
	OwnerReferences []ownerReference `json:"ownerReferences"`
}

// addedNames are the names in added, and that of what the API server makes of
// GenerateName. Controllers take none of them from the template.
func addedNames() []string { return []string{"name", "namespace", "generateName", "ownerReferences"} }

type ownerReference struct {
	APIVersion         string `json:"apiVersion"`
	Kind               string `json:"kind"`
	Name               string `json:"name"`
	UID                string `json:"uid"`
	Controller         bool   `json:"controller"`
	BlockOwnerDeletion bool   `json:"blockOwnerDeletion"`
}

// noUID stands for the UID of a workload that has none yet: the API server gives
// it after admission, and no owner of a pod is without.
const noUID = "00000000-0000-0000-0000-000000000000"

// podText is the pod, made of pieces of the workload's text. The owner is the
// workload, also where its controller puts another one between the two.
func podText(req *sdk.Request, workload, metadata, spec sdk.Value) json.RawMessage {
	f := workload.Fields("name", "generateName", "uid")
	owner := ownerReference{Kind: req.Kind.Kind, Name: f[0].String(), UID: f[2].String(), Controller: true, BlockOwnerDeletion: true}
	if owner.APIVersion = req.Kind.Version; req.Kind.Group != "" {
		owner.APIVersion = req.Kind.Group + "/" + req.Kind.Version
	}
	if owner.UID == "" {
		owner.UID = noUID
	}
	a := added{Namespace: req.Namespace, GenerateName: f[1].String(), OwnerReferences: []ownerReference{owner}}
	if owner.Name != "" {
		a.GenerateName = owner.Name + "-"
	}
	ours, _ := json.Marshal(a) // strings always encode

	dst := make([]byte, 0, len(metadata.Raw())+len(spec.Raw())+len(ours)+64)
	dst = append(dst, `{"apiVersion":"v1","kind":"Pod","metadata":{`...)
	dst = appendMembers(dst, metadata)
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(append(dst, ours[1:]...), `,"spec":`...)
	return append(append(dst, spec.Raw()...), '}')
}

// appendMembers appends the members of the template's metadata that a pod takes
// from it.
func appendMembers(dst []byte, metadata sdk.Value) []byte {
	taken, foreign := addedNames(), false
	for name := range metadata.Members() {
		foreign = foreign || slices.Contains(taken, name)
	}
	if raw := metadata.Raw(); !foreign && raw != nil {
		return append(dst, bytes.TrimSpace(raw[1:len(raw)-1])...)
	}
	for name, v := range metadata.Members() {
		if slices.Contains(taken, name) {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		quoted, _ := json.Marshal(name) // strings always encode
		dst = append(append(dst, quoted...), ':')
		if v.Exists() {
			dst = append(dst, v.Raw()...)
		} else {
			dst = append(dst, "null"...)
		}
	}
	return dst
}

// pods are the expansions of one object, so that the policies of a bundle share
// them.
type pods struct {
	mu     sync.Mutex
	object json.RawMessage
	byWay  map[string]*expansion
}

type podsKey struct{}

// withPods returns a context in which an object is expanded once.
func withPods(ctx context.Context) context.Context {
	return context.WithValue(ctx, podsKey{}, &pods{})
}

// expanded is expand, or what it gave before.
func expanded(ctx context.Context, req *sdk.Request, way []string) *expansion {
	p, ok := ctx.Value(podsKey{}).(*pods)
	if !ok || len(req.Object) == 0 {
		return expand(req, way)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.object) != len(req.Object) || &p.object[0] != &req.Object[0] {
		p.object, p.byWay = req.Object, map[string]*expansion{} // a policy has changed it
	}
	key := strings.Join(way, ".")
	if p.byWay[key] == nil {
		p.byWay[key] = expand(req, way)
	}
	return p.byWay[key]
}
