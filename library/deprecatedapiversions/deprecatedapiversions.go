// Package deprecatedapiversions is the built-in policy deprecated-api-versions:
// it refuses objects of API versions that a release of Kubernetes has
// deprecated or removed.
package deprecatedapiversions

import (
	"context"
	_ "embed" // the tables
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of deprecated-api-versions.
type Settings struct {
	// KubernetesVersion is the release to judge by, "1.31.4", with or without a
	// "v" in front. It must be given: take the one that the cluster is to be
	// upgraded to.
	KubernetesVersion string `json:"kubernetes_version"`
	// DenyOnDeprecation refuses what is deprecated and not removed yet too.
	// Default true.
	DenyOnDeprecation *bool `json:"deny_on_deprecation"`
	// DenyOnDeprecationDefault is an old name of DenyOnDeprecation. It counts
	// when that one is not given.
	DenyOnDeprecationDefault *bool `json:"deny_on_deprecation_default"`

	refused map[string]string // the reasons, by API version, blank, kind
}

//go:embed kubernetes.txt
var kubernetesTable string

//go:embed removed.txt
var removedTable string

// Validate reads the version, and from the tables what it has deprecated.
func (s *Settings) Validate() error {
	if s.KubernetesVersion == "" {
		return errors.New(`kubernetes_version: missing; want the release to judge by, like "1.31.0"`)
	}
	release, ok := parseVersion(s.KubernetesVersion)
	if !ok {
		return fmt.Errorf(`kubernetes_version: %q is no version; want one like "1.31.0"`, s.KubernetesVersion)
	}
	denyDeprecated := true
	switch {
	case s.DenyOnDeprecation != nil:
		denyDeprecated = *s.DenyOnDeprecation
	case s.DenyOnDeprecationDefault != nil:
		denyDeprecated = *s.DenyOnDeprecationDefault
	}
	s.refused = map[string]string{}
	for line := range strings.SplitSeq(kubernetesTable+removedTable, "\n") {
		fields := strings.Fields(line)
		if len(fields) != 5 || fields[0] == "#" {
			continue
		}
		if release.reached(fields[3]) || denyDeprecated && release.reached(fields[2]) {
			s.refused[fields[0]+" "+fields[1]] = reason(fields)
		}
	}
	return nil
}

func reason(line []string) string {
	text := fmt.Sprintf("%s %s cannot be used.", line[0], line[1])
	for i, verb := range []string{"deprecated starting from", "removed starting from", "replaced by"} {
		if field := line[2+i]; field != "-" {
			text += fmt.Sprintf(" It has been %s %s.", verb, field)
		}
	}
	return text
}

// version is a release of Kubernetes: major, minor and patch.
type version [3]int

// parseVersion takes a semantic version, of which the patch may be missing. What
// comes behind it is of a distributor.
func parseVersion(text string) (v version, ok bool) {
	text = strings.TrimPrefix(text, "v")
	if end := strings.IndexAny(text, "-+"); end >= 0 {
		text = text[:end]
	}
	parts := strings.Split(text, ".")
	if len(parts) != 2 && len(parts) != 3 {
		return v, false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			return v, false
		}
		v[i] = int(n)
	}
	return v, true
}

// reached reports whether v is the release of a table's field or later.
func (v version) reached(field string) bool {
	release, ok := parseVersion(field)
	for i := range v {
		if v[i] != release[i] {
			return ok && v[i] > release[i]
		}
	}
	return ok
}

// Policy returns the policy deprecated-api-versions.
func Policy() sdk.Policy { return sdk.Define(judge) }

// judge goes by the kind alone. A deletion is what is wanted of such objects.
func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	if req.Operation == sdk.Delete {
		return sdk.Accept(), nil
	}
	if reason, ok := s.refused[req.Kind.Group+"/"+req.Kind.Version+" "+req.Kind.Kind]; ok {
		return sdk.Reject(reason), nil
	}
	return sdk.Accept(), nil
}
