package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
)

// defaultPolicyServer hosts the policies that name none.
const defaultPolicyServer = "default"

// patchOperation is an operation of RFC 6902.
type patchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// completer adds to objects of a kind what their authors left out. What it does
// not know it does not touch: it adds to the object, and never writes it anew.
func completer(kind string) admission.HandlerFunc {
	return func(_ context.Context, req admission.Request) admission.Response {
		if req.Operation != admissionv1.Create && req.Operation != admissionv1.Update {
			return admission.Allowed("")
		}
		patches, err := complete(kind, req.Object.Raw)
		if err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		response := admission.Allowed("")
		if len(patches) == 0 {
			return response
		}
		if response.Patch, err = json.Marshal(patches); err != nil {
			return admission.Errored(http.StatusInternalServerError, err)
		}
		response.PatchType = new(admissionv1.PatchTypeJSONPatch)
		return response
	}
}

// complete returns what is to be added to an object.
func complete(kind string, raw []byte) ([]patchOperation, error) {
	var object struct {
		Metadata *struct {
			DeletionTimestamp *string  `json:"deletionTimestamp"`
			Finalizers        []string `json:"finalizers"`
		} `json:"metadata"`
		Spec *struct {
			PolicyServer string `json:"policyServer"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	if object.Metadata == nil {
		return nil, fmt.Errorf("%s: it has no metadata", kind)
	}
	var patches []patchOperation
	has := object.Metadata.Finalizers
	switch {
	case object.Metadata.DeletionTimestamp != nil || slices.Contains(has, v1.Finalizer):
	case len(has) == 0:
		patches = append(patches, patchOperation{"add", "/metadata/finalizers", []string{v1.Finalizer}})
	default:
		patches = append(patches, patchOperation{"add", "/metadata/finalizers/-", v1.Finalizer})
	}
	if kind != manifest.KindPolicyServer && object.Spec != nil && object.Spec.PolicyServer == "" {
		patches = append(patches, patchOperation{"add", "/spec/policyServer", defaultPolicyServer})
	}
	return patches, nil
}
