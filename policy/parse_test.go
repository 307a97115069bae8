package policy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const documented = `
no-privileged:
  module: registry://ghcr.io/acme/policies/pod-privileged:v1.0.0
  policyMode: protect
  settings: {}
add-labels:
  module: https://files.example.org/labels.wasm
  policyMode: monitor
  allowedToMutate: true
  settings: {labels: {team: a}}
  contextAwareResources: [{apiVersion: v1, kind: Namespace}]
  hostCapabilities: ["kubernetes/*"]
  timeoutEvalSeconds: 5
  message: labels are required
signed-or-trusted:
  policyMode: protect
  expression: "signed() || (trusted() && !latest())"
  message: image not acceptable
  policies:
    signed:  {module: "ghcr.io/acme/policies/verify:v1", settings: {}, hostCapabilities: ["oci/v2/*"]}
    trusted: {module: "ghcr.io/acme/policies/repos:v1"}
    latest:  {module: "ghcr.io/acme/policies/tags:v1"}
extended:
  module: builtin://host-network
  failurePolicy: Ignore
  bundle: pods
  order: -1
  rules:
  - {apiGroups: [""], apiVersions: [v1], resources: [pods, pods/ephemeralcontainers], operations: [CREATE, UPDATE], scope: Namespaced}
`

