package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/client-go/discovery"
	cached "k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/rest"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/runtime/cel"
)

// inCEL are the policies in CEL of a resource: itself, or members of a group.
func inCEL(view v1.Policy, at *field.Path) (policies []*v1.CELSpec, paths []*field.Path) {
	add := func(c *v1.CELSpec, path *field.Path) {
		if c != nil {
			policies, paths = append(policies, c), append(paths, path.Child("cel"))
		}
	}
	if view.Single != nil {
		add(view.Single.CEL, at)
	}
	for _, name := range slices.Sorted(maps.Keys(view.Members)) {
		add(view.Members[name].CEL, at.Child("policies").Key(name))
	}
	return policies, paths
}

// cel compiles the expressions of policies in CEL. The texts are the API server's.
func (c *policyCheck) cel(at *field.Path) {
	policies, paths := inCEL(c.view, at)
	for i, p := range policies {
		_, err := cel.Compile(cel.Spec(*p), cel.Options{Namespace: c.view.Object.GetNamespace()})
		expressions := expressionsOf(p)
		var found field.ErrorList
		for _, bad := range specErrors(err) {
			path := paths[i]
			if bad.Field != "" {
				path = path.Child(bad.Field)
			}
			if slices.ContainsFunc(c.errs, func(e *field.Error) bool { return overlap(e.Field, path.String()) }) {
				continue
			}
			if expression, ok := expressions[bad.Field]; ok {
				found = append(found, field.Invalid(path, expression, bad.Problem))
			} else {
				found = append(found, field.Invalid(path, field.OmitValueType{}, bad.Problem))
			}
		}
		c.add(found...)
	}
}

// specErrors takes joined *cel.SpecErrors apart.
func specErrors(err error) []*cel.SpecError {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the joined one itself, not one inside
		var all []*cel.SpecError
		for _, e := range joined.Unwrap() {
			all = append(all, specErrors(e)...)
		}
		return all
	}
	if one := (*cel.SpecError)(nil); errors.As(err, &one) {
		return []*cel.SpecError{one}
	}
	if err != nil {
		return []*cel.SpecError{{Field: "", Problem: err.Error()}}
	}
	return nil
}

// expressionsOf are all expressions by the field in which they are.
func expressionsOf(c *v1.CELSpec) map[string]string {
	all := map[string]string{}
	add := func(text, format string, at int) { all[fmt.Sprintf(format, at)] = text }
	for i, m := range c.MatchConditions {
		add(m.Expression, "matchConditions[%d].expression", i)
	}
	for i, v := range c.Variables {
		add(v.Expression, "variables[%d].expression", i)
	}
	for i, v := range c.Validations {
		add(v.Expression, "validations[%d].expression", i)
		add(v.MessageExpression, "validations[%d].messageExpression", i)
	}
	for i, a := range c.AuditAnnotations {
		add(a.ValueExpression, "auditAnnotations[%d].valueExpression", i)
	}
	for i, m := range c.Mutations {
		if m.ApplyConfiguration != nil {
			add(m.ApplyConfiguration.Expression, "mutations[%d].applyConfiguration.expression", i)
		}
		if m.JSONPatch != nil {
			add(m.JSONPatch.Expression, "mutations[%d].jsonPatch.expression", i)
		}
	}
	return all
}

// warnOfTypes says what in expressions the schemas of the cluster do not have. It
// waits for them for some seconds at most, and then warns of nothing.
func (c *policyCheck) warnOfTypes(ctx context.Context, types *cel.TypeChecker) {
	policies, paths := inCEL(c.view, field.NewPath("spec"))
	if types == nil || len(policies) == 0 {
		return
	}
	var rules []admissionregistrationv1.RuleWithOperations
	for _, r := range c.view.Matching.Rules {
		// The operations make no difference to the types.
		rules = append(rules, admissionregistrationv1.RuleWithOperations{
			Rule: admissionregistrationv1.Rule{APIGroups: r.APIGroups, APIVersions: r.APIVersions, Resources: r.Resources, Scope: r.Scope},
		})
	}
	done := make(chan []string, 1)
	go func() { // reading a schema knows no context
		var found []string
		defer func() {
			_ = recover() // schemas are anybody's, and a warning is not worth the controller
			done <- found
		}()
		for i, p := range policies {
			for _, w := range types.Check(cel.Spec(*p), rules) {
				found = append(found, fmt.Sprintf("%s: %s", paths[i].Child(w.Field), oneLine(w.Problem)))
			}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, schemaTimeout)
	defer cancel()
	select {
	case found := <-done:
		c.warnings = append(c.warnings, found...)
	case <-ctx.Done():
	}
}

// oneLine is what CEL says of mistakes without the lines that point at them: a
// warning that has more than one line is dropped by the API server.
func oneLine(text string) string {
	var said []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "|") {
			said = append(said, line)
		}
	}
	return strings.Join(said, "; ")
}

// NewTypeChecker returns a checker by the schemas that the cluster publishes.
// Kinds says of which kind the objects of a resource are.
func NewTypeChecker(cluster *rest.Config, kinds meta.RESTMapper) (*cel.TypeChecker, error) {
	config := rest.CopyConfig(cluster)
	config.Timeout = schemaTimeout
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	recent := &recentDiscovery{CachedDiscoveryInterface: cached.NewMemCacheClient(client)}
	return &cel.TypeChecker{Schemas: &resolver.ClientDiscoveryResolver{Discovery: recent}, Kinds: kinds}, nil
}

// schemaTimeout bounds how long a schema is waited for: the API server waits for
// us.
const schemaTimeout = 3 * time.Second

// schemaFresh is how long what the cluster publishes is taken to be true. Many
// policies are applied at once, and the schemas of a group are a megabyte.
const schemaFresh = 30 * time.Second

// recentDiscovery remembers what the cluster publishes for a while.
type recentDiscovery struct {
	discovery.CachedDiscoveryInterface

	mu    sync.Mutex
	since time.Time
}

// OpenAPIV3 implements discovery.DiscoveryInterface.
func (r *recentDiscovery) OpenAPIV3() openapi.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.since) > schemaFresh {
		r.Invalidate()
		r.since = time.Now()
	}
	return r.CachedDiscoveryInterface.OpenAPIV3()
}
