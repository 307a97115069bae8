package artifact

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/wasm"
)

// build makes a module of sections.
func build(sections ...wasm.Section) []byte {
	module := []byte(wasm.Header)
	for _, s := range sections {
		module = wasm.Append(module, s)
	}
	return module
}

func custom(name, text string) wasm.Section {
	return wasm.Section{ID: wasm.SectionCustom, Payload: append(wasm.AppendName(nil, name), text...)}
}

const fullMetadata = `{"protocolVersion":"v1","rules":[{"apiGroups":[""],"apiVersions":["v1"],"resources":["pods"],"operations":["CREATE","UPDATE"]}],` +
	`"annotations":{"io.kubewarden.kwctl":"1.36.0","io.kubewarden.policy.title":"a <b> & c"},"mutating":false,"backgroundAudit":true,` +
	`"executionMode":"kubewarden-wapc","policyType":"kubernetes","contextAwareResources":[{"apiVersion":"v1","kind":"Namespace"}],` +
	`"hostCapabilities":["kubernetes/get_resource"],"minimumKubewardenVersion":"1.30.0"}`

func TestMetadataAreReadAndWrittenInKubewardensOrder(t *testing.T) {
	m, err := ReadMetadata(build(custom("name", "x"), custom(MetadataSection, fullMetadata)))
	if err != nil {
		t.Fatal(err)
	}
	want := Metadata{
		ProtocolVersion: ProtocolV1,
		Rules:           []Rule{{[]string{""}, []string{"v1"}, []string{"pods"}, []string{"CREATE", "UPDATE"}}},
		Annotations:     map[string]string{"io.kubewarden.policy.title": "a <b> & c", "io.kubewarden.kwctl": "1.36.0"},
		BackgroundAudit: true, ExecutionMode: WaPC, PolicyType: KubernetesPolicy,
		ContextAwareResources: []Resource{{"v1", "Namespace"}}, HostCapabilities: []string{"kubernetes/get_resource"},
		MinimumKubewardenVersion: "1.30.0",
	}
	if diff := cmp.Diff(want, *m); diff != "" {
		t.Errorf("ReadMetadata (-want +have):\n%s", diff)
	}
	if text, err := m.MarshalJSON(); err != nil || string(text) != fullMetadata {
		t.Errorf("MarshalJSON = %s, %v\nwant %s", text, err, fullMetadata)
	}
}

func TestWhatMetadataDoNotSayHasADefault(t *testing.T) {
	m, err := ReadMetadata(build(custom(MetadataSection, `{"rules":[],"mutating":true,"contextAware":true,"annotations":null,"executionMode":null}`)))
	if err != nil {
		t.Fatal(err)
	}
	want := Metadata{Rules: []Rule{}, Mutating: true, BackgroundAudit: true, ExecutionMode: WaPC, PolicyType: KubernetesPolicy}
	if diff := cmp.Diff(want, *m); diff != "" {
		t.Errorf("ReadMetadata (-want +have):\n%s", diff)
	}
	const written = `{"protocolVersion":null,"rules":[],"mutating":true,"backgroundAudit":true,"executionMode":"kubewarden-wapc",` +
		`"policyType":"kubernetes","contextAwareResources":[]}`
	if text, err := m.MarshalJSON(); err != nil || string(text) != written {
		t.Errorf("MarshalJSON = %s, %v\nwant %s", text, err, written)
	}
}

func TestSetsAreWrittenSorted(t *testing.T) {
	m := Metadata{
		ContextAwareResources: []Resource{{"v1", "Pod"}, {"apps/v1", "Deployment"}, {"v1", "Namespace"}, {"v1", "Pod"}},
		HostCapabilities:      []string{"oci/*", "net/*", "oci/*"},
	}
	text, err := m.MarshalJSON()
	const want = `"contextAwareResources":[{"apiVersion":"apps/v1","kind":"Deployment"},{"apiVersion":"v1","kind":"Namespace"},` +
		`{"apiVersion":"v1","kind":"Pod"}],"hostCapabilities":["net/*","oci/*"]`
	if err != nil || !strings.Contains(string(text), want) {
		t.Errorf("MarshalJSON = %s, %v\nwant %s", text, err, want)
	}
}

