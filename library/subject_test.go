package library_test

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk/sdktest"
)

// subject is what a policy is asked about in the tests of all policies.
type subject struct {
	kind string
	// object is accepted, and mutated by a policy that mutates.
	object string
	// misshapen are no objects of the kind, and have something to refuse beside.
	misshapen []string
	// elsewhere says that it looks neither into spec nor into metadata.
	elsewhere bool
	answers   []sdktest.Answer
}

// places are fields of a pod that one policy or another looks at, and are not
// shaped as they should be.
const places = `"volumes": {}, "runtimeClassName": 1, "shareProcessNamespace": "yes", "securityContext": [],
	"dnsConfig": "x", "priorityClassName": 1, "serviceAccountName": []`

// subjectOf returns what the policy is asked about, a Pod unless it judges
// something else.
func subjectOf(policy string) subject {
	s := subjects()[policy]
	if s.kind == "" {
		s.kind = "Pod"
	}
	if s.object == "" {
		s.object = `{"spec": {"automountServiceAccountToken": false, "containers": [
			{"name": "a", "image": "nginx", "readinessProbe": {}, "securityContext": {"readOnlyRootFilesystem": true}}]}}`
	}
	if s.misshapen == nil {
		s.misshapen = []string{
			`{"spec": {"containers": {}, "initContainers": 1, "hostPID": 0, ` + places + `}, "metadata": {"labels": []}}`,
			`{"spec": {"containers": ["c"], "hostIPC": "yes", ` + places + `}, "metadata": {"labels": "a"}}`,
			`{"spec": {"containers": [{"image": 1, "securityContext": [], "resources": 1, "ports": {}, "env": 1, "volumeMounts": {}}], ` +
				places + `}, "metadata": {"labels": {"a": {}, "security.rancher.io/policy": 1}}}`,
		}
	}
	return s
}

// says is what a host answers to each call of the capability.
func says(capability, payload string) []sdktest.Answer {
	return []sdktest.Answer{{Capability: capability, Payload: json.RawMessage(payload)}}
}

