package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk"
)

// maxRequestBytes bounds a request, as serve does by default: two objects of 3
// MiB (twice etcd's limit), and the rest.
const maxRequestBytes = 7 << 20

// readRequest reads the request of --request.
func (f *runFlags) readRequest(stdin io.Reader) (*sdk.Request, error) {
	name, in := f.request, stdin
	if name == "-" {
		name = "standard input"
	} else {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close() //nolint:errcheck // it was read
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxRequestBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxRequestBytes {
		return nil, fmt.Errorf("%s: is larger than %s, the most that is judged", name, bytesText(maxRequestBytes))
	}
	decode := decodeRequest
	if f.raw {
		decode = decodeRaw
	}
	req, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return req, nil
}

// decodeRaw takes any JSON, or YAML, for a document to be judged.
func decodeRaw(text []byte) (*sdk.Request, error) {
	document, err := asJSON(text)
	if err != nil {
		return nil, err
	}
	return sdk.RawRequest(document), nil
}

// decodeRequest tells an AdmissionReview, an AdmissionRequest and an object apart.
func decodeRequest(text []byte) (*sdk.Request, error) {
	document, err := asJSON(text)
	if err != nil {
		return nil, err
	}
	if document[0] != '{' {
		return nil, errors.New("want an AdmissionReview, an AdmissionRequest or an object of Kubernetes")
	}
	top := sdk.View(document).Fields("kind", "request", "operation", "apiVersion")
	kind, request := top[0], top[1]
	switch {
	case kind.Exists() && kind.Raw()[0] == '"' && kind.String() != "AdmissionReview":
		return ofObject(document)
	case request.Exists():
		r, err := review.Decode(document)
		if err != nil {
			return nil, err
		}
		return r.Request, nil
	case kind.Exists() && kind.Raw()[0] == '{', top[2].Exists():
		r, err := review.Decode(slices.Concat([]byte(`{"request":`), document, []byte("}")))
		if err != nil {
			return nil, err
		}
		return r.Request, nil
	case top[3].Exists() && kind.Exists():
		return nil, errors.New("the AdmissionReview has no request")
	}
	return nil, errors.New("want an AdmissionReview (with request), an AdmissionRequest (with operation) or an object of Kubernetes (with apiVersion and kind)")
}

// asJSON is one document of JSON or YAML as JSON. JSON stays as it is.
func asJSON(text []byte) (json.RawMessage, error) {
	trimmed := bytes.TrimSpace(text)
	switch {
	case len(trimmed) == 0:
		return nil, errors.New("is empty")
	case !utf8.Valid(trimmed):
		return nil, errors.New("is not UTF-8")
	}
	if trimmed[0] == '{' || trimmed[0] == '[' || trimmed[0] == '"' {
		err := sdk.Check(trimmed)
		if err == nil {
			return trimmed, nil
		}
		if json.Valid(trimmed) || trimmed[0] != '{' {
			return nil, err
		}
	}
	documents := yamlDocuments(text)
	if len(documents) != 1 {
		return nil, fmt.Errorf("has %s, want one", count(len(documents), "document", "documents"))
	}
	document, err := yaml.YAMLToJSONStrict(documents[0])
	if err != nil {
		return nil, err
	}
	return document, sdk.Check(document)
}

// yamlDocuments are the documents of a stream that are not empty.
func yamlDocuments(text []byte) [][]byte {
	var all [][]byte
	var one []byte
	flush := func() {
		if hasContent(one) {
			all = append(all, one)
		}
		one = nil
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("---")); ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0]))) {
			flush()
			line = rest
		}
		one = append(one, line...)
	}
	flush()
	return all
}

// hasContent reports whether a document has more than comments.
func hasContent(text []byte) bool {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return true
		}
	}
	return false
}

// ofObject is the request to create an object that somebody has written down.
func ofObject(object json.RawMessage) (*sdk.Request, error) {
	var of struct {
		APIVersion, Kind string
	}
	if err := json.Unmarshal(object, &of); err != nil {
		return nil, fmt.Errorf("want an object of Kubernetes: %w", err)
	}
	group, err := schema.ParseGroupVersion(of.APIVersion)
	if err != nil {
		return nil, fmt.Errorf("apiVersion: %w", err)
	}
	plural, _ := meta.UnsafeGuessKindToResource(group.WithKind(of.Kind))
	namespace := "default" // as kubectl does
	if slices.Contains(kindsOfTheCluster(), of.Kind) {
		namespace = ""
	}
	return review.OfObject(object, plural.Resource, namespace)
}

// kindsOfTheCluster are kinds whose objects are in no namespace: those of
// Kubernetes, and ours. Of others nobody knows here.
func kindsOfTheCluster() []string {
	return []string{
		"APIService", "CSIDriver", "CSINode", "CertificateSigningRequest", "ClusterAdmissionPolicy", "ClusterAdmissionPolicyGroup",
		"ClusterRole", "ClusterRoleBinding", "ClusterTrustBundle", "CustomResourceDefinition", "DeviceClass", "FlowSchema", "IPAddress",
		"IngressClass", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration", "Namespace", "Node",
		"PersistentVolume", "PolicyServer", "PriorityClass", "PriorityLevelConfiguration", "ResourceSlice", "RuntimeClass", "ServiceCIDR",
		"StorageClass", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration", "VolumeAttachment",
		"VolumeAttributesClass",
	}
}
