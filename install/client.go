// Package install applies an installation of warder to a cluster, and removes it.
// What an installation consists of is package manifest's to say; this package
// talks to the cluster.
package install

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// FieldManager is who server-side apply says an installation is from.
const FieldManager = "warder-install"

// Outcome is what became of an object.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"
	Changed   Outcome = "changed"
	Unchanged Outcome = "unchanged"
	Removed   Outcome = "removed"
	Stopped   Outcome = "stopped"
)

// Client installs and uninstalls.
type Client struct {
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	// Say is told what became of each object: "ClusterRole warder-controller".
	// Default: nobody.
	Say func(object string, o Outcome)
	// Wait is told what is being waited for, again and again. Default: nobody.
	Wait func(what string)
}

// NewClient returns a client for the cluster that config leads to.
func NewClient(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 100, 200
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Client{
		dynamic: d, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco)),
		Say: func(string, Outcome) {}, Wait: func(string) {},
	}, nil
}

// nameOf is what people call an object.
func nameOf(o *unstructured.Unstructured) string {
	if ns := o.GetNamespace(); ns != "" {
		return fmt.Sprintf("%s %s/%s", o.GetKind(), ns, o.GetName())
	}
	return fmt.Sprintf("%s %s", o.GetKind(), o.GetName())
}

// resource is where objects of a kind are. A kind that has just been defined is
// looked for anew.
func (c *Client) resource(gvk schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	mapping, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.dynamic.Resource(mapping.Resource).Namespace(namespace), nil
	}
	return c.dynamic.Resource(mapping.Resource), nil
}

// apply makes one object what it is to be. An object that is so already is not
// written: the API server keeps its resource version then.
func (c *Client) apply(ctx context.Context, o *unstructured.Unstructured) error {
	r, err := c.resource(o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return fmt.Errorf("%s: %w", nameOf(o), err)
	}
	before, err := r.Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: %w", nameOf(o), err)
	}
	isNew := apierrors.IsNotFound(err)
	after, err := r.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", nameOf(o), err)
	case isNew:
		c.Say(nameOf(o), Created)
	case before.GetResourceVersion() != after.GetResourceVersion():
		c.Say(nameOf(o), Changed)
	default:
		c.Say(nameOf(o), Unchanged)
	}
	return nil
}

// pollEvery is how often the cluster is asked for what is waited for.
const pollEvery = 200 * time.Millisecond

// until asks check until it has no complaint, and says what it waits for
// meanwhile. When ctx ends the error has the last complaint.
func (c *Client) until(ctx context.Context, what string, check func() (complaint string, err error)) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		complaint, err := check()
		if err != nil && ctx.Err() == nil {
			complaint = err.Error()
		}
		if err == nil && complaint == "" {
			return nil
		}
		c.Wait(what + ": " + complaint)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %s: %w", what, complaint, ctx.Err())
		case <-ticker.C:
		}
	}
}
