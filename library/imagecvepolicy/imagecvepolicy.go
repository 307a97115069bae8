// Package imagecvepolicy is the built-in policy image-cve-policy: it refuses
// images with too many known vulnerabilities, by the reports of SBOMscanner.
package imagecvepolicy

import (
	"context"
	"errors"

	"github.com/warder-dev/warder/library/internal/image"
	"github.com/warder-dev/warder/library/internal/problems"
	"github.com/warder-dev/warder/sdk"
)

// Policy returns the policy image-cve-policy. It needs the capabilities
// kubernetes/list_resources_by_namespace, oci/v1/oci_manifest and
// oci/v1/manifest_digest, and storage.sbomscanner.kubewarden.io/v1alpha1
// VulnerabilityReport among its contextAwareResources.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	spec, err := req.PodSpec()
	if errors.Is(err, sdk.ErrNoPodSpec) {
		return sdk.Accept(), nil
	}
	if err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	var images []string
	known := map[string]bool{}
	for c := range spec.Containers() {
		if field := c.Get("image"); field.Exists() && !known[field.String()] {
			known[field.String()] = true
			images = append(images, field.String())
		}
	}
	metadata := sdk.View(req.Object).Get("metadata")
	namespace := req.Namespace
	if namespace == "" {
		namespace = metadata.Get("namespace").String()
	}
	if err := spec.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	var found problems.List
	for _, text := range images {
		if problem := s.problem(ctx, text, namespace); problem != "" {
			found.Add(func() string { return text + ": " + problem })
		}
		if ctx.Err() != nil {
			return sdk.Verdict{}, ctx.Err()
		}
	}
	if found.Empty() {
		return sdk.Accept(), nil
	}
	return sdk.Rejectf("Resource %s is not accepted: %s", metadata.Get("name").String(), found.String()), nil
}

// problem says why an image is refused, "" if it is not.
func (s *Settings) problem(ctx context.Context, text, namespace string) string {
	ref, err := image.Parse(text)
	if err != nil {
		return "Failed to parse the image name: " + err.Error()
	}
	reports, err := s.reports(ctx, ref, text, namespace)
	if err != nil {
		if s.IgnoreMissingVulnerabilityReport {
			sdk.Log(ctx, sdk.LevelInfo, "accepted an image without a vulnerability report", map[string]any{"image": text, "error": err.Error()})
			return ""
		}
		return err.Error()
	}
	for _, r := range reports {
		if problem := s.judge(r); problem != "" {
			return problem
		}
	}
	return ""
}
