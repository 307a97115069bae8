// Package library lists the policies that warder brings with it. Each is a
// package of its own below this one, written as any author would write it, and
// takes the settings of the Kubewarden policy of the same name, if there is one.
package library

import (
	"cmp"
	"slices"

	"github.com/warder-dev/warder/library/allowedfsgroupspsp"
	"github.com/warder-dev/warder/library/allowedprocmounttypespsp"
	"github.com/warder-dev/warder/library/allowprivilegeescalationpsp"
	"github.com/warder-dev/warder/library/annotations"
	"github.com/warder-dev/warder/library/apparmorpsp"
	"github.com/warder-dev/warder/library/capabilitiespsp"
	"github.com/warder-dev/warder/library/containerresources"
	"github.com/warder-dev/warder/library/deprecatedapiversions"
	"github.com/warder-dev/warder/library/disallowserviceloadbalancer"
	"github.com/warder-dev/warder/library/disallowservicenodeport"
	"github.com/warder-dev/warder/library/donotexposeadmissioncontrollerwebhookservices"
	"github.com/warder-dev/warder/library/environmentvariablepolicy"
	"github.com/warder-dev/warder/library/envvariablesecretsscanner"
	"github.com/warder-dev/warder/library/flexvolumedriverspsp"
	"github.com/warder-dev/warder/library/highriskserviceaccount"
	"github.com/warder-dev/warder/library/hostnamespacespsp"
	"github.com/warder-dev/warder/library/hostpathspsp"
	"github.com/warder-dev/warder/library/imagecvepolicy"
	"github.com/warder-dev/warder/library/ingress"
	"github.com/warder-dev/warder/library/labels"
	"github.com/warder-dev/warder/library/namespacelabelpropagator"
	"github.com/warder-dev/warder/library/nspolicyservermapper"
	"github.com/warder-dev/warder/library/persistentvolumeclaimstorageclasspolicy"
	"github.com/warder-dev/warder/library/podndots"
	"github.com/warder-dev/warder/library/podprivileged"
	"github.com/warder-dev/warder/library/podruntime"
	"github.com/warder-dev/warder/library/podsecurity"
	"github.com/warder-dev/warder/library/priorityclasspolicy"
	"github.com/warder-dev/warder/library/probes"
	"github.com/warder-dev/warder/library/psalabelenforcer"
	"github.com/warder-dev/warder/library/rancherprojectpropagatelabels"
	"github.com/warder-dev/warder/library/rancherprojectquotasnamespacevalidator"
	"github.com/warder-dev/warder/library/readonlyrootfilesystempsp"
	"github.com/warder-dev/warder/library/runtimeenforcer"
	"github.com/warder-dev/warder/library/safeannotations"
	"github.com/warder-dev/warder/library/safelabels"
	"github.com/warder-dev/warder/library/seccomppsp"
	"github.com/warder-dev/warder/library/selinuxpsp"
	"github.com/warder-dev/warder/library/sharepidnamespacepolicy"
	"github.com/warder-dev/warder/library/sysctlpsp"
	"github.com/warder-dev/warder/library/trustedrepos"
	"github.com/warder-dev/warder/library/uniqueingresspolicy"
	"github.com/warder-dev/warder/library/uniqueserviceselectorpolicy"
	"github.com/warder-dev/warder/library/usergrouppsp"
	"github.com/warder-dev/warder/library/verifyimagesignatures"
	"github.com/warder-dev/warder/library/volumemounts"
	"github.com/warder-dev/warder/library/volumespsp"
)

// All returns every built-in policy, sorted by name. The slice is the
// caller's.
func All() []Builtin {
	return slices.SortedFunc(slices.Values(slices.Concat(kubewardens(), checks())), func(a, b Builtin) int {
		return cmp.Compare(a.Name, b.Name)
	})
}

