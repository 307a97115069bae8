package highriskserviceaccount_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/warder-dev/warder/library/highriskserviceaccount"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, highriskserviceaccount.Policy(), "testdata") }

const rules = `{"blockRules": [
	{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["create", "get"]},
	{"namespace": "kube-system", "apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]}]}`

const podOfA = `{"metadata": {"namespace": "shop"}, "spec": {"serviceAccountName": "a"}}`

func question(user, groups, attributes string) json.RawMessage {
	return json.RawMessage(`{"subject_access_review": {"user": "` + user + `"` + groups + `, "resource_attributes": ` + attributes + `}, "disable_cache": false}`)
}

func TestAsksUntilThePermissionIsThere(t *testing.T) {
	const groups = `, "groups": ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]`
	no := sdktest.Answer{Capability: "kubernetes/can_i", Payload: json.RawMessage(`{"allowed": false}`)}
	yes := func(user, groups, attributes string) sdktest.Answer {
		return sdktest.Answer{Capability: "kubernetes/can_i", Payload: json.RawMessage(`{"allowed": true}`), Question: question(user, groups, attributes)}
	}
	tests := []struct {
		name, pod, want string
		allowed         sdktest.Answer
		calls           int
	}{
		{"the second permission", podOfA, "'system:serviceaccount:shop:a' with permissions to perform get /pods in the cluster.",
			yes("system:serviceaccount:shop:a", "", `{"verb": "get", "resource": "pods"}`), 2},
		{"in a namespace", podOfA, "perform * apps/* in namespace 'kube-system'.",
			yes("system:serviceaccount:shop:a", "", `{"namespace": "kube-system", "verb": "*", "group": "apps", "resource": "*"}`), 5},
		{"through a group", podOfA, "perform create /secrets in the cluster.",
			yes("system:serviceaccount:shop:a", groups, `{"verb": "create", "resource": "secrets"}`), 8},
		{"the deprecated field", `{"metadata": {"namespace": "shop"}, "spec": {"serviceAccount": "b"}}`, "'system:serviceaccount:shop:b'",
			yes("system:serviceaccount:shop:b", "", `{"verb": "create", "resource": "pods"}`), 1},
		{"no name", `{"metadata": {"namespace": "shop"}, "spec": {"serviceAccountName": ""}}`, "'system:serviceaccount:shop:default'",
			yes("system:serviceaccount:shop:default", "", `{"verb": "create", "resource": "pods"}`), 1},
		{"a projected token", `{"metadata": {"namespace": "shop"}, "spec": {"automountServiceAccountToken": false,
			"volumes": [{"emptyDir": {}}, {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}}`, "'system:serviceaccount:shop:default'",
			yes("system:serviceaccount:shop:default", "", `{"verb": "create", "resource": "pods"}`), 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			host := sdktest.NewHost(t, tt.allowed, no)
			v, err := sdktest.Load(t, highriskserviceaccount.Policy(), rules)(sdk.WithHost(t.Context(), host), sdktest.Request(t, "Pod", tt.pod))
			if err != nil || v.Accepted || v.Code != 403 || !strings.Contains(v.Message, tt.want) {
				t.Errorf("verdict %+v, %v, want a rejection with 403 and %q", v, err, tt.want)
			}
			if len(host.Calls()) != tt.calls {
				t.Errorf("%d calls, want %d", len(host.Calls()), tt.calls)
			}
		})
	}
}

func TestAcceptsWhatMayDoNothing(t *testing.T) {
	host := sdktest.NewHost(t, sdktest.Answer{Capability: "kubernetes/can_i", Payload: json.RawMessage(`{"allowed": false}`)})
	v, err := sdktest.Load(t, highriskserviceaccount.Policy(), rules)(sdk.WithHost(t.Context(), host), sdktest.Request(t, "Pod", podOfA))
	if err != nil || !v.Accepted {
		t.Errorf("verdict %+v, %v, want it accepted", v, err)
	}
}

// One answer is enough to go by; none is not.
func TestErrorsOfTheHost(t *testing.T) {
	broken := sdktest.Answer{Capability: "kubernetes/can_i", Err: errors.New("the API server is away")}
	no := sdktest.Answer{Capability: "kubernetes/can_i", Payload: json.RawMessage(`{"allowed": false}`),
		Question: question("system:serviceaccount:shop:a", "", `{"verb": "create", "resource": "pods"}`)}
	judge := sdktest.Load(t, highriskserviceaccount.Policy(), rules)
	req := sdktest.Request(t, "Pod", podOfA)
	v, err := judge(sdk.WithHost(t.Context(), sdktest.NewHost(t, broken)), req)
	if err != nil || v.Accepted || v.Message != "Failed to check permissions for all SubjectAccessReviews" {
		t.Errorf("verdict %+v, %v, want a rejection: nothing has been answered", v, err)
	}
	v, err = judge(sdk.WithHost(t.Context(), sdktest.NewHost(t, no, broken)), req)
	if err != nil || !v.Accepted {
		t.Errorf("verdict %+v, %v, want it accepted: one answer has come", v, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err = judge(sdk.WithHost(ctx, sdktest.NewHost(t, no)), req); !errors.Is(err, context.Canceled) {
		t.Errorf("verdict %+v, %v, want none: the time is over", v, err)
	}
}
