package policy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/sdk"
)

func TestParseGrants(t *testing.T) {
	tests := []struct {
		name             string
		patterns         []string
		text             string
		allowed, refused []string
	}{
		{"nothing", nil, "[]", []string{"tracing/log"}, []string{"oci/v1/verify", "kubernetes/can_i"}},
		{"everything", []string{" * ", "nonsense"}, "[*]", []string{"oci/v1/verify", "what/ever"}, nil},
		{"a namespace and one", []string{"net/v1/dns_lookup_host", "oci/*"}, "[oci/*, net/v1/dns_lookup_host]",
			[]string{"oci/v1/verify", "oci/v2/verify", "net/v1/dns_lookup_host"}, []string{"ocix/v1", "kubernetes/can_i", "net/v1/dns_lookup_host2", "oci"}},
		{"a version", []string{"oci/v2/*"}, "[oci/v2/*]", []string{"oci/v2/verify"}, []string{"oci/v1/verify"}},
		{"without version", []string{"kubernetes/get_resource"}, "[kubernetes/get_resource]",
			[]string{"kubernetes/get_resource"}, []string{"kubernetes/list_resources_all"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, err := ParseGrants(tt.patterns)
			if err != nil || g.String() != tt.text {
				t.Fatalf("ParseGrants(%q) = %s, %v, want %s", tt.patterns, g, err, tt.text)
			}
			for _, c := range tt.allowed {
				if !g.Allows(c) {
					t.Errorf("%s refuses %s", g, c)
				}
			}
			for _, c := range tt.refused {
				if g.Allows(c) {
					t.Errorf("%s allows %s", g, c)
				}
			}
		})
	}
}

