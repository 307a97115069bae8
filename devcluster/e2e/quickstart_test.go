package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/devcluster/stage"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// registry is "warder registry" on a folder.
type registry struct {
	host    string
	sources string
}

// startRegistry starts a registry with modules of built-in policies, by the name
// of their repository and tag.
func startRegistry(t *testing.T, s *stage.Stage, modules map[string]string) registry {
	t.Helper()
	dir := t.TempDir()
	binary, err := cluster.Find("warder")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "registry", dir, "--listen", "127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	r := registry{sources: filepath.Join(dir, "sources.yml")}
	s.Eventually(func() string {
		text, err := os.ReadFile(r.sources)
		if err != nil {
			return err.Error()
		}
		if r.host = string(regexp.MustCompile(`127\.0\.0\.1:\d+`).Find(text)); r.host == "" {
			return "no address in " + string(text)
		}
		return ""
	})
	wasm := sdktest.Build(t, "testdata/module", sdktest.WaPC)
	const name = "@@ the name of the policy, padded to fifty bytes @@"
	if !bytes.Contains(wasm, []byte(name)) {
		t.Fatal("the module has no place for its name")
	}
	for repository, policy := range modules {
		file := filepath.Join(t.TempDir(), "policy.wasm")
		named := bytes.ReplaceAll(wasm, []byte(name), []byte(fmt.Sprintf("%-*s", len(name), policy)))
		if err := os.WriteFile(file, named, 0o600); err != nil {
			t.Fatal(err)
		}
		s.Warder("push", "--force", "--sources-path", r.sources, file, r.host+"/"+repository)
	}
	return r
}

