package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// celRequest is a request to the API server. {ns} in its path and its body stands
// for the namespace, which is a different one for each group of policies.
type celRequest struct {
	index        int
	method, path string
	query        url.Values
	body         any // JSON; nil is none
	user         celUser
}

func (r celRequest) String() string {
	return fmt.Sprintf("request %d: %s %s by %s", r.index, r.method, r.path, r.user.name)
}

// celUser is who asks.
type celUser struct {
	name   string
	groups []string
}

// celGroup is the group of all who ask: it may do what the requests do.
const celGroup = "celdiff"

func celUsers() []celUser {
	return []celUser{
		{"alice", []string{celGroup, "devs", "system:authenticated"}},
		{"bob", []string{celGroup, "ops", "system:authenticated"}},
		{"carol", []string{celGroup, "system:authenticated"}},
		{"system:serviceaccount:default:robot", []string{celGroup, "system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"}},
	}
}

// requestGenerator makes requests of every kind.
type requestGenerator struct{ *rand.Rand }

func (g requestGenerator) one(of ...string) string { return of[g.IntN(len(of))] }

func (g requestGenerator) chance(percent int) bool { return g.IntN(100) < percent }

// maybe adds a member to object, in that many cases of a hundred.
func (g requestGenerator) maybe(percent int, object map[string]any, name string, value any) {
	if g.chance(percent) {
		object[name] = value
	}
}

// generateRequests makes n requests; one of the same seed and index is the same.
func generateRequests(seed uint64, n int) []celRequest {
	kinds := []struct {
		weight int
		make   func(requestGenerator) celRequest
	}{
		{24, requestGenerator.pod}, {14, requestGenerator.deployment}, {22, requestGenerator.configMap}, {10, requestGenerator.service},
		{11, requestGenerator.widget}, {5, requestGenerator.secret}, {4, requestGenerator.namespace}, {4, requestGenerator.scale},
		{6, requestGenerator.connect},
	}
	all := make([]celRequest, n)
	for i := range n {
		g := requestGenerator{rand.New(rand.NewPCG(seed, uint64(i)))} //nolint:gosec // reproducible on purpose
		at := i % 100
		for _, k := range kinds {
			if at -= k.weight; at < 0 {
				all[i] = k.make(g)
				break
			}
		}
		all[i].index, all[i].user = i, celUsers()[g.IntN(4)]
		if all[i].query == nil {
			all[i].query = url.Values{}
		}
		if !strings.Contains(all[i].path, "/exec") && !strings.Contains(all[i].path, "/proxy") {
			all[i].query.Set("dryRun", "All")
		}
		if g.chance(30) && all[i].method != http.MethodDelete {
			all[i].query.Set("fieldManager", g.one("robot", "kubectl"))
		}
	}
	return all
}

// stored are the names of the objects that are there, of each kind.
func stored() []string { return []string{"app-1", "kept-2", "s"} }

func (g requestGenerator) name() string {
	return g.one("a", "app", "abc-1", "web-6", "b2", "c-3-x", "m", "pod-12", "lim-1", "a-very-long-name", "bee", "xy-9", "0a")
}

func (g requestGenerator) labels() map[string]any {
	return g.subset(50, "app", g.one("web", "db", "none"), "tier", g.one("front", "back"), "x", "y", "3", "4")
}

// subset are some of the pairs.
func (g requestGenerator) subset(percent int, pairs ...string) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		g.maybe(percent, m, pairs[i], pairs[i+1])
	}
	return m
}

func (g requestGenerator) meta(name string) map[string]any {
	m := map[string]any{"name": name}
	g.maybe(65, m, "labels", g.labels())
	g.maybe(40, m, "annotations", g.subset(50, "keep", g.one("true", "false"), "internal", "true", "note", "a longer note", "sidecar", "yes"))
	return m
}

