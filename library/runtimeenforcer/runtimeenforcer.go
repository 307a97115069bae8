// Package runtimeenforcer is the built-in policy runtime-enforcer: it refuses
// workloads that name a WorkloadPolicy which does not exist, or none.
package runtimeenforcer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of runtime-enforcer.
type Settings struct {
	// RequireProtection refuses workloads that name no policy. Default false.
	RequireProtection bool `json:"requireProtection"`
}

// label names the WorkloadPolicy of a pod.
const label = "security.rancher.io/policy"

// Policy returns the policy runtime-enforcer. It needs the capability
// kubernetes/get_resource, and security.rancher.io/v1alpha1 WorkloadPolicy among
// its contextAwareResources.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		inner, err := fromRaw(req.Raw)
		if err != nil {
			return sdk.Verdict{}, err
		}
		req = inner
	}
	if req.Operation == sdk.Delete {
		return sdk.Accept(), nil
	}
	kind := req.Kind.Kind
	way := sdk.PodTemplatePath(kind)
	if way == nil {
		return refuse(http.StatusBadRequest, fmt.Sprintf("%v, have %q", sdk.ErrNoPodSpec, kind)), nil
	}
	object := sdk.View(req.Object)
	name := object.Get(append(slices.Clone(way[:len(way)-1]), "metadata", "labels", label)...)
	policy := name.String()
	namespace, workload := req.Namespace, req.Name
	if metadata := object.Get("metadata"); namespace == "" || workload == "" {
		namespace = first(namespace, metadata.Get("namespace").String())
		workload = first(workload, metadata.Get("name").String(), metadata.Get("generateName").String())
	}
	if err := object.Err(); err != nil || !object.Exists() {
		return refuse(http.StatusBadRequest, fmt.Sprintf("Cannot parse validation request: want a %s: %v", kind, err)), nil
	}
	switch {
	case !name.Exists() && s.RequireProtection:
		return refuse(http.StatusForbidden, fmt.Sprintf(
			"The %s '%s/%s' is not protected by Runtime Enforcer: its pods have no label %s. Add it, with the name of a WorkloadPolicy",
			kind, namespace, workload, label)), nil
	case !name.Exists():
		return sdk.Accept(), nil
	}
	_, err := sdk.GetResource(ctx, sdk.GetQuery{
		APIVersion: "security.rancher.io/v1alpha1", Kind: "WorkloadPolicy", Namespace: namespace, Name: policy,
	})
	switch {
	case err == nil:
		return sdk.Accept(), nil
	case ctx.Err() != nil:
		return sdk.Verdict{}, ctx.Err()
	case check.NotFound(err):
		return refuse(http.StatusForbidden, fmt.Sprintf(
			"The WorkloadPolicy '%s/%s' specified in the %s '%s/%s' is not found. Create it, or change the label %s",
			namespace, policy, kind, namespace, workload, name.Path())), nil
	}
	return refuse(http.StatusInternalServerError, fmt.Sprintf(
		"Failed to read the WorkloadPolicy '%s/%s' specified in the %s '%s/%s': %v",
		namespace, policy, kind, namespace, workload, err)), nil
}

// fromRaw reads a request that comes as a raw document, which the Kubewarden
// policy takes too. It may lack what this policy has no use for.
func fromRaw(text json.RawMessage) (*sdk.Request, error) {
	top := sdk.View(text)
	req := &sdk.Request{
		Kind:      sdk.GroupVersionKind{Kind: top.Get("kind", "kind").String()},
		Operation: sdk.Operation(top.Get("operation").String()),
		Namespace: top.Get("namespace").String(),
		Name:      top.Get("name").String(),
		Object:    top.Get("object").Raw(),
	}
	return req, top.Err()
}

func refuse(code uint16, reason string) sdk.Verdict { return sdk.Verdict{Message: reason, Code: code} }

// first returns the first text that is not empty.
func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
