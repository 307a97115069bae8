package manifest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
)

// request is one that rules match or not.
type request struct {
	operation                                admission.Operation
	group, version, resource, sub, namespace string
}

// matchedBy asks the API server's own code.
func (r request) matchedBy(all []admissionv1.RuleWithOperations) bool {
	attributes := admission.NewAttributesRecord(nil, nil, schema.GroupVersionKind{}, r.namespace, "name",
		schema.GroupVersionResource{Group: r.group, Version: r.version, Resource: r.resource}, r.sub, r.operation, nil, false, nil)
	return slices.ContainsFunc(all, func(rule admissionv1.RuleWithOperations) bool {
		return (&rules.Matcher{Rule: rule, Attr: attributes}).Matches()
	})
}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

func somewhat(r *rand.Rand, from ...string) []string {
	var list []string
	for range 1 + r.IntN(3) {
		list = append(list, pick(r, from...))
	}
	return list
}

func randomRule(r *rand.Rand) rule {
	return newRule(rule{
		operations: somewhat(r, "CREATE", "UPDATE", "DELETE", "CONNECT", "CREATE", "UPDATE", "*"),
		groups:     somewhat(r, "", "apps", "", "apps", "*"),
		versions:   somewhat(r, "v1", "v1", "v2", "*"),
		resources:  somewhat(r, "pods", "pods", "deployments", "namespaces", "*", "*/*", "pods/*", "*/scale", "pods/log", "deployments/scale", "pods/scale"),
		scope:      admissionv1.ScopeType(pick(r, "*", "*", "Namespaced", "Cluster")),
	})
}

func randomRequest(r *rand.Rand) request {
	return request{
		operation: admission.Operation(pick(r, "CREATE", "UPDATE", "DELETE", "CONNECT")),
		group:     pick(r, "", "apps", "batch"), version: pick(r, "v1", "v2", "v3"),
		resource: pick(r, "pods", "deployments", "namespaces", "jobs"), sub: pick(r, "", "", "log", "scale", "status"),
		namespace: pick(r, "", "web"),
	}
}

func TestUnionMatchesWhatItsPartsMatch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	matched := 0
	for range 3000 {
		parts := make([]rule, 1+r.IntN(8))
		for i := range parts {
			parts[i] = randomRule(r)
		}
		whole := wire(union(parts))
		if problem := refusedByAPIServer(whole); problem != "" {
			t.Fatalf("union of %v is refused: %s: %v", parts, problem, whole)
		}
		if len(whole) > len(parts) {
			t.Fatalf("union of %d rules has %d", len(parts), len(whole))
		}
		for range 60 {
			req := randomRequest(r)
			want := req.matchedBy(wire(parts))
			if got := req.matchedBy(whole); got != want {
				t.Fatalf("%+v: union matches: %t, its parts: %t\nparts: %v\nunion: %v", req, got, want, wire(parts), whole)
			}
			if want {
				matched++
			}
		}
		// Whatever the order, and whatever of it is said again.
		again := slices.Clone(parts)
		r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		if !sameRules(union(again), union(parts)) {
			t.Fatalf("another order of %v makes another union", parts)
		}
		if more := union(slices.Concat(union(parts), parts[:1])); !sameRules(more, union(parts)) {
			t.Fatalf("a part that is said again changes the union of %v: %v", parts, more)
		}
	}
	if matched < 30000 {
		t.Errorf("only %d requests were matched by anything: the test says little", matched)
	}
}

func TestUnionIsMinimal(t *testing.T) {
	tests := []struct{ name, rules, want string }{
		{"the same twice", "CREATE|pods, CREATE|pods", "CREATE|pods"},
		{"different resources", "CREATE|pods, CREATE|services", "CREATE|pods services"},
		{"different operations", "CREATE|pods, UPDATE|pods", "CREATE UPDATE|pods"},
		{"different in two lists stay two", "CREATE|pods, UPDATE|deployments", "UPDATE|deployments, CREATE|pods"},
		{"four make one", "CREATE|pods, UPDATE|deployments, CREATE|deployments, UPDATE|pods", "CREATE UPDATE|deployments pods"},
		{"a wider one", "CREATE|pods, *|pods", "*|pods"},
		{"all resources have no subresources", "CREATE|pods/log, CREATE|*, CREATE|pods", "CREATE|* pods/log"},
		{"everything", "CREATE|pods/log, CREATE|*, CREATE|*/*, CREATE|*/scale", "CREATE|*/*"},
		{"subresources include their resource", "CREATE|pods, CREATE|pods/*, CREATE|pods/log", "CREATE|pods/*"},
		{"a subresource of all", "CREATE|*/scale, CREATE|pods/scale, CREATE|pods", "CREATE|*/scale pods"},
		{"wide in one list, narrow in the other", "*|pods, CREATE|*", "CREATE|*, *|pods"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var parts []rule
			for _, text := range strings.Split(tt.rules, ", ") {
				operations, resources, _ := strings.Cut(text, "|")
				parts = append(parts, newRule(rule{
					operations: strings.Fields(operations), resources: strings.Fields(resources),
					groups: []string{""}, versions: []string{"v1"}, scope: "*",
				}))
			}
			var got []string
			for _, r := range union(parts) {
				got = append(got, strings.Join(r.operations, " ")+"|"+strings.Join(r.resources, " "))
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("union of %s (-want +got):\n%s", tt.rules, diff)
			}
		})
	}
}