// write is the creation of an object, or a change or the deletion of one that is
// there.
func (g requestGenerator) write(path, apiVersion, kind string, object, change map[string]any) celRequest {
	switch n := g.IntN(100); {
	case n < 62:
		object["apiVersion"], object["kind"] = apiVersion, kind
		return celRequest{method: http.MethodPost, path: path, body: object}
	case n < 88:
		meta := g.meta(g.one(stored()...))
		change["metadata"] = meta
		return celRequest{method: http.MethodPatch, path: path + "/" + meta["name"].(string), body: change}
	default:
		body := deleteOptions()
		g.maybe(50, body, "propagationPolicy", g.one("Orphan", "Background"))
		return celRequest{method: http.MethodDelete, path: path + "/" + g.one(stored()...), body: body}
	}
}

// deleteOptions say themselves that nothing is to happen: with a body the query
// does not count.
func deleteOptions() map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": []any{"All"}}
}

func (g requestGenerator) container(name string) map[string]any {
	c := map[string]any{"name": name, "image": g.one("registry.example.com/app:v1", "registry.example.com/web:latest", "docker.io/nginx", "mirror.example.com/x:1.2", "registry.example.com/app@sha256:"+strings.Repeat("0a", 32))}
	security := map[string]any{}
	g.maybe(30, security, "privileged", g.chance(50))
	g.maybe(30, security, "runAsNonRoot", g.chance(50))
	g.maybe(60, c, "securityContext", security)
	g.maybe(60, c, "resources", map[string]any{
		"limits":   g.subset(70, "memory", g.one("128Mi", "1Gi", "3Gi", "0.5Gi", "1500M"), "cpu", g.one("1", "2", "1500m")),
		"requests": g.subset(60, "cpu", g.one("100m", "250m", "1")),
	})
	g.maybe(40, c, "ports", []any{map[string]any{"containerPort": []int{80, 8080, 443}[g.IntN(3)]}})
	g.maybe(30, c, "env", []any{map[string]any{"name": g.one("PATH_A", "lower", "X"), "value": "v"}})
	g.maybe(20, c, "imagePullPolicy", g.one("Always", "Never", "IfNotPresent"))
	return c
}

func (g requestGenerator) podSpec() map[string]any {
	containers := []any{g.container(g.one("app", "c0", "z"))}
	if g.chance(40) {
		containers = append(containers, g.container(g.one("b", "sidecar", "c1")))
	}
	spec := map[string]any{"containers": containers}
	g.maybe(20, spec, "initContainers", []any{g.container("init")})
	g.maybe(20, spec, "hostNetwork", false)
	g.maybe(10, spec, "hostPID", true)
	g.maybe(30, spec, "securityContext", map[string]any{"runAsUser": 1000 * g.IntN(2), "runAsNonRoot": g.chance(50)})
	g.maybe(20, spec, "tolerations", []any{map[string]any{"key": "a", "operator": "Exists"}})
	g.maybe(15, spec, "enableServiceLinks", false)
	return spec
}

func (g requestGenerator) pod() celRequest {
	const path = "/api/v1/namespaces/{ns}/pods"
	if g.chance(6) {
		return celRequest{method: http.MethodPatch, path: path + "/" + g.one(stored()...) + "/status", body: map[string]any{"status": map[string]any{"phase": g.one("Running", "Failed")}}}
	}
	change := map[string]any{}
	g.maybe(40, change, "spec", map[string]any{"activeDeadlineSeconds": 100})
	return g.write(path, "v1", "Pod", map[string]any{"metadata": g.meta(g.name()), "spec": g.podSpec()}, change)
}

func (g requestGenerator) deployment() celRequest {
	labels := map[string]any{"app": "web"}
	template := map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "web"}}, "spec": g.podSpec()}
	if g.chance(40) {
		template["metadata"].(map[string]any)["labels"].(map[string]any)["more"] = "1"
	}
	spec := map[string]any{"selector": map[string]any{"matchLabels": labels}, "template": template}
	g.maybe(80, spec, "replicas", g.IntN(12))
	g.maybe(20, spec, "paused", g.chance(50))
	g.maybe(30, spec, "strategy", map[string]any{"type": "Recreate"})
	change := map[string]any{"spec": map[string]any{"replicas": g.IntN(9)}}
	if g.chance(40) {
		change = map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{"sidecar": "yes"}}}}}
	}
	return g.write("/apis/apps/v1/namespaces/{ns}/deployments", "apps/v1", "Deployment", map[string]any{"metadata": g.meta(g.name()), "spec": spec}, change)
}

