package engine

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk"
)

// uniqueIngress asks the cluster for all Ingresses.
func uniqueIngress() policy.Policy {
	return policy.Policy{
		ID: "p", Module: "builtin://unique-ingress-policy", HostCapabilities: []string{"*"},
		ContextAwareResources: []policy.Resource{{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}},
	}
}

func ingressRequest() *sdk.Request {
	return &sdk.Request{
		UID: "1", Operation: sdk.Create, Namespace: "shop", Name: "web",
		Kind:   sdk.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"},
		Object: json.RawMessage(`{"metadata": {"name": "web", "namespace": "shop"}, "spec": {"rules": [{"host": "a.example.com"}]}}`),
	}
}

func TestWhatAPolicyAsksIsAnsweredFromASession(t *testing.T) {
	session, err := capability.ParseSession([]byte(`
- type: Exchange
  request: |
    !KubernetesListResourceAll
    api_version: networking.k8s.io/v1
    kind: Ingress
    label_selector: null
    field_selector: null
    field_masks: null
  response:
    type: Success
    payload: '{"items": [{"metadata": {"name": "other", "namespace": "bank"}, "spec": {"rules": [{"host": "a.example.com"}]}}]}'
`))
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, Options{Replay: session})
	mustApply(t, e, uniqueIngress())
	d := evaluate(t, e, "p", ingressRequest())
	if d.Err != nil || d.Response.Allowed || !strings.Contains(messageOf(d.Response), "a.example.com") {
		t.Errorf("decision = %+v, want that bank/other has the host", d)
	}
	if left := session.Unplayed(); len(left) > 0 {
		t.Errorf("not asked for: %q", left)
	}
	d = evaluate(t, e, "p", ingressRequest())
	if d.Err == nil || !strings.Contains(d.Err.Error(), "the list of recorded responses is empty") {
		t.Errorf("once more: %v, want that nothing is left", d.Err)
	}
}

func TestWhatAPolicyAsksIsWrittenIntoASession(t *testing.T) {
	session := &capability.Session{}
	e := newEngine(t, Options{Record: session})
	mustApply(t, e, uniqueIngress())
	if d := evaluate(t, e, "p", ingressRequest()); d.Err == nil {
		t.Error("there is a verdict without a cluster")
	}
	text, err := session.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"!KubernetesListResourceAll", "kind: Ingress", "type: Error"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in the session:\n%s", want, text)
		}
	}
}
