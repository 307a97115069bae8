package review

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/sdk"
)

func TestAnswerIsKubewardensByteForByte(t *testing.T) {
	const open = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":`
	tests := []struct {
		name string
		resp Response
		want string
	}{
		{"accepted", Response{UID: "u1", Allowed: true}, open + `{"uid":"u1","allowed":true,"auditAnnotations":null,"warnings":null}}`},
		{"rejected", Response{UID: "u1", Status: &Status{Message: "no privileged pods", Code: 403}},
			open + `{"uid":"u1","allowed":false,"status":{"message":"no privileged pods","code":403},"auditAnnotations":null,"warnings":null}}`},
		{"group", Response{UID: "u1", Status: &Status{Message: "image must be signed", Causes: []Cause{
			{Message: "no signature by alice", Field: "spec.policies.signed_by_alice"}, {Field: "spec.policies.b"}, {}}}},
			open + `{"uid":"u1","allowed":false,"status":{"message":"image must be signed","details":{"causes":[` +
				`{"reason":null,"message":"no signature by alice","field":"spec.policies.signed_by_alice"},` +
				`{"reason":null,"message":null,"field":"spec.policies.b"},` +
				`{"reason":null,"message":"","field":null}]}},"auditAnnotations":null,"warnings":null}}`},
		{"patched", Response{UID: "u1", Allowed: true, Patch: json.RawMessage(`[{"op":"remove","path":"/a"}]`)},
			open + `{"uid":"u1","allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJyZW1vdmUiLCJwYXRoIjoiL2EifV0=","auditAnnotations":null,"warnings":null}}`},
		{"annotated", Response{UID: "u1", Allowed: true, Status: &Status{Reason: "Why"},
			AuditAnnotations: map[string]string{"b": "<2>", "a": "1"}, Warnings: []string{"one", "two"}},
			open + `{"uid":"u1","allowed":true,"status":{"reason":"Why"},"auditAnnotations":{"a":"1","b":"<2>"},"warnings":["one","two"]}}`},
		{"empty but there", Response{Status: &Status{}, AuditAnnotations: map[string]string{}, Warnings: []string{}},
			open + `{"uid":"","allowed":false,"status":{},"auditAnnotations":{},"warnings":[]}}`},
		{"escapes", Response{UID: "\"\\\b\t\n\f\r\x00\x0b\x7fé\u2028<&>\xff"},
			open + "{\"uid\":\"\\\"\\\\\\b\\t\\n\\f\\r\\u0000\\u000b\x7fé\u2028<&>\ufffd\",\"allowed\":false,\"auditAnnotations\":null,\"warnings\":null}}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := (&Review{Request: &sdk.Request{}}).AppendAnswer([]byte("x"), tt.resp)
			if diff := cmp.Diff("x"+tt.want, string(got)); diff != "" {
				t.Errorf("AppendAnswer (-want +got):\n%s", diff)
			}
			if !json.Valid(got[1:]) {
				t.Errorf("answer is not JSON: %s", got)
			}
		})
	}
}

