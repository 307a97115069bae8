package imagecvepolicy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/warder-dev/warder/library/internal/image"
	"github.com/warder-dev/warder/sdk"
)

// errNotScanned says that there is no report of an image.
var errNotScanned = errors.New("Doesn't have a VulnerabilityReport") //nolint:staticcheck // the text is upstream's, and users see it

// reports returns the reports of an image. The error is errNotScanned, or about
// the registry.
func (s *Settings) reports(ctx context.Context, ref image.Reference, text, namespace string) ([]vulnerabilityReport, error) {
	digest := ref.Digest
	if digest == "" && s.ImageLookupStrategy == byTag {
		selector := fmt.Sprintf("imageMetadata.repository=%s,imageMetadata.tag=%s,imageMetadata.platform=%s",
			ref.Repository, ref.Tag, s.platform())
		return s.list(ctx, selector, namespace)
	}
	if digest == "" {
		var err error
		if digest, err = s.digest(ctx, text); err != nil {
			return nil, fmt.Errorf("Failed to fetch the image manifest: %w", err) //nolint:staticcheck // as above
		}
	}
	return s.list(ctx, "imageMetadata.digest="+digest, namespace)
}

func (s *Settings) list(ctx context.Context, selector, namespace string) ([]vulnerabilityReport, error) {
	if s.VulnerabilityReportNamespace != "" {
		namespace = s.VulnerabilityReportNamespace
	}
	q := sdk.ListQuery{
		APIVersion: "storage.sbomscanner.kubewarden.io/v1alpha1", Kind: "VulnerabilityReport",
		Namespace: namespace, FieldSelector: selector,
		FieldMasks: []string{
			"report.results.vulnerabilities.cve",
			"report.results.vulnerabilities.fixedVersions",
			"report.results.vulnerabilities.severity",
			"report.results.vulnerabilities.suppressed",
		},
	}
	if s.CvssScore != nil {
		q.FieldMasks = slices.Insert(q.FieldMasks, 1, "report.results.vulnerabilities.cvss")
	}
	raw, err := sdk.ListResources(ctx, q)
	if err != nil {
		sdk.Log(ctx, sdk.LevelWarn, "failed to list vulnerability reports", map[string]any{"selector": selector, "error": err.Error()})
		return nil, fmt.Errorf("%w: %w", errNotScanned, err)
	}
	var found struct {
		Items []vulnerabilityReport `json:"items"`
	}
	if err := json.Unmarshal(raw, &found); err != nil {
		return nil, fmt.Errorf("%w that can be read: %w", errNotScanned, err)
	}
	if len(found.Items) == 0 {
		return nil, errNotScanned
	}
	return found.Items, nil
}

// digest asks the registry which image the reference stands for on the platform.
func (s *Settings) digest(ctx context.Context, text string) (string, error) {
	raw, err := sdk.Manifest(ctx, text)
	if err != nil {
		return "", err
	}
	var index struct {
		Manifests []descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return "", err
	}
	if index.Manifests == nil { // an image of one platform, whatever it is
		return sdk.ManifestDigest(ctx, text)
	}
	return s.platform().find(index.Manifests)
}

// descriptor is an entry of an image index.
type descriptor struct {
	Digest   string `json:"digest"`
	Platform struct {
		Architecture string   `json:"architecture"`
		OS           string   `json:"os"`
		OSVersion    string   `json:"os.version"`
		OSFeatures   []string `json:"os.features"`
		Variant      string   `json:"variant"`
	} `json:"platform"`
}

// find returns the digest of the one entry for the platform. What the platform
// leaves open may be anything, if that leaves one entry, or one that has it open
// too.
func (p Platform) find(entries []descriptor) (string, error) {
	var fitting, exact []string
	for _, e := range entries {
		have := e.Platform
		fits := have.Architecture == p.Arch && have.OS == p.OS &&
			(p.OSVersion == "" || have.OSVersion == p.OSVersion) && (p.Variant == "" || have.Variant == p.Variant)
		for _, feature := range p.OSFeatures {
			fits = fits && slices.Contains(have.OSFeatures, feature)
		}
		if !fits {
			continue
		}
		fitting = append(fitting, e.Digest)
		if have.OSVersion == p.OSVersion && have.Variant == p.Variant && len(have.OSFeatures) == len(p.OSFeatures) {
			exact = append(exact, e.Digest)
		}
	}
	if len(exact) == 1 {
		fitting = exact
	}
	switch len(fitting) {
	case 0:
		return "", fmt.Errorf("cannot find a manifest for the specified platform: %s", p)
	case 1:
		return fitting[0], nil
	}
	return "", fmt.Errorf("the image has %d manifests for the platform %s: set its variant or osVersion", len(fitting), p)
}
