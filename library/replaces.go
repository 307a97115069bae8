package library

import (
	"slices"
	"strings"
)

// upstream is where Kubewarden publishes its policies, each in a repository of
// the policy's name.
const upstream = "ghcr.io/kubewarden/policies/"

// replacing are the built-ins that stand for the Kubewarden policy of that name.
// The others are our own: should Kubewarden ever publish a policy called
// min-replicas, it would have nothing to do with ours.
func replacing() []string {
	return []string{
		"allow-privilege-escalation-psp", "allowed-fsgroups-psp", "allowed-proc-mount-types-psp", "annotations", "apparmor-psp",
		"capabilities-psp", "container-resources", "deprecated-api-versions", "disallow-service-loadbalancer", "disallow-service-nodeport",
		"do-not-expose-admission-controller-webhook-services", "env-variable-secrets-scanner", "environment-variable-policy",
		"flexvolume-drivers-psp", "high-risk-service-account", "host-namespaces-psp", "hostpaths-psp", "image-cve-policy", "ingress",
		"labels", "namespace-label-propagator", "ns-policyserver-mapper", "persistentvolumeclaim-storageclass-policy", "pod-ndots",
		"pod-privileged", "pod-runtime", "priority-class-policy", "probes", "psa-label-enforcer", "rancher-project-propagate-labels",
		"rancher-project-quotas-namespace-validator", "readonly-root-filesystem-psp", "runtime-enforcer", "safe-annotations", "safe-labels",
		"seccomp-psp", "selinux-psp", "share-pid-namespace-policy", "sysctl-psp", "trusted-repos", "unique-ingress-policy",
		"unique-service-selector-policy", "user-group-psp", "verify-image-signatures", "volumemounts", "volumes-psp",
	}
}

// renamed are repositories that Kubewarden has left for another name of the
// policy, by what the name was.
func renamed() map[string]string {
	return map[string]string{"psp-apparmor": "apparmor-psp", "psp-capabilities": "capabilities-psp"}
}

// Image is the repository of the Kubewarden policy that the built-in stands for,
// as in ghcr.io/kubewarden/policies/pod-privileged; empty if it is none of
// Kubewarden's.
func (b Builtin) Image() string {
	if !slices.Contains(replacing(), b.Name) {
		return ""
	}
	return upstream + b.Name
}

// ForImage returns the built-in that stands for the Kubewarden policy of a
// repository (a registry and a path, without tag and digest), false if there is
// none. Mirrors of Kubewarden's are no such repositories: who mirrors may have
// changed something.
func ForImage(repository string) (Builtin, bool) {
	name, ok := strings.CutPrefix(repository, upstream)
	if !ok {
		return Builtin{}, false
	}
	if now, ok := renamed()[name]; ok {
		name = now
	}
	if !slices.Contains(replacing(), name) {
		return Builtin{}, false
	}
	return Lookup(name)
}
