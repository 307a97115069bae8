package install

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
)

// Objects returns everything of an installation in the order in which to apply
// it, the CustomResourceDefinitions first. The error is that of
// InstallOptions.Validate.
func Objects(o manifest.InstallOptions) ([]*unstructured.Unstructured, error) {
	crds, err := manifest.CRDs()
	if err != nil {
		return nil, err
	}
	rest, err := manifest.Install(o)
	if err != nil {
		return nil, err
	}
	var all []v1.Object
	for _, crd := range crds {
		all = append(all, crd)
	}
	var objects []*unstructured.Unstructured
	for _, object := range append(all, rest...) {
		u, err := manifest.Unstructured(object)
		if err != nil {
			return nil, fmt.Errorf("%T %s: %w", object, object.GetName(), err)
		}
		objects = append(objects, u)
	}
	return objects, nil
}

// ElsewhereError says that there is an installation in another namespace, of
// warder or of Kubewarden.
type ElsewhereError struct {
	// Namespace is where it is, Deployment what was found there.
	Namespace, Deployment string
}

func (e *ElsewhereError) Error() string {
	return fmt.Sprintf("deployment %s/%s: there is an installation in namespace %q already, and two of them would undo each other's work. "+
		"To take it over, install into that namespace; to move, remove it first",
		e.Namespace, e.Deployment, e.Namespace)
}

// Apply installs: it makes the cluster's objects those of Objects, and leaves
// alone what is so already. Custom resources wait for their definitions, and for
// the controller's webhooks if these are registered already.
//
// The error names the object, and is an *ElsewhereError when there is another
// installation.
func (c *Client) Apply(ctx context.Context, o manifest.InstallOptions) error {
	objects, err := Objects(o)
	if err != nil {
		return err
	}
	namespace := namespaceOf(objects)
	if err := c.alone(ctx, namespace); err != nil {
		return err
	}
	objects, err = c.applyKinds(ctx, objects)
	if err != nil {
		return err
	}
	for _, object := range objects {
		switch {
		case object.GetKind() == "Namespace":
			err = c.applyNamespace(ctx, object)
		case object.GroupVersionKind().Group == v1.GroupVersion().Group:
			err = c.applyResource(ctx, object)
		default:
			err = c.apply(ctx, object)
		}
		if err != nil {
			return err
		}
	}
	return c.stopKubewarden(ctx, namespace)
}

// ApplyKinds applies the CustomResourceDefinitions alone, and waits until their
// kinds can be used. The Helm chart does it before an upgrade.
func (c *Client) ApplyKinds(ctx context.Context) error {
	crds, err := manifest.CRDs()
	if err != nil {
		return err
	}
	var objects []*unstructured.Unstructured
	for _, crd := range crds {
		u, err := manifest.Unstructured(crd)
		if err != nil {
			return err
		}
		objects = append(objects, u)
	}
	_, err = c.applyKinds(ctx, objects)
	return err
}

// applyKinds applies the CustomResourceDefinitions among objects, waits for all of
// them, and returns the others.
func (c *Client) applyKinds(ctx context.Context, objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	var crds, others []*unstructured.Unstructured
	for _, o := range objects {
		if o.GetKind() != "CustomResourceDefinition" {
			others = append(others, o)
			continue
		}
		if err := c.apply(ctx, o); err != nil {
			return nil, err
		}
		crds = append(crds, o)
	}
	for _, crd := range crds {
		if err := c.established(ctx, crd); err != nil {
			return nil, err
		}
	}
	return others, nil
}

// stopKubewarden takes the replicas of Kubewarden's controller in the namespace,
// which would hold the lease that ours waits for. It stays to go back to.
func (c *Client) stopKubewarden(ctx context.Context, namespace string) error {
	r, err := c.resource(deployments(), namespace)
	if err != nil {
		return err
	}
	for _, selector := range kubewardenSelectors() {
		found, err := r.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return fmt.Errorf("deployments: %w", err)
		}
		for i := range found.Items {
			d := &found.Items[i]
			d.SetGroupVersionKind(deployments())
			if n, ok, _ := unstructured.NestedInt64(d.Object, "spec", "replicas"); ok && n == 0 || d.GetName() == manifest.Controller {
				continue
			}
			_, err := r.Patch(ctx, d.GetName(), types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{FieldManager: FieldManager})
			if err != nil {
				return fmt.Errorf("%s: replicas: %w", nameOf(d), err)
			}
			c.Say(nameOf(d), Stopped)
		}
	}
	return nil
}

// kubewardenSelectors find Kubewarden's controller: that of its older charts, and
// of the present one.
func kubewardenSelectors() []string {
	return []string{
		"app.kubernetes.io/name=kubewarden-controller",
		"app.kubernetes.io/name=admission-controller,app.kubernetes.io/part-of=kubewarden",
	}
}

// namespaceOf is the namespace of an installation.
func namespaceOf(objects []*unstructured.Unstructured) string {
	for _, o := range objects {
		if o.GetKind() == "Namespace" {
			return o.GetName()
		}
	}
	return ""
}

