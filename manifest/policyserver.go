package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	v1 "github.com/warder-dev/warder/api/v1"
)

// sourcesKey is the key of the ConfigMap and the name of the file.
const sourcesKey = "sources.yml"

// PolicyServerObjects returns everything of a policy server but the Secret with
// its certificate, in the order in which to apply it.
//
// The error names what in the PolicyServer cannot be: a name that no Service can
// have, or no image at all.
func PolicyServerObjects(ps *v1.PolicyServer, o Options) ([]v1.Object, error) {
	name := ServerName(ps.Name)
	if problems := validation.IsDNS1035Label(name); len(problems) > 0 {
		return nil, fmt.Errorf("policy server %q: name: its Service would be %q: %s; use at most %d lower case letters, digits and dashes",
			ps.Name, name, problems[0], validation.DNS1035LabelMaxLength-len(ServerName("")))
	}
	switch image, replaced := ServerImage(ps.Spec, o); {
	case image == "" && replaced == "":
		return nil, fmt.Errorf("policy server %q: image: none is given, and the image of the installation is not known", ps.Name)
	case image == "":
		return nil, fmt.Errorf("policy server %q: image: %q is replaced by the image of the installation, which is not known", ps.Name, replaced)
	}
	sources, err := sourcesOf(ps.Spec)
	if err != nil {
		return nil, fmt.Errorf("policy server %q: %w", ps.Name, err)
	}
	var objects []v1.Object
	if ServiceAccountName(ps) == ServerName(ps.Name) {
		objects = append(objects, &corev1.ServiceAccount{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
			ObjectMeta: metaOf(ps, o),
		})
	}
	objects = append(objects, clusterRoleBinding(ps, o), roleBinding(ps, o), &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metaOf(ps, o),
		Data:       map[string]string{sourcesKey: sources},
	})
	if budget := disruptionBudget(ps, o); budget != nil {
		objects = append(objects, budget)
	}
	return append(objects, deployment(ps, o), service(ps, o)), nil
}

// Absent returns the objects that the policy server must not have; they have
// names only. Not all of them have ever been there.
func Absent(ps *v1.PolicyServer, o Options) []v1.Object {
	var objects []v1.Object
	meta := metav1.ObjectMeta{Name: ServerName(ps.Name), Namespace: o.namespace()}
	if ServiceAccountName(ps) != ServerName(ps.Name) {
		objects = append(objects, &corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: meta})
	}
	if disruptionBudget(ps, o) == nil {
		objects = append(objects, &policyv1.PodDisruptionBudget{
			TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}, ObjectMeta: meta,
		})
	}
	return objects
}

// metaOf is the metadata of an object in the namespace of the installation.
func metaOf(ps *v1.PolicyServer, o Options) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: ServerName(ps.Name), Namespace: o.namespace(),
		Labels: ServerLabels(ps.Name), OwnerReferences: Owners(ps),
	}
}

// ServiceAccountName is who the policy server is in the cluster.
func ServiceAccountName(ps *v1.PolicyServer) string {
	if ps.Spec.ServiceAccountName != "" {
		return ps.Spec.ServiceAccountName
	}
	return ServerName(ps.Name)
}

func subjects(ps *v1.PolicyServer, o Options) []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: ServiceAccountName(ps), Namespace: o.namespace()}}
}

func clusterRoleBinding(ps *v1.PolicyServer, o Options) *rbacv1.ClusterRoleBinding {
	meta := metaOf(ps, o)
	meta.Namespace = ""
	return &rbacv1.ClusterRoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: RoleServer},
		Subjects:   subjects(ps, o),
	}
}

func roleBinding(ps *v1.PolicyServer, o Options) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
		ObjectMeta: metaOf(ps, o),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: RoleServer},
		Subjects:   subjects(ps, o),
	}
}

// sourcesOf is the sources.yml of the policy server, in Kubewarden's words.
func sourcesOf(spec v1.PolicyServerSpec) (string, error) {
	type authority struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	sources := struct {
		Insecure    []string               `json:"insecure_sources,omitempty"`
		Authorities map[string][]authority `json:"source_authorities,omitempty"`
	}{Insecure: spec.InsecureSources}
	for _, host := range slices.Sorted(maps.Keys(spec.SourceAuthorities)) {
		for _, pem := range spec.SourceAuthorities[host] {
			if sources.Authorities == nil {
				sources.Authorities = map[string][]authority{}
			}
			sources.Authorities[host] = append(sources.Authorities[host], authority{Type: "Data", Data: pem})
		}
	}
	text, err := json.Marshal(sources)
	return string(text), err
}

// disruptionBudget is nil when nobody asks for one and there is one replica,
// which a budget would keep from ever leaving its node.
func disruptionBudget(ps *v1.PolicyServer, o Options) *policyv1.PodDisruptionBudget {
	spec := policyv1.PodDisruptionBudgetSpec{
		MinAvailable: ps.Spec.MinAvailable, MaxUnavailable: ps.Spec.MaxUnavailable,
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{
			LabelInstance: ServerName(ps.Name), LabelPartOf: PartOf, LabelPolicyServer: ps.Name,
		}},
	}
	if spec.MinAvailable == nil && spec.MaxUnavailable == nil {
		if r := ps.Spec.Replicas; r != nil && *r <= 1 {
			return nil
		}
		one := intstr.FromInt32(1)
		spec.MaxUnavailable = &one
	}
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: policyv1.SchemeGroupVersion.String(), Kind: "PodDisruptionBudget"},
		ObjectMeta: metaOf(ps, o),
		Spec:       spec,
	}
}

func service(ps *v1.PolicyServer, o Options) *corev1.Service {
	// The audit scanner of Kubewarden asks the first port for its verdicts.
	ports := []corev1.ServicePort{{
		Name: "policy-server", Port: servicePort, Protocol: corev1.ProtocolTCP,
		TargetPort: intstr.FromInt32(orPort(ps.Spec.WebhookPort, defaultWebhookPort)),
	}}
	if o.Metrics {
		ports = append(ports, corev1.ServicePort{
			Name: "metrics", Protocol: corev1.ProtocolTCP,
			Port:       orPort(ps.Spec.MetricsPort, orPort(&o.MetricsPort, defaultMetricsPort)),
			TargetPort: intstr.FromInt32(orPort(ps.Spec.ReadinessProbePort, defaultProbePort)),
		})
	}
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metaOf(ps, o),
		Spec: corev1.ServiceSpec{
			Ports:    ports,
			Selector: map[string]string{LabelInstance: ServerName(ps.Name), LabelPartOf: PartOf},
		},
	}
}
