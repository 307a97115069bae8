package library

// Rule is which requests a policy is for, as in a webhook of Kubernetes.
type Rule struct {
	APIGroups   []string
	APIVersions []string
	Resources   []string
	Operations  []string
}

// Rules returns the requests that the built-in is for: all that it has something
// to say to, as far as it is not a matter of its settings. Source of those that
// stand for a Kubewarden policy: the metadata of that policy.
func (b Builtin) Rules() []Rule {
	switch b.Name {
	case "allow-privilege-escalation-psp", "annotations", "automount-service-account-token", "capabilities-denied",
		"capabilities-dropped", "capabilities-psp", "container-resources", "env-variable-secrets-scanner", "environment-variable-policy", "high-risk-service-account", "host-namespaces-psp", "host-process",
		"hostpaths-psp", "image-cve-policy", "image-pull-policy", "image-tag", "labels", "linux-hardening", "namespace-label-propagator",
		"network-policy-required", "pod-privileged", "priority-class-policy", "priority-class-required", "resources-required",
		"run-as-non-root", "runtime-enforcer",
		"sensitive-container-env-var", "share-pid-namespace-policy", "trusted-repos", "user-group-psp", "verify-image-signatures",
		"volumemounts":
		return workloads()
	case "allowed-fsgroups-psp", "allowed-proc-mount-types-psp", "apparmor-psp", "flexvolume-drivers-psp", "pod-ndots", "pod-runtime",
		"probes", "readonly-root-filesystem-psp", "seccomp-psp", "selinux-psp", "sysctl-psp", "volumes-psp":
		return changes("", "pods")
	case "pod-security":
		return append(workloads(), changes("", "pods/ephemeralcontainers")...)
	case "cel-policy": // its code is runtime/celpolicy
		return one(Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}, Operations: []string{"*"}})
	case "deprecated-api-versions":
		return one(Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*"}, Operations: []string{"CREATE"}})
	case "safe-annotations", "safe-labels":
		return one(Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}})
	}
	return b.otherRules()
}

// otherRules are those of the policies that are not about pods.
func (b Builtin) otherRules() []Rule {
	switch b.Name {
	case "disallow-service-loadbalancer", "disallow-service-nodeport", "unique-service-selector-policy":
		return changes("", "services")
	case "psa-label-enforcer", "rancher-project-propagate-labels", "rancher-project-quotas-namespace-validator":
		return changes("", "namespaces")
	case "persistentvolumeclaim-storageclass-policy":
		return one(Rule{Resources: []string{"persistentvolumeclaims"}, Operations: []string{"CREATE"}})
	case "sensitive-configmap-content":
		return changes("", "configmaps")
	case "gateway-allowed-routes", "gateway-tls":
		return changes("gateway.networking.k8s.io", "gateways")
	case "gateway-references":
		return changes("gateway.networking.k8s.io", "gateways", "httproutes")
	case "http-route-backend-tls", "http-route-hostnames", "http-route-listeners":
		return changes("gateway.networking.k8s.io", "httproutes")
	case "kgateway-backend-tls":
		return one(Rule{APIGroups: []string{"gateway.kgateway.dev"}, APIVersions: []string{"*"}, Resources: []string{"backendconfigpolicies"}})
	case "ingress", "unique-ingress-policy":
		return changes("networking.k8s.io", "ingresses")
	case "rbac-binding-pod-exec", "rbac-binding-wildcards", "rbac-cluster-admin":
		return changes("rbac.authorization.k8s.io", "rolebindings", "clusterrolebindings")
	case "rbac-pod-exec", "rbac-wildcards":
		return changes("rbac.authorization.k8s.io", "roles", "clusterroles")
	case "do-not-expose-admission-controller-webhook-services":
		return changes("admissionregistration.k8s.io", "validatingwebhookconfigurations", "mutatingwebhookconfigurations")
	case "ns-policyserver-mapper":
		return changes("policies.kubewarden.io", "admissionpolicies", "admissionpolicygroups")
	case "hpa-replicas":
		return one(Rule{APIGroups: []string{"autoscaling"}, APIVersions: []string{"*"}, Resources: []string{"horizontalpodautoscalers"}})
	case "pdb-hpa-replicas":
		return append(changes("policy", "poddisruptionbudgets"),
			append(changes("apps", "deployments", "statefulsets"),
				one(Rule{APIGroups: []string{"autoscaling"}, APIVersions: []string{"v2"}, Resources: []string{"horizontalpodautoscalers"}})...)...)
	case "pod-security":
		return changes("", "pods", "pods/ephemeralcontainers")
	case "pdb-allows-disruptions":
		return changes("policy", "poddisruptionbudgets")
	case "pdb-required", "instance-label":
		return changes("apps", "deployments", "statefulsets", "daemonsets")
	case "min-replicas":
		return append(changes("apps", "deployments", "deployments/scale", "statefulsets", "statefulsets/scale", "replicasets", "replicasets/scale"),
			changes("", "replicationcontrollers", "replicationcontrollers/scale")...)
	case "topology-spread":
		return append(changes("apps", "deployments", "replicasets", "statefulsets"), changes("", "replicationcontrollers")...)
	}
	return nil
}

// workloads are pods and what makes pods.
func workloads() []Rule {
	return append(changes("", "pods", "replicationcontrollers"),
		append(changes("apps", "deployments", "replicasets", "statefulsets", "daemonsets"),
			changes("batch", "jobs", "cronjobs")...)...)
}

// changes are the making and changing of resources of a group, in version v1.
func changes(group string, resources ...string) []Rule {
	return one(Rule{APIGroups: []string{group}, Resources: resources})
}

// one is a rule alone, with what most rules have where it says nothing: the core
// group, v1, and what makes or changes objects.
func one(r Rule) []Rule {
	if r.APIGroups == nil {
		r.APIGroups = []string{""}
	}
	if r.APIVersions == nil {
		r.APIVersions = []string{"v1"}
	}
	if r.Operations == nil {
		r.Operations = []string{"CREATE", "UPDATE"}
	}
	return []Rule{r}
}
