package manifest

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/api/v1alpha1"
)

// Names of what an installation consists of besides policy servers.
const (
	// Controller is the controller's Deployment, ServiceAccount, roles and
	// bindings.
	Controller = "warder-controller"
	// WebhookService leads to the webhooks for our own kinds. It is
	// Kubewarden's name, in the certificate too.
	WebhookService = "kubewarden-controller-webhook-service"
	// LeaderLease is the Lease of the controller that leads: Kubewarden's, so that
	// theirs and ours never act at the same time.
	LeaderLease = "a4ddbf36.kubewarden.io"
	// ContextWatcher is what context-aware policies of the default policy server
	// may read: all that ClusterRoles with the label RoleContextAggregation allow,
	// of which ContextReader is one.
	ContextWatcher = "kubewarden-context-watcher"
	ContextReader  = "warder-context-reader"
	// ControllerContext binds the controller to ContextWatcher.
	ControllerContext = "warder-controller-context"
)

// RoleContextAggregation is the label of ClusterRoles that add to ContextWatcher.
const RoleContextAggregation = "policies.warder.dev/aggregate-to-context"

// installLabels are those of everything that an installation consists of.
func installLabels(component string) map[string]string {
	return map[string]string{LabelComponent: component, LabelPartOf: PartOf, "app.kubernetes.io/name": "warder"}
}

func grant(groups, resources, verbs []string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: groups, Resources: resources, Verbs: verbs}
}

func list(all ...string) []string { return all }

// kinds are our resources' names in rules, with something behind.
func kinds(suffix string) []string {
	all := []string{v1.ResourcePolicyServers + suffix}
	for _, k := range v1.Kinds() {
		all = append(all, k.Resource()+suffix)
	}
	return all
}

// rbac is who may do what: the controller, policy servers, and the people who
// have the roles view, edit and admin.
func rbac(o InstallOptions) []v1.Object {
	account := metav1.ObjectMeta{Name: Controller, Namespace: o.Namespace, Labels: installLabels("controller")}
	subject := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: Controller, Namespace: o.Namespace}}
	return []v1.Object{
		&corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: account},
		clusterRole(Controller, "controller", controllerRules()),
		role(o, Controller, "controller", controllerNamespaceRules()),
		clusterRole(RoleServer, "policy-server", serverRules()),
		role(o, RoleServer, "policy-server", serverNamespaceRules()),
		contextWatcher(), contextReader(),
		userRole("view", list("get", "list", "watch")),
		userRole("edit", list("create", "update", "patch", "delete", "deletecollection")),
		bindCluster(Controller, Controller, subject),
		// Who writes the binding of a policy that the API server enforces must be
		// allowed to read its params, as the policy server is.
		bindCluster(ControllerContext, ContextWatcher, subject),
		bindCluster(ContextWatcher, ContextWatcher, []rbacv1.Subject{
			{Kind: rbacv1.ServiceAccountKind, Name: ServerName("default"), Namespace: o.Namespace},
		}),
		&rbacv1.RoleBinding{
			TypeMeta: typeRBAC("RoleBinding"), ObjectMeta: account,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: Controller}, Subjects: subject,
		},
	}
}