// applyNamespace makes the namespace, and notes if it was not there: then it goes
// with the installation.
func (c *Client) applyNamespace(ctx context.Context, o *unstructured.Unstructured) error {
	r, err := c.resource(o.GroupVersionKind(), "")
	if err != nil {
		return err
	}
	have, err := r.Get(ctx, o.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && have.GetAnnotations()[manifest.AnnotationInstalled] != "":
		o.SetAnnotations(map[string]string{manifest.AnnotationInstalled: "true"})
	case err != nil:
		return fmt.Errorf("%s: %w", nameOf(o), err)
	}
	return c.apply(ctx, o)
}

// applyResource applies a custom resource. What is wrong with it is said at
// once; when the controller's webhook does not answer, it may still be starting,
// and the resource is tried again until ctx ends.
func (c *Client) applyResource(ctx context.Context, o *unstructured.Unstructured) error {
	if err := c.keepProtecting(ctx, o); err != nil {
		return err
	}
	var final error
	err := c.until(ctx, nameOf(o), func() (string, error) {
		err := c.apply(ctx, o)
		if apierrors.IsInternalError(err) || meta.IsNoMatchError(err) || apierrors.IsServiceUnavailable(err) {
			return "", err
		}
		final = err
		return "", nil
	})
	if err != nil {
		return err
	}
	return final
}

// keepProtecting leaves a policy of a set in protect mode that is so in the
// cluster, and its failure policy with it: somebody has decided that it holds, and
// no policy can go back to monitor mode.
func (c *Client) keepProtecting(ctx context.Context, o *unstructured.Unstructured) error {
	if o.GetLabels()[manifest.LabelSet] == "" {
		return nil
	}
	r, err := c.resource(o.GroupVersionKind(), o.GetNamespace())
	if meta.IsNoMatchError(err) {
		return nil // the kind is new, and so there is no policy
	}
	if err != nil {
		return fmt.Errorf("%s: %w", nameOf(o), err)
	}
	have, err := r.Get(ctx, o.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", nameOf(o), err)
	}
	spec, _, _ := unstructured.NestedMap(have.Object, "spec") // the API server has checked it
	if mode, ok := spec["mode"]; ok && mode != string(v1.Protect) {
		return nil
	}
	for _, field := range []string{"mode", "failurePolicy"} {
		value, ok := spec[field].(string)
		if !ok {
			unstructured.RemoveNestedField(o.Object, "spec", field)
		} else if err := unstructured.SetNestedField(o.Object, value, "spec", field); err != nil {
			return fmt.Errorf("%s: %w", nameOf(o), err)
		}
	}
	return nil
}

// established waits until a kind can be used.
func (c *Client) established(ctx context.Context, crd *unstructured.Unstructured) error {
	r, err := c.resource(crd.GroupVersionKind(), "")
	if err != nil {
		return err
	}
	return c.until(ctx, nameOf(crd), func() (string, error) {
		now, err := r.Get(ctx, crd.GetName(), metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if condition(now, "Established")["status"] != "True" {
			return "is not established yet", nil
		}
		return "", nil
	})
}

// condition is one of an object's conditions, nil if it has none of that type.
func condition(o *unstructured.Unstructured, kind string) map[string]any {
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions") // none is as good as a bad one
	for _, c := range all {
		if c, ok := c.(map[string]any); ok && c["type"] == kind {
			return c
		}
	}
	return nil
}

// deployments is the kind of what an installation runs.
func deployments() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
}

// alone returns an *ElsewhereError if a controller, ours or Kubewarden's, is in
// another namespace.
func (c *Client) alone(ctx context.Context, namespace string) error {
	r, err := c.resource(deployments(), "")
	if err != nil {
		return err
	}
	ours := manifest.LabelPartOf + "=" + manifest.PartOf + "," + manifest.LabelComponent + "=controller"
	for _, selector := range append(kubewardenSelectors(), ours) {
		found, err := r.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return fmt.Errorf("deployments: %w", err)
		}
		for _, d := range found.Items {
			if d.GetNamespace() != namespace {
				return &ElsewhereError{d.GetNamespace(), d.GetName()}
			}
		}
	}
	return nil
}

// Ready waits until the controller of an installation is available and its
// default policy server, if it has one, is ready. The error says what is missing.
func (c *Client) Ready(ctx context.Context, o manifest.InstallOptions) error {
	objects, err := Objects(o)
	if err != nil {
		return err
	}
	for _, object := range objects {
		var kind string
		switch object.GetKind() {
		case "Deployment":
			kind = "Available"
		case "PolicyServer", "ClusterAdmissionPolicy":
			kind = v1.ConditionReady
		default:
			continue
		}
		r, err := c.resource(object.GroupVersionKind(), object.GetNamespace())
		if err != nil {
			return err
		}
		err = c.until(ctx, nameOf(object), func() (string, error) {
			now, err := r.Get(ctx, object.GetName(), metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			return complaint(now, kind), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// complaint says why a condition is not true, "" if it is.
func complaint(o *unstructured.Unstructured, kind string) string {
	have := condition(o, kind)
	observed, ok, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration") // 0 if it is no number
	switch {
	case have == nil || ok && observed < o.GetGeneration():
		return fmt.Sprintf("nobody has said yet whether it is %s", strings.ToLower(kind))
	case have["status"] != "True":
		return fmt.Sprintf("%v: %v", have["reason"], have["message"])
	}
	return ""
}
