package replica

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
)

// fieldManager is who sets the fields of a report.
const fieldManager = "warder-replica"

// writeTimeout bounds one write of a report: less than a heartbeat.
const writeTimeout = 5 * time.Second

// client is how a replica speaks with the API server.
type client struct {
	policies *rest.RESTClient
	reports  *rest.RESTClient
	params   runtime.ParameterCodec
}

func newClient(config *rest.Config) (*client, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"}) // Status, for errors
	for _, add := range []func(*runtime.Scheme) error{v1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	base := rest.CopyConfig(config)
	base.APIPath = "/apis"
	base.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	base.ContentType, base.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	base.Timeout = 0 // a watch has none
	if base.QPS == 0 && base.RateLimiter == nil {
		base.QPS = -1 // five watches, and a report that is written once a second at most
	}
	if base.UserAgent == "" {
		base.UserAgent = "warder"
	}
	if base.WarningHandler == nil && base.WarningHandlerWithContext == nil {
		base.WarningHandlerWithContext = rest.NoWarnings{} // else they go to the process's stderr
	}
	over, err := rest.HTTPClientFor(base)
	if err != nil {
		return nil, err
	}
	c := &client{params: runtime.NewParameterCodec(scheme)}
	for gv, to := range map[schema.GroupVersion]**rest.RESTClient{v1.GroupVersion(): &c.policies, v1alpha1.GroupVersion(): &c.reports} {
		own := rest.CopyConfig(base)
		own.GroupVersion = &gv
		if *to, err = rest.RESTClientForConfigAndClient(own, over); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// list lists a resource of ours into a list of its kind.
func (c *client) list(ctx context.Context, resource string, o metav1.ListOptions) (runtime.Object, error) {
	into := newList(resource)
	return into, c.policies.Get().Resource(resource).VersionedParams(&o, c.params).Do(ctx).Into(into)
}

func (c *client) watch(ctx context.Context, resource string, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	return c.policies.Get().Resource(resource).VersionedParams(&o, c.params).Watch(ctx)
}

// newObject and newList return an empty object of a resource, and a list of
// them.
func newObject(resource string) runtime.Object {
	for _, k := range v1.Kinds() {
		if k.Resource() == resource {
			return k.New()
		}
	}
	return &v1.PolicyServer{}
}

func newList(resource string) runtime.Object {
	switch resource {
	case v1.KindClusterAdmissionPolicy.Resource():
		return &v1.ClusterAdmissionPolicyList{}
	case v1.KindAdmissionPolicy.Resource():
		return &v1.AdmissionPolicyList{}
	case v1.KindClusterAdmissionPolicyGroup.Resource():
		return &v1.ClusterAdmissionPolicyGroupList{}
	case v1.KindAdmissionPolicyGroup.Resource():
		return &v1.AdmissionPolicyGroupList{}
	}
	return &v1.PolicyServerList{}
}

// resources are what a replica watches.
func resources() []string {
	all := []string{v1.ResourcePolicyServers}
	for _, k := range v1.Kinds() {
		all = append(all, k.Resource())
	}
	return all
}

// apply makes the report what it is here, whoever has made or deleted the one
// that is there.
func (c *client) apply(ctx context.Context, report *v1alpha1.PolicyServerReplica) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	text, err := json.Marshal(report)
	if err != nil {
		return err
	}
	err = c.reports.Patch(types.ApplyYAMLPatchType).Namespace(report.Namespace).Resource(v1alpha1.ResourceReplicas).Name(report.Name).
		VersionedParams(&metav1.PatchOptions{FieldManager: fieldManager, Force: new(true)}, c.params).
		Body(text).Do(ctx).Error()
	return c.explain(err, report.Namespace)
}

// remove deletes the report.
func (c *client) remove(ctx context.Context, namespace, name string) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := c.reports.Delete().Namespace(namespace).Resource(v1alpha1.ResourceReplicas).Name(name).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return nil
	}
	return c.explain(err, namespace)
}

// explain adds to an error of the API server what is to be done about it.
func (c *client) explain(err error, namespace string) error {
	const resource = v1alpha1.ResourceReplicas + ".policies.warder.dev"
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return fmt.Errorf("the ServiceAccount of this server needs the verbs create, patch and delete on %s in namespace %q: %w", resource, namespace, err)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("the CustomResourceDefinition %s or the namespace %q is missing: %w", resource, namespace, err)
	}
	return withoutURL(err)
}
