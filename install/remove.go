package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
	"github.com/warder-dev/warder/manifest"
)

// RemoveOptions say how much of an installation goes.
type RemoveOptions struct {
	// Namespace is where it is. Default manifest.DefaultNamespace.
	Namespace string
	// KeepResources leaves the CustomResourceDefinitions, and with them every
	// policy, where they are. Nothing is enforced any more all the same.
	KeepResources bool
	// LeaveToHelm leaves what the Helm chart consists of, which Helm removes
	// then, but the controller itself, and implies KeepResources.
	LeaveToHelm bool
}

// Remove uninstalls. It needs nothing of warder to run: webhooks go first, with
// the controller that would make them again, and finalizers that nobody would
// remove are removed. What is gone already is no error. When it returns nil no
// webhook and no finalizer of warder's is left.
func (c *Client) Remove(ctx context.Context, o RemoveOptions) error {
	if o.Namespace == "" {
		o.Namespace = manifest.DefaultNamespace
	}
	o.KeepResources = o.KeepResources || o.LeaveToHelm
	steps := []func(context.Context, RemoveOptions) error{
		c.removeController, c.removeWebhooks, c.removeServers, c.removeResources, c.removeRest, c.removeNamespace, c.nothingLeft,
	}
	for _, step := range steps {
		if err := step(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// Resources counts the custom resources that Remove would remove, by kind.
func (c *Client) Resources(ctx context.Context) (map[string]int, error) {
	count := map[string]int{}
	for _, gvk := range customKinds() {
		all, err := c.list(ctx, gvk, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		if len(all) > 0 {
			count[gvk.Kind] = len(all)
		}
	}
	return count, nil
}

// customKinds are the kinds of the resources that people write.
func customKinds() []schema.GroupVersionKind {
	var all []schema.GroupVersionKind
	for _, k := range v1.Kinds() {
		all = append(all, v1.GroupVersion().WithKind(string(k)))
	}
	return append(all, v1.GroupVersion().WithKind("PolicyServer"))
}

// list returns all objects of a kind, of the whole cluster.
func (c *Client) list(ctx context.Context, gvk schema.GroupVersionKind, opts metav1.ListOptions) ([]unstructured.Unstructured, error) {
	return c.listIn(ctx, "", gvk, opts)
}

// listIn returns the objects of a kind in a namespace, or in no namespace if it is
// a kind without; none if there is no such kind.
func (c *Client) listIn(ctx context.Context, namespace string, gvk schema.GroupVersionKind, opts metav1.ListOptions) ([]unstructured.Unstructured, error) {
	r, err := c.resource(gvk, namespace)
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", gvk.Kind, err)
	}
	found, err := r.List(ctx, opts)
	switch {
	case apierrors.IsNotFound(err): // the definition is going
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %w", gvk.Kind, err)
	}
	for i := range found.Items {
		found.Items[i].SetGroupVersionKind(gvk)
	}
	return found.Items, nil
}

// remove deletes an object and what it owns, if it is there. When a webhook that
// is to be asked does not answer it is tried again until ctx ends: API servers
// learn late that a webhook is gone.
func (c *Client) remove(ctx context.Context, o *unstructured.Unstructured) error {
	return c.patiently(ctx, nameOf(o), func() error { return c.removeOnce(ctx, o) })
}

// patiently does again what fails because a webhook does not answer.
func (c *Client) patiently(ctx context.Context, what string, do func() error) error {
	var final error
	err := c.until(ctx, what, func() (string, error) {
		err := do()
		if apierrors.IsInternalError(err) {
			return "", err
		}
		final = err
		return "", nil
	})
	return cmp.Or(err, final)
}

func (c *Client) removeOnce(ctx context.Context, o *unstructured.Unstructured) error {
	r, err := c.resource(o.GroupVersionKind(), o.GetNamespace())
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", nameOf(o), err)
	}
	background := metav1.DeletePropagationBackground
	opts := metav1.DeleteOptions{PropagationPolicy: &background}
	if uid := o.GetUID(); uid != "" {
		opts.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	err = r.Delete(ctx, o.GetName(), opts)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", nameOf(o), err)
	}
	c.Say(nameOf(o), Removed)
	return nil
}

func named(gvk schema.GroupVersionKind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(gvk)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

// removeController removes the controller and waits until none of its pods is
// left: one that still runs would register webhooks again. These are removed
// again and again meanwhile, since one that blocks everything would keep the
// controller.
func (c *Client) removeController(ctx context.Context, o RemoveOptions) error {
	deployment := named(deployments(), o.Namespace, manifest.Controller)
	return c.until(ctx, "controller", func() (string, error) {
		if err := c.removeWebhooks(ctx, o); err != nil {
			return "", err
		}
		if err := c.removeOnce(ctx, deployment); err != nil {
			return "", err
		}
		pods, err := c.listIn(ctx, o.Namespace, schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, metav1.ListOptions{
			LabelSelector: manifest.LabelPartOf + "=" + manifest.PartOf + "," + manifest.LabelComponent + "=controller",
		})
		if err != nil {
			return "", err
		}
		if len(pods) > 0 {
			return fmt.Sprintf("pod %s is not gone yet", pods[0].GetName()), nil
		}
		return "", nil
	})
}

// webhookKinds are the kinds of webhook configurations, and of what the API server
// enforces in their place.
func webhookKinds() []schema.GroupVersionKind {
	group := schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1"}
	return []schema.GroupVersionKind{
		group.WithKind("ValidatingWebhookConfiguration"), group.WithKind("MutatingWebhookConfiguration"),
		// What the API server enforces by itself. Older ones do not know the last two.
		group.WithKind("ValidatingAdmissionPolicyBinding"), group.WithKind("ValidatingAdmissionPolicy"),
		group.WithKind("MutatingAdmissionPolicyBinding"), group.WithKind("MutatingAdmissionPolicy"),
	}
}

// webhooks are all webhook configurations of warder's, or of Kubewarden's.
func (c *Client) webhooks(ctx context.Context) ([]unstructured.Unstructured, error) {
	var ours []unstructured.Unstructured
	for _, gvk := range webhookKinds() {
		for _, selector := range []string{manifest.LabelPartOf + "=" + manifest.PartOf, "kubewarden=true"} {
			found, err := c.list(ctx, gvk, metav1.ListOptions{LabelSelector: selector})
			if err != nil {
				return nil, err
			}
			ours = append(ours, found...)
		}
	}
	return ours, nil
}

func (c *Client) removeWebhooks(ctx context.Context, _ RemoveOptions) error {
	found, err := c.webhooks(ctx)
	if err != nil {
		return err
	}
	for i := range found {
		if err := c.remove(ctx, &found[i]); err != nil {
			return err
		}
	}
	return nil
}

// removeServers removes what policy servers consist of: nobody reconciles them
// any more.
func (c *Client) removeServers(ctx context.Context, o RemoveOptions) error {
	core, rbac := schema.GroupVersion{Version: "v1"}, schema.GroupVersion{Group: "rbac.authorization.k8s.io", Version: "v1"}
	kinds := []schema.GroupVersionKind{
		deployments(), core.WithKind("Service"), core.WithKind("ConfigMap"), core.WithKind("Secret"), core.WithKind("ServiceAccount"),
		{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"}, rbac.WithKind("RoleBinding"), rbac.WithKind("ClusterRoleBinding"),
		v1alpha1.GroupVersion().WithKind("PolicyServerReplica"),
	}
	for _, gvk := range kinds {
		selector := manifest.LabelComponent + "=policy-server," + manifest.LabelPartOf + "=" + manifest.PartOf
		if gvk.Group == v1alpha1.GroupVersion().Group {
			selector = ""
		}
		found, err := c.listIn(ctx, o.Namespace, gvk, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		for i := range found {
			if err := c.remove(ctx, &found[i]); err != nil {
				return err
			}
		}
	}
	lease := schema.GroupVersionKind{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"}
	for _, object := range []*unstructured.Unstructured{
		named(core.WithKind("Secret"), o.Namespace, manifest.SecretCA), named(core.WithKind("Secret"), o.Namespace, manifest.SecretWebhook),
		named(lease, o.Namespace, manifest.LeaderLease),
	} {
		if err := c.remove(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// removeResources takes warder's finalizers from every custom resource, and
// removes the resources and their definitions unless they are to stay.
func (c *Client) removeResources(ctx context.Context, o RemoveOptions) error {
	for _, gvk := range customKinds() {
		found, err := c.list(ctx, gvk, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range found {
			if err := c.release(ctx, &found[i]); err != nil {
				return err
			}
			if !o.KeepResources {
				continue
			}
			if err := c.forget(ctx, &found[i]); err != nil {
				return err
			}
		}
	}
	if o.KeepResources {
		return nil
	}
	crds, err := manifest.CRDs()
	if err != nil {
		return err
	}
	definition := schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
	for _, crd := range crds {
		if err := c.remove(ctx, named(definition, "", crd.Name)); err != nil {
			return err
		}
	}
	for _, crd := range crds {
		kind := schema.GroupVersionKind{Group: crd.Spec.Group, Version: crd.Spec.Versions[0].Name, Kind: crd.Spec.Names.Kind}
		err := c.until(ctx, "CustomResourceDefinition "+crd.Name, func() (string, error) {
			left, err := c.list(ctx, definition, metav1.ListOptions{FieldSelector: "metadata.name=" + crd.Name})
			if err != nil || len(left) == 0 {
				return "", err
			}
			return "is not gone yet" + c.heldUp(ctx, kind), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// heldUp says who keeps an object of the kind, if anybody does.
func (c *Client) heldUp(ctx context.Context, kind schema.GroupVersionKind) string {
	found, err := c.list(ctx, kind, metav1.ListOptions{})
	if err != nil {
		return ": " + err.Error()
	}
	for i := range found {
		if f := found[i].GetFinalizers(); len(f) > 0 {
			return fmt.Sprintf(": %s has the finalizer %s, which is not warder's to remove", nameOf(&found[i]), strings.Join(f, " and "))
		}
	}
	return ""
}

// forget takes the status from an object that stays: it would say for ever that
// the policy is enforced.
func (c *Client) forget(ctx context.Context, o *unstructured.Unstructured) error {
	r, err := c.resource(o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return err
	}
	err = c.patiently(ctx, nameOf(o), func() error {
		opts := metav1.PatchOptions{FieldManager: FieldManager}
		_, err := r.Patch(ctx, o.GetName(), types.MergePatchType, []byte(`{"status":null}`), opts, "status")
		return err
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: status: %w", nameOf(o), err)
	}
	return nil
}

// release takes warder's finalizers from an object and leaves those of others.
func (c *Client) release(ctx context.Context, o *unstructured.Unstructured) error {
	have := o.GetFinalizers()
	rest := slices.DeleteFunc(slices.Clone(have), func(f string) bool { return f == v1.Finalizer || f == v1.LegacyFinalizer })
	if len(rest) == len(have) {
		return nil
	}
	r, err := c.resource(o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return err
	}
	quoted := make([]string, len(rest))
	for i, f := range rest {
		quoted[i] = fmt.Sprintf("%q", f)
	}
	// The resource version makes it fail if somebody else changes the finalizers.
	patch := fmt.Sprintf(`{"metadata":{"resourceVersion":%q,"finalizers":[%s]}}`, o.GetResourceVersion(), strings.Join(quoted, ","))
	err = c.patiently(ctx, nameOf(o), func() error {
		_, err := r.Patch(ctx, o.GetName(), types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: FieldManager})
		return err
	})
	if apierrors.IsConflict(err) {
		now, err := r.Get(ctx, o.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", nameOf(o), err)
		}
		return c.release(ctx, now)
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: finalizers: %w", nameOf(o), err)
	}
	return nil
}

// removeRest removes what Install makes, but the namespace.
func (c *Client) removeRest(ctx context.Context, o RemoveOptions) error {
	if o.LeaveToHelm {
		return nil
	}
	objects, err := manifest.Install(manifest.InstallOptions{Namespace: o.Namespace, Image: "any", WithoutServer: true})
	if err != nil {
		return err
	}
	for _, object := range slices.Backward(objects) {
		gvk := object.GetObjectKind().GroupVersionKind()
		if gvk.Kind == "Namespace" {
			continue
		}
		if err := c.remove(ctx, named(gvk, object.GetNamespace(), object.GetName())); err != nil {
			return err
		}
	}
	return nil
}

// removeNamespace removes the namespace if the installation has made it, and waits
// until it is gone: nothing can be installed into one that is going.
func (c *Client) removeNamespace(ctx context.Context, o RemoveOptions) error {
	if o.KeepResources {
		return nil
	}
	found, err := c.list(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, metav1.ListOptions{FieldSelector: "metadata.name=" + o.Namespace})
	if err != nil || len(found) == 0 || found[0].GetAnnotations()[manifest.AnnotationInstalled] == "" {
		return err
	}
	if err := c.remove(ctx, &found[0]); err != nil {
		return err
	}
	return c.until(ctx, nameOf(&found[0]), func() (string, error) {
		left, err := c.list(ctx, found[0].GroupVersionKind(), metav1.ListOptions{FieldSelector: "metadata.name=" + o.Namespace})
		if err != nil || len(left) == 0 || left[0].GetUID() != found[0].GetUID() {
			return "", err
		}
		for _, kind := range []string{"NamespaceContentRemaining", "NamespaceFinalizersRemaining"} {
			if have := condition(&left[0], kind); have["status"] == "True" {
				return fmt.Sprintf("is not gone yet: %v", have["message"]), nil
			}
		}
		return "is not gone yet", nil
	})
}

// nothingLeft says what is left that could hold up somebody.
func (c *Client) nothingLeft(ctx context.Context, _ RemoveOptions) error {
	var errs []error
	left, err := c.webhooks(ctx)
	if err != nil {
		return err
	}
	for i := range left {
		errs = append(errs, fmt.Errorf("%s is still there: somebody has made it again", nameOf(&left[i])))
	}
	for _, gvk := range customKinds() {
		found, err := c.list(ctx, gvk, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range found {
			if slices.Contains(found[i].GetFinalizers(), v1.Finalizer) {
				errs = append(errs, fmt.Errorf("%s still has the finalizer %s: somebody has set it again", nameOf(&found[i]), v1.Finalizer))
			}
		}
	}
	return errors.Join(errs...)
}
