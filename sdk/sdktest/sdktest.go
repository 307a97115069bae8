// Package sdktest tests a policy in a Go test, with the standard library alone:
//
//	func TestRejectsHostNetwork(t *testing.T) {
//		req := sdktest.Request(t, "Pod", `{"spec": {"hostNetwork": true}}`)
//		if v := sdktest.Judge(t, Policy(), nil, req); v.Accepted {
//			t.Errorf("accepted, want a rejection")
//		}
//	}
//
//	func TestCases(t *testing.T) { sdktest.Cases(t, Policy(), "testdata") }
//
// Cases are data: one txtar file each, which every runtime that can run the
// policy can run too. A policy that asks its host is given a Host.
package sdktest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/warder-dev/warder/sdk"
)

// Load gives the policy its settings and fails the test when they are not
// valid. Settings are nil for none, JSON text (string, []byte or
// json.RawMessage), or a value for encoding/json.
func Load(t testing.TB, policy sdk.Policy, settings any) sdk.Judge {
	t.Helper()
	judge, err := policy.Load(document(t, settings))
	if err != nil {
		t.Fatalf("settings %v: %v", settings, err)
	}
	return judge
}

// Judge asks the policy, with settings as Load takes them, about one request.
// The verdict's Patch has been applied: what changes is in MutatedObject. The
// test fails when there is no verdict. A policy that asks its host is run with
// Load and a context of sdk.WithHost instead.
func Judge(t testing.TB, policy sdk.Policy, settings any, req *sdk.Request) sdk.Verdict {
	t.Helper()
	v, err := Load(t, policy, settings)(t.Context(), req)
	if err != nil {
		t.Fatalf("no verdict: %v", err)
	}
	if v, err = v.Resolve(req); err != nil {
		t.Fatalf("verdict: %v", err)
	}
	return v
}

// Invalid returns what the policy says against settings, as Load takes them,
// and fails the test when it says nothing.
func Invalid(t testing.TB, policy sdk.Policy, settings any) string {
	t.Helper()
	_, err := policy.Load(document(t, settings))
	if err == nil {
		t.Fatalf("settings %v are valid, want an error", settings)
	}
	return err.Error()
}

// Request returns the request to create an object: JSON text (string, []byte
// or json.RawMessage) or a value for encoding/json. A nil object makes it a
// request to delete one. The API version is the object's own, or that of the
// kind where a cluster has it; the name and the namespace are the object's.
func Request(t testing.TB, kind string, object any) *sdk.Request {
	t.Helper()
	text := document(t, object)
	req := &sdk.Request{UID: testUID, Operation: sdk.Create, Object: text}
	if text == nil {
		req.Operation = sdk.Delete
	} else if err := sdk.Check(text); err != nil {
		t.Fatalf("object: %v", err)
	}
	top := sdk.View(text)
	req.Name = top.Get("metadata", "name").String()
	req.Namespace = top.Get("metadata", "namespace").String()
	apiVersion := top.Get("apiVersion").String()
	if err := top.Err(); err != nil {
		t.Fatalf("object: %v", err)
	}
	req.Kind = kindOf(kind, apiVersion)
	req.Resource = resourceOf(req.Kind)
	return req
}

// testUID is the UID of requests that have none of their own.
const testUID = "00000000-0000-0000-0000-000000000000"

// kindOf completes a kind's name with its API version: the given one, or where
// a cluster has it.
func kindOf(kind, apiVersion string) sdk.GroupVersionKind {
	if apiVersion == "" {
		switch kind {
		case "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet":
			apiVersion = "apps/v1"
		case "Job", "CronJob":
			apiVersion = "batch/v1"
		case "Ingress", "NetworkPolicy":
			apiVersion = "networking.k8s.io/v1"
		default:
			apiVersion = "v1"
		}
	}
	group, version, found := strings.Cut(apiVersion, "/")
	if !found {
		group, version = "", apiVersion
	}
	return sdk.GroupVersionKind{Group: group, Version: version, Kind: kind}
}

// resourceOf returns the resource of a kind by the rule that holds for all of
// Kubernetes' own kinds but a few.
func resourceOf(k sdk.GroupVersionKind) sdk.GroupVersionResource {
	plural := strings.ToLower(k.Kind)
	switch {
	case strings.HasSuffix(plural, "s"):
		plural += "es"
	case strings.HasSuffix(plural, "y"):
		plural = strings.TrimSuffix(plural, "y") + "ies"
	default:
		plural += "s"
	}
	return sdk.GroupVersionResource{Group: k.Group, Version: k.Version, Resource: plural}
}

// document returns what a test gives as settings or object as JSON text, nil
// for nil.
func document(t testing.TB, value any) json.RawMessage {
	t.Helper()
	switch v := value.(type) {
	case nil:
		return nil
	case string:
		return json.RawMessage(v)
	case []byte:
		return v
	case json.RawMessage:
		return v
	}
	text, err := marshal(value)
	if err != nil {
		t.Fatalf("%T: %v", value, err)
	}
	return text
}

// marshal is json.Marshal without the escapes for HTML, which would change the
// text of a json.RawMessage.
func marshal(value any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
