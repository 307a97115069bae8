// Package library lists the policies that warder brings with it. Each is a
// package of its own below this one, written as any author would write it, and
// takes the settings of the Kubewarden policy of the same name.
package library

import (
	"slices"

	"github.com/warder-dev/warder/library/capabilitiespsp"
	"github.com/warder-dev/warder/library/containerresources"
	"github.com/warder-dev/warder/library/disallowserviceloadbalancer"
	"github.com/warder-dev/warder/library/disallowservicenodeport"
	"github.com/warder-dev/warder/library/donotexposeadmissioncontrollerwebhookservices"
	"github.com/warder-dev/warder/library/hostnamespacespsp"
	"github.com/warder-dev/warder/library/ingress"
	"github.com/warder-dev/warder/library/namespacelabelpropagator"
	"github.com/warder-dev/warder/library/nspolicyservermapper"
	"github.com/warder-dev/warder/library/persistentvolumeclaimstorageclasspolicy"
	"github.com/warder-dev/warder/library/podprivileged"
	"github.com/warder-dev/warder/library/psalabelenforcer"
	"github.com/warder-dev/warder/library/rancherprojectpropagatelabels"
	"github.com/warder-dev/warder/library/rancherprojectquotasnamespacevalidator"
	"github.com/warder-dev/warder/library/safelabels"
	"github.com/warder-dev/warder/library/trustedrepos"
	"github.com/warder-dev/warder/library/uniqueingresspolicy"
	"github.com/warder-dev/warder/library/uniqueserviceselectorpolicy"
	"github.com/warder-dev/warder/sdk"
)

// Builtin is a policy that needs no download.
type Builtin struct {
	// Name is what users call it: "pod-privileged".
	Name string
	// Summary is one sentence about what it does.
	Summary string
	// Mutating says that it changes objects, with some settings at least.
	Mutating bool
	Policy   sdk.Policy
}

// All returns every built-in policy, sorted by name. The slice is the
// caller's.
func All() []Builtin {
	return []Builtin{
		{
			Name:     "capabilities-psp",
			Summary:  "Controls which Linux capabilities containers may add, and adds or drops those that they must have or lose.",
			Mutating: true,
			Policy:   capabilitiespsp.Policy(),
		},
		{
			Name:     "container-resources",
			Summary:  "Keeps the CPU and memory requests and limits of containers within bounds, and fills in defaults.",
			Mutating: true,
			Policy:   containerresources.Policy(),
		},
		{
			Name:    "disallow-service-loadbalancer",
			Summary: "Refuses Services of type LoadBalancer.",
			Policy:  disallowserviceloadbalancer.Policy(),
		},
		{
			Name:    "disallow-service-nodeport",
			Summary: "Refuses Services of type NodePort.",
			Policy:  disallowservicenodeport.Policy(),
		},
		{
			Name:    "do-not-expose-admission-controller-webhook-services",
			Summary: "Refuses admission webhooks whose Services can be reached from outside of the cluster.",
			Policy:  donotexposeadmissioncontrollerwebhookservices.Policy(),
		},
		{
			Name:    "host-namespaces-psp",
			Summary: "Refuses pods that share the node's IPC, network or PID namespace, or take host ports that are not allowed.",
			Policy:  hostnamespacespsp.Policy(),
		},
		{
			Name:    "ingress",
			Summary: "Wants Ingresses to have TLS for all their hosts, and limits the ports behind them.",
			Policy:  ingress.Policy(),
		},
		{
			Name:     "namespace-label-propagator",
			Summary:  "Copies labels of a Namespace to the pods in it, and to what makes pods.",
			Mutating: true,
			Policy:   namespacelabelpropagator.Policy(),
		},
		{
			Name:     "ns-policyserver-mapper",
			Summary:  "Sends the policies of a namespace to the PolicyServer that the Namespace names.",
			Mutating: true,
			Policy:   nspolicyservermapper.Policy(),
		},
		{
			Name:     "persistentvolumeclaim-storageclass-policy",
			Summary:  "Limits the storage classes of PersistentVolumeClaims, or gives them another.",
			Mutating: true,
			Policy:   persistentvolumeclaimstorageclasspolicy.Policy(),
		},
		{
			Name:    "pod-privileged",
			Summary: "Refuses privileged containers.",
			Policy:  podprivileged.Policy(),
		},
		{
			Name:     "psa-label-enforcer",
			Summary:  "Gives Namespaces the labels that pod security admission goes by.",
			Mutating: true,
			Policy:   psalabelenforcer.Policy(),
		},
		{
			Name:     "rancher-project-propagate-labels",
			Summary:  "Gives Namespaces the labels that their Rancher project has for them.",
			Mutating: true,
			Policy:   rancherprojectpropagatelabels.Policy(),
		},
		{
			Name:    "rancher-project-quotas-namespace-validator",
			Summary: "Refuses Namespaces that ask for more than is left of the quota of their Rancher project.",
			Policy:  rancherprojectquotasnamespacevalidator.Policy(),
		},
		{
			Name:    "safe-labels",
			Summary: "Denies labels, requires them, or constrains their values.",
			Policy:  safelabels.Policy(),
		},
		{
			Name:    "trusted-repos",
			Summary: "Restricts the registries, tags and images that containers come from.",
			Policy:  trustedrepos.Policy(),
		},
		{
			Name:    "unique-ingress-policy",
			Summary: "Refuses Ingresses for hosts that another Ingress of the cluster has already.",
			Policy:  uniqueingresspolicy.Policy(),
		},
		{
			Name:    "unique-service-selector-policy",
			Summary: "Refuses Services whose selector another Service of the namespace has already.",
			Policy:  uniqueserviceselectorpolicy.Policy(),
		},
	}
}

// Lookup returns the built-in of the name, false if there is none.
func Lookup(name string) (Builtin, bool) {
	for _, b := range All() {
		if b.Name == name {
			return b, true
		}
	}
	return Builtin{}, false
}

// Names returns the names of the built-in policies, sorted.
func Names() []string {
	all := All()
	names := make([]string, len(all))
	for i, b := range all {
		names[i] = b.Name
	}
	slices.Sort(names)
	return names
}
