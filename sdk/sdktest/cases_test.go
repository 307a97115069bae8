package sdktest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func parse(t *testing.T, text string) sdktest.Case {
	t.Helper()
	c, err := sdktest.ParseCase(text)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return c
}

const pod = `-- request.json --
{"name": "web", "object": {"metadata": {"name": "web"}, "list": []}}
`

func TestCasesThatHold(t *testing.T) {
	for _, text := range []string{
		"accepted\n" + pod + "-- want --\nallowed\n",
		"rejected with a code\n-- settings.json --\n{\"deny\": \"web\"}\n" + pod + "-- want --\nrejected 403: web is denied\n",
		"mutated, by patch\n-- settings.json --\n{\"set\": \"x\"}\n" + pod + "-- want --\nmutated\n-- patch.json --\n" +
			`[{"op": "add", "path": "/set", "value": "y"}, {"op": "replace", "path": "/set", "value": "x"}]`,
		"mutated, by object\n-- settings.json --\n{\"set\": \"x\"}\n" + pod + "-- want --\nmutated\n-- object.json --\n" +
			`{"set":"x", "list":[], "metadata":{"name":"web"}}`,
		"no verdict\n-- settings.json --\n{\"deny\": \"ask\"}\n" + pod + "-- want --\nerror: net/v1/dns_lookup_host: this policy runs without a host to ask\n",
		"answered, by question\n-- settings.json --\n{\"deny\": \"ask\"}\n" + pod + "-- host.json --\n" +
			`[{"capability": "net/v1/dns_lookup_host", "question": "example.com", "error": "no"},
			  {"capability": "net/v1/dns_lookup_host", "question": "example.org", "answer": {"ips": []}}]` + "\n-- want --\nallowed\n",
		"answered, by an error\n-- settings.json --\n{\"deny\": \"ask\"}\n" + pod + "-- host.json --\n" +
			`[{"capability": "net/v1/dns_lookup_host", "error": "no"}]` + "\n-- want --\nerror: no\n",
		"not answered\n-- settings.json --\n{\"deny\": \"ask\"}\n" + pod + "-- host.json --\n[]\n-- want --\n" +
			`error: net/v1/dns_lookup_host: the test has no answer to "example.org"`,
		"invalid, no request\n-- settings.json --\n{\"deny\": \"everything\"}\n-- want --\ninvalid settings: deny: that is too much\n",
		"raw\n-- raw.json --\n{\"uid\": \"u\"}\n-- want --\nallowed",
	} {
		if err := parse(t, text).Run(policy()); err != nil {
			t.Errorf("%v in:\n%s", err, text)
		}
	}
}

func TestCasesThatDoNotHoldSayWhatIsThere(t *testing.T) {
	tests := []struct{ text, want string }{
		{"a\n" + pod + "-- want --\nrejected: no\n", "have: allowed\nwant: rejected: no"},
		{"a\n-- settings.json --\n{\"deny\": \"web\"}\n" + pod + "-- want --\nallowed\n", "have: rejected 403: web is denied\nwant: allowed"},
		{"a\n-- settings.json --\n{\"deny\": \"web\"}\n" + pod + "-- want --\nrejected: web is denied\n", "have: rejected 403: "},
		{"a\n-- settings.json --\n{\"deny\": \"web\"}\n" + pod + "-- want --\nrejected 403: web is deni\n", "have: rejected 403: web is denied"},
		{"a\n-- settings.json --\n{\"set\": \"x\"}\n" + pod + "-- want --\nallowed\n", "have: mutated: {"},
		{"a\n" + pod + "-- want --\nmutated\n-- object.json --\n{}", "have: allowed\nwant: mutated: {}"},
		{"a\n-- settings.json --\n{\"set\": \"x\"}\n" + pod + "-- want --\nmutated\n-- object.json --\n{\"set\": \"x\"}", "have: mutated: {"},
		{"a\n-- settings.json --\n{\"grow\": true}\n" + pod + "-- want --\nmutated\n-- patch.json --\n" +
			`[{"op": "add", "path": "/list/-", "value": 1}]`, "second pass: mutated once more"},
		{"a\n-- settings.json --\n{\"den\": 1}\n" + pod + "-- want --\nallowed\n", "have: invalid settings: den: unknown setting"},
		{"a\n-- want --\ninvalid settings: no\n", "the settings are valid, want: invalid settings: no"},
	}
	for _, tt := range tests {
		err := parse(t, tt.text).Run(policy())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("have %v, want %q in:\n%s", err, tt.want, tt.text)
		}
	}
}

