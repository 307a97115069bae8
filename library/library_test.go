package library_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestAllIsSortedAndComplete(t *testing.T) {
	var names []string
	for _, b := range library.All() {
		names = append(names, b.Name)
		if !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(b.Name) {
			t.Errorf("name %q, want words with dashes", b.Name)
		}
		if !strings.HasSuffix(b.Summary, ".") || strings.Contains(b.Summary, "\n") {
			t.Errorf("%s: summary %q, want one sentence", b.Name, b.Summary)
		}
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("names %q, want them sorted and each once", names)
	}
	if !slices.Equal(names, library.Names()) {
		t.Errorf("Names() = %q, want %q", library.Names(), names)
	}
}

func TestLookupFindsByTheWholeName(t *testing.T) {
	for _, name := range library.Names() {
		if b, ok := library.Lookup(name); !ok || b.Name != name {
			t.Errorf("Lookup(%q) = %q, %t", name, b.Name, ok)
		}
	}
	for _, name := range []string{"", "pod-privilege", "Pod-Privileged", "pod-privileged-policy"} {
		if b, ok := library.Lookup(name); ok {
			t.Errorf("Lookup(%q) = %q, want none", name, b.Name)
		}
	}
}

// accepting are settings of policies that need some, with which they accept the
// pods of these tests.
func accepting(name string) any {
	settings := map[string]string{
		"image-cve-policy":            `{"ignoreMissingVulnerabilityReport": true}`,
		"verify-image-signatures":     `{"signatures": [{"image": "x", "githubActions": {"owner": "o"}}]}`,
		"high-risk-service-account":   `{"blockRules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}]}`,
		"deprecated-api-versions":     `{"kubernetes_version": "1.25.0"}`,
		"volumemounts":                `{"volumeMountsNames": ["x"]}`,
		"environment-variable-policy": `{"criteria": "doesNotContainAnyOf", "values": ["x"]}`,
		"priority-class-policy":       `{"denied_priority_classes": ["x"], "default_priority_class": "y"}`,
		"probes":                      `{"liveness": {"enforce": false}, "readiness": {"enforce": true}}`,
		"annotations":                 `{"criteria": "doesNotContainAnyOf", "values": ["x"]}`,
		"container-resources":         `{"cpu": {"maxLimit": 64}}`,
		"labels":                      `{"criteria": "doesNotContainAnyOf", "values": ["x"]}`,
	}
	if text, ok := settings[name]; ok {
		return text
	}
	return nil
}

// Only policies that say so may change objects: the server refuses a mutation
// of the others.
func TestMutatingSaysWhichPoliciesMutate(t *testing.T) {
	settings := map[string]string{
		"capabilities-psp":    `{"required_drop_capabilities": ["ALL"]}`,
		"container-resources": `{"cpu": {"defaultLimit": 1}}`,

		"verify-image-signatures": `{"signatures": [{"image": "*", "githubActions": {"owner": "o"}}]}`,
	}
	digest := "sha256:" + strings.Repeat("0a", 32)
	host := sdktest.NewHost(t,
		sdktest.Answer{Capability: "oci/v2/verify", Payload: []byte(`{"is_trusted": true, "digest": "` + digest + `"}`)},
		sdktest.Answer{Capability: "oci/v1/oci_manifest", Payload: []byte(`{}`)},
		sdktest.Answer{Capability: "oci/v1/manifest_digest", Payload: []byte(`{"digest": "` + digest + `"}`)},
		sdktest.Answer{Capability: "kubernetes/list_resources_all", Payload: []byte(`{"items": [{}]}`)},
	)
	for _, b := range library.All() {
		given := accepting(b.Name)
		if text, ok := settings[b.Name]; ok {
			given = text
		}
		req := sdktest.Request(t, "Pod", `{"spec": {"automountServiceAccountToken": false, "containers": [{"name": "a", "image": "nginx", "readinessProbe": {}}]}}`)
		v, err := sdktest.Load(t, b.Policy, given)(sdk.WithHost(t.Context(), host), req)
		if err == nil {
			v, err = v.Resolve(req)
		}
		if err != nil || !v.Accepted || (v.MutatedObject != nil) != b.Mutating {
			t.Errorf("%s: verdict %+v, %v, want a mutation: %t", b.Name, v, err, b.Mutating)
		}
	}
}

