package manifest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	v1 "github.com/warder-dev/warder/api/v1"
)

func installed(t *testing.T, o InstallOptions) []v1.Object {
	t.Helper()
	objects, err := Install(o)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestInstallations(t *testing.T) {
	tests := []struct {
		name string
		opts InstallOptions
	}{
		{"install-default", InstallOptions{Image: "registry.example.com/warder:v1"}},
		{"install-everything", InstallOptions{
			Image: "registry.example.com/warder:v1", Namespace: "policies", ImagePullPolicy: corev1.PullAlways, ImagePullSecrets: []string{"a", "b"},
			Replicas: 1, ServerReplicas: 3, Workloads: v1.Expand, LogLevel: "debug", HostNetwork: true, JudgeOwnNamespace: true, ClientCAConfigMap: "ca",
			Sets: PolicySets{Names: SetNames(), Mode: v1.Protect, SkipNamespaces: []string{"kube-system"}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first := asYAML(t, installed(t, tt.opts)...)
			golden(t, tt.name, first)
			for range 10 {
				if diff := cmp.Diff(string(first), string(asYAML(t, installed(t, tt.opts)...))); diff != "" {
					t.Fatalf("another installation (-first +later):\n%s", diff)
				}
			}
		})
	}
}

// TestInstallIsOrdered: what an object needs is applied before it.
func TestInstallIsOrdered(t *testing.T) {
	var order []string
	for _, o := range installed(t, InstallOptions{Image: "x", Sets: PolicySets{Names: []string{SetKubewardenDefaults}}}) {
		if kind := o.GetObjectKind().GroupVersionKind().Kind; !slices.Contains(order, kind) {
			order = append(order, kind)
		}
	}
	want := []string{
		"Namespace", "ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "Service", "PodDisruptionBudget",
		"Deployment", "PolicyServer", "ClusterAdmissionPolicy",
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("first of each kind (-want +got):\n%s", diff)
	}
}

func TestInstallOptionsThatCannotBe(t *testing.T) {
	tests := []struct {
		name string
		opts InstallOptions
		want string
	}{
		{"no image", InstallOptions{}, "image: say which image of warder to run"},
		{"namespace", InstallOptions{Image: "x", Namespace: "a.b"}, `namespace "a.b": `},
		{"replicas", InstallOptions{Image: "x", Replicas: -1}, "replicas: want 0 or more"},
		{"replicas of the server", InstallOptions{Image: "x", ServerReplicas: -1}, "replicas: want 0 or more"},
		{"workloads", InstallOptions{Image: "x", Workloads: "expand"}, `workloads: want Ignore or Expand, have "expand"`},
		{"log level", InstallOptions{Image: "x", LogLevel: "INFO"}, `log level: want trace, debug, info, warn or error, have "INFO"`},
		{"mode", InstallOptions{Image: "x", Sets: PolicySets{Mode: "Monitor"}}, `mode of the policies: want monitor or protect, have "Monitor"`},
		{"set", InstallOptions{Image: "x", Sets: PolicySets{Names: []string{"pod-security"}}},
			`there is no policy set "pod-security"; there are pod-security-baseline, pod-security-restricted, best-practices, kubewarden-defaults`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if objects, err := Install(tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) || objects != nil {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}

// TestEveryRoleIsBound finds a name that is written in two ways.
func TestEveryRoleIsBound(t *testing.T) {
	roles, bound, accounts := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, o := range installed(t, InstallOptions{Image: "x"}) {
		switch o := o.(type) {
		case *rbacv1.ClusterRole:
			aggregates := o.Labels[RoleContextAggregation] != "" || strings.HasPrefix(o.Name, "warder-policies-")
			roles["ClusterRole "+o.Name] = aggregates || o.Name == RoleServer // the controller binds that
		case *rbacv1.Role:
			roles["Role "+o.Name] = o.Name == RoleServer
		case *rbacv1.ClusterRoleBinding:
			bound["ClusterRole "+o.RoleRef.Name] = true
		case *rbacv1.RoleBinding:
			bound["Role "+o.RoleRef.Name] = true
		case *corev1.ServiceAccount:
			accounts[o.Name] = true
		case *appsv1.Deployment:
			if !accounts[o.Spec.Template.Spec.ServiceAccountName] {
				t.Errorf("Deployment %s: there is no account %q", o.Name, o.Spec.Template.Spec.ServiceAccountName)
			}
		}
	}
	for name, otherwise := range roles {
		if !otherwise && !bound[name] {
			t.Errorf("nobody is bound to %s", name)
		}
	}
	for name := range bound {
		if _, ok := roles[name]; !ok {
			t.Errorf("a binding to %s, which is not there", name)
		}
	}
}

// TestNobodyMayDoEverything: no wildcard, and nothing by which one gives oneself
// more.
func TestNobodyMayDoEverything(t *testing.T) {
	check := func(name string, rules []rbacv1.PolicyRule) {
		for _, r := range rules {
			for _, words := range [][]string{r.APIGroups, r.Resources, r.Verbs} {
				if slices.Contains(words, "*") {
					t.Errorf("%s: %v", name, r)
				}
			}
			if slices.Contains(r.Verbs, "escalate") || slices.Contains(r.Verbs, "impersonate") || slices.Contains(r.Verbs, "bind") && len(r.ResourceNames) == 0 {
				t.Errorf("%s: %v", name, r)
			}
			if slices.Contains(r.Resources, "secrets") && strings.HasPrefix(name, "ClusterRole ") {
				t.Errorf("%s: Secrets of the whole cluster: %v", name, r)
			}
		}
	}
	for _, o := range installed(t, InstallOptions{Image: "x"}) {
		switch o := o.(type) {
		case *rbacv1.ClusterRole:
			check(fmt.Sprintf("ClusterRole %s", o.Name), o.Rules)
		case *rbacv1.Role:
			check(fmt.Sprintf("Role %s", o.Name), o.Rules)
		}
	}
}
