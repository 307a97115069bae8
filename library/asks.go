package library

// Resource is a kind of objects that a policy reads from the cluster.
type Resource struct{ APIVersion, Kind string }

// Reads returns what the built-in reads from the cluster: a policy needs these
// among its contextAwareResources.
func (b Builtin) Reads() []Resource {
	switch b.Name {
	case "do-not-expose-admission-controller-webhook-services":
		return []Resource{{"networking.k8s.io/v1", "Ingress"}, {"v1", "Service"}}
	case "gateway-references":
		return []Resource{{"gateway.networking.k8s.io/v1beta1", "ReferenceGrant"}}
	case "http-route-backend-tls":
		return []Resource{{"v1", "Service"}, {"gateway.networking.k8s.io/v1", "BackendTLSPolicy"}}
	case "http-route-listeners":
		return []Resource{{"gateway.networking.k8s.io/v1", "Gateway"}}
	case "image-cve-policy":
		return []Resource{{"storage.sbomscanner.kubewarden.io/v1alpha1", "VulnerabilityReport"}}
	case "cel-policy", "namespace-label-propagator", "ns-policyserver-mapper":
		return []Resource{{"v1", "Namespace"}}
	case "network-policy-required":
		return []Resource{{"networking.k8s.io/v1", "NetworkPolicy"}}
	case "pdb-hpa-replicas":
		return []Resource{
			{"policy/v1", "PodDisruptionBudget"}, {"autoscaling/v2", "HorizontalPodAutoscaler"}, {"apps/v1", "Deployment"}, {"apps/v1", "StatefulSet"},
		}
	case "pdb-required":
		return []Resource{{"policy/v1", "PodDisruptionBudget"}}
	case "rancher-project-propagate-labels", "rancher-project-quotas-namespace-validator":
		return []Resource{{"management.cattle.io/v3", "Project"}}
	case "rbac-binding-pod-exec", "rbac-binding-wildcards":
		return []Resource{{"rbac.authorization.k8s.io/v1", "Role"}, {"rbac.authorization.k8s.io/v1", "ClusterRole"}}
	case "runtime-enforcer":
		return []Resource{{"security.rancher.io/v1alpha1", "WorkloadPolicy"}}
	case "unique-ingress-policy":
		return []Resource{{"networking.k8s.io/v1", "Ingress"}}
	case "unique-service-selector-policy":
		return []Resource{{"v1", "Service"}}
	}
	return nil
}

// Capabilities returns what the built-in asks of the host, log lines aside: a
// policy needs these granted.
func (b Builtin) Capabilities() []string {
	switch b.Name {
	case "cel-policy": // what its expressions ask
		return []string{"crypto/*", "kubernetes/*", "net/*", "oci/*"}
	case "do-not-expose-admission-controller-webhook-services", "gateway-references", "network-policy-required", "pdb-required",
		"unique-service-selector-policy":
		return []string{"kubernetes/list_resources_by_namespace"}
	case "high-risk-service-account":
		return []string{"kubernetes/can_i"}
	case "image-cve-policy":
		return []string{"kubernetes/list_resources_by_namespace", "oci/v1/manifest_digest", "oci/v1/oci_manifest"}
	case "http-route-backend-tls", "pdb-hpa-replicas":
		return []string{"kubernetes/get_resource", "kubernetes/list_resources_by_namespace"}
	case "http-route-listeners", "namespace-label-propagator", "ns-policyserver-mapper", "rancher-project-propagate-labels",
		"rbac-binding-pod-exec", "rbac-binding-wildcards", "rancher-project-quotas-namespace-validator", "runtime-enforcer":
		return []string{"kubernetes/get_resource"}
	case "unique-ingress-policy":
		return []string{"kubernetes/list_resources_all"}
	case "user-group-psp":
		return []string{"oci/v1/oci_manifest_config"}
	case "verify-image-signatures":
		return []string{"oci/v2/verify"}
	}
	return nil
}

// JudgesExisting says whether the built-in has something to say of objects that
// exist. Some ask what only the request knows, or change what nobody would want
// to have reported.
func (b Builtin) JudgesExisting() bool {
	switch b.Name {
	case "deprecated-api-versions", "ns-policyserver-mapper", "safe-annotations", "safe-labels":
		return false // as Kubewarden's metadata say
	}
	return true
}