func subjects() map[string]subject {
	digest := "sha256:" + strings.Repeat("0a", 32)
	return map[string]subject{
		"image-cve-policy": {answers: slices.Concat(
			says("oci/v1/oci_manifest", `{}`),
			says("oci/v1/manifest_digest", `{"digest": "`+digest+`"}`),
			says("kubernetes/list_resources_all", `{"items": [{}]}`),
		)},
		"verify-image-signatures": {answers: says("oci/v2/verify", `{"is_trusted": true, "digest": "`+digest+`"}`)},
		"network-policy-required": {
			object:    `{"metadata": {"namespace": "web"}, "spec": {"containers": []}}`,
			misshapen: []string{`{"spec": {}, "metadata": {"labels": []}}`, `{"spec": {}, "metadata": {"labels": {"a": 1}}}`},
			answers:   says("kubernetes/list_resources_by_namespace", `{"items": [{"spec": {"podSelector": {}}}]}`),
		},
		"pdb-required": {
			kind:      "Deployment",
			object:    `{"metadata": {"namespace": "web"}, "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "web"}}}}}`,
			misshapen: []string{`{"spec": {"replicas": "x"}}`, `{"spec": {"template": {"metadata": {"labels": []}}}}`},
			answers:   says("kubernetes/list_resources_by_namespace", `{"items": [{"spec": {"selector": {"matchLabels": {"app": "web"}}}}]}`),
		},
		"resources-required": {
			object:    `{"spec": {"containers": [{"resources": {"requests": {"cpu": 1}}}]}}`,
			misshapen: []string{`{"spec": {"containers": {}}}`, `{"spec": {"containers": ["c"]}}`, `{"spec": {"containers": [{"resources": 1}]}}`, `{"spec": {"resources": [], "containers": [{}]}}`},
		},
		"capabilities-denied": {
			misshapen: []string{`{"spec": {"containers": {}}}`, `{"spec": {"containers": ["c"]}}`, `{"spec": {"containers": [{"securityContext": []}]}}`},
		},
		"capabilities-dropped": {object: `{"spec": {"containers": [{"securityContext": {"capabilities": {"drop": ["ALL"]}}}]}}`},
		"rbac-binding-pod-exec": {
			kind: "RoleBinding", elsewhere: true,
			object:    `{"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}`,
			misshapen: []string{`{"roleRef": []}`, `{"roleRef": {"kind": 1}}`, `{"roleRef": {}, "subjects": {}}`},
			answers:   says("kubernetes/get_resource", `{"rules": []}`),
		},
		"rbac-binding-wildcards": {
			kind: "RoleBinding", elsewhere: true,
			object:    `{"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}`,
			misshapen: []string{`{"roleRef": []}`, `{"roleRef": {"kind": 1}}`, `{"roleRef": {}, "subjects": {}}`},
			answers:   says("kubernetes/get_resource", `{"rules": []}`),
		},
		"pdb-hpa-replicas": {
			kind:      "PodDisruptionBudget",
			object:    `{"metadata": {"namespace": "web"}, "spec": {"minAvailable": 1, "selector": {}}}`,
			misshapen: []string{`{"spec": {"minAvailable": {}}}`, `{"metadata": {"name": 1}}`},
			answers: append(says("kubernetes/list_resources_by_namespace", `{"items": [{"spec": {"minReplicas": 2,
				"scaleTargetRef": {"kind": "Deployment", "name": "d"}}}]}`),
				says("kubernetes/get_resource", `{"spec": {"template": {"metadata": {"labels": {}}}}}`)...),
		},
		"run-as-non-root": {object: `{"spec": {"containers": [{"securityContext": {"runAsUser": 1}}]}}`},
		"gateway-tls": {
			kind:      "Gateway",
			object:    `{"spec": {"listeners": [{"name": "a", "protocol": "HTTP"}]}}`,
			misshapen: []string{`{"spec": {"listeners": {}}}`, `{"spec": {"listeners": ["x"]}}`, `{"spec": {"tls": []}}`},
		},
		"gateway-allowed-routes": {
			kind:      "Gateway",
			object:    `{"spec": {"listeners": [{"name": "a"}]}}`,
			misshapen: []string{`{"spec": {"listeners": {}}}`, `{"spec": {"listeners": ["x"]}}`, `{"spec": {"listeners": [{"allowedRoutes": []}]}}`},
		},
		"gateway-references": {
			kind:      "HTTPRoute",
			object:    `{"metadata": {"namespace": "web"}, "spec": {"rules": [{"backendRefs": [{"name": "a"}]}]}}`,
			misshapen: []string{`{"spec": {"rules": {}}}`, `{"spec": {"rules": [{"backendRefs": 1}]}}`, `{"spec": {"rules": [{"filters": ["x"]}]}}`},
			answers:   says("kubernetes/list_resources_by_namespace", `{"items": []}`),
		},
		"http-route-hostnames": {
			kind:      "HTTPRoute",
			object:    `{"spec": {"hostnames": ["a.example.com"]}}`,
			misshapen: []string{`{"spec": {"hostnames": {}}}`, `{"spec": {"hostnames": [1]}}`},
		},
		"http-route-listeners": {
			kind:      "HTTPRoute",
			object:    `{"metadata": {"namespace": "web"}, "spec": {"parentRefs": [{"name": "a"}]}}`,
			misshapen: []string{`{"spec": {"rules": {}}}`, `{"spec": {"parentRefs": 1}}`, `{"spec": {"parentRefs": [{"port": []}]}}`},
			answers:   says("kubernetes/get_resource", `{"spec": {"listeners": []}}`),
		},
		"http-route-backend-tls": {
			kind:      "HTTPRoute",
			object:    `{"metadata": {"namespace": "web"}, "spec": {"rules": [{"backendRefs": [{"name": "a", "port": 80}]}]}}`,
			misshapen: []string{`{"spec": {"rules": {}}}`, `{"spec": {"rules": [{"backendRefs": 1}]}}`, `{"spec": {"rules": [{"backendRefs": [{"port": []}]}]}}`},
			answers: append(says("kubernetes/list_resources_by_namespace", `{"items": []}`),
				says("kubernetes/get_resource", `{"spec": {"ports": [{"port": 80}]}}`)...),
		},
		"kgateway-backend-tls": {
			kind:      "BackendConfigPolicy",
			object:    `{"spec": {"tls": {}}}`,
			misshapen: []string{`{"spec": {"tls": []}}`, `{"spec": {"tls": {"insecureSkipVerify": 1}}}`},
		},
		"instance-label": {kind: "Deployment", object: `{"metadata": {"name": "web"}}`, misshapen: []string{`{"metadata": {"labels": {"app.kubernetes.io/instance": 1}}}`}, elsewhere: true},
		"host-process": {
			object:    `{"spec": {"containers": [{"name": "a"}]}}`,
			misshapen: []string{`{"spec": {"containers": {}}}`, `{"spec": {"containers": ["c"]}}`, `{"spec": {"securityContext": []}}`},
		},
		"sensitive-container-env-var": {
			object:    `{"spec": {"containers": [{"env": [{"name": "A", "value": "b"}]}]}}`,
			misshapen: []string{`{"spec": {"containers": {}}}`, `{"spec": {"containers": ["c"]}}`, `{"spec": {"containers": [{"env": {}}]}}`, `{"spec": {"containers": [{"env": [{"name": 1}]}]}}`},
		},
		"sensitive-configmap-content":     {kind: "ConfigMap", elsewhere: true, object: `{"data": {"a": "b"}}`, misshapen: []string{`{"data": []}`, `{"data": {"a": 1}}`}},
		"linux-hardening":                 {object: `{"spec": {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}}`},
		"hpa-replicas":                    {kind: "HorizontalPodAutoscaler", object: `{"spec": {"minReplicas": 2, "maxReplicas": 4}}`, misshapen: []string{`{"spec": {"minReplicas": "x"}}`}},
		"pdb-allows-disruptions":          {kind: "PodDisruptionBudget", object: `{"spec": {"maxUnavailable": 1}}`, misshapen: []string{`{"spec": {"maxUnavailable": {}}}`}},
		"rbac-cluster-admin":              {kind: "RoleBinding", elsewhere: true, object: `{"roleRef": {}}`, misshapen: []string{`{"roleRef": []}`, `{"roleRef": {"kind": 1}}`, `{"roleRef": {}, "subjects": {}}`}},
		"rbac-pod-exec":                   {kind: "Role", elsewhere: true, object: `{"rules": []}`, misshapen: []string{`{"rules": {}}`, `{"rules": ["x"]}`, `{"rules": [{"verbs": 1, "resources": 1, "apiGroups": 1}]}`}},
		"rbac-wildcards":                  {kind: "Role", elsewhere: true, object: `{"rules": []}`, misshapen: []string{`{"rules": {}}`, `{"rules": ["x"]}`, `{"rules": [{"verbs": 1, "resources": 1, "apiGroups": 1}]}`}},
		"automount-service-account-token": {object: `{"spec": {"automountServiceAccountToken": false}}`},
		"topology-spread": {
			kind:      "Deployment",
			object:    `{"spec": {"replicas": 1, "template": {"spec": {}}}}`,
			misshapen: []string{`{"spec": {"replicas": "x", "template": {"spec": {}}}}`, `{"spec": {"replicas": 2, "template": {"spec": {"topologySpreadConstraints": {}}}}}`},
		},
		"priority-class-required": {object: `{"spec": {"priorityClassName": "high"}}`},
		"min-replicas": {
			kind:      "Deployment",
			object:    `{"spec": {"replicas": 3}}`,
			misshapen: []string{`{"spec": {"replicas": "x"}}`},
		},
		"image-pull-policy": {object: `{"spec": {"containers": [{"image": "nginx"}]}}`},
		"image-tag":         {object: `{"spec": {"containers": [{"image": "nginx:1"}]}}`},
		"rancher-project-quotas-namespace-validator": {
			kind:      "Namespace",
			object:    `{"metadata": {"annotations": {"field.cattle.io/projectId": "local:p"}}}`,
			misshapen: []string{`{"metadata": {"annotations": {"field.cattle.io/projectId": 1}}}`},
			answers:   says("kubernetes/get_resource", `{"spec": {}}`),
		},
		"rancher-project-propagate-labels": {
			kind:      "Namespace",
			object:    `{"metadata": {"annotations": {"field.cattle.io/projectId": "local:p"}}}`,
			misshapen: []string{`{"metadata": {"labels": []}}`, `{"metadata": {"annotations": {"field.cattle.io/projectId": 1}}}`},
			answers:   says("kubernetes/get_resource", `{"metadata": {"labels": {"propagate.team": "a"}}}`),
		},
		"do-not-expose-admission-controller-webhook-services": {
			elsewhere: true,
			kind:      "ValidatingWebhookConfiguration",
			object:    `{"webhooks": [{"clientConfig": {"service": {"namespace": "web", "name": "web"}}}]}`,
			misshapen: []string{`{"webhooks": {}}`, `{"webhooks": [1]}`, `{"webhooks": [{"clientConfig": {"service": []}}]}`},
			answers:   says("kubernetes/list_resources_by_namespace", `{"items": []}`),
		},
		"ns-policyserver-mapper": {
			kind:      "AdmissionPolicy",
			object:    `{"spec": {"policyServer": "default"}}`,
			misshapen: []string{`{"spec": {"policyServer": 1}}`},
			answers:   says("kubernetes/get_resource", `{"metadata": {"labels": {"admission.kubewarden.io/policy-server": "a"}}}`),
		},
		"namespace-label-propagator": {
			kind:      "Pod",
			object:    `{"metadata": {"name": "web", "namespace": "web"}, "spec": {"containers": []}}`,
			misshapen: []string{`{"metadata": {"labels": []}}`, `{"metadata": {"labels": {"team": 1}}}`},
			answers:   says("kubernetes/get_resource", `{"metadata": {"labels": {"team": "a"}}}`),
		},
		"psa-label-enforcer": {kind: "Namespace", object: `{"metadata": {"name": "web"}}`, misshapen: []string{`{"metadata": {"labels": []}}`}},
		"persistentvolumeclaim-storageclass-policy": {
			kind:      "PersistentVolumeClaim",
			object:    `{"spec": {"storageClassName": "fast"}}`,
			misshapen: []string{`{"spec": {"storageClassName": 1}}`},
		},
		"unique-service-selector-policy": {
			kind:      "Service",
			object:    `{"metadata": {"namespace": "web"}, "spec": {"selector": {"app": "web"}}}`,
			misshapen: []string{`{"spec": {"selector": []}}`, `{"spec": {"selector": {"app": 1}}}`},
			answers:   says("kubernetes/list_resources_by_namespace", `{"items": []}`),
		},
		"unique-ingress-policy": {
			kind:      "Ingress",
			object:    `{"spec": {"rules": [{"host": "a.example.com"}]}}`,
			misshapen: []string{`{"spec": {"rules": {}}}`, `{"spec": {"rules": [{"host": []}]}}`},
			answers:   says("kubernetes/list_resources_all", `{"items": []}`),
		},
		"ingress": {
			kind:      "Ingress",
			object:    `{"spec": {"rules": [{"host": "a.example.com"}]}}`,
			misshapen: []string{`{"spec": {"rules": {}}}`, `{"spec": {"tls": "x"}}`, `{"spec": {"defaultBackend": {"service": {"port": {"number": "x"}}}}}`},
		},
		"disallow-service-nodeport": {
			kind:      "Service",
			object:    `{"spec": {"ports": [{"port": 80}]}}`,
			misshapen: []string{`{"spec": {"type": 1}}`},
		},
		"disallow-service-loadbalancer": {
			kind:      "Service",
			object:    `{"spec": {"ports": [{"port": 80}]}}`,
			misshapen: []string{`{"spec": {"type": 1}}`},
		}}
}
