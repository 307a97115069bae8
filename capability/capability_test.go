package capability

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/sdk"
)

// hostFor returns a host of the policy "p" that grants everything, and what it
// logs.
func hostFor(allows func(string) bool) (*Host, *bytes.Buffer) {
	text := &bytes.Buffer{}
	opts := &slog.HandlerOptions{Level: levelTrace, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	return &Host{Policy: "p", Granted: "[net/*]", Allows: allows, Log: slog.New(slog.NewJSONHandler(text, opts))}, text
}

func everything(string) bool { return true }

func call(namespace, operation, payload string) sdk.HostCall {
	return sdk.HostCall{Binding: sdk.Binding, Namespace: namespace, Operation: operation, Payload: []byte(payload)}
}

func TestCallsAreCheckedInOrder(t *testing.T) {
	const refused = "Policy has not been granted access to the '%s' host capability. The violation has been reported."
	onlyDNS := func(c string) bool { return c == "net/v1/dns_lookup_host" }
	wrongBinding := call("nope", "nope", "")
	wrongBinding.Binding = "wapc"
	tests := []struct {
		name   string
		allows func(string) bool
		call   sdk.HostCall
		want   string
		logged bool // as a violation
	}{
		{"the binding comes before the grant", nil, wrongBinding, "unknown binding: wapc", false},
		{"nothing is granted by nil", nil, call("net", "v1/dns_lookup_host", `"a"`), fmt.Sprintf(refused, "net/v1/dns_lookup_host"), true},
		{"the grant comes before the namespace", onlyDNS, call("nope", "nope", ""), fmt.Sprintf(refused, "nope/nope"), true},
		{"the grant comes before the operation", onlyDNS, call("net", "v1/dns_lookup_hots", ""), fmt.Sprintf(refused, "net/v1/dns_lookup_hots"), true},
		{"one grant is not another", onlyDNS, call("kubernetes", "can_i", "{}"), fmt.Sprintf(refused, "kubernetes/can_i"), true},
		{"an unknown namespace", everything, call("nope", "v1/x", ""), "unknown namespace: nope", false},
		{"an unknown operation", everything, call("net", "v1/dns_lookup_hots", ""), "unknown operation: v1/dns_lookup_hots", false},
		{"tracing needs no grant, but has its operations", nil, call("tracing", "shout", ""), "unknown operation: shout", false},
		{"the payload comes after the operation", everything, call("net", "v1/dns_lookup_host", `{`), "unexpected end of JSON input", false},
		{"the payload comes before the service", everything, call("oci", "v2/verify", `{`), "unexpected end of JSON input", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, log := hostFor(tt.allows)
			answer, err := h.Call(t.Context(), tt.call)
			if answer != nil || err == nil || err.Error() != tt.want {
				t.Errorf("Call = %q, %v, want %q", answer, err, tt.want)
			}
			want := ""
			if tt.logged {
				want = fmt.Sprintf(`{"level":"ERROR","msg":"capability refused","policy":"p","capability":%q,"allowed_capabilities":"[net/*]"}`+"\n", tt.call.Capability())
			}
			if log.String() != want {
				t.Errorf("log = %s, want %s", log, want)
			}
		})
	}
}

// allCapabilities are those of Kubewarden, with a payload each.
func allCapabilities() map[string]string {
	return map[string]string{
		"oci v1/verify":                          `{"SigstorePubKeyVerify":{"image":"a","pub_keys":["k"]}}`,
		"oci v2/verify":                          `{"type":"SigstorePubKeyVerify","image":"a","pub_keys":["k"]}`,
		"oci v1/manifest_digest":                 `"a"`,
		"oci v1/oci_manifest":                    `"a"`,
		"oci v1/oci_manifest_config":             `"a"`,
		"net v1/dns_lookup_host":                 `""`,
		"crypto v1/is_certificate_trusted":       `{"cert":{"encoding":"Der","data":[]}}`,
		"kubernetes list_resources_by_namespace": `{"api_version":"v1","kind":"Pod","namespace":"prod"}`,
		"kubernetes list_resources_all":          `{"api_version":"v1","kind":"Pod"}`,
		"kubernetes get_resource":                `{"api_version":"v1","kind":"Pod","name":"p","namespace":"prod"}`,
		"kubernetes can_i":                       `{"subject_access_review":{"user":"u","resource_attributes":{"verb":"get","resource":"pods"}}}`,
	}
}

func TestAHostWithoutServicesSaysSo(t *testing.T) {
	for name, payload := range allCapabilities() {
		namespace, operation, _ := strings.Cut(name, " ")
		h, _ := hostFor(everything)
		h.Resources = []Resource{{"v1", "Pod"}}
		answer, err := h.Call(t.Context(), call(namespace, operation, payload))
		if answer != nil || err == nil || !strings.HasPrefix(err.Error(), "Callback evaluation failure: ") || strings.Contains(err.Error(), "panic") {
			t.Errorf("%s: %q, %v, want a failure", name, answer, err)
		}
	}
}

// stubborn is an implementation that does not look at its context.
type stubborn struct {
	Images
	called, release chan struct{}
}

func (s *stubborn) Digest(context.Context, string) (string, error) {
	close(s.called)
	<-s.release
	return "sha256:late", nil
}

func TestACallEndsWithItsContext(t *testing.T) {
	for _, cache := range []*Cache{nil, NewCache()} {
		h, _ := hostFor(everything)
		images := &stubborn{called: make(chan struct{}), release: make(chan struct{})}
		h.Services = Services{Images: images, Cache: cache}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-images.called; cancel() }()
		answer, err := h.Call(ctx, call("oci", "v1/manifest_digest", `"a"`))
		if answer != nil || !errors.Is(err, context.Canceled) || err.Error() != "Callback evaluation failure: context canceled" {
			t.Errorf("Call = %q, %v, want the end of its context", answer, err)
		}
		close(images.release)
		// A call whose time is over from the start asks nobody: called would be
		// closed twice.
		if _, err := h.Call(ctx, call("oci", "v1/manifest_digest", `"b"`)); !errors.Is(err, context.Canceled) {
			t.Errorf("Call = %v, want the end of its context", err)
		}
	}
}

