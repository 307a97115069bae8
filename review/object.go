package review

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/warder-dev/warder/sdk"
)

// Identity of requests that nobody has sent. The UID is that of the Kubernetes
// documentation, which kwctl uses too.
const (
	objectUID  = "705ab4f5-6393-11e8-b7cc-42010a800002"
	objectUser = "warder"
)

// OfObject returns the request to create the object of a file or of a cluster.
// The resource is its kind's plural, or "" if nobody knows; the namespace counts
// if the object names none. The text must not be changed afterwards.
//
// The error says what makes it no object of Kubernetes.
func OfObject(object json.RawMessage, resource, namespace string) (*sdk.Request, error) {
	if !utf8.Valid(object) {
		return nil, errors.New("is not UTF-8")
	}
	text, err := sdk.CheckText(bytes.TrimSpace(object))
	if err != nil {
		return nil, err
	}
	top := text.View()
	if top.Exists() && top.Raw()[0] != '{' || !top.Exists() {
		return nil, errors.New("want an object, have another value")
	}
	of := top.Fields("apiVersion", "kind", "metadata")
	if of[0].String() == "" || of[1].String() == "" {
		return nil, errors.New("want an object of Kubernetes: apiVersion and kind are missing, or no strings")
	}
	names := of[2].Fields("name", "namespace")
	req := &sdk.Request{
		UID: objectUID, Operation: sdk.Create,
		Name: names[0].String(), Namespace: names[1].String(),
		UserInfo: sdk.UserInfo{Username: objectUser, Groups: []string{"system:authenticated"}},
		Options:  json.RawMessage(`{"apiVersion":"meta.k8s.io/v1","kind":"CreateOptions"}`),
	}
	if err := top.Err(); err != nil {
		return nil, fmt.Errorf("want an object of Kubernetes: %w", err)
	}
	if req.Namespace == "" {
		req.Namespace = namespace
	}
	group, version, named := strings.Cut(of[0].String(), "/")
	if !named {
		group, version = "", group
	}
	req.Kind = sdk.GroupVersionKind{Group: group, Version: version, Kind: of[1].String()}
	req.Resource = sdk.GroupVersionResource{Group: group, Version: version, Resource: resource}
	req.RequestKind, req.RequestResource = &req.Kind, &req.Resource
	dryRun := true
	req.DryRun = &dryRun
	req.SetObject(text)
	return req, nil
}
