package sdktest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

type settings struct {
	Deny string `json:"deny"`
	Set  string `json:"set"`
	Grow bool   `json:"grow"`
}

func (s *settings) Validate() error {
	if s.Deny == "everything" {
		return errors.New("deny: that is too much")
	}
	return nil
}

// policy denies a name, sets a field, or grows the object with each pass.
func policy() sdk.Policy {
	return sdk.Define(func(ctx context.Context, s *settings, req *sdk.Request) (sdk.Verdict, error) {
		if s.Deny == "ask" {
			ips, err := sdk.LookupHost(ctx, "example.org")
			return sdk.Verdict{Accepted: true, Warnings: ips}, err
		}
		if s.Deny != "" && s.Deny == req.Name {
			return sdk.Verdict{Message: req.Name + " is denied", Code: 403}, nil
		}
		var patch sdk.Patch
		if s.Set != "" && sdk.View(req.Object).Get("set").String() != s.Set {
			patch.Set("/set", s.Set)
		}
		if s.Grow {
			patch.Add("/list/-", 1)
		}
		return sdk.Verdict{Accepted: true, Patch: patch}, nil
	})
}

func TestRequestFillsInWhatAClusterKnows(t *testing.T) {
	tests := []struct {
		kind      string
		object    any
		want      string
		operation sdk.Operation
	}{
		{"Pod", `{"metadata": {"name": "n", "namespace": "ns"}}`, "/v1 Pod pods ns/n", sdk.Create},
		{"Deployment", json.RawMessage(`{}`), "apps/v1 Deployment deployments /", sdk.Create},
		{"CronJob", []byte(`{}`), "batch/v1 CronJob cronjobs /", sdk.Create},
		{"Ingress", map[string]any{"metadata": map[string]any{"name": "<&>"}}, "networking.k8s.io/v1 Ingress ingresses /<&>", sdk.Create},
		{"NetworkPolicy", `{"apiVersion": "example.com/v2"}`, "example.com/v2 NetworkPolicy networkpolicies /", sdk.Create},
		{"Pod", nil, "/v1 Pod pods /", sdk.Delete},
	}
	for _, tt := range tests {
		r := sdktest.Request(t, tt.kind, tt.object)
		have := fmt.Sprintf("%s/%s %s %s %s/%s", r.Kind.Group, r.Kind.Version, r.Kind.Kind, r.Resource.Resource, r.Namespace, r.Name)
		if have != tt.want || r.Operation != tt.operation || (r.Object == nil) != (tt.object == nil) {
			t.Errorf("%s %v: have %s, %s, %s; want %s, %s", tt.kind, tt.object, have, r.Operation, r.Object, tt.want, tt.operation)
		}
		if _, err := sdk.ParseRequest(r.AppendJSON(nil)); err != nil {
			t.Errorf("%s: the request is not one: %v", tt.kind, err)
		}
	}
}

func TestJudgeAppliesThePatch(t *testing.T) {
	req := sdktest.Request(t, "Pod", `{"metadata": {"name": "web"}}`)
	v := sdktest.Judge(t, policy(), settings{Set: "<x>"}, req)
	if !v.Accepted || string(v.MutatedObject) != `{"metadata": {"name": "web"},"set":"\u003cx\u003e"}` || v.Patch != nil {
		t.Errorf("have %+v with %s", v, v.MutatedObject)
	}
	if v := sdktest.Judge(t, policy(), `{"deny": "web"}`, req); v.Accepted || v.Message != "web is denied" {
		t.Errorf("have %+v", v)
	}
	if have := sdktest.Invalid(t, policy(), `{"den": 1}`); have != "den: unknown setting; did you mean deny?" {
		t.Errorf("have %s", have)
	}
}

// trial is a test that is watched: a helper that should fail it must.
type trial struct {
	testing.TB
	said []string
}

type stopped struct{}

func (f *trial) Helper() {}
func (f *trial) Errorf(format string, args ...any) {
	f.said = append(f.said, fmt.Sprintf(format, args...))
}
func (f *trial) Fatalf(format string, args ...any) { f.Errorf(format, args...); panic(stopped{}) }

// failing returns what the helpers in use said against the test.
func failing(t *testing.T, use func(t testing.TB)) (said string) {
	f := &trial{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(stopped{}) {
			panic(r)
		}
		said = strings.Join(f.said, "\n")
	}()
	use(f)
	return ""
}

func TestHelpersFailTheTest(t *testing.T) {
	pod := sdktest.Request(t, "Pod", `{}`)
	tests := []struct {
		name, want string
		use        func(t testing.TB)
	}{
		{"invalid settings", "den: unknown setting", func(t testing.TB) { sdktest.Load(t, policy(), `{"den": 1}`) }},
		{"settings that are no JSON", "settings", func(t testing.TB) { sdktest.Load(t, policy(), func() {}) }},
		{"valid settings", "are valid, want an error", func(t testing.TB) { sdktest.Invalid(t, policy(), nil) }},
		{"no verdict", "no verdict: ", func(t testing.TB) { sdktest.Judge(t, policy(), `{"deny": "ask"}`, pod) }},
		{"a patch that does not apply", "verdict: patch operation 0", func(t testing.TB) { sdktest.Judge(t, policy(), `{"grow": true}`, pod) }},
		{"an object that is no JSON", "object: ", func(t testing.TB) { sdktest.Request(t, "Pod", `{`) }},
		{"an object that is none", "object: document: want an object", func(t testing.TB) { sdktest.Request(t, "Pod", `[]`) }},
		{"an unexpected call", "unexpected call of net/v1/dns_lookup_host", func(t testing.TB) {
			host := sdktest.NewHost(t, sdktest.Answer{Capability: "net/v1/dns_lookup_host", Question: json.RawMessage(`"other"`)})
			_, _ = sdk.LookupHost(sdk.WithHost(context.Background(), host), "example.org")
		}},
	}
	for _, tt := range tests {
		have := failing(t, tt.use)
		if tt.name == "settings that are no JSON" {
			tt.want = "unsupported type"
		}
		if !strings.Contains(have, tt.want) {
			t.Errorf("%s: the test was told %q, want %q", tt.name, have, tt.want)
		}
	}
}

func TestHostAnswersAndRecords(t *testing.T) {
	denied := errors.New("denied")
	host := sdktest.NewHost(t,
		sdktest.Answer{Capability: "net/v1/dns_lookup_host", Question: json.RawMessage(` "a" `), Payload: json.RawMessage(`{"ips":["1.1.1.1"]}`)},
		sdktest.Answer{Capability: "net/v1/dns_lookup_host", Err: denied},
	)
	ctx := sdk.WithHost(t.Context(), host)
	for range 2 { // an answer is good for any number of calls
		if ips, err := sdk.LookupHost(ctx, "a"); err != nil || len(ips) != 1 {
			t.Errorf("a: have %v, %v", ips, err)
		}
	}
	if _, err := sdk.LookupHost(ctx, "b"); !errors.Is(err, denied) {
		t.Errorf("b: have %v, want the error", err)
	}
	sdk.Log(ctx, sdk.LevelInfo, "needs no answer", nil)
	var calls []string
	for _, c := range host.Calls() {
		calls = append(calls, c.Capability()+" "+string(c.Payload))
	}
	want := `net/v1/dns_lookup_host "a"|net/v1/dns_lookup_host "a"|net/v1/dns_lookup_host "b"|tracing/log {"level":"info","message":"needs no answer"}`
	if have := strings.Join(calls, "|"); have != want {
		t.Errorf("have %s, want %s", have, want)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := sdk.LookupHost(gone, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("after the deadline: have %v", err)
	}
}
