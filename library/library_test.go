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

// The values are those that reports take: the API server refuses a report with
// another severity.
func TestEveryPolicyHasACategoryAndASeverity(t *testing.T) {
	for _, b := range library.All() {
		if !slices.Contains(categories(), b.Category) || !slices.Contains(severities(), b.Severity) {
			t.Errorf("%s: category %q, severity %q, want one of %q and of %q", b.Name, b.Category, b.Severity, categories(), severities())
		}
	}
}

func categories() []string { return []string{"security", "reliability", "efficiency"} }

func severities() []string { return []string{"critical", "high", "medium", "low"} }

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

// accepting are settings of policies that need some, with which they accept what
// these tests ask them about.
func accepting(name string) any {
	settings := map[string]string{
		"allowed-fsgroups-psp":                      `{"rule": "MayRunAs", "ranges": [{"min": 1, "max": 2}]}`,
		"annotations":                               `{"criteria": "doesNotContainAnyOf", "values": ["x"]}`,
		"container-resources":                       `{"cpu": {"maxLimit": 64}}`,
		"deprecated-api-versions":                   `{"kubernetes_version": "1.25.0"}`,
		"environment-variable-policy":               `{"criteria": "doesNotContainAnyOf", "values": ["x"]}`,
		"high-risk-service-account":                 `{"blockRules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}]}`,
		"hostpaths-psp":                             `{"allowedHostPaths": [{"pathPrefix": "/tmp", "readOnly": true}]}`,
		"image-cve-policy":                          `{"ignoreMissingVulnerabilityReport": true}`,
		"labels":                                    `{"criteria": "doesNotContainAnyOf", "values": ["x"]}`,
		"namespace-label-propagator":                `{"propagatedLabels": ["team"]}`,
		"persistentvolumeclaim-storageclass-policy": `{"deniedStorageClasses": ["slow"]}`,
		"priority-class-policy":                     `{"denied_priority_classes": ["x"], "default_priority_class": "y"}`,
		"probes":                                    `{"liveness": {"enforce": false}, "readiness": {"enforce": true}}`,
		"psa-label-enforcer":                        `{"modes": {"enforce": "baseline"}}`,
		"resources-required":                        `{"requests": ["cpu"]}`,
		"selinux-psp":                               `{"rule": "MustRunAs", "user": "u"}`,
		"user-group-psp":                            `{"run_as_user": {"rule": "MustRunAs", "ranges": [{"min": 1, "max": 2}]}}`,
		"verify-image-signatures":                   `{"signatures": [{"image": "x", "githubActions": {"owner": "o"}}]}`,
		"volumemounts":                              `{"volumeMountsNames": ["x"]}`,
		"volumes-psp":                               `{"allowedTypes": ["secret"]}`,
	}
	if text, ok := settings[name]; ok {
		return text
	}
	return nil
}

// changing are the settings with which the policies that mutate do so; the others
// accept with them.
func changing(name string) any {
	settings := map[string]string{
		"allow-privilege-escalation-psp":            `{"default_allow_privilege_escalation": false}`,
		"allowed-fsgroups-psp":                      `{"rule": "MustRunAs", "ranges": [{"min": 1, "max": 2}]}`,
		"capabilities-psp":                          `{"required_drop_capabilities": ["ALL"]}`,
		"container-resources":                       `{"cpu": {"defaultLimit": 1}}`,
		"persistentvolumeclaim-storageclass-policy": `{"deniedStorageClasses": ["fast"], "fallbackStorageClass": "slow"}`,
		"pod-runtime":                               `{"fallbackRuntime": "kata"}`,
		"user-group-psp":                            `{"run_as_user": {"rule": "MustRunAsNonRoot"}}`,
		"verify-image-signatures":                   `{"signatures": [{"image": "*", "githubActions": {"owner": "o"}}]}`,
	}
	if text, ok := settings[name]; ok {
		return text
	}
	return accepting(name)
}

