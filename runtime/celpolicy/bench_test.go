package celpolicy

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/warder-dev/warder/runtime/native"
	"github.com/warder-dev/warder/sdk"
)

// benchPod is a pod as the API server sends it, of some 6 KB.
func benchPod(tb testing.TB) *sdk.Request {
	tb.Helper()
	container := func(name string) map[string]any {
		return map[string]any{
			"name": name, "image": "ghcr.io/acme/" + name + ":1.2.3", "imagePullPolicy": "IfNotPresent",
			"resources":       map[string]any{"limits": map[string]any{"cpu": "500m", "memory": "256Mi"}, "requests": map[string]any{"cpu": "50m", "memory": "64Mi"}},
			"securityContext": map[string]any{"runAsNonRoot": true, "allowPrivilegeEscalation": false, "capabilities": map[string]any{"drop": []string{"ALL"}}},
			"ports":           []any{map[string]any{"containerPort": 8080, "protocol": "TCP"}},
			"env":             []any{map[string]any{"name": "A", "value": "b"}, map[string]any{"name": "C", "value": "d"}},
			"livenessProbe":   map[string]any{"httpGet": map[string]any{"path": "/healthz", "port": 8080}, "periodSeconds": 10},
			"volumeMounts":    []any{map[string]any{"name": "tmp", "mountPath": "/tmp"}},
		}
	}
	var managed []any
	for i := range 6 {
		fields := map[string]any{}
		for j := range 20 {
			fields[fmt.Sprintf("f:field%d%d", i, j)] = map[string]any{}
		}
		managed = append(managed, map[string]any{"manager": "kubectl", "operation": "Update", "fieldsV1": fields})
	}
	pod := map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": "web", "namespace": "shop", "labels": map[string]any{"app": "web", "team": "a"}, "managedFields": managed},
		"spec": map[string]any{
			"serviceAccountName": "web", "hostNetwork": false,
			"containers": []any{container("web"), container("proxy")}, "initContainers": []any{container("init")},
			"volumes": []any{map[string]any{"name": "tmp", "emptyDir": map[string]any{}}},
		},
	}
	text, err := json.Marshal(pod)
	if err != nil {
		tb.Fatal(err)
	}
	return &sdk.Request{
		UID: "u", Kind: sdk.GroupVersionKind{Version: "v1", Kind: "Pod"}, Operation: sdk.Create, Namespace: "shop", Name: "web",
		UserInfo: sdk.UserInfo{Username: "jane", Groups: []string{"dev"}}, Object: text,
	}
}

const benchSettings = `{
	"variables": [{"name": "containers", "expression": "object.spec.containers + object.spec.?initContainers.orValue([])"}],
	"validations": [
		{"expression": "object.spec.hostNetwork == false"},
		{"expression": "has(object.metadata.labels) && 'team' in object.metadata.labels"},
		{"expression": "object.metadata.labels.team in ['a', 'b', 'c']"},
		{"expression": "variables.containers.all(c, c.image.startsWith('ghcr.io/acme/'))"},
		{"expression": "variables.containers.all(c, !c.image.endsWith(':latest'))"},
		{"expression": "variables.containers.all(c, has(c.resources.limits.memory))"},
		{"expression": "variables.containers.all(c, c.securityContext.runAsNonRoot)"},
		{"expression": "object.spec.serviceAccountName != 'default'"},
		{"expression": "!has(object.spec.volumes) || object.spec.volumes.all(v, !has(v.hostPath))"},
		{"expression": "request.operation == 'CREATE' || request.userInfo.username == 'admin'"}
	]}`

func BenchmarkTenExpressions(b *testing.B) {
	p, err := native.New(Policy(), json.RawMessage(benchSettings), nil)
	if err != nil {
		b.Fatal(err)
	}
	req := benchPod(b)
	b.ReportAllocs()
	for b.Loop() {
		if v, err := p.Evaluate(context.Background(), req); err != nil || !v.Accepted {
			b.Fatal(v, err)
		}
	}
}

// BenchmarkDecodePod is what the others are compared with.
func BenchmarkDecodePod(b *testing.B) {
	req := benchPod(b)
	b.ReportAllocs()
	for b.Loop() {
		var pod any
		if err := json.Unmarshal(req.Object, &pod); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := native.New(Policy(), json.RawMessage(benchSettings), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLongLoop is as much as one expression may cost, nearly.
func BenchmarkLongLoop(b *testing.B) {
	p := mustNew(b, validate(Fail, "lists.range(100000).all(i, i >= 0)"), nil)
	req := benchPod(b)
	for b.Loop() {
		if v, err := p.Evaluate(context.Background(), req); err != nil || !v.Accepted {
			b.Fatal(v, err)
		}
	}
}
