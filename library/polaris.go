package library

// PolarisCheck is a check of Fairwinds Polaris, and the built-in that gives its
// verdict.
type PolarisCheck struct {
	// Name is what Polaris calls it: "hostIPCSet".
	Name string
	// Builtin is the name of the built-in.
	Builtin string
	// Settings are the built-in's settings in JSON, with which it looks at what
	// the check looks at, and at nothing else; "" for none.
	Settings string
	// Category is "security", "reliability" or "efficiency", as Polaris has it and
	// the built-in too.
	Category string
	// Severity is "high" for what Polaris calls danger by default, and "medium"
	// for what it warns of.
	Severity string
	// Note says where the verdict differs, or what else is to be known; "" for
	// nothing.
	Note string
}

// PolarisChecks returns every check that Polaris has built in, by category and
// name. The slice is the caller's.
//
// Source: https://polaris.docs.fairwinds.com/checks/security/, and the pages
// reliability and efficiency beside it.
func PolarisChecks() []PolarisCheck { //nolint:funlen // a table
	return []PolarisCheck{
		{
			Name: "automountServiceAccountToken", Builtin: "automount-service-account-token",
			Category: "security", Severity: "medium",
			Note: "the pod must say so; the ServiceAccount is not asked",
		},
		{
			Name: "clusterrolebindingClusterAdmin", Builtin: "rbac-binding-wildcards",
			Settings: `{"allowedBindings": ["system:*", "cluster-admin"]}`,
			Category: "security", Severity: "high",
			Note: "goes by what the role allows; rbac-cluster-admin goes by its name",
		},
		{
			Name: "clusterrolebindingPodExecAttach", Builtin: "rbac-binding-pod-exec",
			Settings: `{"allowedBindings": ["system:*", "cluster-admin"]}`,
			Category: "security", Severity: "high",
		},
		{
			Name: "clusterrolePodExecAttach", Builtin: "rbac-pod-exec",
			Settings: `{"allowedRoles": ["system:*", "cluster-admin", "admin", "edit"]}`,
			Category: "security", Severity: "high",
		},
		{
			Name: "dangerousCapabilities", Builtin: "capabilities-denied",
			Category: "security", Severity: "high",
		},
		{
			Name: "gatewayAllowedRoutesAll", Builtin: "gateway-allowed-routes",
			Category: "security", Severity: "medium",
		},
		{
			Name: "gatewayCrossNamespaceCertificateRef", Builtin: "gateway-references",
			Category: "security", Severity: "medium",
		},
		{
			Name: "gatewayInsecureFrontendValidation", Builtin: "gateway-tls",
			Category: "security", Severity: "medium",
			Note: "wants certificates too",
		},
		{
			Name: "gatewayTLSMissing", Builtin: "gateway-tls",
			Settings: `{"allowInsecureFallback": true}`,
			Category: "security", Severity: "medium",
			Note: "options of the implementation are enough",
		},
		{
			Name: "hostIPCSet", Builtin: "host-namespaces-psp",
			Settings: `{"allow_host_network": true, "allow_host_pid": true, "allow_host_ports": [{"min": 0, "max": 65535}]}`,
			Category: "security", Severity: "high",
		},
		{
			Name: "hostNetworkSet", Builtin: "host-namespaces-psp",
			Settings: `{"allow_host_ipc": true, "allow_host_pid": true, "allow_host_ports": [{"min": 0, "max": 65535}]}`,
			Category: "security", Severity: "high",
		},
		{
			Name: "hostPathSet", Builtin: "volumes-psp",
			Settings: `{"allowedTypes": ["awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "fc", "flexVolume", "flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "image", "iscsi", "nfs", "persistentVolumeClaim", "photonPersistentDisk", "portworxVolume", "projected", "quobyte", "rbd", "scaleIO", "secret", "storageos", "vsphereVolume"]}`,
			Category: "security", Severity: "medium",
		},
		{
			Name: "hostPIDSet", Builtin: "host-namespaces-psp",
			Settings: `{"allow_host_ipc": true, "allow_host_network": true, "allow_host_ports": [{"min": 0, "max": 65535}]}`,
			Category: "security", Severity: "high",
		},
		{
			Name: "hostPortSet", Builtin: "host-namespaces-psp",
			Settings: `{"allow_host_ipc": true, "allow_host_network": true, "allow_host_pid": true}`,
			Category: "security", Severity: "medium",
		},
		{
			Name: "hostProcess", Builtin: "host-process",
			Category: "security", Severity: "medium",
		},
		{
			Name: "httpRouteBackendTLSMissing", Builtin: "http-route-backend-tls",
			Settings: `{"kgateway": true}`,
			Category: "security", Severity: "medium",
			Note: "without kgateway in the cluster leave the setting out",
		},
		{
			Name: "httpRouteCrossNamespaceBackendRef", Builtin: "gateway-references",
			Category: "security", Severity: "medium",
		},
		{
			Name: "httpRouteInsecureListener", Builtin: "http-route-listeners",
			Category: "security", Severity: "medium",
		},
		{
			Name: "httpRouteWildcardOrEmptyHost", Builtin: "http-route-hostnames",
			Category: "security", Severity: "medium",
		},
		{
			Name: "insecureCapabilities", Builtin: "capabilities-dropped",
			Settings: `{"required": ["AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"]}`,
			Category: "security", Severity: "medium",
		},
		{
			Name: "kgatewayBackendTLSVerificationDisabled", Builtin: "kgateway-backend-tls",
			Category: "security", Severity: "medium",
		},
		{
			Name: "linuxHardening", Builtin: "linux-hardening",
			Category: "security", Severity: "medium",
			Note: "AppArmor's old annotation counts once the API server has made a field of it",
		},
		{
			Name: "missingNetworkPolicy", Builtin: "network-policy-required",
			Category: "security", Severity: "medium",
			Note: "a policy of type Ingress must select the pods",
		},
		{
			Name: "notReadOnlyRootFilesystem", Builtin: "readonly-root-filesystem-psp",
			Category: "security", Severity: "medium",
		},
		{
			Name: "privilegeEscalationAllowed", Builtin: "allow-privilege-escalation-psp",
			Settings: `{"default_allow_privilege_escalation": false}`,
			Category: "security", Severity: "high",
			Note: "sets false where nothing is said, which Polaris refuses",
		},
		{
			Name: "procMount", Builtin: "allowed-proc-mount-types-psp",
			Category: "security", Severity: "medium",
		},
		{
			Name: "rolebindingClusterAdminClusterRole", Builtin: "rbac-binding-wildcards",
			Settings: `{"allowedBindings": ["system:*"]}`,
			Category: "security", Severity: "high",
			Note: "goes by what the role allows; rbac-cluster-admin goes by its name",
		},
		{
			Name: "rolebindingClusterAdminRole", Builtin: "rbac-binding-wildcards",
			Settings: `{"allowedBindings": ["system:*"]}`,
			Category: "security", Severity: "high",
		},
		{
			Name: "rolebindingClusterRolePodExecAttach", Builtin: "rbac-binding-pod-exec",
			Settings: `{"allowedBindings": ["system:*"]}`,
			Category: "security", Severity: "high",
		},
		{
			Name: "rolebindingRolePodExecAttach", Builtin: "rbac-binding-pod-exec",
			Settings: `{"allowedBindings": ["system:*"]}`,
			Category: "security", Severity: "high",
		},
		{
			Name: "rolePodExecAttach", Builtin: "rbac-pod-exec",
			Settings: `{"allowedRoles": ["system:*", "cluster-admin", "admin", "edit"]}`,
			Category: "security", Severity: "high",
		},
		{
			Name: "runAsPrivileged", Builtin: "pod-privileged",
			Category: "security", Severity: "high",
		},
		{
			Name: "runAsRootAllowed", Builtin: "run-as-non-root",
			Category: "security", Severity: "high",
		},
		{
			Name: "sensitiveConfigmapContent", Builtin: "sensitive-configmap-content",
			Category: "security", Severity: "high",
		},
		{
			Name: "sensitiveContainerEnvVar", Builtin: "sensitive-container-env-var",
			Category: "security", Severity: "high",
		},
		{
			Name: "tlsSettingsMissing", Builtin: "ingress",
			Settings: `{"requireTLS": true}`,
			Category: "security", Severity: "medium",
		},
		{
			Name: "deploymentMissingReplicas", Builtin: "min-replicas",
			Category: "reliability", Severity: "medium",
		},
		{
			Name: "hpaMaxAvailability", Builtin: "hpa-replicas",
			Settings: `{"min": 1}`,
			Category: "reliability", Severity: "medium",
		},
		{
			Name: "hpaMinAvailability", Builtin: "hpa-replicas",
			Category: "reliability", Severity: "medium",
			Note: "wants maxReplicas to be greater too",
		},
		{
			Name: "livenessProbeMissing", Builtin: "probes",
			Settings: `{"readiness": {"enforce": false}, "liveness": {"enforce": true}}`,
			Category: "reliability", Severity: "medium",
		},
		{
			Name: "metadataAndInstanceMismatched", Builtin: "instance-label",
			Settings: `{"required": true}`,
			Category: "reliability", Severity: "medium",
		},
		{
			Name: "missingPodDisruptionBudget", Builtin: "pdb-required",
			Category: "reliability", Severity: "medium",
			Note: "Deployments and StatefulSets; a single replica needs none",
		},
		{
			Name: "pdbDisruptionsIsZero", Builtin: "pdb-allows-disruptions",
			Category: "reliability", Severity: "medium",
		},
		{
			Name: "pdbMinAvailableGreaterThanOrEqualToHPAMinReplicas", Builtin: "pdb-hpa-replicas",
			Category: "reliability", Severity: "medium",
			Note: "also called pdbMinAvailableGreaterThanHPAMinReplicas",
		},
		{
			Name: "priorityClassNotSet", Builtin: "priority-class-required",
			Category: "reliability", Severity: "medium",
		},
		{
			Name: "pullPolicyNotAlways", Builtin: "image-pull-policy",
			Category: "reliability", Severity: "medium",
		},
		{
			Name: "readinessProbeMissing", Builtin: "probes",
			Settings: `{"readiness": {"enforce": true}, "liveness": {"enforce": false}}`,
			Category: "reliability", Severity: "medium",
		},
		{
			Name: "tagNotSpecified", Builtin: "image-tag",
			Category: "reliability", Severity: "high",
		},
		{
			Name: "topologySpreadConstraint", Builtin: "topology-spread",
			Category: "reliability", Severity: "medium",
			Note: "workloads of two replicas or more",
		},
		{
			Name: "cpuLimitsMissing", Builtin: "resources-required",
			Settings: `{"limits": ["cpu"], "skipInitContainers": true}`,
			Category: "efficiency", Severity: "medium",
		},
		{
			Name: "cpuRequestsMissing", Builtin: "resources-required",
			Settings: `{"requests": ["cpu"], "skipInitContainers": true}`,
			Category: "efficiency", Severity: "medium",
			Note: "a limit is a request too",
		},
		{
			Name: "memoryLimitsMissing", Builtin: "resources-required",
			Settings: `{"limits": ["memory"], "skipInitContainers": true}`,
			Category: "efficiency", Severity: "medium",
		},
		{
			Name: "memoryRequestsMissing", Builtin: "resources-required",
			Settings: `{"requests": ["memory"], "skipInitContainers": true}`,
			Category: "efficiency", Severity: "medium",
			Note: "a limit is a request too",
		},
	}
}
