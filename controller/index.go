package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
	"github.com/warder-dev/warder/manifest"
)

// indexServer is the field by which caches find the policies and the replicas of
// a policy server.
const indexServer = ".spec.policyServer"

// addIndexes makes the caches find by indexServer.
func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	of := func(o client.Object) []string { return []string{serverOf(o)} }
	for _, kind := range v1.Kinds() {
		if err := indexer.IndexField(ctx, kind.New(), indexServer, of); err != nil {
			return fmt.Errorf("index of %s: %w", kind, err)
		}
	}
	return indexer.IndexField(ctx, &v1alpha1.PolicyServerReplica{}, indexServer, of)
}

// serverOf names the policy server of a policy or a replica.
func serverOf(o client.Object) string {
	if r, ok := o.(*v1alpha1.PolicyServerReplica); ok {
		return r.Spec.PolicyServer
	}
	if p, ok := v1.View(o); ok {
		return p.Serving.PolicyServer
	}
	return ""
}

// listOf is an empty list of policies of the kind.
func listOf(kind v1.Kind) client.ObjectList {
	switch kind {
	case v1.KindAdmissionPolicy:
		return &v1.AdmissionPolicyList{}
	case v1.KindClusterAdmissionPolicy:
		return &v1.ClusterAdmissionPolicyList{}
	case v1.KindAdmissionPolicyGroup:
		return &v1.AdmissionPolicyGroupList{}
	default:
		return &v1.ClusterAdmissionPolicyGroupList{}
	}
}

// policiesOf are the policies of a policy server; they are copies.
func policiesOf(ctx context.Context, r client.Reader, server string) ([]v1.Policy, error) {
	var all []v1.Policy
	for _, kind := range v1.Kinds() {
		list := listOf(kind)
		if err := r.List(ctx, list, client.MatchingFields{indexServer: server}); err != nil {
			return nil, fmt.Errorf("policies: %w", err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			if p, ok := v1.View(o); ok {
				all = append(all, p)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("policies: %w", err)
		}
	}
	return all, nil
}

// configurations are the webhook configurations of the cluster.
type configurations struct {
	validating []admissionregv1.ValidatingWebhookConfiguration
	mutating   []admissionregv1.MutatingWebhookConfiguration
}

func configurationsOf(ctx context.Context, r client.Reader) (configurations, error) {
	var v admissionregv1.ValidatingWebhookConfigurationList
	var m admissionregv1.MutatingWebhookConfigurationList
	if err := r.List(ctx, &v); err != nil {
		return configurations{}, fmt.Errorf("webhook configurations: %w", err)
	}
	if err := r.List(ctx, &m); err != nil {
		return configurations{}, fmt.Errorf("webhook configurations: %w", err)
	}
	return configurations{v.Items, m.Items}, nil
}

// all are the configurations of both kinds.
func (c configurations) all() []client.Object {
	var all []client.Object
	for i := range c.validating {
		all = append(all, &c.validating[i])
	}
	for i := range c.mutating {
		all = append(all, &c.mutating[i])
	}
	return all
}

// calling are those that call the policy server.
func (c configurations) calling(o Options, server string) []client.Object {
	return slices.DeleteFunc(c.all(), func(config client.Object) bool { return o.serverCalled(config) != server })
}

// clientsOf are how the webhooks of a configuration of either kind are called.
func clientsOf(o client.Object) []admissionregv1.WebhookClientConfig {
	var all []admissionregv1.WebhookClientConfig
	switch c := o.(type) {
	case *admissionregv1.ValidatingWebhookConfiguration:
		for _, w := range c.Webhooks {
			all = append(all, w.ClientConfig)
		}
	case *admissionregv1.MutatingWebhookConfiguration:
		for _, w := range c.Webhooks {
			all = append(all, w.ClientConfig)
		}
	}
	return all
}

// ours says whether a webhook configuration is Kubewarden's or ours.
func ours(o client.Object) bool {
	l := o.GetLabels()
	return l[manifest.LabelPartOf] == manifest.PartOf || l[manifest.LabelLegacy] == "true" || strings.HasSuffix(o.GetName(), ".warder")
}

// serverCalled names the policy server that a webhook configuration calls; it is
// empty when that is none of ours.
func (o Options) serverCalled(c client.Object) string {
	if !ours(c) {
		return ""
	}
	if name := c.GetLabels()[manifest.LabelPolicyServer]; name != "" {
		return name
	}
	for _, to := range clientsOf(c) {
		if s := to.Service; s != nil && s.Namespace == o.Manifest.Namespace {
			if name, ok := strings.CutPrefix(s.Name, manifest.ServerName("")); ok {
				return name
			}
		}
		for name, url := range o.Manifest.URLs {
			if to.URL != nil && under(*to.URL, url) {
				return name
			}
		}
	}
	return ""
}

// under says whether a URL is below another.
func under(url, base string) bool { return strings.HasPrefix(url, strings.TrimSuffix(base, "/")+"/") }

// request is the one for the policy server of that name; none for no name.
func request(server string) []reconcile.Request {
	if server == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: server}}}
}