// The manifests of the documentation, with fields and values as users have them.
// One thing is replaced in them when they are applied: no test reaches ghcr.io, so
// that the host of modules, "ghcr.io/kubewarden/policies", becomes that of the
// test's registry.
const (
	docsQuickStart = `
apiVersion: policies.kubewarden.io/v1
kind: ClusterAdmissionPolicy
metadata:
  name: privileged-pods
spec:
  module: registry://ghcr.io/kubewarden/policies/pod-privileged:v0.2.2
  rules:
    - apiGroups: [""]
      apiVersions: ["v1"]
      resources: ["pods"]
      operations:
        - CREATE
  mutating: false
`
	docsPolicyServer = `
apiVersion: policies.kubewarden.io/v1
kind: PolicyServer
metadata:
  name: reserved-instance-for-tenant-a
spec:
  image: ghcr.io/kubewarden/policy-server:v1.3.0
  replicas: 2
  serviceAccountName: ~
  env:
    - name: KUBEWARDEN_LOG_LEVEL
      value: debug
`
	// As the controller's README has it, in the older version of the API.
	docsCapabilities = `
apiVersion: policies.kubewarden.io/v1alpha2
kind: ClusterAdmissionPolicy
metadata:
  name: psp-capabilities
spec:
  module: registry://ghcr.io/kubewarden/policies/psp-capabilities:v0.1.3
  rules:
    - apiGroups: [""]
      apiVersions: ["v1"]
      resources: ["pods"]
      operations:
        - CREATE
        - UPDATE
  mutating: true
  settings:
    allowed_capabilities:
      - CHOWN
    required_drop_capabilities:
      - NET_ADMIN
`
	docsAdmissionPolicy = `
apiVersion: policies.kubewarden.io/v1
kind: AdmissionPolicy
metadata:
  name: psp-capabilities
  namespace: tenant-a
spec:
  policyServer: reserved-instance-for-tenant-a
  module: registry://ghcr.io/kubewarden/policies/psp-capabilities:v0.1.9
  rules:
    - apiGroups: [""]
      apiVersions: ["v1"]
      resources: ["pods"]
      operations:
        - CREATE
        - UPDATE
  mutating: true
  settings:
    allowed_capabilities:
      - CHOWN
    required_drop_capabilities:
      - NET_ADMIN
`
	docsGroup = `
apiVersion: policies.kubewarden.io/v1
kind: %s
metadata:
  name: demo%s
spec:
  rules:
    - apiGroups: [""]
      apiVersions: ["v1"]
      resources: ["pods"]
      operations:
        - CREATE
        - UPDATE
  policies:
    signed_by_alice:
      module: ghcr.io/kubewarden/policies/verify-image-signatures:v0.3.0
      settings:
        modifyImagesWithDigest: false
        signatures:
          - image: "*"
            pubKeys:
              - "alice"
    signed_by_bob:
      module: ghcr.io/kubewarden/policies/verify-image-signatures:v0.3.0
      settings:
        modifyImagesWithDigest: false
        signatures:
          - image: "*"
            pubKeys:
              - "bob"
    reject_latest:
      module: ghcr.io/kubewarden/policies/trusted-repos-policy:v0.1.12
      settings:
        tags:
          reject:
            - latest
  expression: "reject_latest() && (signed_by_alice() || signed_by_bob())"
  message: "the image is using the latest tag or is not signed by Alice and Bob"
`
	docsContextAware = `
apiVersion: policies.kubewarden.io/v1
kind: ClusterAdmissionPolicy
metadata:
  name: unique-ingress
spec:
  module: registry://ghcr.io/kubewarden/policies/pod-privileged:v0.2.2
  mutating: false
  contextAwareResources:
    - apiVersion: networking.k8s.io/v1
      kind: Ingress
  rules:
    - apiGroups: ["networking.k8s.io"]
      apiVersions: ["v1"]
      resources: ["ingresses"]
      operations: ["CREATE", "UPDATE"]
  backgroundAudit: true
`
	docsVerification = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: ssc-verification
  namespace: warder
data:
  verification-config: |
    apiVersion: v1
    allOf:
      - kind: githubAction
        owner: kubewarden
        repo: null
        annotations: null
    anyOf: null
`
	docsVerifyingServer = `
apiVersion: policies.kubewarden.io/v1
kind: PolicyServer
metadata:
  name: signed-only
spec:
  image: ghcr.io/kubewarden/policy-server:v1.11.0
  replicas: 1
  verificationConfig: ssc-verification
`
)

// here replaces the host of modules.
func (r registry) here(text string) string {
	return strings.ReplaceAll(text, "ghcr.io/kubewarden/policies", r.host+"/kubewarden/policies")
}

// insecure adds to a policy server where the test's registry is: the only other
// thing that the manifests do not have.
func (r registry) insecure(s *stage.Stage, servers ...string) {
	s.T.Helper()
	for _, name := range servers {
		o := s.Object("apiVersion: policies.kubewarden.io/v1\nkind: PolicyServer\nmetadata: {name: " + name + "}")
		_, err := s.Of(o).Patch(s.T.Context(), name, "application/merge-patch+json",
			[]byte(fmt.Sprintf(`{"spec": {"insecureSources": [%q]}}`, r.host)), metav1.PatchOptions{})
		if err != nil {
			s.T.Fatal(err)
		}
	}
}

func image(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Image = name }
}

func TestManifestsOfKubewardensQuickStartWork(t *testing.T) {
	t.Parallel()
	s := stage.New(t)
	r := startRegistry(t, s, map[string]string{
		"kubewarden/policies/pod-privileged:v0.2.2":          "pod-privileged",
		"kubewarden/policies/psp-capabilities:v0.1.3":        "capabilities-psp",
		"kubewarden/policies/psp-capabilities:v0.1.9":        "capabilities-psp",
		"kubewarden/policies/trusted-repos-policy:v0.1.12":   "trusted-repos",
		"kubewarden/policies/verify-image-signatures:v0.3.0": "signed-by-path", // see testdata/module
	})
	for _, name := range []string{"tenant-a", "groups"} {
		s.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}")
	}
	s.Apply(docsVerification)
	s.Apply(docsPolicyServer)
	s.Apply(docsVerifyingServer)
	r.insecure(s, "default", "reserved-instance-for-tenant-a", "signed-only")
	// All at once, as "kubectl apply -f DIR" does.
	first := s.Apply(r.here(docsQuickStart))
	var others []*unstructured.Unstructured
	for _, text := range []string{
		docsAdmissionPolicy, docsContextAware,
		fmt.Sprintf(docsGroup, "AdmissionPolicyGroup", "\n  namespace: groups"), fmt.Sprintf(docsGroup, "ClusterAdmissionPolicyGroup", "-cluster"),
	} {
		text := r.here(text)
		if strings.Contains(text, "demo-cluster") {
			text += "  namespaceSelector:\n    matchLabels:\n      kubernetes.io/metadata.name: groups\n"
		}
		others = append(others, s.Apply(text))
	}
	s.Ready(first)
	if err := s.CreatePod("default", stage.Pod("p", stage.Privileged)); err == nil || !strings.Contains(err.Error(), "kw.cap.privileged-pods: Privileged container is not allowed") {
		t.Errorf("error = %v, want that of the quick start's policy", err)
	}
	for _, o := range others {
		s.Ready(o)
	}
	made, err := s.Client.CoreV1().Pods("tenant-a").Create(t.Context(), stage.Pod("p"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	if c := made.Spec.Containers[0].SecurityContext; c == nil || c.Capabilities == nil || len(c.Capabilities.Drop) != 1 || c.Capabilities.Drop[0] != "NET_ADMIN" {
		t.Errorf("security context %+v, want the capability that has to be dropped", c)
	}
	for name, refused := range map[string]bool{"example.com/alice/app:v1": false, "example.com/carol/app:v1": true, "example.com/alice/app:latest": true} {
		err := s.CreatePod("groups", stage.Pod("p", image(name)))
		if refused != (err != nil) {
			t.Errorf("%s: error = %v, want refused %t", name, err, refused)
		}
		if err != nil && strings.Count(err.Error(), "the image is using the latest tag or is not signed by Alice and Bob") == 0 {
			t.Errorf("%s: error = %v, want the group's message", name, err)
		}
	}
	if pods := s.Pods("policy-server-reserved-instance-for-tenant-a"); len(pods) != 2 || !strings.Contains(pods[0].Spec.Containers[0].Image, "warder") {
		t.Errorf("%d pods of the policy server: %v", len(pods), pods)
	}

	t.Run("the older version of the API", func(t *testing.T) {
		o := s.Ready(s.Apply(r.here(docsCapabilities)))
		if o.GetAPIVersion() != "policies.kubewarden.io/v1alpha2" {
			t.Errorf("it is read as %s", o.GetAPIVersion())
		}
		err := s.CreatePod("default", stage.Pod("p", func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}}
		}))
		if err == nil {
			t.Error("a capability that is not allowed is")
		}
		s.Delete(o)
	})
	t.Run("what is not signed is not enforced, and it is said why", func(t *testing.T) {
		o := s.Apply(r.here(strings.Replace(docsQuickStart, "name: privileged-pods", "name: verified", 1)) + "  policyServer: signed-only\n")
		s.Eventually(func() string {
			if is, text := stage.Condition(s.Get(o), "Loaded"); is != "False" || !strings.HasPrefix(text, "LoadFailed") {
				return fmt.Sprintf("Loaded is %q: %s", is, text)
			}
			return ""
		})
		_, text := stage.Condition(s.Get(o), "Loaded")
		t.Log(text)
		s.Delete(o)
	})
	s.Delete(first)
	if err := s.CreatePod("default", stage.Pod("p", stage.Privileged)); err != nil {
		t.Errorf("the policy is gone, and the pod is refused: %v", err)
	}
}