func (g requestGenerator) configMap() celRequest {
	data := g.subset(45,
		"url", g.one("https://a.example.com/x", "http://b.example.com:8080/a%20b?q=1&r=2", "https://[::1]:443", "not a url", "/relative"),
		"ip", g.one("10.1.2.3", "127.0.0.1", "::1", "10.1.2", "::ffff:1.2.3.4"),
		"cidr", g.one("10.0.0.0/16", "10.1.2.3/8", "192.168.0.0/16", "fe80::/10", "x/8"),
		"version", g.one("1.2.3", "1.10.0", "v2.0.1", "2", "1.2.3-rc.1+b5", "x"),
		"number", g.one("7", "1.5", "100", "1k", "-3", "x", "9223372036854775807"),
		"flag", g.one("true", "false", "yes"), "text", g.one("plain", " spaces ", "two\nlines", "ünïcode ☃", ""),
		"json", g.one(`{"a": 1}`, "[]"), "upper-Key", "a secret")
	switch g.IntN(12) {
	case 0:
		data["big"] = strings.Repeat("0123456789", 2000) // costs 4 millions to search for itself
	case 1:
		data["middle"] = strings.Repeat("0123456789", 800) // costs 640 000
	case 2:
		if g.chance(15) { // for it takes long
			data["loops"] = "yes"
		}
	}
	object := map[string]any{"metadata": g.meta(g.name())}
	g.maybe(92, object, "data", data)
	g.maybe(15, object, "immutable", g.chance(50))
	return g.write("/api/v1/namespaces/{ns}/configmaps", "v1", "ConfigMap", object, map[string]any{"data": g.subset(50, "text", "changed", "number", "8", "new", "one")})
}

func (g requestGenerator) service() celRequest {
	port := map[string]any{"port": []int{80, 443, 8080, 30000}[g.IntN(4)], "name": g.one("http", "debug")}
	if g.chance(50) {
		port["targetPort"] = "http"
	}
	g.maybe(30, port, "protocol", "UDP")
	spec := map[string]any{"ports": []any{port}}
	g.maybe(70, spec, "selector", map[string]any{"app": g.one("web", "db")})
	switch g.IntN(5) {
	case 0:
		spec["clusterIP"] = "None"
	case 1:
		spec["type"] = "NodePort"
	case 2:
		spec["type"] = "LoadBalancer"
		g.maybe(60, spec, "externalIPs", []any{g.one("192.168.1.1", "8.8.8.8")})
	}
	name := g.one("a", "svc", "abc-1", "web-6", "lim-1", "a-very-long-name")
	return g.write("/api/v1/namespaces/{ns}/services", "v1", "Service", map[string]any{"metadata": g.meta(name), "spec": spec}, map[string]any{"spec": map[string]any{"sessionAffinity": g.one("None", "ClientIP")}})
}

// widgetSpec has no 2.0 and no 1e3. Until it stores them the API server has them
// as doubles, and says 2 and 1000 in a review: from there nobody can tell.
func (g requestGenerator) widgetSpec() map[string]any {
	spec := map[string]any{"size": g.IntN(10)}
	g.maybe(60, spec, "ratio", json.RawMessage(g.one("0.25", "1.5", "2", "1e-9")))
	g.maybe(70, spec, "tags", []any{g.one("a", "b", "longer"), g.one("c", "d")})
	g.maybe(70, spec, "kind", g.one("small", "large"))
	g.maybe(50, spec, "every", g.one("5s", "1m", "x"))
	extra := map[string]any{"list": []any{"a", "b", 3}, "null": g.one("no", "yes"), "half": 0.5, "large": 123456789012, "two": 2}
	g.maybe(60, extra, "deep", map[string]any{"value": g.IntN(4)})
	g.maybe(60, spec, "extra", extra)
	return spec
}

