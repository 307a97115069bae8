package manifest

import v1 "github.com/warder-dev/warder/api/v1"

// SkipNamespaces are namespaces of the infrastructure, which the policies of
// sets do not judge unless told otherwise. Source: Kubewarden's chart,
// global.skipNamespaces.
func SkipNamespaces() []string {
	return []string{
		"calico-apiserver", "calico-system", "cattle-alerting", "cattle-csp-adapter-system", "cattle-elemental-system",
		"cattle-epinio-system", "cattle-externalip-system", "cattle-fleet-local-system", "cattle-fleet-system",
		"cattle-gatekeeper-system", "cattle-global-data", "cattle-global-nt", "cattle-impersonation-system", "cattle-istio",
		"cattle-istio-system", "cattle-logging", "cattle-logging-system", "cattle-monitoring-system", "cattle-neuvector-system",
		"cattle-pipeline", "cattle-prometheus", "cattle-provisioning-capi-system", "cattle-resources-system",
		"cattle-sriov-system", "cattle-system", "cattle-ui-plugin-system", "cattle-windows-gmsa-system", "cert-manager",
		"cis-operator-system", "fleet-default", "fleet-local", "ingress-nginx", "istio-system", "kube-node-lease", "kube-public",
		"kube-system", "longhorn-system", "rancher-alerting-drivers", "rancher-operator-system", "security-scan",
		"tigera-operator",
	}
}

// kubewardenDefaults are the policies that Kubewarden recommends. Source: its
// chart, but for the settings of no-privilege-escalation, of which that names a
// key that the policy does not know. Those that mutate are about pods alone:
// what changed a Deployment and its pods would fight with its controller.
func kubewardenDefaults() []setPolicy {
	create, both := ops("CREATE"), ops("CREATE", "UPDATE")
	all := []setPolicy{
		{name: "no-privilege-escalation", module: "allow-privilege-escalation-psp", mutating: true,
			title: "No privilege escalation", description: "No process gets more privileges than its parent.",
			rules:    []v1.Rule{setRule(create, "", "v1", "pods")},
			settings: `{"default_allow_privilege_escalation":false}`},
		{name: "no-host-namespace-sharing", module: "host-namespaces-psp",
			title: "No host namespaces", description: "Pods do not share the namespaces of their node, nor its ports.",
			rules:    []v1.Rule{setRule(both, "", "v1", "pods")},
			settings: `{"allow_host_ipc":false,"allow_host_network":false,"allow_host_pid":false,"allow_host_ports":[]}`},
		{name: "no-privileged-pod", module: "pod-privileged",
			title: "No privileged pods", description: "Containers are not privileged.",
			rules: []v1.Rule{
				setRule(create, "", "v1", "pods"), setRule(both, "", "v1", "replicationcontrollers"),
				setRule(both, "apps", "v1", "deployments", "replicasets", "statefulsets", "daemonsets"),
				setRule(both, "batch", "v1", "jobs", "cronjobs"),
			},
			settings: `{"skip_init_containers":false,"skip_ephemeral_containers":false}`},
		{name: "do-not-run-as-root", module: "user-group-psp", mutating: true,
			title: "Do not run as root", description: "Containers do not run as root.",
			rules: []v1.Rule{setRule(create, "", "v1", "pods")},
			settings: `{"run_as_user":{"rule":"MustRunAsNonRoot"},"run_as_group":{"rule":"RunAsAny"},"supplemental_groups":{"rule":"RunAsAny"},` +
				`"validate_container_image_configuration":false}`},
		{name: "do-not-share-host-paths", module: "hostpaths-psp",
			title: "No host paths", description: "Pods mount nothing of their node.",
			rules:    []v1.Rule{setRule(both, "", "v1", "pods")},
			settings: `{"allowedHostPaths":[{"pathPrefix":"/tmp","readOnly":true}]}`},
		{name: "drop-capabilities", module: "capabilities-psp", mutating: true,
			title: "Drop capabilities", description: "Containers drop all capabilities.",
			rules:    []v1.Rule{setRule(both, "", "v1", "pods")},
			settings: `{"allowed_capabilities":[],"required_drop_capabilities":["ALL"],"default_add_capabilities":[]}`},
	}
	for i := range all {
		all[i].category, all[i].severity = "PSP", "medium"
	}
	return all
}