// kubewardens are the policies that Kubewarden has too, by its names.
func kubewardens() []Builtin { //nolint:funlen // a table
	return []Builtin{
		{
			Name:     "allow-privilege-escalation-psp",
			Summary:  "Refuses containers whose processes may get more privileges than their parent, and forbids it by default.",
			Mutating: true,
			Category: "security", Severity: "high",
			Policy: allowprivilegeescalationpsp.Policy(),
		},
		{
			Name:     "allowed-fsgroups-psp",
			Summary:  "Controls the group that owns the volumes of pods, and sets it where there is none.",
			Mutating: true,
			Category: "security", Severity: "low",
			Policy: allowedfsgroupspsp.Policy(),
		},
		{
			Name:     "allowed-proc-mount-types-psp",
			Summary:  "Refuses containers that see the whole of /proc.",
			Category: "security", Severity: "medium",
			Policy: allowedprocmounttypespsp.Policy(),
		},
		{
			Name:     "annotations",
			Summary:  "Compares the annotations of objects of any kind with a list.",
			Category: "reliability", Severity: "low",
			Policy: annotations.Policy(),
		},
		{
			Name:     "apparmor-psp",
			Summary:  "Restricts the AppArmor profiles of pods and containers.",
			Category: "security", Severity: "medium",
			Policy: apparmorpsp.Policy(),
		},
		{
			Name:     "capabilities-psp",
			Summary:  "Controls which Linux capabilities containers may add, and adds or drops those that they must have or lose.",
			Mutating: true,
			Category: "security", Severity: "high",
			Policy: capabilitiespsp.Policy(),
		},
		{
			Name:     "container-resources",
			Summary:  "Keeps the CPU and memory requests and limits of containers within bounds, and fills in defaults.",
			Mutating: true,
			Category: "efficiency", Severity: "medium",
			Policy: containerresources.Policy(),
		},
		{
			Name:     "deprecated-api-versions",
			Summary:  "Refuses objects of API versions that a release of Kubernetes has deprecated or removed.",
			Category: "reliability", Severity: "medium",
			Policy: deprecatedapiversions.Policy(),
		},
		{
			Name:     "disallow-service-loadbalancer",
			Summary:  "Refuses Services of type LoadBalancer.",
			Category: "security", Severity: "medium",
			Policy: disallowserviceloadbalancer.Policy(),
		},
		{
			Name:     "disallow-service-nodeport",
			Summary:  "Refuses Services of type NodePort.",
			Category: "security", Severity: "medium",
			Policy: disallowservicenodeport.Policy(),
		},
		{
			Name:     "do-not-expose-admission-controller-webhook-services",
			Summary:  "Refuses admission webhooks whose Services can be reached from outside of the cluster.",
			AsksHost: true,
			Category: "security", Severity: "high",
			Policy: donotexposeadmissioncontrollerwebhookservices.Policy(),
		},
		{
			Name:     "env-variable-secrets-scanner",
			Summary:  "Refuses secrets in the values of environment variables.",
			Category: "security", Severity: "high",
			Policy: envvariablesecretsscanner.Policy(),
		},
		{
			Name:     "environment-variable-policy",
			Summary:  "Compares the names of the environment variables of each container with a list.",
			Category: "security", Severity: "medium",
			Policy: environmentvariablepolicy.Policy(),
		},
		{
			Name:     "flexvolume-drivers-psp",
			Summary:  "Restricts the drivers of FlexVolumes.",
			Category: "security", Severity: "medium",
			Policy: flexvolumedriverspsp.Policy(),
		},
		{
			Name:     "high-risk-service-account",
			Summary:  "Refuses pods whose service account may do what is dangerous.",
			AsksHost: true,
			Category: "security", Severity: "high",
			Policy: highriskserviceaccount.Policy(),
		},
		{
			Name:     "host-namespaces-psp",
			Summary:  "Refuses pods that share the node's IPC, network or PID namespace, or take host ports that are not allowed.",
			Category: "security", Severity: "high",
			Policy: hostnamespacespsp.Policy(),
		},
		{
			Name:     "hostpaths-psp",
			Summary:  "Restricts which paths of the node containers mount, and whether they may write there.",
			Category: "security", Severity: "high",
			Policy: hostpathspsp.Policy(),
		},
		{
			Name:     "image-cve-policy",
			Summary:  "Refuses images with too many known vulnerabilities, by the reports of SBOMscanner.",
			AsksHost: true,
			Category: "security", Severity: "high",
			Policy: imagecvepolicy.Policy(),
		},
		{
			Name:     "ingress",
			Summary:  "Wants Ingresses to have TLS for all their hosts, and limits the ports behind them.",
			Category: "security", Severity: "medium",
			Policy: ingress.Policy(),
		},
		{
			Name:     "labels",
			Summary:  "Compares the labels of objects of any kind with a list.",
			Category: "reliability", Severity: "low",
			Policy: labels.Policy(),
		},
		{
			Name:     "namespace-label-propagator",
			Summary:  "Copies labels of a Namespace to the pods in it, and to what makes pods.",
			Mutating: true,
			AsksHost: true,
			Category: "reliability", Severity: "low",
			Policy: namespacelabelpropagator.Policy(),
		},
		{
			Name:     "ns-policyserver-mapper",
			Summary:  "Sends the policies of a namespace to the PolicyServer that the Namespace names.",
			Mutating: true,
			AsksHost: true,
			Category: "reliability", Severity: "low",
			Policy: nspolicyservermapper.Policy(),
		},
		{
			Name:     "persistentvolumeclaim-storageclass-policy",
			Summary:  "Limits the storage classes of PersistentVolumeClaims, or gives them another.",
			Mutating: true,
			Category: "reliability", Severity: "low",
			Policy: persistentvolumeclaimstorageclasspolicy.Policy(),
		},
		{
			Name:     "pod-ndots",
			Summary:  "Sets the resolver option ndots of pods.",
			Mutating: true,
			Category: "efficiency", Severity: "low",
			Policy: podndots.Policy(),
		},
		{
			Name:     "pod-privileged",
			Summary:  "Refuses privileged containers.",
			Category: "security", Severity: "critical",
			Policy: podprivileged.Policy(),
		},
		{
			Name:     "pod-runtime",
			Summary:  "Reserves runtime classes, and gives pods another one instead.",
			Mutating: true,
			Category: "security", Severity: "medium",
			Policy: podruntime.Policy(),
		},
		{
			Name:     "pod-security",
			Summary:  "Holds pods to the Pod Security Standards, baseline or restricted, of any version.",
			Category: "security",
			Severity: "high",
			Policy:   podsecurity.Policy(),
		},
		{
			Name:     "priority-class-policy",
			Summary:  "Says which priority classes pods may have, and gives one to those that have none.",
			Mutating: true,
			Category: "reliability", Severity: "medium",
			Policy: priorityclasspolicy.Policy(),
		},
		{
			Name:     "probes",
			Summary:  "Asks for liveness and readiness probes, and keeps their fields within bounds.",
			Category: "reliability", Severity: "medium",
			Policy: probes.Policy(),
		},
		{
			Name:     "psa-label-enforcer",
			Summary:  "Gives Namespaces the labels that pod security admission goes by.",
			Mutating: true,
			Category: "security", Severity: "medium",
			Policy: psalabelenforcer.Policy(),
		},
		{
			Name:     "rancher-project-propagate-labels",
			Summary:  "Gives Namespaces the labels that their Rancher project has for them.",
			Mutating: true,
			AsksHost: true,
			Category: "reliability", Severity: "low",
			Policy: rancherprojectpropagatelabels.Policy(),
		},
		{
			Name:     "rancher-project-quotas-namespace-validator",
			Summary:  "Refuses Namespaces that ask for more than is left of the quota of their Rancher project.",
			AsksHost: true,
			Category: "efficiency", Severity: "medium",
			Policy: rancherprojectquotasnamespacevalidator.Policy(),
		},
		{
			Name:     "readonly-root-filesystem-psp",
			Summary:  "Refuses containers that may write to their root filesystem.",
			Category: "security", Severity: "medium",
			Policy: readonlyrootfilesystempsp.Policy(),
		},
		{
			Name:     "runtime-enforcer",
			Summary:  "Refuses workloads that name a WorkloadPolicy which does not exist.",
			AsksHost: true,
			Category: "security", Severity: "medium",
			Policy: runtimeenforcer.Policy(),
		},
		{
			Name:     "safe-annotations",
			Summary:  "Denies annotations, requires them, or constrains their values.",
			Category: "reliability", Severity: "low",
			Policy: safeannotations.Policy(),
		},
		{
			Name:     "safe-labels",
			Summary:  "Denies labels, requires them, or constrains their values.",
			Category: "reliability", Severity: "low",
			Policy: safelabels.Policy(),
		},
		{
			Name:     "seccomp-psp",
			Summary:  "Restricts the seccomp profiles of pods and containers.",
			Category: "security", Severity: "medium",
			Policy: seccomppsp.Policy(),
		},
		{
			Name:     "selinux-psp",
			Summary:  "Controls the SELinux options of pods and containers, and sets them where there are none.",
			Mutating: true,
			Category: "security", Severity: "medium",
			Policy: selinuxpsp.Policy(),
		},
		{
			Name:     "share-pid-namespace-policy",
			Summary:  "Refuses pods whose containers share one PID namespace.",
			Category: "security", Severity: "medium",
			Policy: sharepidnamespacepolicy.Policy(),
		},
		{
			Name:     "sysctl-psp",
			Summary:  "Restricts the kernel parameters that pods may set.",
			Category: "security", Severity: "high",
			Policy: sysctlpsp.Policy(),
		},
		{
			Name:     "trusted-repos",
			Summary:  "Restricts the registries, tags and images that containers come from.",
			Category: "security", Severity: "high",
			Policy: trustedrepos.Policy(),
		},
		{
			Name:     "unique-ingress-policy",
			Summary:  "Refuses Ingresses for hosts that another Ingress of the cluster has already.",
			AsksHost: true,
			Category: "reliability", Severity: "medium",
			Policy: uniqueingresspolicy.Policy(),
		},
		{
			Name:     "unique-service-selector-policy",
			Summary:  "Refuses Services whose selector another Service of the namespace has already.",
			AsksHost: true,
			Category: "reliability", Severity: "medium",
			Policy: uniqueserviceselectorpolicy.Policy(),
		},
		{
			Name:     "user-group-psp",
			Summary:  "Controls the users and groups that containers run as, and sets them where nothing is said.",
			Mutating: true,
			AsksHost: true,
			Category: "security", Severity: "high",
			Policy: usergrouppsp.Policy(),
		},
		{
			Name:     "verify-image-signatures",
			Summary:  "Verifies the Sigstore signatures of images, and pins the images to what was verified.",
			Mutating: true,
			AsksHost: true,
			Category: "security", Severity: "high",
			Policy: verifyimagesignatures.Policy(),
		},
		{
			Name:     "volumemounts",
			Summary:  "Says which volumes containers may mount, by name.",
			Category: "security", Severity: "low",
			Policy: volumemounts.Policy(),
		},
		{
			Name:     "volumes-psp",
			Summary:  "Restricts the types of the volumes of pods.",
			Category: "security", Severity: "medium",
			Policy: volumespsp.Policy(),
		},
	}
}
