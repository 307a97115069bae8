package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/warder-dev/warder/devcluster/cluster"
)

// patience is how long anything may take here, on the busiest machine.
const patience = 2 * time.Minute

// startCluster starts a cluster that ends with the test.
func startCluster(t *testing.T, opts cluster.Options) *cluster.Cluster {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := cluster.Start(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.Background()); err != nil {
			t.Errorf("Stop: %v", err)
		}
		select {
		case err := <-c.Ended():
			t.Errorf("while the test ran: %v", err)
		default:
		}
	})
	return c
}

// admin is a client that may everything.
func admin(t *testing.T, c *cluster.Cluster) *kubernetes.Clientset {
	t.Helper()
	cfg, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	return clientFor(t, cfg)
}

func clientFor(t *testing.T, cfg *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// eventually asks check until it returns nil; its last error is the test's.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: map[string]string{"k": "v"}}
}

func TestRBACDeniesWhatIsNotGranted(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, cluster.Options{}), t.Context()
	root := admin(t, c)
	cfg, err := c.UserConfig("jane", "developers")
	if err != nil {
		t.Fatal(err)
	}
	user, groups := cluster.ServiceAccountUser("default", "robot")
	robotCert, err := c.UserConfig(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := root.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	robotToken, err := c.ServiceAccountConfig(ctx, "default", "robot")
	if err != nil {
		t.Fatal(err)
	}
	if robotToken.BearerToken == "" || len(robotToken.CertData) != 0 {
		t.Fatalf("ServiceAccountConfig has a certificate, or no token")
	}
	subjects := map[string]*rest.Config{"certificate of a user": cfg, "certificate of a service account": robotCert, "token of a service account": robotToken}
	list := func(cfg *rest.Config) error {
		_, err := clientFor(t, cfg).CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
		return err
	}
	for name, cfg := range subjects {
		if err := list(cfg); !apierrors.IsForbidden(err) {
			t.Errorf("%s: list without a grant: %v, want forbidden", name, err)
		}
	}
	if err := list(&rest.Config{Host: c.URL(), TLSClientConfig: rest.TLSClientConfig{CAData: c.CA()}}); !apierrors.IsForbidden(err) {
		t.Errorf("anonymous: %v, want forbidden", err)
	}

	_, err = root.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "viewers"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects: []rbacv1.Subject{
			{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "developers"},
			{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "robot"},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range subjects {
		eventually(t, name+": list with a grant", func(context.Context) error { return list(cfg) })
	}
}

func TestControllersRun(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, cluster.Options{}), t.Context()
	root := admin(t, c)
	if _, err := root.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	replicas, labels := int32(2), map[string]string{"app": "web"}
	_, err := root.AppsV1().Deployments("shop").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "two pods of the Deployment, pending", func(ctx context.Context) error {
		pods, err := root.CoreV1().Pods("shop").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err == nil && (len(pods.Items) != 2 || pods.Items[0].Status.Phase != corev1.PodPending) {
			err = errors.New("not yet: " + pods.String())
		}
		return err
	})
	if err := root.CoreV1().Namespaces().Delete(ctx, "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace is gone", func(ctx context.Context) error {
		_, err := root.CoreV1().Namespaces().Get(ctx, "shop", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
}

func TestAPIServerRestartKeepsDataAndAddress(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, cluster.Options{WithoutControllerManager: true}), t.Context()
	root := admin(t, c)
	if _, err := root.CoreV1().ConfigMaps("default").Create(ctx, configMap("kept"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	get := func(ctx context.Context) error {
		_, err := root.CoreV1().ConfigMaps("default").Get(ctx, "kept", metav1.GetOptions{})
		return err
	}
	steps := []struct {
		name string
		do   func() error
	}{
		{"restart", func() error { return c.RestartAPIServer(ctx) }},
		{"kill and start", func() error {
			if err := c.KillPart(cluster.APIServer); err != nil {
				return err
			}
			if err := get(ctx); err == nil {
				t.Error("a killed API server answers")
			}
			return c.StartPart(ctx, cluster.APIServer)
		}},
		{"kill and start etcd", func() error {
			if err := c.KillPart(cluster.Etcd); err != nil {
				return err
			}
			return c.StartPart(ctx, cluster.Etcd)
		}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		eventually(t, step.name+": the object is there", get)
	}
}

func TestSlowEtcdSlowsWrites(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, cluster.Options{WithoutControllerManager: true}), t.Context()
	root := admin(t, c)
	create := func(name string) time.Duration {
		before := time.Now()
		if _, err := root.CoreV1().ConfigMaps("default").Create(ctx, configMap(name), metav1.CreateOptions{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return time.Since(before)
	}
	create("before")
	const delay = 700 * time.Millisecond
	c.SlowEtcd(delay)
	if took := create("slow"); took < delay {
		t.Errorf("a write took %s, with etcd slow by %s", took, delay)
	}
	c.SlowEtcd(0)
	create("after")
}

func TestAuditLogNamesUser(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "audit.log")
	c := startCluster(t, cluster.Options{WithoutControllerManager: true, AuditLog: log})
	cfg, err := c.UserConfig("mallory")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clientFor(t, cfg).CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("list of Secrets: %v, want forbidden", err)
	}
	eventually(t, "the event in "+log, func(context.Context) error {
		text, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(text) {
			var e struct {
				User           struct{ Username string }
				ObjectRef      struct{ Resource string }
				ResponseStatus struct{ Code int }
			}
			if json.Unmarshal(line, &e) == nil && e.User.Username == "mallory" && e.ObjectRef.Resource == "secrets" && e.ResponseStatus.Code == http.StatusForbidden {
				return nil
			}
		}
		return errors.New("it is not there")
	})
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	taken := startCluster(t, cluster.Options{WithoutControllerManager: true})
	tests := []struct {
		name string
		opts cluster.Options
		want string
	}{
		{"no folder", cluster.Options{}, "no folder to keep the state in"},
		{"folder in use", cluster.Options{Dir: taken.Dir()}, "is in use: a cluster runs on it"},
		{"a flag that is none", cluster.Options{Dir: t.TempDir(), APIServerArgs: []string{"--no-such-flag"}}, "unknown flag: --no-such-flag"},
		{"no binary", cluster.Options{Dir: t.TempDir(), Binary: "/nonexistent/devcluster"}, "no such file or directory"},
	}
	for _, tt := range tests {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := cluster.Start(ctx, tt.opts)
		cancel()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