func TestOfSeveralSectionsTheFirstCounts(t *testing.T) {
	m, err := ReadMetadata(build(
		custom("other", fullMetadata), custom(MetadataSection, `{"rules":[],"mutating":true}`), custom(MetadataSection, `{`)))
	if err != nil || !m.Mutating {
		t.Errorf("ReadMetadata = %+v, %v, want the first section's", m, err)
	}
	if m, err := ReadMetadata(build(custom("other", fullMetadata), wasm.Section{ID: wasm.SectionCustom, Payload: []byte{200}})); m != nil || err != nil {
		t.Errorf("ReadMetadata = %+v, %v, want neither", m, err)
	}
}

func TestMetadataThatCannotBeReadSayWhere(t *testing.T) {
	const prefix = "cannot deserialize custom section `io.kubewarden.metadata` of wasm module: "
	valid := func(extra string) string { return `{"rules":[],"mutating":false,` + extra + `}` }
	rule := func(text string) string { return `{"mutating":false,"rules":[` + text + `]}` }
	for text, want := range map[string]string{
		`{`:                               "unexpected end of JSON input",
		``:                                "unexpected end of JSON input",
		`[]`:                              "want an object, have array",
		`null`:                            "missing field `rules`",
		`{"mutating":true}`:               "missing field `rules`",
		`{"rules":[]}`:                    "missing field `mutating`",
		`{"Rules":[],"mutating":true}`:    "missing field `rules`",
		`{"rules":{},"mutating":true}`:    "rules: want a list, have object",
		valid(`"mutating":"no"`):          "mutating: want true or false, have string",
		valid(`"executionMode":"python"`): "executionMode: unknown variant `python`, expected one of `kubewarden-wapc`, `opa`, `gatekeeper`, `wasi`, `ferricel`",
		valid(`"executionMode":7`):        "executionMode: want a string, have number",
		valid(`"policyType":"Raw"`):       "policyType: unknown variant `Raw`, expected one of `kubernetes`, `raw`",
		valid(`"protocolVersion":"v2"`):   "protocolVersion: unknown variant `v2`, expected one of `v1`, `Unknown`",
		valid(`"minimumKubewardenVersion":"1.30"`):               `minimumKubewardenVersion: "1.30" is no semantic version, as 1.30.0 is`,
		valid(`"minimumKubewardenVersion":"v1.30.0"`):            `minimumKubewardenVersion: "v1.30.0" is no semantic version, as 1.30.0 is`,
		valid(`"annotations":{"a":1}`):                           "annotations.a: want a string, have number",
		valid(`"hostCapabilities":["a",null]`):                   "hostCapabilities[1]: want a string, have null",
		valid(`"contextAwareResources":[{"kind":"Pod"}]`):        "contextAwareResources[0]: missing field `apiVersion`",
		rule(`{"apiGroups":[],"apiVersions":[],"resources":[]}`): "rules[0]: missing field `operations`",
		rule(`{"apiGroups":[],"apiVersions":[],"resources":[],"operations":["*","PATCH"]}`): "rules[0].operations[1]: unknown variant `PATCH`, " +
			"expected one of `CREATE`, `UPDATE`, `DELETE`, `CONNECT`, `*`",
	} {
		_, err := ReadMetadata(build(custom(MetadataSection, text)))
		if err == nil || err.Error() != prefix+want {
			t.Errorf("%s: %v\nwant %s", text, err, prefix+want)
		}
	}
	_, err := ReadMetadata([]byte("MZ"))
	if want := `cannot parse custom section of wasm module: not a WebAssembly module: it does not start with \0asm`; err == nil || err.Error() != want {
		t.Errorf("no module: %v, want %s", err, want)
	}
}