// broken panics.
type broken struct{ Images }

func TestAPanicCostsOneCall(t *testing.T) {
	for _, cache := range []*Cache{nil, NewCache()} {
		h, _ := hostFor(everything)
		h.Services = Services{Images: &broken{}, Cache: cache}
		_, err := h.Call(t.Context(), call("oci", "v1/manifest_digest", `"a"`))
		if err == nil || !strings.HasPrefix(err.Error(), "Callback evaluation failure: panic: ") {
			t.Errorf("Call = %v, want the panic as an error", err)
		}
	}
}

func TestALogLineKeepsItsLevelAndItsData(t *testing.T) {
	tests := []struct{ payload, want string }{
		{`{"level":"trace","message":"m"}`, `{"level":"DEBUG-4","msg":"m","policy":"p"}`},
		{`{"level":"debug","message":"m"}`, `{"level":"DEBUG","msg":"m","policy":"p"}`},
		{`{"level":"info","message":"m"}`, `{"level":"INFO","msg":"m","policy":"p"}`},
		{`{"level":"warning","message":"m"}`, `{"level":"WARN","msg":"m","policy":"p"}`},
		{`{"level":"warn","message":"m"}`, `{"level":"WARN","msg":"m","policy":"p"}`},
		{`{"level":"ERROR","message":"m"}`, `{"level":"ERROR","msg":"m","policy":"p"}`},
		{`{"level":"critical","message":"m"}`, `{"level":"ERROR","msg":"m","policy":"p"}`},
		{`{"level":"loud","message":"m"}`, `{"level":"INFO","msg":"m","policy":"p"}`},
		{`{"message":"m"}`, `{"level":"INFO","msg":"m","policy":"p"}`},
		{`{"level":7,"message":{"a":1}}`, `{"level":"INFO","msg":"","policy":"p"}`},
		{`{}`, `{"level":"INFO","msg":"","policy":"p"}`},
		{`null`, `{"level":"INFO","msg":"","policy":"p"}`},
		{
			`{"level":"info","z":{"b":1.50},"a":[true,null],"message":"m"}`,
			`{"level":"INFO","msg":"m","policy":"p","data":"{\"a\":[true,null],\"z\":{\"b\":1.50}}"}`,
		},
	}
	for _, tt := range tests {
		h, log := hostFor(nil)
		if answer, err := h.Call(t.Context(), call("tracing", "log", tt.payload)); len(answer) != 0 || err != nil {
			t.Errorf("%s: Call = %q, %v, want nothing and no error", tt.payload, answer, err)
		}
		if diff := cmp.Diff(tt.want+"\n", log.String()); diff != "" {
			t.Errorf("%s: log (-want +have):\n%s", tt.payload, diff)
		}
	}
}

func TestAMalformedLogLineIsSaidAndDoesNotFailThePolicy(t *testing.T) {
	for _, payload := range []string{``, `{`, `hunter2`, `"hunter2"`, `["hunter2"]`, "\xff\xfe", `{"level":"info"} x`} {
		h, log := hostFor(nil)
		if answer, err := h.Call(t.Context(), call("tracing", "log", payload)); len(answer) != 0 || err != nil {
			t.Errorf("%q: Call = %q, %v, want nothing and no error", payload, answer, err)
		}
		if !strings.HasPrefix(log.String(), `{"level":"ERROR","msg":"policy log line is not a JSON object","policy":"p","error":`) {
			t.Errorf("%q: log = %s, want it to say that the line is malformed", payload, log)
		}
		if strings.Contains(log.String(), "hunter2") {
			t.Errorf("%q: log = %s, want nothing of the payload in it", payload, log)
		}
	}
}

func TestALongLogLineIsCut(t *testing.T) {
	long := strings.Repeat("é", maxLogLine) // two bytes each
	payload, err := json.Marshal(map[string]any{"message": "x" + long, "object": "x" + long})
	if err != nil {
		t.Fatal(err)
	}
	h, log := hostFor(nil)
	if _, err := h.Call(t.Context(), call("tracing", "log", string(payload))); err != nil {
		t.Fatal(err)
	}
	var line struct{ Msg, Data string }
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"msg": line.Msg, "data": line.Data} {
		switch whole, ok := strings.CutSuffix(text, "… (cut)"); {
		case !ok || len(whole) > maxLogLine || len(whole) < maxLogLine-utf8.UTFMax:
			t.Errorf("%s has %d bytes, want about %d and a note that it is cut", name, len(text), maxLogLine)
		case strings.ContainsRune(text, utf8.RuneError):
			t.Errorf("%s ends with half a character: %q", name, text[len(text)-20:])
		}
	}
	exact := strings.Repeat("m", maxLogLine)
	if have := cut(exact); have != exact {
		t.Errorf("a text of %d bytes is cut to %d, want it whole", len(exact), len(have))
	}
}

func TestCapabilityRefusalsSayNothingOfThePayload(t *testing.T) {
	h, log := hostFor(nil)
	if _, err := h.Call(t.Context(), call("net", "v1/dns_lookup_host", `"hunter2"`)); err == nil || strings.Contains(err.Error()+log.String(), "hunter2") {
		t.Errorf("Call = %v, log %s, want a refusal with nothing of the payload in it", err, log)
	}
}
