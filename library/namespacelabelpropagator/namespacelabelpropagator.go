// Package namespacelabelpropagator is the built-in policy
// namespace-label-propagator: it copies labels of a Namespace to the pods in it,
// and to what makes pods.
package namespacelabelpropagator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of namespace-label-propagator.
type Settings struct {
	// PropagatedLabels are the keys of the labels to copy. At least one is
	// needed. Those that the Namespace does not have are left as they are.
	PropagatedLabels []string `json:"propagatedLabels"`
}

// Validate reports a list without labels, or with an empty one.
func (s *Settings) Validate() error {
	if len(s.PropagatedLabels) == 0 {
		return errors.New("some label must be provided")
	}
	if slices.Contains(s.PropagatedLabels, "") {
		return errors.New("empty labels are not allowed")
	}
	return nil
}

// Policy returns the policy namespace-label-propagator. It reads the Namespace
// of the request.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	template, ok := templateOf(req.Kind.Kind)
	if !ok {
		return sdk.Verdict{}, fmt.Errorf("object should be one of these kinds: Deployment, ReplicaSet, StatefulSet, "+
			"DaemonSet, ReplicationController, Job, CronJob, Pod. Found %s", req.Kind.Kind)
	}
	if req.Object == nil {
		return sdk.Accept(), nil
	}
	labels, problem := s.labels(ctx, req.Namespace)
	if problem != "" {
		return sdk.Verdict{Message: problem, Code: http.StatusBadRequest}, nil
	}
	object := req.ViewObject()
	verdict := sdk.Accept()
	complete(&verdict.Patch, object, nil, labels)
	if object.Get(template...).Exists() && len(template) > 0 && !fixed(req, object) {
		complete(&verdict.Patch, object, template, labels)
	}
	if err := object.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	return verdict, nil
}

// templateOf returns the names that lead to the pod template in an object of the
// kind, in whichever case it is written: none for a Pod. It is false for a kind
// that makes no pods.
func templateOf(kind string) (way []string, ok bool) {
	for _, known := range []string{
		"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Job", "CronJob", "Pod",
	} {
		if strings.EqualFold(kind, known) {
			spec := sdk.PodTemplatePath(known)
			return spec[:len(spec)-1], true
		}
	}
	return nil, false
}

// labels returns the labels to copy, or why there are none to be had.
func (s *Settings) labels(ctx context.Context, namespace string) (labels map[string]string, problem string) {
	if namespace == "" {
		return nil, "admission request is missing namespace"
	}
	answer, err := sdk.GetResource(ctx, sdk.GetQuery{APIVersion: "v1", Kind: "Namespace", Name: namespace})
	if err != nil {
		return nil, "cannot get namespace data: " + err.Error()
	}
	object := sdk.View(answer)
	labels = map[string]string{}
	for key, value := range object.Get("metadata", "labels").Members() {
		if slices.Contains(s.PropagatedLabels, key) {
			labels[key] = value.String()
		}
	}
	if err := object.Err(); err != nil {
		return nil, "cannot parse namespace data: " + err.Error()
	}
	return labels, ""
}

// fixed reports whether the pod template of an object must stay as it is: that
// of a Job that is there cannot be changed, and the one of a ReplicaSet is how
// its Deployment knows it. If they differ the Deployment makes another, again and
// again. The pods get their labels anyway, when they are made.
func fixed(req *sdk.Request, object sdk.Value) bool {
	if req.Operation == sdk.Update && strings.EqualFold(req.Kind.Kind, "Job") {
		return true
	}
	for _, owner := range object.Get("metadata", "ownerReferences").Elements() {
		if owner.Get("controller").Bool() {
			return true
		}
	}
	return false
}

// complete sets the labels of what the way leads to.
func complete(patch *sdk.Patch, object sdk.Value, way []string, labels map[string]string) {
	have := object.Get(way...).Get("metadata", "labels")
	at := strings.Join(slices.Concat([]string{""}, way, []string{"metadata", "labels", ""}), "/")
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if label := have.Get(key); !label.Exists() || label.String() != labels[key] {
			patch.Set(at+sdk.EscapePointer(key), labels[key])
		}
	}
}
