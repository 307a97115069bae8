package manifest

import v1 "github.com/warder-dev/warder/api/v1"

// bestPractices are checks that a platform team switches on beside one of the Pod
// Security Standards, which has what is about the privileges of pods. Categories
// and severities are those of the library.
//
// Those about pods judge the creation of pods and, expanded, of what makes pods.
// Those about other objects leave one alone that is being deleted: its finalizers
// are taken away by updates. Those about secrets and rights do not, since what
// they refuse works until the object is gone.
func bestPractices() []setPolicy {
	settled := ops("CREATE", "UPDATE")
	pods := []v1.Rule{setRule(ops("CREATE"), "", "v1", "pods")}
	roles := func(resources ...string) []v1.Rule {
		return []v1.Rule{setRule(settled, "rbac.authorization.k8s.io", "v1", resources...)}
	}
	all := []setPolicy{
		{name: "image-tag", module: "image-tag", category: "reliability", severity: "high", rules: pods, workloads: v1.Expand,
			title: "Images name their version", description: "Images have a tag other than latest, or a digest."},
		{name: "probes", module: "probes", category: "reliability", severity: "medium", rules: pods, workloads: v1.Expand,
			conditions: notOfJobs(), settings: `{"liveness":{"enforce":false},"readiness":{"enforce":true}}`,
			title: "Containers have a readiness probe", description: "No traffic reaches a container that is not ready; jobs need none."},
		{name: "memory", module: "container-resources", category: "efficiency", severity: "medium", rules: pods, workloads: v1.Expand,
			settings: `{"memory":{"ignoreValues":true}}`,
			title:    "Containers say how much memory they need", description: "Containers have a request and a limit of memory."},
		{name: "read-only-root", module: "readonly-root-filesystem-psp", category: "security", severity: "medium", rules: pods, workloads: v1.Expand,
			title: "Containers do not change their image", description: "The root filesystem of containers is read-only."},
		{name: "secrets-in-environment", module: "sensitive-container-env-var", category: "security", severity: "high", rules: pods, workloads: v1.Expand,
			title: "No secrets in environment variables", description: "Secrets come from Secrets, not from the text of a pod."},
		{name: "network-policy", module: "network-policy-required", category: "security", severity: "medium", rules: pods, workloads: v1.Expand,
			context: []v1.ContextAwareResource{{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}},
			title:   "Pods have a NetworkPolicy", description: "A NetworkPolicy says who may talk to the pods."},

		{name: "secrets-in-configmaps", module: "sensitive-configmap-content", category: "security", severity: "high",
			rules: []v1.Rule{setRule(settled, "", "v1", "configmaps")},
			title: "No secrets in ConfigMaps", description: "Secrets are in Secrets."},
		{name: "rbac-cluster-admin", module: "rbac-cluster-admin", category: "security", severity: "high", rules: roles("rolebindings", "clusterrolebindings"),
			title: "Nobody is given all rights", description: "No binding leads to cluster-admin or to a group of everybody."},
		{name: "rbac-wildcards", module: "rbac-wildcards", category: "security", severity: "high", rules: roles("roles", "clusterroles"),
			title: "Roles name what they allow", description: "Roles have no wildcards."},
		{name: "rbac-pod-exec", module: "rbac-pod-exec", category: "security", severity: "high", rules: roles("roles", "clusterroles"),
			title: "Nobody runs commands in containers", description: "Roles allow neither exec nor attach."},

		{name: "min-replicas", module: "min-replicas", category: "reliability", severity: "medium", conditions: notGoing(),
			rules: []v1.Rule{setRule(settled, "apps", "v1", "deployments", "deployments/scale")},
			title: "Deployments have replicas", description: "A Deployment outlives the loss of a node."},
		{name: "topology-spread", module: "topology-spread", category: "reliability", severity: "medium", conditions: notGoing(),
			rules: []v1.Rule{setRule(settled, "apps", "v1", "deployments", "statefulsets")},
			title: "Replicas are spread", description: "The replicas of a workload are not on one node."},
		{name: "pdb-required", module: "pdb-required", category: "reliability", severity: "medium", conditions: notGoing(),
			rules:   []v1.Rule{setRule(settled, "apps", "v1", "deployments", "statefulsets")},
			context: []v1.ContextAwareResource{{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}},
			title:   "Workloads have a PodDisruptionBudget", description: "A drained node does not take all replicas with it."},
		{name: "pdb-allows-disruptions", module: "pdb-allows-disruptions", category: "reliability", severity: "medium", conditions: notGoing(),
			rules: []v1.Rule{setRule(settled, "policy", "v1", "poddisruptionbudgets")},
			title: "Nodes can be drained", description: "A PodDisruptionBudget allows one disruption at least."},
		{name: "hpa-replicas", module: "hpa-replicas", category: "reliability", severity: "medium", conditions: notGoing(),
			rules: []v1.Rule{setRule(settled, "autoscaling", "*", "horizontalpodautoscalers")},
			title: "Autoscalers keep replicas", description: "An autoscaler keeps two replicas, and has room for more."},
		{name: "ingress-tls", module: "ingress", category: "security", severity: "medium", conditions: notGoing(),
			settings: `{"requireTLS":true}`, rules: []v1.Rule{setRule(settled, "networking.k8s.io", "v1", "ingresses")},
			title: "Ingresses have TLS", description: "Every host of an Ingress has TLS."},
		{name: "unique-ingress", module: "unique-ingress-policy", category: "reliability", severity: "medium", conditions: notGoing(),
			rules:   []v1.Rule{setRule(settled, "networking.k8s.io", "v1", "ingresses")},
			context: []v1.ContextAwareResource{{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}},
			title:   "A host has one Ingress", description: "Two Ingresses do not fight over a host."},
	}
	for i := range all {
		all[i].name = SetBestPractices + "-" + all[i].name // so that none is a policy of somebody else's
	}
	return all
}

// notGoing leaves objects alone that are on their way out.
func notGoing() []v1.MatchCondition {
	return []v1.MatchCondition{{
		Name:       "not-being-deleted",
		Expression: "request.operation != 'UPDATE' || !has(oldObject.metadata.deletionTimestamp)",
	}}
}

// notOfJobs leaves jobs alone, and the pods that they make.
func notOfJobs() []v1.MatchCondition {
	return []v1.MatchCondition{{
		Name: "not-of-jobs",
		Expression: "!(request.kind.kind in ['Job', 'CronJob']) && " +
			"!(has(object.metadata.ownerReferences) && object.metadata.ownerReferences.exists(o, o.kind == 'Job'))",
	}}
}
