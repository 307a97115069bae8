package install

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
)

// RemoveSets removes the policies of the sets, and waits until they are gone. What
// a set consists of is found by manifest.LabelSet, so that policies of an older
// version go too. Sets that are not there are no error.
func (c *Client) RemoveSets(ctx context.Context, sets []string) error {
	if err := manifest.CheckSets(sets); err != nil {
		return err
	}
	opts := metav1.ListOptions{LabelSelector: manifest.LabelSet + " in (" + strings.Join(sets, ",") + ")"}
	for _, gvk := range []schema.GroupVersionKind{
		v1.GroupVersion().WithKind(string(v1.KindClusterAdmissionPolicy)),
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"},
	} {
		found, err := c.list(ctx, gvk, opts)
		if err != nil {
			return err
		}
		for i := range found {
			if err := c.remove(ctx, &found[i]); err != nil {
				return err
			}
		}
		for i := range found {
			if err := c.gone(ctx, gvk, found[i].GetName()); err != nil {
				return err
			}
		}
	}
	return nil
}

// gone waits until the object of the cluster is not there any more: the controller
// takes the finalizers of policies away once no webhook asks for them.
func (c *Client) gone(ctx context.Context, gvk schema.GroupVersionKind, name string) error {
	r, err := c.resource(gvk, "")
	if err != nil {
		return fmt.Errorf("%s: %w", gvk.Kind, err)
	}
	return c.until(ctx, strings.ToLower(gvk.Kind)+" "+name, func() (string, error) {
		_, err := r.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return "", nil
		case err != nil:
			return "", err
		}
		return "is still enforced: the controller has not let go of it", nil
	})
}