func TestAnswerRepeatsTheVersionThatAsked(t *testing.T) {
	r, err := Decode([]byte(`{"kind":"Review","apiVersion":"admission.k8s.io/v1beta1","request":{` + head + `}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"kind":"Review","apiVersion":"admission.k8s.io/v1beta1","response":{"uid":"u1",`
	if got := string(r.AppendAnswer(nil, Response{UID: "u1"})); !strings.HasPrefix(got, want) {
		t.Errorf("answer = %s, want it to start with %s", got, want)
	}
}

func TestAnswerToARawReviewHasNoKind(t *testing.T) {
	r, err := DecodeRaw([]byte(`{"kind":"x","request":{"uid":"r"}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"response":{"uid":"r","allowed":true,"auditAnnotations":null,"warnings":null}}`
	if got := string(r.AppendAnswer(nil, Response{UID: "r", Allowed: true})); got != want {
		t.Errorf("answer = %s, want %s", got, want)
	}
}

func TestFromVerdict(t *testing.T) {
	pod := &sdk.Request{UID: "u", Object: json.RawMessage(`{"a":1}`)}
	deletion := &sdk.Request{UID: "u", OldObject: json.RawMessage(`{"a":1}`)}
	raw := &sdk.Request{UID: "u", Raw: json.RawMessage(`{"x":"<"}`)}
	set := sdk.Patch{{Op: sdk.PatchSet, Path: "/m/n", Value: json.RawMessage(`2`)}}
	const patch = `[{"op":"add","path":"/b","value":2}]`
	tests := []struct {
		name    string
		req     *sdk.Request
		verdict sdk.Verdict
		want    Response
	}{
		{"accept", pod, sdk.Accept(), Response{Allowed: true}},
		{"zero rejects", pod, sdk.Verdict{}, Response{}},
		{"message and code, even when accepted", pod, sdk.Verdict{Accepted: true, Message: "m", Code: 403},
			Response{Allowed: true, Status: &Status{Message: "m", Code: 403}}},
		{"annotations and warnings", pod, sdk.Verdict{AuditAnnotations: map[string]string{"a": "b"}, Warnings: []string{"w"}},
			Response{AuditAnnotations: map[string]string{"a": "b"}, Warnings: []string{"w"}}},
		{"mutation", pod, sdk.Mutate(json.RawMessage(`{"b":2,"a":1}`)), Response{Allowed: true, Patch: json.RawMessage(patch)}},
		{"mutation of a rejected request", pod, sdk.Verdict{MutatedObject: json.RawMessage(`{"b":2,"a":1}`)},
			Response{Patch: json.RawMessage(patch)}},
		{"mutation that changes nothing", pod, sdk.Mutate(json.RawMessage(` {"a": 1} `)), Response{Allowed: true}},
		{"null is no mutation", deletion, sdk.Mutate(json.RawMessage(` null`)), Response{Allowed: true}},
		{"patch", pod, sdk.Verdict{Accepted: true, Patch: set},
			Response{Allowed: true, Patch: json.RawMessage(`[{"op":"add","path":"/m","value":{"n":2}}]`)}},
		{"mutation of a deletion", deletion, sdk.Verdict{Accepted: true, MutatedObject: json.RawMessage(`{}`), Warnings: []string{"w"}},
			Response{Status: &Status{Message: "Incoming object is null, which happens only with DELETE operations, but the policy is attempting a mutation. This is not allowed"}}},
		{"patch of a deletion", deletion, sdk.Verdict{Accepted: true, Patch: set}, Response{Status: &Status{Message: noObject}}},
		{"raw mutation", raw, sdk.Mutate(json.RawMessage(`{"x":"<>"}`)),
			Response{Allowed: true, Patch: json.RawMessage(`[{"op":"replace","path":"/x","value":"<>"}]`)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.UID = "u"
			got, err := FromVerdict(tt.req, tt.verdict)
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("FromVerdict: error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestFromVerdictRefusesWhatIsNoVerdict(t *testing.T) {
	req := &sdk.Request{Object: json.RawMessage(`{}`)}
	remove := sdk.Patch{{Op: sdk.PatchRemove, Path: "/nope"}}
	tests := []struct {
		name    string
		verdict sdk.Verdict
		want    string
	}{
		{"patch that does not apply", sdk.Verdict{Patch: remove}, `verdict: patch operation 0: remove "/nope": there is no "nope"`},
		{"patch and object", sdk.Verdict{Patch: remove, MutatedObject: json.RawMessage(`{}`)}, "verdict: both a patch and a mutated object"},
		{"object that is not JSON", sdk.Mutate(json.RawMessage(`{"a"`)), "verdict: mutated object: after: EOF while parsing an object at offset 4"},
		{"empty object", sdk.Mutate(json.RawMessage{}), "verdict: mutated object: after: EOF while parsing a value at offset 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := FromVerdict(req, tt.verdict); err == nil || err.Error() != tt.want {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
}
