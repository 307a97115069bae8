// Package gatewayreferences is the built-in policy gateway-references: it wants what
// Gateways and HTTPRoutes name in other namespaces to be granted to them there.
package gatewayreferences

import (
	"context"
	"fmt"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of gateway-references: there are none.
type Settings struct{}

// Policy returns the policy gateway-references. It lists the ReferenceGrants of the
// namespaces that are named, so grants come first.
func Policy() sdk.Policy { return sdk.Define(judge) }

// reference is what an object names in another namespace.
type reference struct {
	place                        sdk.Value
	group, kind, namespace, name string
}

func judge(ctx context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	var failed error
	verdict, err := check.Kinds(req, []string{"Gateway", "HTTPRoute"}, func(object sdk.Value) string {
		references := referencesOf(req.Kind.Kind, object)
		if object.Get("metadata", "deletionTimestamp").Exists() || object.Err() != nil {
			return ""
		}
		if req.Namespace == "" {
			failed = check.ErrNoNamespace
			return ""
		}
		var places sdk.Places
		for _, r := range references {
			if r.namespace == "" || r.namespace == req.Namespace {
				continue
			}
			var granted bool
			if granted, failed = grants(ctx, req, r); failed != nil {
				return ""
			}
			if !granted {
				places.Addf(r.place, " names the %s %s of namespace %s", r.kind, r.name, r.namespace)
			}
		}
		if places.Len() == 0 {
			return ""
		}
		return "What is in another namespace must be granted there: " + places.String() +
			". Have a ReferenceGrant made in that namespace first, or use what is in this one"
	})
	if failed != nil {
		return sdk.Verdict{}, failed
	}
	return verdict, err
}

// referencesOf returns what the object names: the certificates of a Gateway, the
// backends of an HTTPRoute.
func referencesOf(kind string, object sdk.Value) (references []reference) {
	spec := object.Get("spec")
	if kind == "Gateway" {
		for _, listener := range spec.Get("listeners").Elements() {
			for _, ref := range listener.Get("tls", "certificateRefs").Elements() {
				references = append(references, referenceOf(ref, "Secret"))
			}
		}
		return references
	}
	for _, rule := range spec.Get("rules").Elements() {
		fields := rule.Fields("filters", "backendRefs")
		references = append(references, mirrors(fields[0])...)
		for _, ref := range fields[1].Elements() {
			references = append(references, referenceOf(ref, "Service"))
			references = append(references, mirrors(ref.Get("filters"))...)
		}
	}
	return references
}

// mirrors returns where the filters send requests too.
func mirrors(filters sdk.Value) (references []reference) {
	for _, filter := range filters.Elements() {
		if ref := filter.Get("requestMirror", "backendRef"); ref.Exists() {
			references = append(references, referenceOf(ref, "Service"))
		}
	}
	return references
}

func referenceOf(ref sdk.Value, kind string) reference {
	fields := ref.Fields("group", "kind", "namespace", "name")
	r := reference{ref, fields[0].String(), fields[1].String(), fields[2].String(), fields[3].String()}
	if r.kind == "" {
		r.kind = kind
	}
	return r
}

// grants reports whether a ReferenceGrant of the other namespace lets the object
// of the request name it.
func grants(ctx context.Context, req *sdk.Request, r reference) (bool, error) {
	answer, err := sdk.ListResources(ctx, sdk.ListQuery{
		APIVersion: "gateway.networking.k8s.io/v1beta1", Kind: "ReferenceGrant", Namespace: r.namespace,
	})
	if err != nil {
		return false, err
	}
	list, granted := sdk.View(answer), false
	for _, grant := range list.Get("items").Elements() {
		spec := grant.Get("spec").Fields("from", "to")
		from, to := false, false
		for _, f := range spec[0].Elements() {
			fields := f.Fields("group", "kind", "namespace")
			from = from || fields[0].String() == req.Kind.Group && fields[1].String() == req.Kind.Kind && fields[2].String() == req.Namespace
		}
		for _, t := range spec[1].Elements() {
			fields := t.Fields("group", "kind", "name")
			name := fields[2].String()
			to = to || fields[0].String() == r.group && fields[1].String() == r.kind && (name == "" || name == r.name)
		}
		granted = granted || from && to
	}
	if err := list.Err(); err != nil {
		return false, fmt.Errorf("the list of ReferenceGrants of namespace %s: %w", r.namespace, err)
	}
	return granted, nil
}