// TestManyRulesStayFew has a bundle of 500 policies, each of a kind of its own.
func TestManyRulesStayFew(t *testing.T) {
	var parts []rule
	for i := range 500 {
		parts = append(parts, newRule(rule{
			operations: []string{"CREATE", "UPDATE"}, groups: []string{"example.com"}, versions: []string{"v1"},
			resources: []string{fmt.Sprintf("kind%03d", i)}, scope: "*",
		}))
	}
	if got := union(parts); len(got) != 1 || len(got[0].resources) != 500 {
		t.Errorf("500 resources make %d rules", len(got))
	}
	// The worst: no two differ in one list only.
	for i := range parts {
		parts[i].groups = []string{fmt.Sprintf("group%03d.example.com", i)}
	}
	if got := union(parts); len(got) != 500 {
		t.Errorf("500 rules that have nothing in common make %d", len(got))
	}
}

// refusedByAPIServer says why the API server would not take the rules. Source:
// k8s.io/kubernetes pkg/apis/admissionregistration/validation.
func refusedByAPIServer(all []admissionv1.RuleWithOperations) string {
	for _, r := range all {
		for name, list := range map[string][]string{"operations": texts(r.Operations), "apiGroups": r.APIGroups, "apiVersions": r.APIVersions} {
			switch {
			case len(list) == 0:
				return name + ": Required value"
			case len(list) > 1 && slices.Contains(list, "*"):
				return name + ": if '*' is present, must not specify others"
			case name != "apiGroups" && slices.Contains(list, ""):
				return name + ": empty"
			}
		}
		if r.Scope == nil || !slices.Contains([]string{"*", "Namespaced", "Cluster"}, string(*r.Scope)) {
			return "scope"
		}
		if problem := resourcesRefused(r.Resources); problem != "" {
			return problem
		}
	}
	return ""
}

func resourcesRefused(resources []string) string {
	wildSub, wildResource := map[string]bool{}, map[string]bool{}
	plain := false
	for _, r := range resources {
		resource, sub, hasSub := strings.Cut(r, "/")
		switch {
		case r == "":
			return "an empty resource"
		case !hasSub:
			plain = plain || r != "*"
			continue
		case wildSub[resource]:
			return fmt.Sprintf("if '%s/*' is present, must not specify %s", resource, r)
		case wildResource[sub]:
			return fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, r)
		}
		wildSub[resource] = wildSub[resource] || sub == "*"
		wildResource[sub] = wildResource[sub] || resource == "*"
	}
	switch {
	case len(resources) == 0:
		return "no resources"
	case len(resources) > 1 && slices.Contains(resources, "*/*"):
		return "if '*/*' is present, must not specify other resources"
	case plain && slices.Contains(resources, "*"):
		return "if '*' is present, must not specify other resources without subresources"
	}
	return ""
}

func FuzzUnion(f *testing.F) {
	f.Add(uint64(1), uint8(3))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		r := rand.New(rand.NewPCG(seed, 1))
		parts := make([]rule, 1+n%24)
		for i := range parts {
			parts[i] = randomRule(r)
		}
		whole := wire(union(parts))
		if problem := refusedByAPIServer(whole); problem != "" {
			t.Fatalf("%s: %v", problem, whole)
		}
		for range 30 {
			if req := randomRequest(r); req.matchedBy(whole) != req.matchedBy(wire(parts)) {
				t.Fatalf("%+v\nparts: %v\nunion: %v", req, wire(parts), whole)
			}
		}
	})
}