func TestALaterKubewardenThanOursIsRefused(t *testing.T) {
	for version, want := range map[string]string{
		"": "", "1.0.0": "", "1.38.0": "", "1.38.9": "", "1.38.0-rc1": "", "0.99.0+x": "",
		"1.39.0":     "Policy required Kubewarden version 1.39.0 but is running on 1.38.0",
		"1.39.7-rc1": "Policy required Kubewarden version 1.39.0 but is running on 1.38.0",
		"2.0.1":      "Policy required Kubewarden version 2.0.0 but is running on 1.38.0",
		"1.100.0":    "Policy required Kubewarden version 1.100.0 but is running on 1.38.0",
	} {
		m := Metadata{MinimumKubewardenVersion: version}
		if err := m.CheckVersion(); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%q: %v, want %q", version, err, want)
		}
	}
}

func TestValidateReportsAllMistakes(t *testing.T) {
	rule := func(resources ...string) Rule {
		return Rule{[]string{""}, []string{"v1"}, resources, []string{"CREATE"}}
	}
	part := func(narrow, wide string) string {
		return `"` + narrow + `" is part of "` + wide + `" already; leave one out`
	}
	for _, tt := range []struct {
		name     string
		metadata Metadata
		want     string
	}{
		{"fine", Metadata{ProtocolVersion: ProtocolV1, ExecutionMode: WaPC, Rules: []Rule{
			rule("pods", "pods/*"), rule("*/status", "pods"), rule("*"), rule("*/*"), rule("*", "pods/status"), rule("pods", "pods"),
		}}, ""},
		{"no protocol is needed", Metadata{ProtocolVersion: ProtocolUnknown, ExecutionMode: WASI}, ""},
		{"no protocol", Metadata{ExecutionMode: OPA}, "protocolVersion: Must specify a valid protocol version"},
		{"an unknown protocol", Metadata{ProtocolVersion: ProtocolUnknown, ExecutionMode: WaPC}, "protocolVersion: Must specify a valid protocol version"},
		{"empty lists", Metadata{ProtocolVersion: ProtocolV1, Rules: []Rule{{}}, ContextAwareResources: []Resource{{}}},
			"rules[0].apiGroups: is empty; say [\"*\"] for all\nrules[0].apiVersions: is empty; say [\"*\"] for all\n" +
				"rules[0].operations: is empty; say [\"*\"] for all\nrules[0].resources: is empty; say [\"*\"] for all\n" +
				"contextAwareResources[0].apiVersion: is empty\ncontextAwareResources[0].kind: is empty"},
		{"a star in company", Metadata{ProtocolVersion: ProtocolV1, Rules: []Rule{{[]string{"*", ""}, []string{"v1", "*"}, []string{""}, []string{"*", "CREATE"}}}},
			"rules[0].apiGroups: No other elements can be defined when '*' is used\nrules[0].apiVersions: No other elements can be defined when '*' is used\n" +
				"rules[0].operations: No other elements can be defined when '*' is used\nrules[0].resources[0]: is empty"},
		{"resources that others have", Metadata{ProtocolVersion: ProtocolV1, Rules: []Rule{
			rule("*", "pods"), rule("pods", "*"), rule("pods/*", "pods/status"), rule("pods/status", "*/status"), rule("pods", "*/*"),
		}}, "rules[0].resources[1]: " + part("pods", "*") + "\nrules[1].resources[0]: " + part("pods", "*") +
			"\nrules[2].resources[1]: " + part("pods/status", "pods/*") + "\nrules[3].resources[0]: " + part("pods/status", "*/status") +
			"\nrules[4].resources[0]: " + part("pods", "*/*")},
	} {
		err := tt.metadata.Validate()
		have := ""
		if err != nil {
			have = err.Error()
		}
		if diff := cmp.Diff(tt.want, have); diff != "" {
			t.Errorf("%s (-want +have):\n%s", tt.name, diff)
		}
	}
}