// An API server sends what it sends: no policy may panic, or accept in silence,
// because an object is not shaped as it should be.
func TestPoliciesSurviveMisshapenObjects(t *testing.T) {
	settings := map[string]any{
		"verify-image-signatures":     `{"signatures": [{"image": "*", "githubActions": {"owner": "o"}}]}`,
		"high-risk-service-account":   `{"blockRules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}]}`,
		"deprecated-api-versions":     `{"kubernetes_version": "1.25.0"}`,
		"volumemounts":                `{"volumeMountsNames": ["x"]}`,
		"environment-variable-policy": `{"criteria": "containsAnyOf", "values": ["x"]}`,
		"priority-class-policy":       `{"denied_priority_classes": ["x"], "default_priority_class": "y"}`,
		"probes":                      `{"liveness": {"enforce": true}, "readiness": {"enforce": false}}`,
		"annotations":                 `{"criteria": "containsAnyOf", "values": ["x"]}`,
		"container-resources":         `{"cpu": {"maxLimit": 1}, "memory": {"ignoreValues": true}}`,
		"trusted-repos":               `{"registries": {"allow": ["ghcr.io"]}}`,
		"safe-annotations":            `{"mandatory_annotations": ["a"]}`,
		"safe-labels":                 `{"denied_labels": ["a"]}`,
		"labels":                      `{"criteria": "containsAnyOf", "values": ["x"]}`,
	}
	// Each of these is no Pod, and has something to refuse beside.
	objects := []string{
		`[]`, `"x"`, `7`, `true`,
		`{"spec": [], "metadata": []}`,
		`{"spec": "x", "metadata": "x"}`,
		`{"spec": {"containers": {}, "initContainers": 1, "hostPID": 0, "dnsConfig": "x", "priorityClassName": 1, "serviceAccountName": []},
			"metadata": {"labels": []}}`,
		`{"spec": {"containers": ["c"], "hostIPC": "yes", "dnsConfig": [], "priorityClassName": {}, "serviceAccountName": {}},
			"metadata": {"labels": "a"}}`,
		`{"spec": {"containers": [{"image": 1, "securityContext": [], "resources": 1, "ports": {}, "env": 1, "volumeMounts": "x"}],
			"dnsConfig": {"options": 1}, "priorityClassName": [], "serviceAccountName": 1},
			"metadata": {"labels": {"a": {}, "security.rancher.io/policy": 1}}}`,
	}
	for _, b := range library.All() {
		judge := sdktest.Load(t, b.Policy, settings[b.Name])
		if b.Name == "deprecated-api-versions" {
			continue // it goes by the kind, and looks at no object
		}
		for _, object := range objects {
			req := &sdk.Request{Kind: sdk.GroupVersionKind{Version: "v1", Kind: "Pod"}, Object: []byte(object)}
			v, err := judge(t.Context(), req)
			if err == nil && v.Accepted {
				t.Errorf("%s: accepted %s", b.Name, object)
			}
			if err == nil && v.Message == "" {
				t.Errorf("%s: rejected %s without a reason", b.Name, object)
			}
		}
	}
}

// A message names what a person reads, and a large object costs no more than
// its size: each place that is named is found by reading the object again.
func TestMessagesOfLargeObjectsStayShort(t *testing.T) {
	settings := map[string]any{"trusted-repos": `{"registries": {"allow": ["ghcr.io"]}}`}
	pod := `{"spec": {"containers": [` + strings.Repeat(`{"image": "nginx", "ports": [{"hostPort": 80}],`+
		`"securityContext": {"privileged": true, "capabilities": {"add": ["BPF"]}}},`, 4999) +
		`{"image": "nginx", "ports": [{"hostPort": 80}], "securityContext": {"privileged": true, "capabilities": {"add": ["BPF"]}}}]}}`
	req := sdktest.Request(t, "Pod", pod)
	for _, name := range []string{"capabilities-psp", "host-namespaces-psp", "pod-privileged", "trusted-repos"} {
		b, _ := library.Lookup(name)
		v := sdktest.Judge(t, b.Policy, settings[name], req)
		if v.Accepted || !strings.Contains(v.Message, " and 4990 more") || len(v.Message) > 2000 {
			t.Errorf("%s: accepted %t, %d bytes of message: %s", name, v.Accepted, len(v.Message), v.Message[:min(len(v.Message), 300)])
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	pod := `{"metadata": {"labels": {"app": "web"}}, "spec": {"automountServiceAccountToken": false, "containers": [` +
		strings.Repeat(`{"name": "a", "image": "ghcr.io/team/app:1", "readinessProbe": {}, "resources": {"limits": {"cpu": "1"}},`+
			`"securityContext": {"privileged": false, "capabilities": {"drop": ["ALL"]}}},`, 20) +
		`{"name": "z", "image": "nginx", "readinessProbe": {}}]}}`
	for _, p := range library.All() {
		b.Run(p.Name, func(b *testing.B) {
			judge := sdktest.Load(b, p.Policy, accepting(p.Name))
			req := sdktest.Request(b, "Pod", pod)
			b.ReportAllocs()
			for b.Loop() {
				if v, err := judge(b.Context(), req); err != nil || !v.Accepted {
					b.Fatal(v, err)
				}
			}
		})
	}
}
