package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
)

const (
	podHead = `"uid":"u1","kind":{"group":"","version":"v1","kind":"Pod"},` +
		`"resource":{"group":"","version":"v1","resource":"pods"},"operation":"CREATE","userInfo":{}`
	plainPod      = `{"request":{` + podHead + `,"object":{"spec":{"containers":[{"name":"a"}]}}}}`
	privilegedPod = `{"request":{` + podHead + `,"object":{"spec":{"containers":[{"name":"a","securityContext":{"privileged":true}}]}}}}`
	inSystem      = `{"request":{` + podHead + `,"namespace":"system","object":{"spec":{"containers":[{"name":"a","securityContext":{"privileged":true}}]}}}}`
)

// newHandler returns a handler with one policy of each sort: "privileged"
// protects, "monitored" is the same in monitor mode, "drops" would mutate but
// may not, "broken" did not load; "group" has a member that did and one that
// did not.
func newHandler(t *testing.T, opts Options) *Handler {
	t.Helper()
	e, err := engine.New(engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	drop := json.RawMessage(`{"required_drop_capabilities":["NET_ADMIN"]}`)
	// The error is about "broken" and is looked for in its status.
	_ = e.Apply(context.Background(), []policy.Policy{
		{ID: "privileged", Module: "builtin://pod-privileged", Mode: policy.Protect, FailurePolicy: policy.Fail, Bundles: []string{"pods"}},
		{ID: "monitored", Module: "builtin://pod-privileged", Mode: policy.Monitor, FailurePolicy: policy.Fail},
		{ID: "drops", Module: "builtin://capabilities-psp", Mode: policy.Protect, FailurePolicy: policy.Fail, Settings: drop},
		{ID: "may drop", Module: "builtin://capabilities-psp", Mode: policy.Protect, FailurePolicy: policy.Fail, Settings: drop, AllowedToMutate: true},
		{ID: "broken", Module: "builtin://nope", Mode: policy.Protect, FailurePolicy: policy.Fail},
		{ID: "group", Mode: policy.Protect, FailurePolicy: policy.Fail, Group: &policy.Group{
			Expression: "privileged() || broken()", Message: "no", Members: map[string]policy.Policy{
				"privileged": {Module: "builtin://pod-privileged"}, "broken": {Module: "builtin://nope"},
			},
		}},
	})
	opts.Engine = e
	h, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func post(h http.Handler, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestEveryAnswerOfTheTable(t *testing.T) {
	h := newHandler(t, Options{MaxBodyBytes: 1 << 10, AlwaysAcceptNamespace: "system"})
	const accepted = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u1","allowed":true,"auditAnnotations":null,"warnings":null}}`
	const jsonType = "application/json"
	tests := []struct {
		name, method, path, contentType, body string
		status                                int
		want                                  string // the whole body, or a part of it after "…"
	}{
		{"accepted", "POST", "/validate/privileged", jsonType, plainPod, 200, accepted},
		{"rejected", "POST", "/validate/privileged?timeout=10s", jsonType, privilegedPod, 200, `…"allowed":false,"status":{"message":"Privileged container is not allowed: spec.containers[0].securityContext.privileged`},
		{"monitored", "POST", "/validate/monitored", jsonType, privilegedPod, 200, accepted},
		{"audit shows what monitor mode hides", "POST", "/audit/monitored", jsonType, privilegedPod, 200, `…"allowed":false`},
		{"mutation not allowed", "POST", "/validate/drops", jsonType, plainPod, 200,
			`…"allowed":false,"status":{"message":"Request rejected by policy drops. The policy attempted to mutate the request, but it is currently configured to not allow mutations."}`},
		{"audit shows the patch all the same", "POST", "/audit/drops", jsonType, plainPod, 200, `…"allowed":true,"patchType":"JSONPatch","patch":"W3`},
		{"encoded name", "POST", "/validate/may%20drop", jsonType, plainPod, 200, `…"allowed":true,"patchType":"JSONPatch"`},
		{"raw", "POST", "/validate_raw/privileged", jsonType, `{"request":{"uid":"r"}}`, 200, `…{"response":{"uid":"r","allowed":`},
		{"broken policy", "POST", "/validate/broken", jsonType, plainPod, 200, `…"code":500`},
		{"group", "POST", "/validate/group", jsonType, plainPod, 200, accepted},
		{"group whose verdict depends on a broken member", "POST", "/validate/group", jsonType, privilegedPod, 200,
			`…"allowed":false,"status":{"message":"error evaluating policy group expression: bootstrap failure: group/broken: `},
		{"group, raw", "POST", "/validate_raw/group", jsonType, `{"request":{"uid":"r"}}`, 200, `…{"response":{"uid":"r","allowed":`},
		{"member of a group", "POST", "/validate/group%2Fprivileged", jsonType, privilegedPod, 200, `…"allowed":false,"status":{"message":"Privileged`},
		{"member of a group, audit", "POST", "/audit/group%2fprivileged", jsonType, plainPod, 200, accepted},
		{"member of a group, raw", "POST", "/validate_raw/group%2Fprivileged", jsonType, `{"request":{}}`, 200, `…{"response":{"uid":"","allowed":`},
		{"broken member of a group", "POST", "/validate/group%2Fbroken", jsonType, plainPod, 200, `…"code":500`},
		{"member that the group has not", "POST", "/validate/group%2Fnope", jsonType, plainPod, 404, `{"message":"unknown policy: group/nope","status":404}`},
		{"bundle", "POST", "/review/pods", jsonType, privilegedPod, 200, `…"allowed":false,"status":{"message":"privileged: Privileged container`},
		{"always accepted", "POST", "/validate/privileged", jsonType, inSystem, 200, accepted},
		{"always accepted in a bundle", "POST", "/review/pods", jsonType, inSystem, 200, accepted},
		{"audit has no shortcut", "POST", "/audit/privileged", jsonType, inSystem, 200, `…"allowed":false`},
		{"always accepted, unknown policy", "POST", "/validate/nope", jsonType, inSystem, 404, `{"message":"unknown policy: nope","status":404}`},
		{"parameters of the content type", "POST", "/validate/privileged", `application/json; charset="utf-8"`, plainPod, 200, accepted},
		{"another JSON", "POST", "/validate/privileged", "application/vnd.x+json", plainPod, 200, accepted},

		{"not JSON", "POST", "/validate/privileged", jsonType, `{"a`, 400, `{"message":"Failed to parse the request body as JSON: EOF while parsing a string at line 1 column 3","status":400}`},
		{"not JSON, audit", "POST", "/audit/privileged", jsonType, ``, 400, `{"message":"Failed to parse the request body as JSON: EOF while parsing a value at line 1 column 0","status":400}`},
		{"wrong shape", "POST", "/validate/privileged", jsonType, `{}`, 422, `{"message":"Failed to deserialize the JSON body into the target type: missing field ` + "`request`" + ` at line 1 column 2","status":422}`},
		{"wrong shape, raw", "POST", "/validate_raw/privileged", jsonType, `[]`, 422, `…,"status":422}`},
		{"too large", "POST", "/validate/privileged", jsonType, strings.Repeat(" ", 1025), 413, `{"message":"Failed to buffer the request body: length limit exceeded","status":413}`},
		{"as large as may be", "POST", "/validate/privileged", jsonType, plainPod + strings.Repeat(" ", 1024-len(plainPod)), 200, accepted},
		{"content type", "POST", "/validate/privileged", "text/plain", plainPod, 415, "{\"message\":\"Expected request with `Content-Type: application/json`\",\"status\":415}"},
		{"no content type", "POST", "/validate_raw/privileged", "", plainPod, 415, `…,"status":415}`},
		{"unknown policy", "POST", "/validate/nope", jsonType, plainPod, 404, `{"message":"unknown policy: nope","status":404}`},
		{"unknown policy, raw", "POST", "/validate_raw/%3Cnope%3E", jsonType, `{"request":1}`, 404, `{"message":"unknown policy: <nope>","status":404}`},
		{"member of a group that is none", "POST", "/validate/privileged%2Fmember", jsonType, plainPod, 404, `{"message":"unknown policy: privileged/member","status":404}`},
		{"two slashes", "POST", "/validate/a%2Fb%2Fc", jsonType, plainPod, 500, `{"message":"Something went wrong","status":500}`},
		{"two slashes of a bundle", "POST", "/review/a%2Fb%2Fc", jsonType, plainPod, 404, `{"message":"unknown bundle: a/b/c","status":404}`},
		{"unknown bundle", "POST", "/review/nope", jsonType, inSystem, 404, `{"message":"unknown bundle: nope","status":404}`},
		{"wrong method", "GET", "/validate/privileged", "", "", 405, `{"message":"GET is not allowed here; reviews are sent with POST","status":405}`},
		{"wrong method of a probe", "POST", "/livez", "", "", 405, `{"message":"POST is not allowed here; want GET","status":405}`},
		{"no policy", "POST", "/validate/", jsonType, plainPod, 404, `{"message":"no such path: /validate/","status":404}`},
		{"three segments", "POST", "/validate/a/b", jsonType, plainPod, 404, `{"message":"no such path: /validate/a/b","status":404}`},
		{"unknown route", "POST", "/nope", jsonType, plainPod, 404, `{"message":"no such path: /nope","status":404}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			part, isPart := strings.CutPrefix(tt.want, "…")
			if w.Code != tt.status || isPart && !strings.Contains(w.Body.String(), part) || !isPart && w.Body.String() != tt.want {
				t.Errorf("%s %s = %d %s\n want %d %s", tt.method, tt.path, w.Code, w.Body, tt.status, tt.want)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" || !json.Valid(w.Body.Bytes()) {
				t.Errorf("content type %q, body %s, want JSON", got, w.Body)
			}
			if tt.status == 405 && w.Header().Get("Allow") == "" {
				t.Error("405 without the header Allow")
			}
		})
	}
}

func TestProbes(t *testing.T) {
	h := newHandler(t, Options{})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.Probes().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	expect := func(path string, status int, want string) {
		t.Helper()
		if code, body := get(path); code != status || body != want {
			t.Errorf("GET %s = %d %q, want %d %q", path, code, body, status, want)
		}
	}
	expect("/livez", 200, "")
	expect("/readiness", 503, `{"message":"not ready: the policies are being loaded","status":503}`)
	h.SetReady()
	expect("/readiness", 200, "")
	code, body := get("/readiness?verbose")
	for _, want := range []string{
		"ready\n", "\nprivileged: loaded\n", "\nbroken: failed: ", `"builtin://nope"`,
		"\ngroup: degraded: policy \"group\": members: policy \"group/broken\": fetch: ",
	} {
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("GET /readiness?verbose = %d %s, want 200 with %q", code, body, want)
		}
	}
	h.SetDraining()
	h.SetReady()
	expect("/readiness", 503, `{"message":"not ready: the server is shutting down","status":503}`)
	expect("/validate/privileged", 404, `{"message":"no such path: /validate/privileged","status":404}`)

	_, text := get("/policies")
	var list []engine.Status
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("GET /policies = %s: %v", text, err)
	}
	var ids []string
	for _, s := range list {
		ids = append(ids, string(s.ID)+" "+string(s.State))
	}
	want := []string{"broken failed", "drops loaded", "group degraded", "may drop loaded", "monitored loaded", "privileged loaded"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("GET /policies (-want +got):\n%s", diff)
	}
}

func TestMetricsCountRequests(t *testing.T) {
	h := newHandler(t, Options{})
	post(h, "/validate/privileged", plainPod)
	post(h, "/validate/privileged", plainPod)
	post(h, "/audit/nope", plainPod)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`warder_requests_total{code="200",route="validate"} 2`,
		`warder_requests_total{code="404",route="audit"} 1`,
		`warder_request_duration_seconds_count{route="validate"} 2`,
		`warder_requests_in_flight 0`,
		`warder_requests_shed_total 0`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("metrics have no line %s:\n%s", want, w.Body)
		}
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	h := newHandler(t, Options{})
	tests := []struct {
		opts Options
		want string
	}{
		{Options{}, "admission: no engine is given"},
		{Options{Engine: h.engine, MaxInFlight: -1}, "admission: limits of 0 bytes and -1 requests in flight; they cannot be negative"},
	}
	for _, tt := range tests {
		if _, err := New(tt.opts); err == nil || err.Error() != tt.want {
			t.Errorf("New error = %v, want %s", err, tt.want)
		}
	}
}

func TestAPanicIsAnAnswer(t *testing.T) {
	var log bytes.Buffer
	h := newHandler(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	h.engine = nil // the first thing asked of it panics
	server := httptest.NewServer(h)
	defer server.Close()
	for range 2 { // the connection and the place in flight are still there
		resp, err := server.Client().Post(server.URL+"/validate/privileged", "application/json", strings.NewReader(plainPod))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusInternalServerError || string(body) != `{"message":"Something went wrong","status":500}` {
			t.Errorf("answer = %d %s, %v, want 500", resp.StatusCode, body, err)
		}
	}
	if !strings.Contains(log.String(), "panic while a request was answered") || !strings.Contains(log.String(), "handler.go") {
		t.Errorf("log = %s, want the panic with its stack", log.String())
	}
	if n := h.inFlight.Load(); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
}

func TestTheDeadlineIsBeforeTheAPIServers(t *testing.T) {
	tests := []struct {
		query string
		want  time.Duration // 0: none
	}{
		{"?timeout=10s", 10*time.Second - 200*time.Millisecond},
		{"?timeout=1s", 900 * time.Millisecond},
		{"?timeout=500ms&x=1", 450 * time.Millisecond},
		{"", 0}, {"?timeout=", 0}, {"?timeout=10", 0}, {"?timeout=-1s", 0}, {"?timeout=0s", 0}, {"?timeout=%zz", 0},
	}
	start := time.Now()
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodPost, "/validate/x", nil)
		r.URL.RawQuery = strings.TrimPrefix(tt.query, "?")
		deadline, ok := deadlineOf(r, start)
		if got := deadline.Sub(start); ok != (tt.want != 0) || ok && got != tt.want {
			t.Errorf("%q: deadline after %s (%v), want %s", tt.query, got, ok, tt.want)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	e, err := engine.New(engine.Options{})
	if err != nil {
		b.Fatal(err)
	}
	err = e.Apply(context.Background(), []policy.Policy{
		{ID: "privileged", Module: "builtin://pod-privileged", Mode: policy.Protect, FailurePolicy: policy.Fail}})
	if err != nil {
		b.Fatal(err)
	}
	h, err := New(Options{Engine: e})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if w := post(h, "/validate/privileged?timeout=10s", plainPod); w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}