func TestTheModeIsDetectedByTheExports(t *testing.T) {
	for _, tt := range []struct {
		exports []string
		want    ExecutionMode
	}{
		{[]string{"_start", "__guest_call"}, WaPC},
		{[]string{"eval", "opa_eval", "_start"}, OPA},
		{[]string{"_start"}, WASI},
		{[]string{"main"}, ""},
	} {
		if have, err := DetectMode(tt.exports); have != tt.want || (err == nil) != (have != "") {
			t.Errorf("DetectMode(%q) = %q, %v, want %q", tt.exports, have, err, tt.want)
		}
	}
}

// importOf is one import as the binary format has it.
func importOf(from, name string, kind ...byte) []byte {
	return append(wasm.AppendName(wasm.AppendName(nil, from), name), kind...)
}

func TestAnnotateReplacesTheMetadataAndRenamesTheHostOfJavaScript(t *testing.T) {
	imports := func(from string) wasm.Section {
		return wasm.Section{ID: wasm.SectionImport, Payload: slices.Concat([]byte{6},
			importOf(from, "call", 0, 0), importOf("kubewarden:javy/host", "other", 0, 1),
			importOf("kubewarden:javy/host", "call", 2, 1, 0, 0x80, 1), importOf("t", "t", 1, 0x70, 0, 1),
			importOf("g", "g", 3, 0x7f, 1), importOf("e", "e", 4, 0, 0))}
	}
	module := build(custom(MetadataSection, "{"), imports("kubewarden:javy/host"), custom("name", "kept"), custom(MetadataSection, "{}"))
	var m Metadata
	if err := json.Unmarshal([]byte(fullMetadata), &m); err != nil {
		t.Fatal(err)
	}
	have, err := Annotate(module, m)
	if err != nil {
		t.Fatal(err)
	}
	want := build(imports("host"), custom("name", "kept"), custom(MetadataSection, fullMetadata))
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("Annotate (-want +have):\n%s", diff)
	}
	for text, want := range map[string][]byte{
		"cannot parse import section of wasm module: offset 1: unexpected end":                 {1},
		"cannot parse import section of wasm module: offset 4: unknown kind of import 9":       append([]byte{1}, importOf("", "", 9)...),
		"cannot parse import section of wasm module: offset 1: there is more than the imports": {0, 0},
	} {
		if _, err := Annotate(build(wasm.Section{ID: wasm.SectionImport, Payload: want}), m); err == nil || err.Error() != text {
			t.Errorf("Annotate = %v, want %s", err, text)
		}
	}
}

func TestCapabilitiesAreDetectedInTheData(t *testing.T) {
	for data, want := range map[string][]string{
		"":                          nil,
		"can_identify get_resource": nil,
		"kuberneteskubewardenget_resourcelist_resources_all":   {"kubernetes/get_resource", "kubernetes/list_resources_all"},
		"v1/oci_manifest_config":                               {"oci/v1/oci_manifest_config"},
		"v1/oci_manifest_configv1/oci_manifestv1/verify":       {"oci/v1/oci_manifest", "oci/v1/oci_manifest_config", "oci/v1/verify"},
		"v1/dns_lookup_hostv1/is_certificate_trustedv2/verify": {"crypto/v1/is_certificate_trusted", "net/v1/dns_lookup_host", "oci/v2/verify"},
	} {
		have, err := DetectCapabilities(build(wasm.Section{ID: wasm.SectionData, Payload: []byte(data)}))
		if diff := cmp.Diff(want, have); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +have):\n%s", data, err, diff)
		}
	}
}

