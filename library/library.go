// Package library lists the policies that warder brings with it. Each is a
// package of its own below this one, written as any author would write it, and
// takes the settings of the Kubewarden policy of the same name.
package library

import (
	"slices"

	"github.com/warder-dev/warder/library/annotations"
	"github.com/warder-dev/warder/library/capabilitiespsp"
	"github.com/warder-dev/warder/library/containerresources"
	"github.com/warder-dev/warder/library/deprecatedapiversions"
	"github.com/warder-dev/warder/library/environmentvariablepolicy"
	"github.com/warder-dev/warder/library/envvariablesecretsscanner"
	"github.com/warder-dev/warder/library/highriskserviceaccount"
	"github.com/warder-dev/warder/library/hostnamespacespsp"
	"github.com/warder-dev/warder/library/imagecvepolicy"
	"github.com/warder-dev/warder/library/labels"
	"github.com/warder-dev/warder/library/podndots"
	"github.com/warder-dev/warder/library/podprivileged"
	"github.com/warder-dev/warder/library/priorityclasspolicy"
	"github.com/warder-dev/warder/library/probes"
	"github.com/warder-dev/warder/library/runtimeenforcer"
	"github.com/warder-dev/warder/library/safeannotations"
	"github.com/warder-dev/warder/library/safelabels"
	"github.com/warder-dev/warder/library/trustedrepos"
	"github.com/warder-dev/warder/library/verifyimagesignatures"
	"github.com/warder-dev/warder/library/volumemounts"
	"github.com/warder-dev/warder/sdk"
)

// Builtin is a policy that needs no download.
type Builtin struct {
	// Name is what users call it: "pod-privileged".
	Name string
	// Summary is one sentence about what it does.
	Summary string
	// Mutating says that it changes objects, with some settings at least.
	Mutating bool
	Policy   sdk.Policy
}

// All returns every built-in policy, sorted by name. The slice is the
// caller's.
func All() []Builtin { //nolint:funlen // a table
	return []Builtin{
		{
			Name:    "annotations",
			Summary: "Compares the annotations of objects of any kind with a list.",
			Policy:  annotations.Policy(),
		},
		{
			Name:     "capabilities-psp",
			Summary:  "Controls which Linux capabilities containers may add, and adds or drops those that they must have or lose.",
			Mutating: true,
			Policy:   capabilitiespsp.Policy(),
		},
		{
			Name:     "container-resources",
			Summary:  "Keeps the CPU and memory requests and limits of containers within bounds, and fills in defaults.",
			Mutating: true,
			Policy:   containerresources.Policy(),
		},
		{
			Name:    "deprecated-api-versions",
			Summary: "Refuses objects of API versions that a release of Kubernetes has deprecated or removed.",
			Policy:  deprecatedapiversions.Policy(),
		},
		{
			Name:    "env-variable-secrets-scanner",
			Summary: "Refuses secrets in the values of environment variables.",
			Policy:  envvariablesecretsscanner.Policy(),
		},
		{
			Name:    "environment-variable-policy",
			Summary: "Compares the names of the environment variables of each container with a list.",
			Policy:  environmentvariablepolicy.Policy(),
		},
		{
			Name:    "high-risk-service-account",
			Summary: "Refuses pods whose service account may do what is dangerous.",
			Policy:  highriskserviceaccount.Policy(),
		},
		{
			Name:    "host-namespaces-psp",
			Summary: "Refuses pods that share the node's IPC, network or PID namespace, or take host ports that are not allowed.",
			Policy:  hostnamespacespsp.Policy(),
		},
		{
			Name:    "image-cve-policy",
			Summary: "Refuses images with too many known vulnerabilities, by the reports of SBOMscanner.",
			Policy:  imagecvepolicy.Policy(),
		},
		{
			Name:    "labels",
			Summary: "Compares the labels of objects of any kind with a list.",
			Policy:  labels.Policy(),
		},
		{
			Name:     "pod-ndots",
			Summary:  "Sets the resolver option ndots of pods.",
			Mutating: true,
			Policy:   podndots.Policy(),
		},
		{
			Name:    "pod-privileged",
			Summary: "Refuses privileged containers.",
			Policy:  podprivileged.Policy(),
		},
		{
			Name:     "priority-class-policy",
			Summary:  "Says which priority classes pods may have, and gives one to those that have none.",
			Mutating: true,
			Policy:   priorityclasspolicy.Policy(),
		},
		{
			Name:    "probes",
			Summary: "Asks for liveness and readiness probes, and keeps their fields within bounds.",
			Policy:  probes.Policy(),
		},
		{
			Name:    "runtime-enforcer",
			Summary: "Refuses workloads that name a WorkloadPolicy which does not exist.",
			Policy:  runtimeenforcer.Policy(),
		},
		{
			Name:    "safe-annotations",
			Summary: "Denies annotations, requires them, or constrains their values.",
			Policy:  safeannotations.Policy(),
		},
		{
			Name:    "safe-labels",
			Summary: "Denies labels, requires them, or constrains their values.",
			Policy:  safelabels.Policy(),
		},
		{
			Name:    "trusted-repos",
			Summary: "Restricts the registries, tags and images that containers come from.",
			Policy:  trustedrepos.Policy(),
		},
		{
			Name:     "verify-image-signatures",
			Summary:  "Verifies the Sigstore signatures of images, and pins the images to what was verified.",
			Mutating: true,
			Policy:   verifyimagesignatures.Policy(),
		},
		{
			Name:    "volumemounts",
			Summary: "Says which volumes containers may mount, by name.",
			Policy:  volumemounts.Policy(),
		},
	}
}

// Lookup returns the built-in of the name, false if there is none.
func Lookup(name string) (Builtin, bool) {
	for _, b := range All() {
		if b.Name == name {
			return b, true
		}
	}
	return Builtin{}, false
}

// Names returns the names of the built-in policies, sorted.
func Names() []string {
	all := All()
	names := make([]string, len(all))
	for i, b := range all {
		names[i] = b.Name
	}
	slices.Sort(names)
	return names
}
