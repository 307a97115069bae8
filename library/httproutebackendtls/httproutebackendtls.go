// Package httproutebackendtls is the built-in policy http-route-backend-tls: it wants
// the Gateway to speak TLS with the backends of HTTPRoutes that expect it.
package httproutebackendtls

import (
	"context"
	"fmt"
	"strings"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of http-route-backend-tls.
type Settings struct {
	// APIVersion is the version of BackendTLSPolicy that the cluster has: v1, or
	// v1alpha3 before release 1.4 of the Gateway API. Default v1.
	APIVersion string `json:"apiVersion"`
	// Kgateway lets a BackendConfigPolicy of kgateway with a section tls stand for
	// a BackendTLSPolicy. Default false: the kind is not in every cluster.
	Kgateway bool `json:"kgateway"`
}

// Validate fills in the default, and reports a version that has no
// BackendTLSPolicy.
func (s *Settings) Validate() error {
	switch s.APIVersion {
	case "":
		s.APIVersion = "v1"
	case "v1", "v1alpha3":
	default:
		return fmt.Errorf("apiVersion: want v1 or v1alpha3, have %q", s.APIVersion)
	}
	return nil
}

// Policy returns the policy http-route-backend-tls. It reads the Services that a
// route names, and the policies for them, which come first.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	var failed error
	verdict, err := check.Kinds(req, []string{"HTTPRoute"}, func(route sdk.Value) string {
		leaving := route.Get("metadata", "deletionTimestamp").Exists()
		var backends []backend
		for _, rule := range route.Get("spec", "rules").Elements() {
			for _, ref := range rule.Get("backendRefs").Elements() {
				if b := backendOf(ref, req.Namespace); b.kind == "Service" {
					backends = append(backends, b)
				}
			}
		}
		if leaving || route.Err() != nil {
			return ""
		}
		if req.Namespace == "" {
			failed = check.ErrNoNamespace
			return ""
		}
		var places sdk.Places
		for _, b := range backends {
			var plain bool
			if plain, failed = s.plain(ctx, b); failed != nil {
				return ""
			}
			if plain {
				places.Addf(b.place, " is port %s of the Service %s", b.port, b.name)
			}
		}
		if places.Len() == 0 {
			return ""
		}
		return "The Gateway must speak TLS with backends that expect it: " + places.String() +
			". Make a BackendTLSPolicy for the Service first, which says whose certificate it has"
	})
	if failed != nil {
		return sdk.Verdict{}, failed
	}
	return verdict, err
}

// backend is a port of a Service that a route sends requests to.
type backend struct {
	place                       sdk.Value
	kind, namespace, name, port string
}

func backendOf(ref sdk.Value, namespace string) backend {
	f := ref.Fields("group", "kind", "namespace", "name", "port")
	b := backend{ref, f[1].String(), f[2].String(), f[3].String(), f[4].Scalar()}
	switch group := f[0].String(); {
	case group != "":
		b.kind = "" // of an implementation
	case b.kind == "":
		b.kind = "Service"
	}
	if b.namespace == "" {
		b.namespace = namespace
	}
	return b
}

// plain reports whether the backend expects TLS, and no policy has the Gateway
// speak it.
func (s *Settings) plain(ctx context.Context, b backend) (bool, error) {
	expects, section, err := b.expectsTLS(ctx)
	if err != nil || !expects {
		return false, err
	}
	spoken, err := b.targeted(ctx, "gateway.networking.k8s.io/"+s.APIVersion, "BackendTLSPolicy", section)
	if err == nil && !spoken && s.Kgateway {
		spoken, err = b.targeted(ctx, "gateway.kgateway.dev/v1alpha1", "BackendConfigPolicy", section)
	}
	return !spoken, err
}

// expectsTLS goes by the number, the name and the protocol of the port. The
// section is the name of the port, by which policies know it.
func (b backend) expectsTLS(ctx context.Context) (expects bool, section string, err error) {
	expects = b.port == "443"
	answer, err := sdk.GetResource(ctx, sdk.GetQuery{APIVersion: "v1", Kind: "Service", Namespace: b.namespace, Name: b.name})
	if err != nil {
		if ctx.Err() == nil && check.NotFound(err) {
			return expects, "", nil
		}
		return false, "", err
	}
	service := sdk.View(answer)
	for _, port := range service.Get("spec", "ports").Elements() {
		f := port.Fields("port", "name", "appProtocol")
		name, protocol := f[1].String(), strings.ToLower(f[2].String())
		if f[0].Scalar() != b.port {
			continue
		}
		section = name
		if protocol != "" {
			expects = protocol == "https" || protocol == "tls" || protocol == "kubernetes.io/wss"
		} else {
			expects = expects || name == "https" || strings.HasPrefix(name, "https-")
		}
	}
	if err := service.Err(); err != nil {
		return false, "", fmt.Errorf("the Service %s: %w", b.name, err)
	}
	return expects, section, nil
}

// targeted reports whether a policy of the kind is for the port of the Service.
func (b backend) targeted(ctx context.Context, apiVersion, kind, section string) (bool, error) {
	answer, err := sdk.ListResources(ctx, sdk.ListQuery{APIVersion: apiVersion, Kind: kind, Namespace: b.namespace})
	if err != nil {
		return false, err
	}
	list, found := sdk.View(answer), false
	for _, policy := range list.Get("items").Elements() {
		spec := policy.Get("spec").Fields("targetRefs", "tls")
		speaks := kind != "BackendConfigPolicy" || spec[1].Exists()
		for _, ref := range spec[0].Elements() {
			f := ref.Fields("group", "kind", "name", "sectionName")
			ours := f[0].String() == "" && f[1].String() == "Service" && f[2].String() == b.name
			part := f[3].String()
			found = found || speaks && ours && (part == "" || part == section)
		}
	}
	if err := list.Err(); err != nil {
		return false, fmt.Errorf("the list of %s: %w", kind, err)
	}
	return found, nil
}