func TestWhatIsDeclaredIsComparedWithWhatIsDetected(t *testing.T) {
	const undeclared, unused = "host capabilities used by the policy but not declared in metadata: ", "host capabilities declared in metadata but not detected in the policy: "
	for _, tt := range []struct{ declared, detected, want []string }{
		{nil, nil, nil},
		{nil, []string{"oci/v1/verify"}, []string{undeclared + "oci/v1/verify"}},
		{[]string{"oci/*"}, []string{"oci/v1/verify", "oci/v2/verify"}, nil},
		{[]string{"oci/v2/*", "oci/v1/verify"}, []string{"oci/v1/verify"}, []string{unused + "oci/v2/*"}},
		{[]string{"oci/*", "net/*"}, []string{"kubernetes/can_i"}, []string{undeclared + "kubernetes/can_i", unused + "oci/*, net/*"}},
		{[]string{"*"}, nil, []string{"metadata declares all host capabilities (*); consider restricting to only the capabilities actually used by the policy"}},
	} {
		m := Metadata{HostCapabilities: tt.declared}
		if diff := cmp.Diff(tt.want, m.CapabilityWarnings(tt.detected)); diff != "" {
			t.Errorf("declared %q, detected %q (-want +have):\n%s", tt.declared, tt.detected, diff)
		}
	}
}

// FuzzReadMetadata reads what a stranger says of a module: what is read can be
// written, and read again the same.
func FuzzReadMetadata(f *testing.F) {
	f.Add([]byte(fullMetadata))
	f.Add([]byte(`{"rules":[],"mutating":true,"annotations":{},"hostCapabilities":[]}`))
	f.Add([]byte(`{"rules":[{"apiGroups":null}],"mutating":1,"minimumKubewardenVersion":"1.2.3-a+b"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ReadMetadata(build(custom(MetadataSection, string(text))))
		if (m == nil) == (err == nil) {
			t.Fatalf("ReadMetadata = %+v, %v, want one of the two", m, err)
		}
		if err != nil {
			return
		}
		_, _ = m.Validate(), m.CheckVersion()
		written, err := m.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		again := &Metadata{}
		if err := json.Unmarshal(written, again); err != nil {
			t.Fatalf("%s cannot be read again: %v", written, err)
		}
		if rewritten, err := again.MarshalJSON(); err != nil || string(rewritten) != string(written) {
			t.Errorf("written %s, then %s, %v", written, rewritten, err)
		}
	})
}

// FuzzAnnotate annotates anything: it is an error, or a module that says what
// it was told to, whose other sections are as they were.
func FuzzAnnotate(f *testing.F) {
	f.Add(build(custom(MetadataSection, "{}"), wasm.Section{ID: wasm.SectionImport, Payload: append([]byte{1}, importOf("kubewarden:javy/host", "call", 0, 0)...)}))
	f.Add(build(wasm.Section{ID: wasm.SectionImport, Payload: append([]byte{1}, importOf("a", "b", 1, 0x63, 0x70, 9, 1, 2, 3)...)}))
	f.Add(build(wasm.Section{ID: wasm.SectionExport, Payload: []byte{1, 1, 'f', 0, 0}}, wasm.Section{ID: wasm.SectionData, Payload: []byte("v1/verify")}))
	f.Fuzz(func(t *testing.T, module []byte) {
		_, _ = Exports(module)
		if _, err := DetectCapabilities(module); err != nil {
			return
		}
		m := Metadata{Mutating: true, ExecutionMode: WASI, PolicyType: RawPolicy}
		annotated, err := Annotate(module, m)
		if err != nil {
			return
		}
		read, err := ReadMetadata(annotated)
		if err != nil || !read.Mutating || read.PolicyType != RawPolicy {
			t.Fatalf("ReadMetadata = %+v, %v", read, err)
		}
		twice, err := Annotate(annotated, m)
		if err != nil || string(twice) != string(annotated) {
			t.Errorf("annotated twice it is another module, %v", err)
		}
		before, _ := wasm.Sections(module) // it has been split above
		after, err := wasm.Sections(annotated)
		if err != nil {
			t.Fatal(err)
		}
		before = slices.DeleteFunc(before, func(s wasm.Section) bool { _, is := metadataOf(s); return is })
		if len(after) != len(before)+1 {
			t.Fatalf("%d sections, want %d and one more", len(after), len(before))
		}
		for i, s := range before {
			if s.ID != wasm.SectionImport && string(s.Payload) != string(after[i].Payload) {
				t.Errorf("section %d has changed", i)
			}
		}
	})
}