func (g requestGenerator) widget() celRequest {
	const path = "/apis/celdiff.example.com/v1/namespaces/{ns}/widgets"
	if g.chance(15) {
		return celRequest{method: http.MethodPatch, path: path + "/" + g.one(stored()...) + "/status", body: map[string]any{"status": map[string]any{"phase": g.one("Pending", "Ready", "Broken"), "replicas": g.IntN(3)}}}
	}
	return g.write(path, "celdiff.example.com/v1", "Widget", map[string]any{"metadata": g.meta(g.name()), "spec": g.widgetSpec()}, map[string]any{"spec": g.widgetSpec()})
}

func (g requestGenerator) secret() celRequest {
	object := map[string]any{"metadata": g.meta(g.name())}
	g.maybe(50, object, "type", g.one("Opaque", "example.com/kind"))
	g.maybe(60, object, "data", g.subset(60, "token", "YQ==", "other", "bm90aGluZyBvZiBpbnRlcmVzdA=="))
	g.maybe(30, object, "stringData", g.subset(60, "plain", "text"))
	return g.write("/api/v1/namespaces/{ns}/secrets", "v1", "Secret", object, map[string]any{"data": g.subset(50, "token", "Yg==")})
}

// namespace is about Namespaces: the label makes new ones part of the test.
func (g requestGenerator) namespace() celRequest {
	meta := g.meta("{ns}-" + g.one("new", "other-1"))
	labels := g.labels()
	for k, v := range g.subset(50, "team", g.one("web", "Not A Team"[:3], "toolongteam"), "env", g.one("prod", "test"), "pod-security.kubernetes.io/enforce", "restricted") {
		labels[k] = v
	}
	labels["celdiff"] = "{group}"
	meta["labels"] = labels
	switch g.IntN(4) {
	case 0:
		return celRequest{method: http.MethodPatch, path: "/api/v1/namespaces/{ns}", body: map[string]any{"metadata": map[string]any{"labels": g.subset(60, "env", "test", "team", "ops")}}}
	case 1:
		return celRequest{method: http.MethodDelete, path: "/api/v1/namespaces/{ns}", body: deleteOptions()}
	default:
		return celRequest{method: http.MethodPost, path: "/api/v1/namespaces", body: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": meta}}
	}
}

func (g requestGenerator) scale() celRequest {
	of := g.one("apps/v1/namespaces/{ns}/deployments", "celdiff.example.com/v1/namespaces/{ns}/widgets")
	return celRequest{method: http.MethodPatch, path: "/apis/" + of + "/" + g.one(stored()...) + "/scale", body: map[string]any{"spec": map[string]any{"replicas": g.IntN(9)}}}
}

// connect is a request that the API server passes on, to a pod that runs nowhere.
func (g requestGenerator) connect() celRequest {
	name := g.one(stored()...)
	switch g.IntN(4) {
	case 0:
		return celRequest{method: http.MethodGet, path: "/api/v1/namespaces/{ns}/pods/" + name + "/proxy" + g.one("", "/", "/metrics")}
	case 1:
		return celRequest{method: http.MethodPost, path: "/api/v1/namespaces/{ns}/services/" + name + "/proxy" + g.one("", "/metrics")}
	default:
		q := url.Values{"command": {g.one("sh", "ls", "/bin/sh")}, "stdin": {strconv.FormatBool(g.chance(50))}, "stdout": {"true"}}
		if g.chance(50) {
			q.Add("command", "-c")
		}
		if g.chance(60) {
			q.Set("container", g.one("c", "debug")) // admission comes before the look for it
		}
		return celRequest{method: http.MethodPost, path: "/api/v1/namespaces/{ns}/pods/" + name + "/exec", query: q}
	}
}