func TestCasesThatAreNoneAreRefused(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", "the case does not say what it shows"},
		{pod + "-- want --\nallowed", "the case does not say what it shows"},
		{"a\n" + pod, "want: missing"},
		{"a\n-- want --\nallowed", "request.json: missing"},
		{"a\n" + pod + "-- want --\n", `want: "": want "allowed"`},
		{"a\n" + pod + "-- want --\nallow", `want: "allow": want "allowed"`},
		{"a\n" + pod + "-- want --\nrejected", "the message is missing"},
		{"a\n" + pod + "-- want --\nrejected:", "the message is missing"},
		{"a\n" + pod + "-- want --\nrejected 70000: x", `"70000": want a code`},
		{"a\n" + pod + "-- want --\nerror 5: x", `"5": want a code`},
		{"a\n" + pod + "-- want --\nmutated", "needs either patch.json or object.json"},
		{"a\n" + pod + "-- want --\nmutated\n-- patch.json --\n[]\n-- object.json --\n{}", "needs either patch.json or object.json"},
		{"a\n" + pod + "-- want --\nallowed\n-- object.json --\n{}", `are for "mutated"`},
		{"a\n" + pod + "-- want --\nmutated\n-- object.json --\n{", "object.json: "},
		{"a\n" + pod + "-- want --\nmutated\n-- patch.json --\n{}", "patch.json: "},
		{"a\n" + pod + "-- want --\nmutated\n-- patch.json --\n" + `[{"op":"set","path":"/a/b","value":1}]`, "is not of RFC 6902"},
		{"a\n" + pod + "-- want --\nmutated\n-- patch.json --\n" + `[{"op":"remove","path":"/nothing"}]`, "patch.json: patch operation 0"},
		{"a\n" + pod + pod + "-- want --\nallowed", "request.json: the file is there twice"},
		{"a\n" + pod + "-- wants --\nallowed", "wants: no such part"},
		{"a\n" + pod + "-- host.json --\n{}\n-- want --\nallowed", "host.json: "},
		{"a\n" + pod + "-- host.json --\n[{\"capability\": \"a/b\"}]\n-- want --\nallowed", "host.json: answer 0: want a capability, and an answer or an error"},
		{"a\n-- request.json --\n{\n-- want --\nallowed", "request.json: "},
		{"a\n-- request.json --\n{\"operation\": 1}\n-- want --\nallowed", "request.json: operation: invalid type"},
		{"a\n-- request.json --\n{\"kind\": \"Pod\"}\n-- want --\nallowed", "request.json: kind: want an object"},
		{"a\n-- raw.json --\nnot JSON\n-- want --\nallowed", "raw.json: "},
	}
	for _, tt := range tests {
		if c, err := sdktest.ParseCase(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("have %+v, %v; want %q for:\n%s", c, err, tt.want, tt.text)
		}
	}
}

func TestRequestsOfCasesAreCompleted(t *testing.T) {
	tests := []struct {
		request string
		check   func(r *sdk.Request) bool
	}{
		{`{}`, func(r *sdk.Request) bool { return r.Operation == sdk.Delete && r.Kind.Kind == "Pod" && r.UID != "" }},
		{`{"object": {"kind": "Job", "apiVersion": "batch/v1"}}`, func(r *sdk.Request) bool {
			return r.Operation == sdk.Create && r.Kind == sdk.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"} && r.Resource.Resource == "jobs"
		}},
		{`{"oldObject": {"kind": "Job"}}`, func(r *sdk.Request) bool {
			return r.Operation == sdk.Delete && r.Kind.Group == "batch" && r.Object == nil
		}},
		{`{"operation": "UPDATE", "object": {"a": "<1.50>"}, "uid": "u"}`, func(r *sdk.Request) bool {
			return r.Operation == sdk.Update && string(r.Object) == `{"a":"<1.50>"}` && r.UID == "u"
		}},
		{`{"kind": {"group": "g", "version": "v", "kind": "Widget"}}`, func(r *sdk.Request) bool {
			return r.Resource == sdk.GroupVersionResource{Group: "g", Version: "v", Resource: "widgets"}
		}},
		{`{"kind": "AdmissionReview", "request": {"uid":"r","kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},"operation":"CREATE","userInfo":{}}}`,
			func(r *sdk.Request) bool { return r.UID == "r" }},
	}
	for _, tt := range tests {
		c := parse(t, "a\n-- request.json --\n"+tt.request+"\n-- want --\nallowed\n")
		if !tt.check(c.Request) {
			t.Errorf("%s: have %s", tt.request, c.Request.AppendJSON(nil))
		}
	}
}

func TestReadCasesReadsAFolderInOrder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := sdktest.ReadCases(dir); err == nil || !strings.Contains(err.Error(), "no *.txtar files") {
		t.Errorf("an empty folder: %v, want an error", err)
	}
	write("b.txtar", "Second.\n"+pod+"-- want --\nallowed\n")
	write("a.txtar", "First,\nin two lines.\r\n"+pod+"-- want --\r\nallowed\r\n")
	write("notes.md", "no case")
	cases, err := sdktest.ReadCases(dir)
	if err != nil || len(cases) != 2 || cases[0].Name != "a" || cases[1].Comment != "Second." {
		t.Fatalf("have %+v, %v", cases, err)
	}
	sdktest.Cases(t, policy(), dir)
	write("c.txtar", "Third.\n-- want --\nperhaps\n")
	if _, err := sdktest.ReadCases(dir); err == nil || !strings.Contains(err.Error(), "c.txtar: want: ") {
		t.Errorf("a broken file: %v, want its name", err)
	}
}