func TestParseGrantsSaysWhatIsNoPattern(t *testing.T) {
	patterns := []string{"", "oc*/v1", "oci/v*", "*/verify", "oci", "oci/v1", "web/x", "oci/v1/nope", "net/v1/dns_lookup_host/*", "tracing/log", "oci//verify", "*"}
	const want = `invalid pattern: pattern must not be empty
invalid pattern "oc*/v1": wildcard '*' must be the entire last path segment (e.g. 'oci/*'), not a partial match
invalid pattern "oci/v*": wildcard '*' must be the entire last path segment (e.g. 'oci/*'), not a partial match
invalid pattern "*/verify": wildcard '*' must be the entire last path segment (e.g. 'oci/*'), not a partial match
invalid pattern "oci": not a complete capability path; use "oci/*" to allow all capabilities under it
invalid pattern "oci/v1": not a complete capability path; use "oci/v1/*" to allow all capabilities under it
invalid pattern "web/x": unknown segment "web", valid options at this level are: crypto, kubernetes, net, oci
invalid pattern "oci/v1/nope": unknown segment "nope", valid options at this level are: manifest_digest, oci_manifest, oci_manifest_config, verify
invalid pattern "net/v1/dns_lookup_host/*": unknown segment "*", valid options at this level are: none, "net/v1/dns_lookup_host" is a whole capability
invalid pattern "tracing/log": unknown segment "tracing", valid options at this level are: crypto, kubernetes, net, oci
invalid pattern "oci//verify": unknown segment "", valid options at this level are: v1, v2`
	g, err := ParseGrants(patterns)
	if err == nil {
		t.Fatal("ParseGrants succeeded")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if g.Allows("oci/v1/verify") {
		t.Error("grants of an invalid list allow something")
	}
}

func TestMatches(t *testing.T) {
	request := func(op sdk.Operation, group, resource, sub string) *sdk.Request {
		return &sdk.Request{Operation: op, Resource: sdk.GroupVersionResource{Group: group, Version: "v1", Resource: resource}, SubResource: sub}
	}
	rule := func(group, resource, op string) Policy {
		return Policy{Rules: []Rule{{[]string{"none"}, []string{"v9"}, []string{"x"}, []string{"DELETE"}, ""},
			{[]string{group}, []string{"v1"}, []string{resource}, []string{op}, ""}}}
	}
	scoped := func(s Scope) Policy {
		return Policy{Rules: []Rule{{[]string{"*"}, []string{"*"}, []string{"*"}, []string{"*"}, s}}}
	}
	in := func(namespace string, req *sdk.Request) *sdk.Request {
		there := *req
		there.Namespace = namespace
		return &there
	}
	pods, status := request("CREATE", "", "pods", ""), request("CREATE", "", "pods", "status")
	deploy := request("UPDATE", "apps", "deployments", "")
	tests := []struct {
		name   string
		policy Policy
		req    *sdk.Request
		want   bool
	}{
		{"no rules", Policy{}, pods, true},
		{"exact", rule("", "pods", "CREATE"), pods, true},
		{"other operation", rule("", "pods", "UPDATE"), pods, false},
		{"other group", rule("apps", "pods", "*"), pods, false},
		{"any group", rule("*", "deployments", "*"), deploy, true},
		{"subresource is another resource", rule("", "pods", "*"), status, false},
		{"subresource", rule("", "pods/status", "*"), status, true},
		{"any subresource", rule("", "pods/*", "*"), status, true},
		{"any subresource has none too", rule("", "pods/*", "*"), pods, true},
		{"any resource", rule("*", "*", "*"), deploy, true},
		{"any resource has no subresources", rule("*", "*", "*"), status, false},
		{"subresource of any", rule("*", "*/status", "*"), status, true},
		{"everything", rule("*", "*/*", "*"), status, true},
		{"in a namespace", scoped(Namespaced), in("default", pods), true},
		{"of the cluster", scoped(Namespaced), pods, false},
		{"a namespace is not in one", scoped(Namespaced), in("default", request("UPDATE", "", "namespaces", "")), false},
		{"a namespace is of the cluster", scoped(Cluster), in("default", request("UPDATE", "", "namespaces", "")), true},
		{"another group's namespaces are in one", scoped(Cluster), in("default", request("UPDATE", "x.io", "namespaces", "")), false},
		{"not of the cluster", scoped(Cluster), in("default", pods), false},
		{"any scope", scoped(EveryScope), in("default", pods), true},
		{"raw", rule("", "pods", "CREATE"), &sdk.Request{Raw: json.RawMessage("1")}, true},
	}
	for _, tt := range tests {
		if got := tt.policy.Matches(tt.req); got != tt.want {
			t.Errorf("%s: Matches = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestResourcesOfARuleDoNotRepeatEachOther(t *testing.T) {
	tests := []struct {
		list string
		want string
	}{
		{"pods pods/status", ""},
		{"pods pods/*", ""},
		{"* */status", ""},
		{"pods *", `resources[0]: "pods" is part of "*" already; leave one out`},
		{"* pods", `resources[1]: "pods" is part of "*" already; leave one out`},
		{"pods/status pods/*", `resources[0]: "pods/status" is part of "pods/*" already; leave one out`},
		{"*/status pods/status", `resources[1]: "pods/status" is part of "*/status" already; leave one out`},
		{"*/* pods", `resources[1]: "pods" is part of "*/*" already; leave one out`},
		{"*/* *", `resources[1]: "*" is part of "*/*" already; leave one out`},
		{"a/b/c", `resources[0]: want a resource or resource/subresource, have "a/b/c"`},
		{"/status", `resources[0]: want a resource or resource/subresource, have "/status"`},
	}
	for _, tt := range tests {
		p := Policy{ID: "p", Module: "m", Rules: []Rule{{[]string{"*"}, []string{"*"}, strings.Fields(tt.list), []string{"*"}, ""}}}
		want := ""
		if tt.want != "" {
			want = `policy "p": rules[0].` + tt.want
		}
		got := ""
		if err := p.Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", tt.list, got, want)
		}
	}
}

func TestValidateReportsAllProblems(t *testing.T) {
	p := Policy{
		ID: "a/b", Module: "", Mode: "x", FailurePolicy: "y", Settings: json.RawMessage(`{"a"`), Timeout: -time.Second,
		HostCapabilities: []string{"z"}, ContextAwareResources: []Resource{{}},
	}
	want := []string{"'/'", "policyMode", "failurePolicy", "module", "settings", "timeoutEvalSeconds", "apiVersion", "kind", "hostCapabilities[0]"}
	lines := strings.Split(p.Validate().Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("Validate has %d problems, want %d:\n%s", len(lines), len(want), strings.Join(lines, "\n"))
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, `policy "a/b": `) || !strings.Contains(line, want[i]) {
			t.Errorf("problem %d = %s, want one of %s", i, line, want[i])
		}
	}
	if err := (Policy{ID: "p", Settings: json.RawMessage(`[]`), Module: "m"}).Validate(); err == nil || err.Error() != `policy "p": settings: want an object` {
		t.Errorf("settings that are a list: %v", err)
	}
	group := Policy{ID: "g", Module: "m", AllowedToMutate: true, Group: &Group{Expression: "a()", Message: "m", Members: map[string]Policy{"a": {}}}}
	const wantGroup = "policy \"g\": module: a group has no module of its own\npolicy \"g\": allowedToMutate: a group cannot mutate\n" +
		"policy \"g\": policies.a.module: is missing: say where the module is"
	if err := group.Validate(); err == nil || err.Error() != wantGroup {
		t.Errorf("group: %v, want %s", err, wantGroup)
	}
}

func TestEveryBundleOfAPolicyIsChecked(t *testing.T) {
	p := Policy{ID: "p", Module: "m", Bundles: []string{"a", "", "b/c"}}
	const want = `policy "p": bundles[1]: the name is empty
policy "p": bundles[2]: "b/c" contains a slash; it is the last segment of a URL`
	if err := p.Validate(); err == nil || err.Error() != want {
		t.Errorf("Validate = %v, want %s", err, want)
	}
}

func TestTheNameOfABundleTellsWhetherItMutates(t *testing.T) {
	for name, want := range map[string]bool{"pods": true, "mutate-1": true, "validate-1": false, "not-validate-1": true} {
		if Mutates(name) != want {
			t.Errorf("Mutates(%s) = %t, want %t", name, !want, want)
		}
	}
}