func TestParseFileReadsSinglesGroupsAndExtensions(t *testing.T) {
	got, warnings, err := ParseFile("policies.yml", []byte(documented))
	if err != nil || warnings != nil {
		t.Fatalf("error %v, warnings %v", err, warnings)
	}
	want := []Policy{
		{
			ID: "add-labels", Module: "https://files.example.org/labels.wasm", Mode: Monitor, AllowedToMutate: true,
			Settings: json.RawMessage(`{"labels":{"team":"a"}}`), Message: "labels are required", Timeout: 5 * time.Second,
			ContextAwareResources: []Resource{{"v1", "Namespace"}}, HostCapabilities: []string{"kubernetes/*"}, FailurePolicy: Fail,
		},
		{
			ID: "extended", Module: "builtin://host-network", Mode: Protect, FailurePolicy: Ignore, Bundles: []string{"pods"}, Order: -1,
			Rules: []Rule{{[]string{""}, []string{"v1"}, []string{"pods", "pods/ephemeralcontainers"}, []string{"CREATE", "UPDATE"}, Namespaced}},
		},
		{
			ID: "no-privileged", Module: "registry://ghcr.io/acme/policies/pod-privileged:v1.0.0",
			Mode: Protect, FailurePolicy: Fail, Settings: json.RawMessage(`{}`),
		},
		{ID: "signed-or-trusted", Mode: Protect, FailurePolicy: Fail, Group: &Group{
			Expression: "signed() || (trusted() && !latest())", Message: "image not acceptable",
			Members: map[string]Policy{
				"signed":  {Module: "ghcr.io/acme/policies/verify:v1", Settings: json.RawMessage(`{}`), HostCapabilities: []string{"oci/v2/*"}},
				"trusted": {Module: "ghcr.io/acme/policies/repos:v1"},
				"latest":  {Module: "ghcr.io/acme/policies/tags:v1"},
			}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseFile (-want +got):\n%s", diff)
	}
}

func TestParseFileReadsTheControllersJSON(t *testing.T) {
	const text = `{"clusterwide-a":{"namespacedName":{"Namespace":"","Name":"a"},"module":"registry://x/y:v1","policyMode":"monitor",
		"allowedToMutate":	false,"settings":null,"contextAwareResources":null,"message":null,"timeoutEvalSeconds":null,"hostCapabilities":["*"]},
	"namespaced-group-ns-g":{"namespacedName":{"Namespace":"ns","Name":"g"},"policyMode":"protect","message":"m","expression":"a()",
	"policies":{"a":{"module":"m","settings":{"s":"\ud83d\ude00\u003c\/\\ud83d","t":"\ud83d\t\ufffd"},"timeoutEvalSeconds":null}}}}`
	got, warnings, err := ParseFile("policies.yml", []byte(text))
	if err != nil || warnings != nil {
		t.Fatalf("error %v, warnings %v", err, warnings)
	}
	want := []Policy{
		{ID: "clusterwide-a", Module: "registry://x/y:v1", Mode: Monitor, FailurePolicy: Fail, HostCapabilities: []string{"*"}},
		{ID: "namespaced-group-ns-g", Namespace: "ns", Mode: Protect, FailurePolicy: Fail, Group: &Group{
			Expression: "a()", Message: "m",
			Members: map[string]Policy{"a": {Module: "m", Settings: json.RawMessage("{\"s\":\"😀\\u003c/\\\\ud83d\",\"t\":\"\ufffd\\t\ufffd\"}")}},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseFile (-want +got):\n%s", diff)
	}
}

func TestParseFileReportsEveryMistakeWhereItIs(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"several at once", "a:\n  module: 5\n  policyMode: enforce\n  timeoutEvalSeconds: 0\nno-privileged:\n  module: m\n  allowedToMutate: yes\n", []string{
			`2:11: a: module: want a string, have 5; quote it`,
			`3:15: a: policyMode: want monitor or protect, have "enforce"`,
			`4:23: a: timeoutEvalSeconds: 0 leaves the policy no time at all; leave it out for the server's default, or say 1 or more`,
			`7:20: no-privileged: allowedToMutate: want true or false, have "yes"`}},
		{"not YAML", "a: [", []string{`: not YAML: line 1: did not find expected node content`}},
		{"empty", "# nothing\n", []string{`: the file is empty; write {} if there shall be no policies`}},
		{"a list", "- a", []string{`1:1: want an object that has policies by their names, have a list`}},
		{"two documents", "a: {module: m}\n---\nb: {module: m}\n", []string{`: a second document starts at line 2; want one`}},
		{"an entry is text", "a: builtin://x", []string{`1:4: a: want an object with a module or cel (one policy) or with policies (a group), have "builtin://x"`}},
		{"neither", "a: {modul: m}", []string{`1:1: a: want a module or cel (one policy) or policies (a group), have neither; is "modul" meant to be "module"?`}},
		{"null module", "a: {module: ~}", []string{`1:13: a: module: is missing: say where the module is`}},
		{"both", "a: {module: m, policies: {}}", []string{`1:16: a: policies: a policy has a module or cel, a group has policies; the entry has both`}},
		{"slash", "a/b: {module: m}", []string{`1:1: a/b: policy name 'a/b' contains a '/' character`}},
		{"names", "\"\": {module: m}\n..: {module: m}", []string{
			`1:1: the name is empty`, `2:1: ..: the name cannot be part of a URL`}},
		{"key twice", "a:\n  module: m\n  module: n\na: {module: m}", []string{
			`3:3: a: the key "module" is there already, at line 2`, `4:1: the key "a" is there already, at line 1`}},
		{"namespacedName", "a: {module: m, namespacedName: {Namespace: [x]}}\nb:\n  namespacedName: {namespace: x, Name: 1}\n  module: m\nc: {namespacedName: x, module: m}\nd: {namespacedName: ~, module: m}", []string{
			`1:32: a: namespacedName.Name: is missing; a policy of the whole cluster has Namespace: ""`,
			`1:44: a: namespacedName.Namespace: want a string, have a list`,
			`3:19: b: namespacedName.Namespace: is missing; a policy of the whole cluster has Namespace: ""`,
			`3:40: b: namespacedName.Name: want a string, have 1; quote it`,
			`5:21: c: namespacedName: want an object, have "x"`,
			`6:21: d: namespacedName: want an object, have null`}},
		{"group members", "g:\n  expression: e()\n  message: m\n  policies:\n    a/b: {module: m}\n    if: {module: m, allowedToMutate: true}\n    x-y: {modul: m}\n    z: m\n", []string{
			`5:5: g: policies: policy group 'g' contains policies with invalid names: ["a/b"]`,
			`6:5: g: policies.if: an expression cannot call this name: it is a reserved word`,
			`6:21: g: policies.if.allowedToMutate: unknown key; known are module, cel, settings, contextAwareResources, timeoutEvalSeconds, hostCapabilities`,
			`7:5: g: policies.x-y: an expression cannot call this name: use letters, digits and underscores`,
			`7:5: g: policies.x-y.module: is missing: say where the module is`,
			`7:11: g: policies.x-y.modul: unknown key; did you mean module?`,
			`8:8: g: policies.z: want an object, have "m"`}},
		{"empty group", "g: {policies: {}}", []string{
			`1:1: g: expression: is missing: say which members have to accept, as in "a() && !b()"`,
			`1:1: g: message: is missing: say what a rejected user is told`,
			`1:15: g: policies: the group has no members`}},
		{"capabilities", "a: {module: m, hostCapabilities: [oci/v3/x, 7, \"*\", nonsense]}", []string{
			`1:35: a: hostCapabilities[0]: invalid pattern "oci/v3/x": unknown segment "v3", valid options at this level are: v1, v2`,
			`1:45: a: hostCapabilities[1]: want a string, have 7; quote it`}},
		{"context", "a: {module: m, contextAwareResources: [{apiversion: v1, kind: Pod}, x]}", []string{
			`1:40: a: contextAwareResources[0].apiVersion: is missing or empty`,
			`1:41: a: contextAwareResources[0].apiversion: unknown key; did you mean apiVersion?`,
			`1:69: a: contextAwareResources[1]: want an object, have "x"`}},
		{"rules", "a:\n  module: m\n  order: 1.5\n  failurePolicy: fail\n  bundle: a/b\n  rules:\n  - apiGroups: [\"*\", x]\n    resources: pods\n    operations: [create, \"\"]\n    scope: x\n    scop: x\n", []string{
			`3:10: a: order: want an integer, have 1.5`,
			`4:18: a: failurePolicy: want Fail or Ignore, have "fail"`,
			`5:11: a: bundle: "a/b" contains a slash; it is the last segment of a URL`,
			`7:5: a: rules[0].apiVersions: is missing or empty; say ["*"] for all`,
			`7:16: a: rules[0].apiGroups: No other elements can be defined when '*' is used`,
			`8:16: a: rules[0].resources: want a list, have "pods"`,
			`9:17: a: rules[0].operations: has an empty element`,
			`9:18: a: rules[0].operations[0]: want CREATE, UPDATE, DELETE, CONNECT or *, have "create"`,
			`10:12: a: rules[0].scope: want Cluster, Namespaced or *, have "x"`,
			`11:5: a: rules[0].scop: unknown key; did you mean scope?`}},
		{"bundles", "a: {module: m, bundle: ..}\nb: {module: m, bundle: [x]}\nc: {module: m, bundle: \"\"}", []string{
			`1:24: a: bundle: ".." cannot be part of a URL`,
			`2:24: b: bundle: want a string, have a list`}},
		{"numbers", "a: {module: m, timeoutEvalSeconds: -1, order: 99999999999}\nb: {module: m, timeoutEvalSeconds: 86401}\nc: {module: m, timeoutEvalSeconds: \"2\"}", []string{
			`1:36: a: timeoutEvalSeconds: -1 is outside 1 to 86400 seconds`,
			`1:47: a: order: 99999999999 is out of range`,
			`2:36: b: timeoutEvalSeconds: 86401 is outside 1 to 86400 seconds`,
			`3:36: c: timeoutEvalSeconds: want an integer, have "2"`}},
		{"settings", "a: {module: m, settings: [1]}\nb: {module: m, settings: {x: .inf, y: !!binary aGk=, z: {[1]: 2, ~: 3}}}", []string{
			`1:26: a: settings: want an object, have a list`,
			`2:30: b: settings: .inf is not a number that JSON has`,
			`2:39: b: settings: the tag !!binary has no meaning here; settings are JSON`,
			`2:58: b: settings: a key must be a string, have a list`,
			`2:66: b: settings: a key must be a string, have null; quote it if it is meant to be one`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			policies, _, err := ParseFile("policies.yml", []byte(tt.text))
			if err == nil {
				t.Fatalf("ParseFile accepts %q: %+v", tt.text, policies)
			}
			want := "policies.yml:" + strings.Join(tt.want, "\npolicies.yml:")
			want = strings.ReplaceAll(want, "policies.yml:: ", "policies.yml: ")
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Errorf("ParseFile(%q) (-want +got):\n%s", tt.text, diff)
			}
		})
	}
}

func TestParseFileWarnsOfKeysThatNobodyReads(t *testing.T) {
	const text = "a:\n  module: m\n  polcyMode: monitor\n  whatever: 1\n  expression: x\n" +
		"g:\n  expression: x()\n  message: m\n  settings: {}\n  policies: {x: {module: m}}\n" +
		"n: {module: m, namespacedName: {Namespace: shop, Name: n, namspace: x, uid: 1}}\n"
	_, warnings, err := ParseFile("p.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.String())
	}
	want := []string{
		"p.yml:3:3: a: polcyMode: unknown key, ignored; did you mean policyMode?",
		"p.yml:4:3: a: whatever: unknown key, ignored",
		"p.yml:5:3: a: expression: has no meaning for one policy, ignored",
		"p.yml:9:3: g: settings: has no meaning for a group, ignored",
		"p.yml:11:59: n: namespacedName.namspace: unknown key, ignored; did you mean Namespace?",
		"p.yml:11:72: n: namespacedName.uid: unknown key, ignored",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestSettingsKeepTheirTypes(t *testing.T) {
	tests := []struct{ yaml, want string }{
		{"date: 2001-01-01", `{"date":"2001-01-01"}`},
		{"a: [yes, no, on, off, y, true, True, FALSE]", `{"a":["yes","no","on","off","y",true,true,false]}`},
		{"a: [1.10, .5, 1., 1e3, +2.5, -0.0, 007.5, 1e400x]", `{"a":[1.10,0.5,1.0,1e3,2.5,-0.0,7.5,"1e400x"]}`},
		{"a: [18446744073709551616, -1, +7, 0777, 1_000, 0x1F, 0o17, 0b1, 00, 0]", `{"a":[18446744073709551616,-1,7,"0777","1_000",31,15,"0b1","00",0]}`},
		{"a: [~, null, NULL, ]\nb:", `{"a":[null,null,null],"b":null}`},
		{"a: ['1', \"true\", !!str 5, !!float 1, !!int 3]", `{"a":["1","true","5",1,3]}`},
		{"8080: http\ntrue: yes\n1.5: x", `{"1.5":"x","8080":"http","true":"yes"}`},
		{"a: &x {k: 1, l: [2]}\nb: *x", `{"a":{"k":1,"l":[2]},"b":{"k":1,"l":[2]}}`},
		{"base: &x {k: 1, l: 2}\nother: &y {k: 3, m: 3}\nb: {<<: [*x, *y], l: 9}\nc: {<<: *y}", `{"b":{"k":1,"l":9,"m":3},"base":{"k":1,"l":2},"c":{"k":3,"m":3},"other":{"k":3,"m":3}}`},
		{"a: {\"<<\": 1}", `{"a":{"<<":1}}`},
		{"a: |\n  two\n  lines\nb: ++1\nc: '-'", `{"a":"two\nlines\n","b":"++1","c":"-"}`},
		{"z: \"<é\\u2028\\n\"\ny: 1", "{\"y\":1,\"z\":\"<é\u2028\\n\"}"},
	}
	for _, tt := range tests {
		indented := "    " + strings.ReplaceAll(tt.yaml, "\n", "\n    ")
		got, _, err := ParseFile("p.yml", []byte("a:\n  module: m\n  settings:\n"+indented+"\n"))
		if err != nil || len(got) != 1 {
			t.Errorf("settings %q: %v, %v", tt.yaml, got, err)
			continue
		}
		if !json.Valid(got[0].Settings) {
			t.Errorf("settings %q are no JSON: %s", tt.yaml, got[0].Settings)
		}
		if diff := cmp.Diff(unescape(t, tt.want), unescape(t, string(got[0].Settings))); diff != "" {
			t.Errorf("settings %q (-want +got):\n%s", tt.yaml, diff)
		}
	}
}

// unescape spells strings in one way and leaves numbers and order as they are.
func unescape(t *testing.T, text string) string {
	t.Helper()
	return strings.NewReplacer(`\u003c`, "<", `\u2028`, "\u2028").Replace(text)
}

func TestParseFileRefusesAFileThatGrowsWithoutBound(t *testing.T) {
	laughs := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'j'; c++ {
		laughs += "    " + strings.ReplaceAll("C: &C [*P, *P, *P, *P, *P, *P, *P, *P, *P, *P]\n", "C", string(c))
		laughs = strings.ReplaceAll(laughs, "*P", "*"+string(c-1))
	}
	merges := "a: &a {k: 1}\n"
	for c := 'b'; c <= 'z'; c++ {
		merges += "    " + strings.ReplaceAll("C: &C {<<: [*P, *P, *P, *P]}\n", "C", string(c))
		merges = strings.ReplaceAll(merges, "*P", "*"+string(c-1))
	}
	long := "a: &a " + strings.Repeat("x", 1<<20) + "\n    b: [" + strings.Repeat("*a,", 100) + "]\n"
	tests := map[string]struct{ settings, want string }{
		"billion laughs":   {laughs, "the file has more than 1048576 values or 64 MiB of text, its aliases resolved"},
		"laughing merges":  {merges, "the file has more than 1048576 values or 64 MiB of text, its aliases resolved"},
		"a long text":      {long, "the file has more than 1048576 values or 64 MiB of text, its aliases resolved"},
		"a cycle":          {"a: &a [*a]\n", "the settings nest more than 500 deep"},
		"a cycle of merge": {"a: &a {<<: *a}\n", "merges nest too deeply"},
		"deep":             {"a: " + strings.Repeat("[", 600) + strings.Repeat("]", 600), "the settings nest more than 500 deep"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, _, err := ParseFile("p.yml", []byte("p:\n  module: m\n  settings:\n    "+tt.settings))
			if err == nil || !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("error = %v, want …%s", err, tt.want)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestParseFileStopsReportingSomewhere(t *testing.T) {
	_, _, err := ParseFile("p.yml", []byte(strings.Repeat("a: {module: 1}\n", 1000)))
	if err == nil {
		t.Fatal("ParseFile succeeded")
	}
	lines := strings.Split(err.Error(), "\n")
	if last := lines[len(lines)-1]; len(lines) != 101 || last != "p.yml: 900 more mistakes" {
		t.Errorf("%d lines, the last is %q; want 101 and 900 more", len(lines), last)
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(documented))
	f.Add([]byte(everyKeyOfCEL))
	f.Add([]byte(`{"a":{"module":"m","settings":{"x":[1,{"y":null}],"z":"\u00e9"},"hostCapabilities":["oci/*"]}}`))
	f.Add([]byte("a: &a {<<: [*a], module: !!str 1}\nb: *a"))
	f.Add([]byte("a:\n  module: m\n  settings: {? [x] : y, .nan: -.INF, 0x: 0o8, 1e9: +.e1}\n"))
	f.Add([]byte("a:\n\tmodule: m"))
	f.Fuzz(func(t *testing.T, data []byte) {
		policies, _, err := ParseFile("p.yml", data)
		if err != nil {
			if err.Error() == "" || policies != nil {
				t.Errorf("ParseFile(%q) = %v, %q, want no policies and a reason", data, policies, err)
			}
			return
		}
		for i, p := range policies {
			if err := p.Validate(); err != nil {
				t.Errorf("ParseFile(%q) accepts what Validate does not: %v", data, err)
			}
			if p.Settings != nil && !json.Valid(p.Settings) {
				t.Errorf("ParseFile(%q) makes settings that are not JSON: %s", data, p.Settings)
			}
			if i > 0 && policies[i-1].ID >= p.ID {
				t.Errorf("ParseFile(%q): %q is before %q", data, policies[i-1].ID, p.ID)
			}
		}
	})
}
