package controller

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
)

// change is what applying an object did.
type change string

const (
	unchanged change = ""
	created   change = "created"
	changed   change = "changed"
)

// applier applies objects, and only those of which something is not as it should
// be. It remembers what it has applied: an object without a field that was
// applied once is not the same as one that never had it.
type applier struct {
	client client.Client
	reader client.Reader // the API server itself

	mu      sync.Mutex
	applied map[string]applied // by kind, namespace and name
}

// applied is what was asked for, and the resource version at which it was so.
type applied struct {
	sum             [sha256.Size]byte
	resourceVersion string
}

func newApplier(c client.Client, live client.Reader) *applier {
	return &applier{client: c, reader: live, applied: map[string]applied{}}
}

// apply makes the object in the cluster as desired says, which has its kind set.
// Fields that somebody else has set to something else are taken over.
func (a *applier) apply(ctx context.Context, desired client.Object) (change, error) {
	content, err := manifest.Unstructured(desired)
	if err != nil {
		return unchanged, err
	}
	text, err := json.Marshal(content.Object)
	if err != nil {
		return unchanged, err
	}
	key := content.GetKind() + "/" + content.GetNamespace() + "/" + content.GetName()
	live := desired.DeepCopyObject().(client.Object)
	err = a.client.Get(ctx, client.ObjectKeyFromObject(desired), live)
	exists := err == nil
	if err != nil && !apierrors.IsNotFound(err) {
		return unchanged, fmt.Errorf("%s: %w", key, err)
	}
	want := applied{sum: sha256.Sum256(text), resourceVersion: live.GetResourceVersion()}
	if exists && a.asApplied(key, want, content, live) {
		return unchanged, nil
	}
	if exists {
		if err := a.adopt(ctx, live); err != nil {
			return unchanged, fmt.Errorf("%s: adopt: %w", key, err)
		}
	}
	version := live.GetResourceVersion()
	if err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(content), client.ForceOwnership, client.DisableReadYourWritesConsistency); err != nil {
		return unchanged, fmt.Errorf("%s: %w", key, err)
	}
	want.resourceVersion = content.GetResourceVersion()
	a.mu.Lock()
	a.applied[key] = want
	a.mu.Unlock()
	switch {
	case !exists:
		return created, nil
	case version == want.resourceVersion:
		return unchanged, nil
	}
	return changed, nil
}

// asApplied says whether the live object is what was applied: it has not changed
// since, or what has changed is nothing of ours. A cache that has not seen our own
// write yet shows an older one.
func (a *applier) asApplied(key string, want applied, desired *unstructured.Unstructured, live client.Object) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, ok := a.applied[key]
	if !ok || last.sum != want.sum {
		return false
	}
	if last.resourceVersion == want.resourceVersion || before(want.resourceVersion, last.resourceVersion) {
		return true
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	for _, field := range []string{"apiVersion", "kind"} { // which typed objects of caches do not say
		if err == nil {
			content[field] = desired.Object[field]
		}
	}
	if err != nil || !covers(content, desired.Object) || !selectsAs(live, desired) {
		return false
	}
	a.applied[key] = want
	return true
}

// selectsAs says whether a Service selects what it should. Of a selector nobody
// owns a part: a label that somebody adds takes its pods from it.
func selectsAs(live client.Object, desired *unstructured.Unstructured) bool {
	service, ok := live.(*corev1.Service)
	if !ok {
		return true
	}
	want, _, err := unstructured.NestedStringMap(desired.Object, "spec", "selector")
	return err == nil && maps.Equal(service.Spec.Selector, want)
}

// forget makes the next apply of the object send it whatever the cache says.
func (a *applier) forget(o client.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.applied, o.GetObjectKind().GroupVersionKind().Kind+"/"+o.GetNamespace()+"/"+o.GetName())
}

// applyWhole is apply for an object in which nobody else has a say: what somebody
// has added is removed.
func (a *applier) applyWhole(ctx context.Context, desired client.Object) (change, error) {
	a.forget(desired)
	did, err := a.apply(ctx, desired)
	if err != nil {
		return did, err
	}
	// What apply has left is another manager's. An update has no managers.
	live := desired.DeepCopyObject().(client.Object)
	if err := a.reader.Get(ctx, client.ObjectKeyFromObject(desired), live); err != nil {
		return did, err
	}
	if equality.Semantic.DeepEqual(hooksOf(live), hooksOf(desired)) {
		return did, nil
	}
	whole := desired.DeepCopyObject().(client.Object)
	whole.SetResourceVersion(live.GetResourceVersion())
	whole.SetUID(live.GetUID())
	if err := a.client.Update(ctx, whole); err != nil {
		return did, fmt.Errorf("%s %q: %w", desired.GetObjectKind().GroupVersionKind().Kind, desired.GetName(), err)
	}
	return changed, nil
}

// hooksOf are the webhooks of a configuration, or the spec of what the API server
// enforces in their place.
func hooksOf(o client.Object) any {
	switch c := o.(type) {
	case *admissionregv1.ValidatingWebhookConfiguration:
		return c.Webhooks
	case *admissionregv1.MutatingWebhookConfiguration:
		return c.Webhooks
	}
	if object, ok := o.(v1.Object); ok {
		return manifest.NativeSpec(object)
	}
	return nil
}

// upstreamManagers are the names under which Kubewarden's controller has written
// what is ours now.
func upstreamManagers() sets.Set[string] {
	return sets.New("kubewarden-controller", "controller", "manager")
}

// adopt makes what Kubewarden's controller has written ours, so that what we do
// not ask for goes away.
func (a *applier) adopt(ctx context.Context, live client.Object) error {
	theirs := func(e metav1.ManagedFieldsEntry) bool {
		return e.Operation == metav1.ManagedFieldsOperationUpdate && e.Subresource == "" && upstreamManagers().Has(e.Manager)
	}
	if !slices.ContainsFunc(live.GetManagedFields(), theirs) {
		return nil
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, upstreamManagers(), manifest.FieldManager)
	if err != nil || patch == nil {
		return err
	}
	return a.client.Patch(ctx, live, client.RawPatch("application/json-patch+json", patch))
}

// covers says whether the live value has everything of the desired one. Of
// objects it may have more, which is somebody else's or a default; but in a
// webhook nobody else has a say.
func covers(live, desired any) bool {
	switch want := desired.(type) {
	case map[string]any:
		have, ok := live.(map[string]any)
		if !ok {
			return len(want) == 0 && live == nil
		}
		for name, value := range want {
			if !covers(have[name], value) {
				return false
			}
		}
		return true
	case []any:
		have, _ := live.([]any)
		if len(want) != len(have) {
			return false
		}
		for i := range want {
			if !covers(have[i], want[i]) {
				return false
			}
		}
		return true
	case nil:
		return true
	case string:
		have, _ := live.(string)
		return have == want
	}
	return equalNumbers(live, desired)
}

// equalNumbers compares what JSON may have as an integer or not.
func equalNumbers(a, b any) bool {
	if a == b {
		return true
	}
	return fmt.Sprint(a) == fmt.Sprint(b)
}
