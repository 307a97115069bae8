// Package capability answers what policies ask of the host, one file for each
// capability. What a policy was not granted is refused here, in one place, for
// every runtime.
package capability

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/warder-dev/warder/sdk"
)

// Host answers the calls of one policy. It is safe for concurrent use.
type Host struct {
	// Policy is whose calls these are, for the log.
	Policy string
	// Allows says whether a capability ("net/v1/dns_lookup_host") is granted;
	// nil grants none. tracing/log needs no grant.
	Allows func(capability string) bool
	// Resources are the kinds that it may read from the cluster.
	Resources []Resource
	// Namespace is that of a namespaced policy, whose reads of the cluster stay
	// in it; empty for one of the whole cluster.
	Namespace string
	// Log gets the policy's own lines, and what it was refused.
	Log *slog.Logger
	// Services are what is asked.
	Services Services
}

// operation answers one capability.
type operation func(h *Host, ctx context.Context, payload []byte) ([]byte, error)

// operations are all there are. A nil one is known, and not answered yet.
// Source of the names: Kubewarden's host capabilities reference.
func operations() map[string]map[string]operation {
	return map[string]map[string]operation{
		"tracing": {"log": (*Host).log},
		"oci": {
			"v1/verify": nil, "v2/verify": nil,
			"v1/manifest_digest": nil, "v1/oci_manifest": nil, "v1/oci_manifest_config": nil,
		},
		"net":    {"v1/dns_lookup_host": nil},
		"crypto": {"v1/is_certificate_trusted": nil},
		"kubernetes": {
			"get_resource": (*Host).getResource, "can_i": (*Host).canI,
			"list_resources_all": (*Host).listAll, "list_resources_by_namespace": (*Host).listByNamespace,
		},
	}
}

// Call answers one call. The order of the checks and the texts of the errors
// are Kubewarden's.
func (h *Host) Call(ctx context.Context, c sdk.HostCall) ([]byte, error) {
	if c.Binding != sdk.Binding {
		return nil, fmt.Errorf("unknown binding: %s", c.Binding)
	}
	if c.Namespace != "tracing" && (h.Allows == nil || !h.Allows(c.Capability())) {
		h.Log.Error("capability refused", "policy", h.Policy, "capability", c.Capability())
		return nil, fmt.Errorf("Policy has not been granted access to the '%s' host capability. The violation has been reported.", c.Capability()) //nolint:revive,staticcheck // upstream's text
	}
	namespace, ok := operations()[c.Namespace]
	if !ok {
		return nil, fmt.Errorf("unknown namespace: %s", c.Namespace)
	}
	answer, ok := namespace[c.Operation]
	if !ok {
		return nil, fmt.Errorf("unknown operation: %s", c.Operation)
	}
	if answer == nil {
		return nil, fmt.Errorf("Callback evaluation failure: this version of warder does not answer %s", c.Capability()) //nolint:staticcheck // upstream's prefix
	}
	return answer(h, ctx, c.Payload)
}
