// Package rancherprojectpropagatelabels is the built-in policy
// rancher-project-propagate-labels: it gives Namespaces the labels that their
// Rancher project has for them.
package rancherprojectpropagatelabels

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// FailureMode is what becomes of a Namespace whose project cannot be read.
type FailureMode string

// The failure modes.
const (
	Ignore FailureMode = "Ignore"
	Fail   FailureMode = "Fail"
)

// SettingsSchema lists the failure modes; "" is the default.
func (FailureMode) SettingsSchema() string {
	return `{"type": "string", "enum": ["", "Ignore", "Fail"]}`
}

// Settings are the settings of rancher-project-propagate-labels.
type Settings struct {
	// DownstreamClusterFailureMode is for a Namespace whose project is in
	// another cluster, which is so wherever Rancher itself does not run: Ignore
	// accepts it as it is, Fail refuses it. Default Ignore.
	DownstreamClusterFailureMode FailureMode `json:"downstream_cluster_failure_mode"`
}

// Validate reports a failure mode that is none.
func (s *Settings) Validate() error {
	switch s.DownstreamClusterFailureMode {
	case "", Ignore, Fail:
		return nil
	}
	return fmt.Errorf("downstream_cluster_failure_mode: want Ignore or Fail, have %q", s.DownstreamClusterFailureMode)
}

// Policy returns the policy rancher-project-propagate-labels. It reads the
// Project of the Namespace.
func Policy() sdk.Policy { return sdk.Define(judge) }

// projectID is the annotation that says which project a Namespace is in:
// local:p-abcde.
const projectID = "field.cattle.io/projectId"

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	if req.Kind.Kind != "Namespace" || req.Object == nil {
		return sdk.Accept(), nil
	}
	object := req.ViewObject()
	annotation := object.Get("metadata", "annotations", projectID)
	have := object.Get("metadata", "labels")
	cluster, project, ok := strings.Cut(annotation.String(), ":")
	have.Get("") // it must be an object, to be changed
	if err := object.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	switch {
	case !annotation.Exists():
		return sdk.Accept(), nil
	case !ok || strings.Contains(project, ":"):
		return sdk.Verdict{}, fmt.Errorf("malformed value of %s annotation: want CLUSTER:PROJECT, have %q", projectID, annotation.String())
	case cluster != "local":
		return s.downstream(ctx, req.Name, annotation.String()), nil
	}
	labels, err := labelsOf(ctx, cluster, project)
	if err != nil {
		return sdk.Verdict{}, err
	}
	verdict := sdk.Accept()
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if label := have.Get(key); !label.Exists() || label.String() != labels[key] {
			verdict.Patch.Set("/metadata/labels/"+sdk.EscapePointer(key), labels[key])
		}
	}
	return verdict, object.Err()
}

// downstream is the verdict on a Namespace whose project is in another cluster.
func (s *Settings) downstream(ctx context.Context, namespace, project string) sdk.Verdict {
	const problem = "Namespace belongs to project defined inside of an upstream cluster. This is not supported yet, accepting the request"
	sdk.Log(ctx, sdk.LevelWarn, problem, map[string]any{"namespace": namespace, "project": project})
	if s.DownstreamClusterFailureMode == Fail {
		return sdk.Reject(problem)
	}
	return sdk.Accept()
}

// labelsOf returns the labels that the project has for its Namespaces: those of
// its own that start with "propagate.", without that.
func labelsOf(ctx context.Context, cluster, project string) (map[string]string, error) {
	answer, err := sdk.GetResource(ctx, sdk.GetQuery{
		APIVersion: "management.cattle.io/v3", Kind: "Project", Name: project, Namespace: cluster, DisableCache: true,
	})
	if err != nil {
		return nil, err
	}
	labels, object := map[string]string{}, sdk.View(answer)
	for key, value := range object.Get("metadata", "labels").Members() {
		if key, ok := strings.CutPrefix(key, "propagate."); ok && key != "" {
			labels[key] = value.String()
		}
	}
	if err := object.Err(); err != nil {
		return nil, fmt.Errorf("Project %s: %w", project, err) //nolint:staticcheck // Project is a kind
	}
	return labels, nil
}
