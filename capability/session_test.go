package capability

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/sdk"
)

// callOf is the call of a policy that asks this question, the inverse of
// questionOf; ok is false for what policies do not ask themselves.
func callOf(t *testing.T, q question) (c sdk.HostCall, ok bool) {
	t.Helper()
	text := func(v any) string {
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	switch f := q.fields.(type) {
	case *imageFields:
		operation := map[string]string{"OciManifestDigest": "v1/manifest_digest", "OciManifest": "v1/oci_manifest", "OciManifestAndConfig": "v1/oci_manifest_config"}[q.tag]
		return call("oci", operation, text(f.Image)), true
	case *hostFields:
		return call("net", "v1/dns_lookup_host", text(f.Host)), true
	case *getFields:
		return call("kubernetes", "get_resource", text(f)), true
	case *listFields:
		return call("kubernetes", "list_resources_by_namespace", text(f)), true
	case *listAllFields:
		return call("kubernetes", "list_resources_all", text(f)), true
	case *canIFields:
		return call("kubernetes", "can_i", text(map[string]any{"subject_access_review": f.Request, "disable_cache": f.DisableCache})), true
	case *cryptoFields:
		return call("crypto", "v1/is_certificate_trusted", text(f.Request)), true
	case verification:
		return call("oci", "v2/verify", `{"type":"`+q.tag+`",`+text(f)[1:]), true
	}
	return sdk.HostCall{}, false
}

// playerOf answers from the session and lets the policy read what is in it.
func playerOf(s *Session) *Player {
	h, _ := hostFor(everything)
	for _, e := range s.exchanges {
		if r, ok := e.question.resource(); ok {
			h.Resources = append(h.Resources, r)
		}
	}
	return NewPlayer(h, s)
}

func mustParse(t *testing.T, text string) *Session {
	t.Helper()
	s, err := ParseSession([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// replay asks the questions of a session that policies can ask, one by one.
func replay(t *testing.T, s *Session) {
	t.Helper()
	p := playerOf(s)
	for i, e := range s.exchanges {
		c, ok := callOf(t, e.question)
		if !ok {
			return // the rest cannot be asked in order
		}
		if _, err := questionOf(c); err != nil {
			return // nobody could have recorded it
		}
		answer, err := p.Call(t.Context(), c)
		switch {
		case e.err && (err == nil || err.Error() != "Callback evaluation failure: "+e.answer):
			t.Errorf("exchange %d: %s, %v, want the error %q", i+1, answer, err, e.answer)
		case !e.err && (err != nil || string(answer) != e.answer):
			t.Errorf("exchange %d: %s, %v, want %s", i+1, answer, err, e.answer)
		}
	}
	if left := s.Unplayed(); left != nil {
		t.Errorf("unplayed: %q", left)
	}
}

func TestTheSessionsOfKubewardenAreReplayed(t *testing.T) {
	const fixtures = "../library/testdata/conformance/fixtures"
	var files []string
	for _, pattern := range []string{"*/*.yml", "*/*.yaml"} {
		found, err := filepath.Glob(filepath.Join(fixtures, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	sessions := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte("type: Exchange")) {
			continue
		}
		sessions++
		t.Run(strings.TrimPrefix(file, fixtures+"/"), func(t *testing.T) {
			s, err := ParseSession(text)
			if err != nil {
				t.Fatal(err)
			}
			replay(t, s)
			out, err := s.Encode()
			if err != nil {
				t.Fatal(err)
			}
			again := mustParse(t, string(out))
			if diff := cmp.Diff(s.texts(), again.texts()); diff != "" {
				t.Errorf("written and read again (-want +have):\n%s", diff)
			}
		})
	}
	if sessions < 20 {
		t.Errorf("%d sessions in %s, want at least 20", sessions, fixtures)
	}
}

// texts is the session in a form to compare.
func (s *Session) texts() (all [][3]string) {
	for _, e := range s.exchanges {
		kind := "Success"
		if e.err {
			kind = "Error"
		}
		all = append(all, [3]string{e.question.String(), kind, e.answer})
	}
	return all
}

// allTags has every tag, as kwctl writes it.
const allTags = `
- {type: Exchange, request: "!OciManifestDigest\nimage: a:1\n", response: {type: Success, payload: '{"digest":"sha256:1"}'}}
- {type: Exchange, request: "!OciManifest\nimage: a:1\n", response: {type: Success, payload: '{"layers":[]}'}}
- {type: Exchange, request: "!OciManifestAndConfig\nimage: a:1\n", response: {type: Error, message: 'not found'}}
- {type: Exchange, request: "!SigstorePubKeyVerify\nimage: a\npub_keys:\n- |\n  -----BEGIN\n  X\nannotations:\n  env: prod\n", response: {type: Success, payload: '{"is_trusted":true}'}}
- {type: Exchange, request: "!SigstoreKeylessVerify\nimage: a\nkeyless:\n- issuer: i\n  subject: s\nannotations: null\n", response: {type: Success, payload: '{"is_trusted":true}'}}
- {type: Exchange, request: "!SigstoreKeylessPrefixVerify\nimage: a\nkeyless_prefix:\n- issuer: i\n  url_prefix: https://a.example/\nannotations: null\n", response: {type: Success, payload: '{}'}}
- {type: Exchange, request: "!SigstoreGithubActionsVerify\nimage: a\nowner: o\nrepo: null\nannotations: null\n", response: {type: Success, payload: '{}'}}
- {type: Exchange, request: "!SigstoreCertificateVerify\nimage: a\ncertificate:\n- 45\n- 255\ncertificate_chain:\n- - 1\n- []\nrequire_rekor_bundle: true\nannotations: null\n", response: {type: Success, payload: '{}'}}
- {type: Exchange, request: "!DNSLookupHost\nhost: example.org\n", response: {type: Success, payload: '{"ips":[]}'}}
- {type: Exchange, request: "!KubernetesListResourceNamespace\napi_version: v1\nkind: Pod\nnamespace: n\nlabel_selector: a=b\nfield_selector: null\nfield_masks:\n- spec\n", response: {type: Success, payload: '{}'}}
- {type: Exchange, request: "!KubernetesListResourceAll\napi_version: v1\nkind: Pod\nlabel_selector: null\nfield_selector: null\nfield_masks: null\n", response: {type: Success, payload: '{"items":[]}'}}
- {type: Exchange, request: "!KubernetesGetResource\napi_version: v1\nkind: Pod\nname: p\nnamespace: n\ndisable_cache: true\nfield_masks: null\n", response: {type: Success, payload: '{}'}}
- {type: Exchange, request: "!KubernetesCanI\nrequest:\n  groups: null\n  resource_attributes:\n    group: ''\n    name: null\n    namespace: null\n    resource: pods\n    subresource: null\n    verb: create\n    version: null\n  user: u\ndisable_cache: false\n", response: {type: Success, payload: '{"allowed":true}'}}
- {type: Exchange, request: "!CryptoIsCertificateTrusted\nrequest:\n  cert:\n    encoding: Pem\n    data:\n    - 45\n  cert_chain: []\n  not_after: null\n", response: {type: Success, payload: '{"trusted":false,"reason":"r"}'}}
- {type: Exchange, request: "!KubernetesGetResourcePluralName\napi_version: v1\nkind: Pod\n", response: {type: Success, payload: '"pods"'}}
- {type: Exchange, request: "!HasKubernetesListResourceAllResultChangedSinceInstant\napi_version: v1\nkind: Pod\nlabel_selector: null\nfield_selector: null\nfield_masks: null\nsince:\n  secs: 1\n  nanos: 2\n", response: {type: Success, payload: 'true'}}
`

func TestEveryTagIsReadAndWritten(t *testing.T) {
	s := mustParse(t, allTags)
	policies := &Session{exchanges: s.exchanges[:14]}
	replay(t, policies)
	out, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again := mustParse(t, string(out))
	if diff := cmp.Diff(s.texts(), again.texts()); diff != "" {
		t.Errorf("written and read again (-want +have):\n%s", diff)
	}
	second, err := again.Encode()
	if err != nil || !bytes.Equal(out, second) {
		t.Errorf("written twice, it differs: %v\n%s", err, second)
	}
}

func TestASessionIsWrittenAsKwctlDoes(t *testing.T) {
	h, _ := hostFor(everything)
	h.Resources = []Resource{{"v1", "Namespace"}}
	s := &Session{}
	r := NewRecorder(h, s)
	r.asked = answering(func(c sdk.HostCall) ([]byte, error) {
		if c.Namespace == "net" {
			return nil, evaluated(errors.New("no such host"))
		}
		return []byte(`{"kind":"Namespace"}`), nil
	})
	for _, c := range []sdk.HostCall{
		call("kubernetes", "get_resource", `{"name":"a","kind":"Namespace","api_version":"v1","disable_cache":false}`),
		call("net", "v1/dns_lookup_host", `"a.example"`),
		call("oci", "v2/verify", `{"type":"SigstorePubKeyVerify","image":"a","pub_keys":["-----BEGIN\nX\n"]}`),
	} {
		_, _ = r.Call(t.Context(), c)
	}
	const want = `- type: Exchange
  request: |
    !KubernetesGetResource
    api_version: v1
    kind: Namespace
    name: a
    namespace: null
    disable_cache: false
    field_masks: null
  response:
    type: Success
    payload: '{"kind":"Namespace"}'
- type: Exchange
  request: |
    !DNSLookupHost
    host: a.example
  response:
    type: Error
    message: no such host
- type: Exchange
  request: |
    !SigstorePubKeyVerify
    image: a
    pub_keys:
      - "-----BEGIN\nX\n"
    annotations: null
  response:
    type: Success
    payload: '{"kind":"Namespace"}'
`
	have, err := s.Encode()
	if diff := cmp.Diff(want, string(have)); err != nil || diff != "" {
		t.Errorf("session %v (-want +have):\n%s", err, diff)
	}
}

// answering is a host that does what the function does.
type answering func(sdk.HostCall) ([]byte, error)

func (a answering) Call(_ context.Context, c sdk.HostCall) ([]byte, error) { return a(c) }

func (a answering) Inventory(_ context.Context, apiVersion, kind string) (string, json.RawMessage, uint64, error) {
	list, err := a(call("inventory", apiVersion+" "+kind, ""))
	return strings.ToLower(kind) + "s", list, 7, err
}

func TestWhatIsRecordedCanBeReplayed(t *testing.T) {
	h, _ := hostFor(func(c string) bool { return c != "crypto/v1/is_certificate_trusted" })
	h.Resources = []Resource{{"v1", "Pod"}}
	h.Services = Services{Images: &documents{manifest: `{"layers":[]}`}, Signatures: &signatures{}}
	s := &Session{}
	r := NewRecorder(h, s)
	type outcome struct{ answer, err string }
	var calls []sdk.HostCall
	for name, payload := range allCapabilities() {
		namespace, operation, _ := strings.Cut(name, " ")
		if namespace != "net" { // the machine's own resolver answers as it likes
			calls = append(calls, call(namespace, operation, payload))
		}
	}
	calls = append(calls,
		call("tracing", "log", `{"message":"m"}`),
		call("net", "made/up", `"a"`),
		call("kubernetes", "get_resource", `{"api_version":"v1","kind":"Secret","name":"s"}`),
		call("oci", "v1/oci_manifest", `{`),
		call("oci", "v1/manifest_digest", `"again"`),
	)
	var recorded, replayed []outcome
	ask := func(h sdk.Host, c sdk.HostCall) outcome {
		answer, err := h.Call(t.Context(), c)
		if err != nil {
			return outcome{"", err.Error()}
		}
		return outcome{string(answer), ""}
	}
	for _, c := range calls {
		recorded = append(recorded, ask(r, c))
	}
	text, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	read := mustParse(t, string(text))
	bare, _ := hostFor(h.Allows)
	bare.Resources = h.Resources
	p := NewPlayer(bare, read)
	for range 2 {
		replayed = nil
		for _, c := range calls {
			replayed = append(replayed, ask(p, c))
		}
		if diff := cmp.Diff(recorded, replayed, cmp.AllowUnexported(outcome{})); diff != "" {
			t.Errorf("replayed (-recorded +replayed):\n%s", diff)
		}
		if left := read.Unplayed(); left != nil {
			t.Errorf("unplayed: %q", left)
		}
		read.Rewind()
	}
	if len(s.exchanges) != 10 { // not the log line, nor what the gates and decoders turned away
		t.Errorf("%d exchanges, want 10:\n%s", len(s.exchanges), text)
	}
}

func TestQuestionsAreComparedByWhatTheyAsk(t *testing.T) {
	session := func(request string) string {
		return "- request: |\n    " + strings.ReplaceAll(request, "\n", "\n    ") + "\n  response: {type: Success, payload: ok}\n"
	}
	get := func(fields string) sdk.HostCall {
		return call("kubernetes", "get_resource", `{"api_version":"v1","kind":"Pod","name":"p",`+fields+`}`)
	}
	crypto := func(rest string) sdk.HostCall {
		return call("crypto", "v1/is_certificate_trusted", `{"cert":{"encoding":"Pem","data":[45]}`+rest+`}`)
	}
	const cert = "!CryptoIsCertificateTrusted\nrequest: {cert: {encoding: Pem, data: [0x2d]}"
	tests := []struct {
		name, request string
		call          sdk.HostCall
		same          bool
	}{
		{"order", "!KubernetesGetResource\nname: p\nkind: Pod\napi_version: v1\ndisable_cache: true", get(`"disable_cache":true`), true},
		{"null and absent", "!KubernetesGetResource\nname: p\nkind: Pod\napi_version: v1\nnamespace: null\ndisable_cache: false", get(`"field_masks":null`), true},
		{"quotes", "!KubernetesGetResource {name: 'p', kind: \"Pod\", api_version: v1}", get(`"disable_cache":false`), true},
		{"an unknown member", "!KubernetesGetResource {name: p, kind: Pod, api_version: v1, later: 1}", get(`"other":2`), true},
		{"numbers", cert + "}", crypto(``), true},
		{"no attributes of the core group", "!KubernetesCanI {request: {user: u, groups: null, resource_attributes: {group: '', verb: get, resource: pods}}, disable_cache: false}",
			call("kubernetes", "can_i", `{"subject_access_review":{"user":"u","groups":[],"resourceAttributes":{"verb":"get","resource":"pods"}}}`), true},
		{"v1 of a verification", "!SigstoreKeylessVerify {image: a, keyless: [{issuer: i, subject: s}]}",
			call("oci", "v1/verify", `{"SigstoreKeylessVerify":{"image":"a","keyless":[{"issuer":"i","subject":"s"}],"annotations":{}}}`), true},
		{"a date is a text", "!DNSLookupHost {host: 2024-01-01}", call("net", "v1/dns_lookup_host", `"2024-01-01"`), true},

		{"another name", "!KubernetesGetResource {name: q, kind: Pod, api_version: v1}", get(`"disable_cache":false`), false},
		{"another namespace", "!KubernetesGetResource {name: p, kind: Pod, api_version: v1, namespace: a}", get(`"namespace":"b"`), false},
		{"fresh", "!KubernetesGetResource {name: p, kind: Pod, api_version: v1}", get(`"disable_cache":true`), false},
		{"masks in another order", "!KubernetesGetResource {name: p, kind: Pod, api_version: v1, field_masks: [a, b]}", get(`"field_masks":["b","a"]`), false},
		{"another capability", "!OciManifest {image: a}", call("oci", "v1/manifest_digest", `"a"`), false},
		{"no chain and an empty one", cert + "}", crypto(`,"cert_chain":[]`), false},
		{"an empty chain and no one", cert + ", cert_chain: []}", crypto(``), false},
		{"another byte", cert + "}", call("crypto", "v1/is_certificate_trusted", `{"cert":{"encoding":"Pem","data":[46]}}`), false},
	}
	for _, tt := range tests {
		p := playerOf(mustParse(t, session(tt.request)))
		p.host.Resources = []Resource{{"v1", "Pod"}}
		answer, err := p.Call(t.Context(), tt.call)
		const unexpected = "Callback evaluation failure: Replay error: unexpected request. Was expecting !"
		switch {
		case tt.same && (err != nil || string(answer) != "ok"):
			t.Errorf("%s: %s, %v, want the answer", tt.name, answer, err)
		case !tt.same && (err == nil || !strings.HasPrefix(err.Error(), unexpected) || !strings.HasSuffix(err.Error(), " instead")):
			t.Errorf("%s: %s, %v, want %q", tt.name, answer, err, unexpected)
		}
	}
}

func TestASessionIsReplayedInItsOrder(t *testing.T) {
	s := mustParse(t, `
- {type: Exchange, request: "!DNSLookupHost {host: a}", response: {type: Success, payload: "1"}}
- {type: Exchange, request: "!DNSLookupHost {host: b}", response: {type: Success, payload: "2"}}
- {type: Exchange, request: "!DNSLookupHost {host: c}", response: {type: Error, message: "boom"}}
- {type: Exchange, request: "!OciManifest {image: d}", response: {type: Success, payload: "4"}}
`)
	p := playerOf(s)
	for _, step := range []struct{ host, want string }{
		{"a", "1"},
		{"c", `Callback evaluation failure: Replay error: unexpected request. Was expecting !DNSLookupHost {"host":"b"}, got !DNSLookupHost {"host":"c"} instead`},
		{"c", "Callback evaluation failure: boom"},
	} {
		answer, err := p.Call(t.Context(), call("net", "v1/dns_lookup_host", `"`+step.host+`"`))
		if have := string(answer); err != nil && err.Error() != step.want || err == nil && have != step.want {
			t.Errorf("%s: %s, %v, want %s", step.host, have, err, step.want)
		}
	}
	if diff := cmp.Diff([]string{`!OciManifest {"image":"d"}`}, s.Unplayed()); diff != "" {
		t.Errorf("unplayed (-want +have):\n%s", diff)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Call(over, call("oci", "v1/oci_manifest", `"d"`)); !errors.Is(err, context.Canceled) || s.Unplayed() == nil {
		t.Errorf("Call = %v, want the end of its context, and nothing played", err)
	}
	if answer, err := p.Call(t.Context(), call("oci", "v1/oci_manifest", `"d"`)); err != nil || string(answer) != "4" {
		t.Errorf("Call = %s, %v, want 4", answer, err)
	}
	const empty = "Callback evaluation failure: the list of recorded responses is empty"
	if _, err := p.Call(t.Context(), call("oci", "v1/oci_manifest", `"d"`)); err == nil || err.Error() != empty {
		t.Errorf("Call = %v, want %q", err, empty)
	}
	s.Rewind()
	if answer, err := p.Call(t.Context(), call("net", "v1/dns_lookup_host", `"a"`)); err != nil || string(answer) != "1" {
		t.Errorf("after Rewind: %s, %v, want 1", answer, err)
	}
}

func TestTheGatesComeBeforeTheSession(t *testing.T) {
	s := mustParse(t, `- {type: Exchange, request: "!KubernetesGetResource {api_version: v1, kind: Secret, name: s}", response: {type: Success, payload: "1"}}`)
	h, log := hostFor(func(c string) bool { return c == "kubernetes/get_resource" })
	p := NewPlayer(h, s)
	secret := call("kubernetes", "get_resource", `{"api_version":"v1","kind":"Secret","name":"s"}`)
	for _, tt := range []struct {
		call sdk.HostCall
		want string
	}{
		{secret, "Policy has not been granted access to Kubernetes v1/Secret resources. The violation has been reported."},
		{call("net", "v1/dns_lookup_host", `"a"`), "Policy has not been granted access to the 'net/v1/dns_lookup_host' host capability. The violation has been reported."},
		{call("kubernetes", "get_resource", `{"kind":"Secret"}`), "missing field `api_version`"},
	} {
		if _, err := p.Call(t.Context(), tt.call); err == nil || err.Error() != tt.want {
			t.Errorf("Call = %v, want %q", err, tt.want)
		}
	}
	const line = `{"level":"ERROR","msg":"kubernetes resource refused","policy":"p","resource_requested":"v1/Secret",`
	if !strings.Contains(log.String(), line) {
		t.Errorf("log = %s, want %s", log, line)
	}
	if len(s.Unplayed()) != 1 {
		t.Error("what was refused has played an exchange")
	}
	h.Resources = []Resource{{"v1", "Secret"}}
	if answer, err := p.Call(t.Context(), secret); err != nil || string(answer) != "1" {
		t.Errorf("Call = %s, %v, want 1", answer, err)
	}
}

func TestAnInventoryIsRecordedAndReplayed(t *testing.T) {
	h, _ := hostFor(everything)
	h.Resources = []Resource{{"v1", "Pod"}, {"v1", "Node"}}
	s := &Session{}
	r := NewRecorder(h, s)
	if _, _, _, err := NewRecorder(h, s).Inventory(t.Context(), "v1", "Secret"); err == nil {
		t.Error("an inventory of what was not granted, or of no cluster, want an error")
	}
	s.exchanges = nil // a host without a cluster says so, and that is recorded
	r.asked = answering(func(c sdk.HostCall) ([]byte, error) { return []byte(`{"items":["` + c.Operation + `"]}`), nil })
	for _, r2 := range h.Resources {
		if _, _, revision, err := r.Inventory(t.Context(), r2.APIVersion, r2.Kind); err != nil || revision != 7 {
			t.Fatalf("Inventory = revision %d, %v", revision, err)
		}
	}
	var order []string
	for _, e := range s.exchanges {
		order = append(order, e.question.String())
	}
	want := []string{
		`!KubernetesListResourceAll {"api_version":"v1","kind":"Pod"}`, `!KubernetesListResourceAll {"api_version":"v1","kind":"Node"}`,
		`!KubernetesGetResourcePluralName {"api_version":"v1","kind":"Pod"}`, `!KubernetesGetResourcePluralName {"api_version":"v1","kind":"Node"}`,
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("recorded (-want +have):\n%s", diff)
	}
	p := NewPlayer(h, s)
	for _, r := range slices.Backward(h.Resources) {
		plural, list, revision, err := p.Inventory(t.Context(), r.APIVersion, r.Kind)
		if err != nil || plural != strings.ToLower(r.Kind)+"s" || string(list) != `{"items":["v1 `+r.Kind+`"]}` || revision == 0 {
			t.Errorf("Inventory of %s = %q, %s, %d, %v", r, plural, list, revision, err)
		}
	}
	if left := s.Unplayed(); left != nil {
		t.Errorf("unplayed: %q", left)
	}
}

func TestAnInventoryThatCannotBeReplayed(t *testing.T) {
	h, _ := hostFor(everything)
	h.Resources = []Resource{{"v1", "Pod"}}
	const failure = "Callback evaluation failure: "
	changed := `{request: "!HasKubernetesListResourceAllResultChangedSinceInstant {api_version: v1, kind: Pod, since: {secs: 1, nanos: 0}}", response: {type: Success, payload: "true"}}`
	pods := `{request: "!KubernetesListResourceAll {api_version: v1, kind: Pod}", response: {type: Success, payload: "{}"}}`
	tests := []struct{ name, session, kind, want string }{
		{"not granted", "[" + pods + "]", "Secret", "Policy has not been granted access to Kubernetes v1/Secret resources. The violation has been reported."},
		{"nothing left", "[]", "Pod", failure + "the list of recorded responses is empty"},
		{"something else", `[{request: "!DNSLookupHost {host: a}", response: {type: Success, payload: ""}}, ` + pods + `]`, "Pod",
			failure + `Replay error: unexpected request. Was expecting !DNSLookupHost {"host":"a"}, got !KubernetesListResourceAll {"api_version":"v1","kind":"Pod"} instead`},
		{"an error", `[{request: "!KubernetesListResourceAll {api_version: v1, kind: Pod}", response: {type: Error, message: boom}}]`, "Pod", failure + "boom"},
		{"the plural is none", "[" + pods + `, {request: "!KubernetesGetResourcePluralName {api_version: v1, kind: Pod}", response: {type: Success, payload: pods}}]`, "Pod",
			failure + "plural name of v1/Pod in the recorded session: invalid character 'p' looking for beginning of value"},
		{"Gatekeeper asks for no plural", "[" + changed + ", " + pods + "]", "Pod", ""},
	}
	for _, tt := range tests {
		plural, list, _, err := NewPlayer(h, mustParse(t, tt.session)).Inventory(t.Context(), "v1", tt.kind)
		switch {
		case tt.want == "" && (err != nil || plural != "" || string(list) != "{}"):
			t.Errorf("%s: %q, %s, %v, want the list", tt.name, plural, list, err)
		case tt.want != "" && (err == nil || err.Error() != tt.want):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestASessionFileThatIsNone(t *testing.T) {
	exchange := func(request, response string) string {
		return "- type: Exchange\n  request: " + request + "\n  response: " + response + "\n"
	}
	const ok = `{type: Success, payload: ""}`
	tests := []struct{ name, text, want string }{
		{"empty", "", "session: it is empty; a session without exchanges is []"},
		{"no list", "type: Exchange", "session: yaml: unmarshal errors:\n  line 1: cannot unmarshal !!map into []yaml.Node"},
		{"no YAML", "- {", "session: yaml: line 1: did not find expected node content"},
		{"two documents", "[]\n---\n[]\n", "session: it holds more than one YAML document"},
		{"another type", "- {type: Log, request: '', response: " + ok + "}", `session: exchange 1, line 1: type "Log", want Exchange`},
		{"no request", "- type: Exchange\n  response: " + ok, "session: exchange 1, line 1: request is missing"},
		{"no response", "- request: a", `session: exchange 1, line 1: response: type "", want Success or Error`},
		{"no payload", exchange("a", "{type: Success}"), "session: exchange 1, line 1: response: payload is missing"},
		{"no message", exchange("a", "{type: Error, payload: x}"), "session: exchange 1, line 1: response: message is missing"},
		{"another response", exchange("a", "{type: Maybe}"), `session: exchange 1, line 1: response: type "Maybe", want Success or Error`},
		{"a request without tag", exchange("'host: a'", ok), `session: exchange 1, line 1: request: unknown tag "!!map"`},
		{"an unknown tag", exchange("'!DNSLookup {host: a}'", ok), `session: exchange 1, line 1: request: unknown tag "!DNSLookup"`},
		{"a request that is text", exchange("a", ok), "session: exchange 1, line 1: request: want a mapping with a tag such as !DNSLookupHost"},
		{"a field of another type", exchange("'!DNSLookupHost {host: [a]}'", ok), "session: exchange 1, line 1: request: !DNSLookupHost: json: cannot unmarshal array into Go struct field hostFields.host of type string"},
		{"a field twice", exchange("'!DNSLookupHost {host: a, host: b}'", ok), `session: exchange 1, line 1: request: !DNSLookupHost: line 1: key "host" is there twice`},
		{"an alias", exchange("'!DNSLookupHost {host: &a b, x: *a}'", ok), "session: exchange 1, line 1: request: !DNSLookupHost: line 1: want no alias here"},
		{"the second", exchange("'!DNSLookupHost {host: a}'", ok) + "- {}\n", "session: exchange 2, line 4: request is missing"},
	}
	for _, tt := range tests {
		if _, err := ParseSession([]byte(tt.text)); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	s := &Session{}
	s.add(question{"DNSLookupHost", &hostFields{"a"}}, []byte("\xff"), nil)
	const want = "session: exchange 1: the answer is not UTF-8, and no session can hold it"
	if _, err := s.Encode(); err == nil || err.Error() != want {
		t.Errorf("Encode = %v, want %q", err, want)
	}
}

func FuzzSession(f *testing.F) {
	f.Add([]byte(allTags))
	f.Add([]byte("- request: '!DNSLookupHost {host: \" a\\n\\u2028 \"}'\n  response: {type: Error, message: \"\\n x\"}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSession(text)
		if err != nil {
			return
		}
		replay(t, s)
		out, err := s.Encode()
		if err != nil {
			return // an answer that is not UTF-8
		}
		again, err := ParseSession(out)
		if err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		if diff := cmp.Diff(s.texts(), again.texts()); diff != "" {
			t.Errorf("written and read again (-want +have):\n%s", diff)
		}
	})
}

func FuzzPayload(f *testing.F) {
	for name, payload := range allCapabilities() {
		f.Add(name, []byte(payload))
	}
	f.Fuzz(func(t *testing.T, name string, payload []byte) {
		if _, ok := allCapabilities()[name]; !ok {
			return
		}
		namespace, operation, _ := strings.Cut(name, " ")
		q, err := questionOf(call(namespace, operation, string(payload)))
		if err != nil {
			return
		}
		s := &Session{exchanges: []exchange{{question: q, answer: "answer"}}}
		replay(t, s)
		out, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSession(out)
		if err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		if diff := cmp.Diff(s.texts(), again.texts()); diff != "" {
			t.Errorf("written and read again (-want +have):\n%s", diff)
		}
	})
}