// controllerRules are what the controller does in the whole cluster.
func controllerRules() []rbacv1.PolicyRule {
	bind := grant(list(rbacv1.GroupName), list("clusterroles"), list("bind"))
	bind.ResourceNames = list(RoleServer)
	return []rbacv1.PolicyRule{
		grant(list("admissionregistration.k8s.io"), list("mutatingwebhookconfigurations", "validatingwebhookconfigurations",
			"mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "validatingadmissionpolicies", "validatingadmissionpolicybindings"),
			list("create", "delete", "get", "list", "patch", "update", "watch")),
		grant(list(v1.GroupVersion().Group), kinds(""), list("get", "list", "patch", "update", "watch")),
		grant(list(v1.GroupVersion().Group), kinds("/finalizers"), list("update")),
		grant(list(v1.GroupVersion().Group), kinds("/status"), list("get", "patch", "update")),
		grant(list(rbacv1.GroupName), list("clusterrolebindings"), list("create", "delete", "get", "list", "patch", "update", "watch")),
		bind,
		// Leader election tells of itself in the older of the two.
		grant(list("", "events.k8s.io"), list("events"), list("create", "patch", "update")),
	}
}

// controllerNamespaceRules are what the controller does in its own namespace.
func controllerNamespaceRules() []rbacv1.PolicyRule {
	all := list("create", "delete", "get", "list", "patch", "update", "watch")
	bind := grant(list(rbacv1.GroupName), list("roles"), list("bind"))
	bind.ResourceNames = list(RoleServer)
	return []rbacv1.PolicyRule{
		grant(list(""), list("configmaps", "secrets", "serviceaccounts", "services"), all),
		grant(list("apps"), list("deployments"), all),
		grant(list("policy"), list("poddisruptionbudgets"), all),
		grant(list(rbacv1.GroupName), list("rolebindings"), all),
		bind,
		grant(list("coordination.k8s.io"), list("leases"), all),
		grant(list(""), list("events"), list("create", "patch")), // of the lease
		grant(list(v1alpha1.GroupVersion().Group), list("policyserverreplicas"), list("delete", "get", "list", "watch")),
	}
}

// serverRules are what a policy server reads of the whole cluster.
func serverRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{grant(list(v1.GroupVersion().Group), kinds(""), list("get", "list", "watch"))}
}

// serverNamespaceRules are what a policy server writes: what it says of itself.
func serverNamespaceRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{grant(list(v1alpha1.GroupVersion().Group), list("policyserverreplicas"), list("create", "delete", "get", "patch", "update"))}
}

// contextWatcher is what policies may read of the cluster. Its rules are those of
// the roles that it aggregates, which the cluster itself collects.
func contextWatcher() *rbacv1.ClusterRole {
	r := clusterRole(ContextWatcher, "policy-server", nil)
	r.AggregationRule = &rbacv1.AggregationRule{
		ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{RoleContextAggregation: "true"}}},
	}
	return r
}

// contextReader is what policies may read to begin with. Source: Kubewarden's
// chart, kubewarden-context-watcher.
func contextReader() *rbacv1.ClusterRole {
	read := list("get", "list", "watch")
	r := clusterRole(ContextReader, "policy-server", []rbacv1.PolicyRule{
		grant(list(""), list("namespaces", "pods", "services"), read),
		grant(list("networking.k8s.io"), list("ingresses"), read),
		grant(list("authorization.k8s.io"), list("subjectaccessreviews"), list("create")),
	})
	r.Labels[RoleContextAggregation] = "true"
	return r
}

// userRole adds what is ours to the cluster's own role of that name. Policies of
// one namespace may be written by who may edit the namespace, those of the
// cluster are read only.
func userRole(name string, verbs []string) *rbacv1.ClusterRole {
	resources := []string{v1.KindAdmissionPolicy.Resource(), v1.KindAdmissionPolicyGroup.Resource()}
	if name == "view" {
		resources = kinds("")
	}
	r := clusterRole("warder-policies-"+name, "rbac", []rbacv1.PolicyRule{grant(list(v1.GroupVersion().Group), resources, verbs)})
	for _, to := range map[string][]string{"view": {"view", "edit", "admin"}, "edit": {"edit", "admin"}}[name] {
		r.Labels["rbac.authorization.k8s.io/aggregate-to-"+to] = "true"
	}
	return r
}

func typeRBAC(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
}

func clusterRole(name, component string, rules []rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		TypeMeta: typeRBAC("ClusterRole"), ObjectMeta: metav1.ObjectMeta{Name: name, Labels: installLabels(component)}, Rules: rules,
	}
}

func role(o InstallOptions, name, component string, rules []rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{
		TypeMeta:   typeRBAC("Role"),
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: o.Namespace, Labels: installLabels(component)}, Rules: rules,
	}
}

func bindCluster(name, role string, subjects []rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		TypeMeta: typeRBAC("ClusterRoleBinding"), ObjectMeta: metav1.ObjectMeta{Name: name, Labels: installLabels("rbac")},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, Subjects: subjects,
	}
}