// Only policies that say so may change objects: the server refuses a mutation
// of the others.
func TestMutatingSaysWhichPoliciesMutate(t *testing.T) {
	for _, b := range library.All() {
		subject := subjectOf(b.Name)
		req := sdktest.Request(t, subject.kind, subject.object)
		ctx := sdk.WithHost(t.Context(), sdktest.NewHost(t, subject.answers...))
		v, err := sdktest.Load(t, b.Policy, changing(b.Name))(ctx, req)
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
		"allowed-fsgroups-psp":        `{"rule": "MustRunAs", "ranges": [{"min": 1, "max": 2}]}`,
		"annotations":                 `{"criteria": "containsAnyOf", "values": ["x"]}`,
		"container-resources":         `{"cpu": {"maxLimit": 1}, "memory": {"ignoreValues": true}}`,
		"environment-variable-policy": `{"criteria": "containsAnyOf", "values": ["x"]}`,
		"labels":                      `{"criteria": "containsAnyOf", "values": ["x"]}`,
		"persistentvolumeclaim-storageclass-policy": `{"deniedStorageClasses": ["fast"]}`,
		"probes":                  `{"liveness": {"enforce": true}, "readiness": {"enforce": false}}`,
		"safe-annotations":        `{"mandatory_annotations": ["a"]}`,
		"safe-labels":             `{"denied_labels": ["a"]}`,
		"trusted-repos":           `{"registries": {"allow": ["ghcr.io"]}}`,
		"user-group-psp":          `{"run_as_user": {"rule": "MustRunAsNonRoot"}}`,
		"verify-image-signatures": `{"signatures": [{"image": "*", "githubActions": {"owner": "o"}}]}`,
	}
	for _, b := range library.All() {
		if b.Name == "deprecated-api-versions" {
			continue // it goes by the kind, and looks at no object
		}
		given, ok := settings[b.Name]
		if !ok {
			given = accepting(b.Name)
		}
		judge := sdktest.Load(t, b.Policy, given)
		subject := subjectOf(b.Name)
		ctx := sdk.WithHost(t.Context(), sdktest.NewHost(t, subject.answers...))
		objects := slices.Concat([]string{`[]`, `"x"`, `7`, `true`}, subject.misshapen)
		if !subject.elsewhere {
			objects = append(objects, `{"spec": [], "metadata": []}`, `{"spec": "x", "metadata": "x"}`)
		}
		for _, object := range objects {
			req := &sdk.Request{Kind: sdk.GroupVersionKind{Version: "v1", Kind: subject.kind}, Namespace: "web", Object: []byte(object)}
			v, err := judge(ctx, req)
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
	settings := map[string]any{
		"hostpaths-psp": `{"allowedHostPaths": [{"pathPrefix": "/tmp", "readOnly": true}]}`,
		"selinux-psp":   `{"rule": "MustRunAs", "user": "u"}`,
		"trusted-repos": `{"registries": {"allow": ["ghcr.io"]}}`,
		"volumes-psp":   `{"allowedTypes": ["secret"]}`,
	}
	list := func(element string) string { return "[" + strings.Repeat(element+",", 4999) + element + "]" }
	pod := `{"spec": {"containers": ` + list(`{"image": "nginx", "ports": [{"hostPort": 80}], "volumeMounts": [{"name": "v"}],
		"securityContext": {"privileged": true, "capabilities": {"add": ["BPF"]}, "allowPrivilegeEscalation": true, "procMount": "Unmasked",
		"appArmorProfile": {"type": "Unconfined"}, "seccompProfile": {"type": "Unconfined"}, "seLinuxOptions": {"user": "x"}}}`) + `,
		"volumes": ` + list(`{"name": "v", "hostPath": {"path": "/etc"}, "flexVolume": {"driver": "d"}}`) + `}}`
	for _, name := range []string{
		"allow-privilege-escalation-psp", "allowed-proc-mount-types-psp", "apparmor-psp", "capabilities-psp", "flexvolume-drivers-psp",
		"host-namespaces-psp", "hostpaths-psp", "image-tag", "linux-hardening", "pod-privileged", "readonly-root-filesystem-psp",
		"seccomp-psp", "selinux-psp", "trusted-repos", "volumes-psp",
	} {
		b, _ := library.Lookup(name)
		object := pod
		if name == "linux-hardening" { // which any options of SELinux are enough for
			object = strings.ReplaceAll(pod, `, "seLinuxOptions": {"user": "x"}`, "")
		}
		v := sdktest.Judge(t, b.Policy, settings[name], sdktest.Request(t, "Pod", object))
		if v.Accepted || !regexp.MustCompile(`\band (4|9)990 more\b`).MatchString(v.Message) || len(v.Message) > 2000 {
			t.Errorf("%s: accepted %t, %d bytes of message: %s", name, v.Accepted, len(v.Message), v.Message[:min(len(v.Message), 300)])
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	pod := `{"metadata": {"labels": {"app": "web"}}, "spec": {"automountServiceAccountToken": false, "containers": [` +
		strings.Repeat(`{"name": "a", "image": "ghcr.io/team/app:1", "readinessProbe": {}, "resources": {"limits": {"cpu": "1"}},`+
			`"securityContext": {"privileged": false, "readOnlyRootFilesystem": true, "runAsUser": 1, "seLinuxOptions": {"user": "u"},`+
			`"capabilities": {"drop": ["ALL"]}}},`, 20) +
		`{"name": "z", "image": "nginx", "readinessProbe": {}, "securityContext": {"readOnlyRootFilesystem": true, "runAsUser": 1}}]}}`
	for _, p := range library.All() {
		b.Run(p.Name, func(b *testing.B) {
			judge := sdktest.Load(b, p.Policy, accepting(p.Name))
			subject := subjectOf(p.Name)
			req := sdktest.Request(b, "Pod", pod)
			if _, ok := subjects()[p.Name]; ok {
				req = sdktest.Request(b, subject.kind, subject.object)
			}
			ctx := sdk.WithHost(b.Context(), sdktest.NewHost(b, subject.answers...))
			b.ReportAllocs()
			for b.Loop() {
				if v, err := judge(ctx, req); err != nil || !v.Accepted {
					b.Fatal(v, err)
				}
			}
		})
	}
}
