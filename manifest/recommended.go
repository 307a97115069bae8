package manifest

import (
	"encoding/json"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	v1 "github.com/warder-dev/warder/api/v1"
)

// Recommended are the policies that an installation begins with.
type Recommended struct {
	// Mode of the policies; "" installs none. In monitor mode they refuse
	// nothing, and let requests through that could not be judged.
	Mode v1.Mode
	// SkipNamespaces are namespaces that they do not judge. Default
	// SkipNamespaces.
	SkipNamespaces []string
	// BuiltIn says which modules are built in, by name: these need no registry,
	// and the others are left out.
	BuiltIn []string
}

func (r Recommended) validate() error {
	if r.Mode != "" && r.Mode != v1.Monitor && r.Mode != v1.Protect {
		return fmt.Errorf("mode of the recommended policies: want %s or %s, have %q", v1.Monitor, v1.Protect, r.Mode)
	}
	return nil
}

// SkipNamespaces are namespaces of the infrastructure, which the recommended
// policies do not judge unless told otherwise. Source: Kubewarden's chart,
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

// recommendation is one recommended policy. Source: Kubewarden's chart, but for
// the settings of no-privilege-escalation, of which that names a key that the
// policy does not know.
type recommendation struct {
	name, module string
	rules        []v1.Rule
	mutating     bool
	settings     string
	description  string
}

func recommendations() []recommendation {
	create, both := []v1.Operation{"CREATE"}, []v1.Operation{"CREATE", "UPDATE"}
	pods := func(ops []v1.Operation) v1.Rule {
		return v1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Operations: ops}
	}
	return []recommendation{
		{
			"no-privilege-escalation", "allow-privilege-escalation-psp", []v1.Rule{pods(create)}, true,
			`{"default_allow_privilege_escalation":false}`, "No process gets more privileges than its parent.",
		},
		{
			"no-host-namespace-sharing", "host-namespaces-psp", []v1.Rule{pods(both)}, false,
			`{"allow_host_ipc":false,"allow_host_network":false,"allow_host_pid":false,"allow_host_ports":[]}`,
			"Pods do not share the namespaces of their node, nor its ports.",
		},
		{
			"no-privileged-pod", "pod-privileged", []v1.Rule{
				pods(create),
				{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"replicationcontrollers"}, Operations: both},
				{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments", "replicasets", "statefulsets", "daemonsets"}, Operations: both},
				{APIGroups: []string{"batch"}, APIVersions: []string{"v1"}, Resources: []string{"jobs", "cronjobs"}, Operations: both},
			}, false,
			`{"skip_init_containers":false,"skip_ephemeral_containers":false}`, "Containers are not privileged.",
		},
		{
			"do-not-run-as-root", "user-group-psp", []v1.Rule{pods(create)}, true,
			`{"run_as_user":{"rule":"MustRunAsNonRoot"},"run_as_group":{"rule":"RunAsAny"},"supplemental_groups":{"rule":"RunAsAny"},` +
				`"validate_container_image_configuration":false}`, "Containers do not run as root.",
		},
		{
			"do-not-share-host-paths", "hostpaths-psp", []v1.Rule{pods(both)}, false,
			`{"allowedHostPaths":[{"pathPrefix":"/tmp","readOnly":true}]}`, "Pods mount nothing of their node.",
		},
		{
			"drop-capabilities", "capabilities-psp", []v1.Rule{pods(both)}, true,
			`{"allowed_capabilities":[],"required_drop_capabilities":["ALL"],"default_add_capabilities":[]}`,
			"Containers drop all capabilities.",
		},
	}
}

// LeftOut names the recommended policies whose module is not built in.
func (r Recommended) LeftOut() []string {
	var names []string
	for _, rec := range recommendations() {
		if r.Mode != "" && !slices.Contains(r.BuiltIn, rec.module) {
			names = append(names, rec.name)
		}
	}
	return names
}

// policies are the recommended policies with a module that is built in.
func (r Recommended) policies() []*v1.ClusterAdmissionPolicy {
	var all []*v1.ClusterAdmissionPolicy
	if r.Mode == "" {
		return nil
	}
	skip := r.SkipNamespaces
	if skip == nil {
		skip = SkipNamespaces()
	}
	failure := admissionv1.Ignore
	if r.Mode == v1.Protect {
		failure = admissionv1.Fail
	}
	for _, rec := range recommendations() {
		if !slices.Contains(r.BuiltIn, rec.module) {
			continue
		}
		p := &v1.ClusterAdmissionPolicy{
			TypeMeta: metav1.TypeMeta{APIVersion: v1.GroupVersion().String(), Kind: string(v1.KindClusterAdmissionPolicy)},
			ObjectMeta: metav1.ObjectMeta{
				Name: rec.name, Labels: installLabels("policy"), Finalizers: []string{v1.Finalizer},
				Annotations: map[string]string{v1.AnnotationCategory: "PSP", v1.AnnotationSeverity: "medium", v1.AnnotationDescription: rec.description},
			},
		}
		p.Spec.PolicyServer, p.Spec.Mode, p.Spec.BackgroundAudit = "default", r.Mode, true
		p.Spec.Rules, p.Spec.FailurePolicy = rec.rules, &failure
		p.Spec.Module = "builtin://" + rec.module
		p.Spec.Settings = runtime.RawExtension{Raw: json.RawMessage(rec.settings)}
		p.Spec.Mutating = rec.mutating
		if len(skip) > 0 {
			p.Spec.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: skip},
			}}
		}
		all = append(all, p)
	}
	return all
}
