// Package rancherprojectquotasnamespacevalidator is the built-in policy
// rancher-project-quotas-namespace-validator: it refuses Namespaces that ask for
// more than is left of the quota of their Rancher project.
package rancherprojectquotasnamespacevalidator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/warder-dev/warder/library/internal/quantity"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of rancher-project-quotas-namespace-validator: there
// are none.
type Settings struct{}

// Policy returns the policy rancher-project-quotas-namespace-validator. It reads
// the Project of the Namespace.
func Policy() sdk.Policy { return sdk.Define(judge) }

// The annotations of a Namespace: the project that it is in, as local:p-abcde,
// and its limits, as {"limit": {"pods": "10"}}.
const (
	projectID     = "field.cattle.io/projectId"
	resourceQuota = "field.cattle.io/resourceQuota"
)

func judge(ctx context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	if req.Kind.Kind != "Namespace" || req.Object == nil {
		return sdk.Accept(), nil
	}
	namespace, err := readNamespace(req.ViewObject())
	if err != nil {
		return refuse(http.StatusBadRequest, err.Error()), nil
	}
	if !namespace.inProject {
		return sdk.Accept(), nil
	}
	cluster, name, err := splitProject(namespace.project)
	if err != nil {
		return refuse(http.StatusBadRequest, err.Error()), nil
	}
	answer, err := sdk.GetResource(ctx, sdk.GetQuery{
		APIVersion: "management.cattle.io/v3", Kind: "Project", Name: name, Namespace: cluster, DisableCache: true,
	})
	if err != nil {
		return refuse(http.StatusInternalServerError, "Error retrieving the Project: "+err.Error()), nil
	}
	if text := bytes.TrimSpace(answer); len(text) == 0 || string(text) == "null" {
		return refuse(http.StatusNotFound, "Project not found"), nil
	}
	project := sdk.View(answer)
	quota := project.Get("spec", "resourceQuota")
	limit, used := readAmounts(quota.Get("limit")), readAmounts(quota.Get("usedLimit"))
	if err := project.Err(); err != nil {
		return refuse(http.StatusInternalServerError, "Cannot decode Project object: "+err.Error()), nil
	}
	if !quota.Exists() {
		return sdk.Accept(), nil
	}
	// What the Namespace has got already is among what is used.
	before, err := readNamespace(req.ViewOldObject())
	if err != nil || req.Operation != sdk.Update || before.project != namespace.project {
		before = namespaceQuota{}
	}
	var reasons []string
	for _, r := range resources() {
		if problem := compare(namespace.limit[r.field], before.limit[r.field], limit[r.field], used[r.field]); problem != "" {
			reasons = append(reasons, r.name+" limit: "+problem)
		}
	}
	if len(reasons) > 0 {
		return sdk.Reject(strings.Join(reasons, ", ")), nil
	}
	return sdk.Accept(), nil
}

func refuse(code uint16, reason string) sdk.Verdict { return sdk.Verdict{Message: reason, Code: code} }

// resource is something that a quota limits, as it is called in messages and in
// quotas.
type resource struct{ name, field string }

func resources() []resource {
	return []resource{
		{"Pods", "pods"},
		{"Services", "services"},
		{"ReplicationControllers", "replicationControllers"},
		{"Secrets", "secrets"},
		{"ConfigMaps", "configMaps"},
		{"PersistentVolumeClaims", "persistentVolumeClaims"},
		{"ServicesNodePorts", "servicesNodePorts"},
		{"ServicesLoadBalancers", "servicesLoadBalancers"},
		{"RequestsCPU", "requestsCpu"},
		{"RequestsMemory", "requestsMemory"},
		{"RequestsStorage", "requestsStorage"},
		{"LimitsCPU", "limitsCpu"},
		{"LimitsMemory", "limitsMemory"},
	}
}

// amounts are the texts of quantities by the field of their resource.
type amounts map[string]string

func readAmounts(v sdk.Value) amounts {
	a := amounts{}
	for field, value := range v.Members() {
		a[field] = value.Scalar()
	}
	return a
}

// namespaceQuota is what a Namespace says of its quota.
type namespaceQuota struct {
	inProject bool
	project   string // as its annotation says
	limit     amounts
}

func readNamespace(object sdk.Value) (namespaceQuota, error) {
	annotations := object.Get("metadata", "annotations").Fields(projectID, resourceQuota)
	project, text := annotations[0], annotations[1].String()
	quota := namespaceQuota{project.Exists(), project.String(), amounts{}}
	if err := object.Err(); err != nil {
		return quota, fmt.Errorf("Cannot decode Namespace object: %w", err) //nolint:staticcheck // the text is upstream's, and users see it
	}
	if text == "" || !quota.inProject {
		return quota, nil
	}
	if err := sdk.Check(json.RawMessage(text)); err != nil {
		return quota, fmt.Errorf("Cannot decode NamespaceResourceQuota object: %w", err) //nolint:staticcheck // the text is upstream's, and users see it
	}
	view := sdk.View(json.RawMessage(text))
	quota.limit = readAmounts(view.Get("limit"))
	if err := view.Err(); err != nil {
		return quota, fmt.Errorf("Cannot decode NamespaceResourceQuota object: %w", err) //nolint:staticcheck // the text is upstream's, and users see it
	}
	return quota, nil
}

// splitProject returns the parts of the annotation that names a project.
func splitProject(annotation string) (cluster, name string, err error) {
	cluster, name, ok := strings.Cut(annotation, ":")
	switch {
	case !ok || strings.Contains(name, ":"):
		return "", "", fmt.Errorf("cannot parse projectID annotation: wrong format: want CLUSTER:PROJECT, have %q", annotation)
	case cluster == "":
		return "", "", errors.New("Project Namespace is empty") //nolint:staticcheck // the text is upstream's, and users see it
	case name == "":
		return "", "", errors.New("Project ID is empty") //nolint:staticcheck // the text is upstream's, and users see it
	}
	return cluster, name, nil
}

// compare says what is wrong with the limit that a Namespace asks for, when it
// had another before and the project has used some of its own; "" if nothing is.
// What is not said is 0.
func compare(asked, before, limit, used string) string {
	var parsed [4]quantity.Quantity
	for i, amount := range []struct{ text, what string }{
		{asked, "namespace limit"},
		{before, "namespace limit before"},
		{limit, "project limit"},
		{used, "project used quota"},
	} {
		if amount.text == "" {
			amount.text = "0"
		}
		q, err := quantity.Parse(amount.text)
		if err != nil {
			return fmt.Sprintf("Cannot convert %s to quantity: %v", amount.what, err)
		}
		parsed[i] = q
	}
	available := parsed[2].Minus(parsed[3]).Plus(parsed[1])
	if parsed[0].Compare(available) > 0 {
		return fmt.Sprintf("Namespace requested limit exceeds the availability of the project resource: requested %s, available %s",
			parsed[0], available)
	}
	return ""
}
