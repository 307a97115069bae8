// Package httproutelisteners is the built-in policy http-route-listeners: it refuses
// HTTPRoutes that serve what they route to without TLS.
package httproutelisteners

import (
	"context"
	"fmt"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of http-route-listeners: there are none.
type Settings struct{}

// Policy returns the policy http-route-listeners. It reads the Gateways that a route
// is attached to, so Gateways come first.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	var failed error
	verdict, err := check.Kinds(req, []string{"HTTPRoute"}, func(route sdk.Value) string {
		leaving := route.Get("metadata", "deletionTimestamp").Exists()
		spec := route.Get("spec").Fields("parentRefs", "rules")
		redirects := onlyRedirects(spec[1])
		var parents []parent
		for _, ref := range spec[0].Elements() {
			parents = append(parents, parentOf(ref, req.Namespace))
		}
		if leaving || redirects || route.Err() != nil {
			return ""
		}
		if req.Namespace == "" {
			failed = check.ErrNoNamespace
			return ""
		}
		var places sdk.Places
		for _, p := range parents {
			var listener string
			if listener, failed = p.plain(ctx); failed != nil {
				return ""
			}
			if listener != "" {
				places.Addf(p.place, " is listener %s of the Gateway %s", listener, p.name)
			}
		}
		if places.Len() == 0 {
			return ""
		}
		return "Routes may not be attached to listeners without TLS: " + places.String() +
			". Name one of the protocol HTTPS in sectionName, and have a route of its own redirect to it"
	})
	if failed != nil {
		return sdk.Verdict{}, failed
	}
	return verdict, err
}

// onlyRedirects reports whether all that the rules do is send callers to HTTPS.
func onlyRedirects(rules sdk.Value) bool {
	some, all := false, true
	for _, rule := range rules.Elements() {
		redirects := false
		for _, filter := range rule.Get("filters").Elements() {
			redirects = filter.Get("requestRedirect", "scheme").String() == "https" || redirects
		}
		some, all = true, all && redirects
	}
	return some && all
}

// parent is what a route is attached to.
type parent struct {
	place                          sdk.Value
	group, kind                    string
	namespace, name, section, port string
}

func parentOf(ref sdk.Value, namespace string) parent {
	f := ref.Fields("group", "kind", "namespace", "name", "sectionName", "port")
	p := parent{ref, f[0].String(), f[1].String(), f[2].String(), f[3].String(), f[4].String(), f[5].Scalar()}
	if !f[0].Exists() {
		p.group = "gateway.networking.k8s.io"
	}
	if p.kind == "" {
		p.kind = "Gateway"
	}
	if p.namespace == "" {
		p.namespace = namespace
	}
	return p
}

// plain returns the first listener without TLS that the route is attached to, ""
// if there is none. A Gateway that is not there serves nothing yet.
func (p parent) plain(ctx context.Context) (string, error) {
	if p.group != "gateway.networking.k8s.io" || p.kind != "Gateway" {
		return "", nil // a Service of a mesh
	}
	answer, err := sdk.GetResource(ctx, sdk.GetQuery{
		APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: p.namespace, Name: p.name,
	})
	if err != nil {
		if ctx.Err() == nil && check.NotFound(err) {
			return "", nil
		}
		return "", err
	}
	gateway, found := sdk.View(answer), ""
	for _, listener := range gateway.Get("spec", "listeners").Elements() {
		fields := listener.Fields("name", "port", "protocol")
		name, port := fields[0].String(), fields[1].Scalar()
		meant := (p.section == "" || p.section == name) && (p.port == "" || p.port == port)
		if meant && fields[2].String() == "HTTP" && found == "" {
			found = name
		}
	}
	if err := gateway.Err(); err != nil {
		return "", fmt.Errorf("the Gateway %s: %w", p.name, err)
	}
	return found, nil
}
