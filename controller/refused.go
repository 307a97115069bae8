package controller

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
)

// refusal is why the API server does not take the webhook of a generation.
type refusal struct {
	generation int64
	err        error
}

// refusal is why the API server has not taken the webhook of the policy as it is
// now; nil when it has, or was never asked.
func (r *round) refusal(p v1.Policy) error {
	if was, ok := r.refused[p.Object.GetUID()]; ok && was.generation == p.Object.GetGeneration() {
		return was.err
	}
	return nil
}

// findRefused finds the policies because of which the API server does not take a
// configuration with many: one match condition that it cannot compile must not
// keep the others from being enforced. Each is tried alone, without writing. It
// returns the cause, so that there is a next round, without them.
func (e *enforcer) findRefused(ctx context.Context, r *round, cause error) error {
	for _, s := range r.policies {
		if !s.settled() || s.native.wanted {
			continue
		}
		alone := manifest.Webhooks(manifest.WebhookInput{
			Server: r.server, Options: e.Manifest, CABundle: r.bundle, Settled: []v1.Policy{s.policy},
		})
		for _, o := range alone.Widen {
			content, err := manifest.Unstructured(o)
			if err != nil {
				return errors.Join(cause, err)
			}
			err = e.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(content), client.ForceOwnership, client.DryRunAll, client.DisableReadYourWritesConsistency,
				client.FieldOwner(manifest.FieldManager+"-trial"))
			if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
				r.refused[s.policy.Object.GetUID()] = refusal{s.policy.Object.GetGeneration(), err}
				s.refused = fmt.Errorf("the API server does not take the webhook: %w", err)
			}
		}
	}
	return cause
}
