// Package donotexposeadmissioncontrollerwebhookservices is the built-in policy
// do-not-expose-admission-controller-webhook-services: it refuses admission
// webhooks whose Services can be reached from outside of the cluster.
package donotexposeadmissioncontrollerwebhookservices

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// defaultPort is where the API server calls a webhook that names no port.
// Source: k8s.io/api/admissionregistration/v1, ServiceReference.
const defaultPort = 443

// Settings are the settings of
// do-not-expose-admission-controller-webhook-services: there are none.
type Settings struct{}

// Policy returns the policy do-not-expose-admission-controller-webhook-services.
// It lists the Ingresses and the Services of the namespaces of the webhooks.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	switch req.Kind.Kind {
	case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration":
	default:
		return sdk.Accept(), nil
	}
	object := req.ViewObject()
	wanted := map[string][]endpoint{} // by namespace
	for _, webhook := range object.Get("webhooks").Elements() {
		if service := webhook.Get("clientConfig", "service"); service.Exists() {
			namespace := service.Get("namespace").String()
			wanted[namespace] = append(wanted[namespace], webhookEndpoint(service))
		}
	}
	if err := object.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	var names []string
	for _, namespace := range slices.Sorted(maps.Keys(wanted)) {
		exposed, err := exposedIn(ctx, namespace)
		if err != nil {
			return sdk.Verdict{}, err
		}
		for _, e := range wanted[namespace] {
			if exposed[e] {
				names = append(names, namespace+"/"+e.service)
			}
		}
	}
	if len(names) == 0 {
		return sdk.Accept(), nil
	}
	return sdk.Reject("Webhook service(s) exposed by Ingress, NodePort, or LoadBalancer: " + list(names) +
		". Whoever reaches them can ask the webhooks as the API server does: make them Services of type ClusterIP, without an Ingress"), nil
}

// maxNames bounds what a message names. Nobody reads on.
const maxNames = 10

func list(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	if more := len(names) - maxNames; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNames], ", "), more)
	}
	return strings.Join(names, ", ")
}

// endpoint is a port of a Service of some namespace.
type endpoint struct {
	service string
	port    int64
}

func webhookEndpoint(service sdk.Value) endpoint {
	e := endpoint{service.Get("name").String(), service.Get("port").Int()}
	if e.port == 0 {
		e.port = defaultPort
	}
	return e
}

// exposedIn returns the endpoints of the namespace that Ingresses, or Services of
// type NodePort or LoadBalancer, open to the outside.
func exposedIn(ctx context.Context, namespace string) (map[endpoint]bool, error) {
	ingresses, err := listIn(ctx, namespace, "networking.k8s.io/v1", "Ingress")
	if err != nil {
		return nil, err
	}
	services, err := listIn(ctx, namespace, "v1", "Service")
	if err != nil {
		return nil, err
	}
	exposed, named := map[endpoint]bool{}, map[string]map[string]int64{}
	for _, service := range services.Get("items").Elements() {
		name, spec := service.Get("metadata", "name").String(), service.Get("spec")
		kind := spec.Get("type").String()
		named[name] = map[string]int64{}
		for _, port := range spec.Get("ports").Elements() {
			number := port.Get("port").Int()
			named[name][port.Get("name").String()] = number
			if kind == "NodePort" || kind == "LoadBalancer" {
				exposed[endpoint{name, number}] = true
			}
		}
	}
	for backend := range backends(ingresses) {
		name, port := backend.Get("name").String(), backend.Get("port").Fields("number", "name")
		number := port[0].Int()
		if byName := port[1].String(); byName != "" {
			number = named[name][byName]
		}
		exposed[endpoint{name, number}] = true
	}
	if err := errors.Join(ingresses.Err(), services.Err()); err != nil {
		return nil, fmt.Errorf("the lists of namespace %q: %w", namespace, err)
	}
	return exposed, nil
}

func listIn(ctx context.Context, namespace, apiVersion, kind string) (sdk.Value, error) {
	answer, err := sdk.ListResources(ctx, sdk.ListQuery{APIVersion: apiVersion, Kind: kind, Namespace: namespace})
	return sdk.View(answer), err
}

// backends yields the services that the Ingresses send traffic to.
func backends(ingresses sdk.Value) func(yield func(sdk.Value) bool) {
	return func(yield func(sdk.Value) bool) {
		for _, ingress := range ingresses.Get("items").Elements() {
			spec := ingress.Get("spec")
			if !yield(spec.Get("defaultBackend", "service")) {
				return
			}
			for _, rule := range spec.Get("rules").Elements() {
				for _, path := range rule.Get("http", "paths").Elements() {
					if !yield(path.Get("backend", "service")) {
						return
					}
				}
			}
		}
	}
}
