package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAPolicyServerComesFromItsFlagOrThePodsEnvironment(t *testing.T) {
	pod := map[string]string{"WARDER_POLICY_SERVER": "default", "POD_NAMESPACE": "warder", "POD_NAME": "policy-server-default-x"}
	c, _, err := parse([]string{"--policy-server", "other"}, pod)
	if err != nil {
		t.Fatal(err)
	}
	have := []string{c.policyServer, c.reportNamespace, c.replicaName}
	if diff := cmp.Diff([]string{"other", "warder", "policy-server-default-x"}, have); diff != "" {
		t.Errorf("policy server, namespace and name (-want +have):\n%s", diff)
	}
	if c, _, err = parse(nil, pod); err != nil || c.policyServer != "default" {
		t.Errorf("policy server %q, %v, want that of the environment", c.policyServer, err)
	}
}

func TestWhatCannotGoWithAPolicyServerIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		args    []string
		environ map[string]string
		want    string
	}{
		"policies": {[]string{"--report-namespace", "warder"}, map[string]string{"KUBEWARDEN_POLICIES": "/config/policies.yml"},
			"--policy-server default: the policies come from the cluster; leave out --policies (KUBEWARDEN_POLICIES)"},
		"errors end it": {[]string{"--report-namespace", "warder", "--continue-on-errors=false"}, nil,
			"leave out --continue-on-errors=false (KUBEWARDEN_CONTINUE_ON_ERRORS)"},
		"no namespace": {nil, nil, "want --report-namespace (POD_NAMESPACE) too, the namespace of the installation"},
	} {
		_, _, err := parse(append([]string{"--policy-server", "default"}, tt.args...), tt.environ)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, _, err := parse(nil, map[string]string{"POD_NAMESPACE": "warder", "POD_NAME": "x"}); err != nil {
		t.Errorf("without a policy server: %v", err)
	}
}

func TestAPolicyServerNeedsACluster(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	root := newRoot()
	log := &logLines{}
	root.SetErr(log)
	root.SetArgs([]string{
		"serve", "--policy-server", "default", "--report-namespace", "warder", "--ignore-kubernetes-connection-failure",
		"--policies-download-dir", t.TempDir(),
	})
	err := root.ExecuteContext(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--policy-server watches policies there: run in a pod, or set KUBECONFIG") {
		t.Errorf("serve = %v, want it to say what to do", err)
	}
}

func TestThePodOwnsTheReportOfItsNamespace(t *testing.T) {
	pod := map[string]string{"POD_NAME": "p", "POD_UID": "u", "POD_NAMESPACE": "warder"}
	get := func(name string) string { return pod[name] }
	if diff := cmp.Diff(&metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "u"}, podOf(get, "warder")); diff != "" {
		t.Errorf("owner (-want +have):\n%s", diff)
	}
	if owner := podOf(get, "elsewhere"); owner != nil {
		t.Errorf("owner %v of a report in another namespace: it would be deleted at once", owner)
	}
	delete(pod, "POD_UID")
	if owner := podOf(get, "warder"); owner != nil {
		t.Errorf("owner %v without a UID", owner)
	}
}
