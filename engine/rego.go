package engine

import (
	"context"
	"encoding/json"

	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime/rego"
	"github.com/warder-dev/warder/sdk"
)

// regoOptions are what a policy in Rego has beside others: it does not ask for
// what there is in the cluster, it is given it.
func (e *Engine) regoOptions(p policy.Policy, host sdk.Host) rego.Options {
	opts := rego.Options{Log: e.opts.Guests.Log.With("policy", string(p.ID))}
	for _, r := range p.ContextAwareResources {
		opts.Kinds = append(opts.Kinds, rego.Kind{APIVersion: r.APIVersion, Kind: r.Kind})
	}
	if h, ok := host.(*yieldingHost); ok {
		if of, ok := h.host.(rego.Inventory); ok {
			opts.Inventory = yieldingInventory{of}
		}
	}
	return opts
}

// yieldingInventory is a host's inventory. While a policy waits for it, it leaves
// its permit to others.
type yieldingInventory struct{ of rego.Inventory }

// Inventory implements rego.Inventory.
func (y yieldingInventory) Inventory(ctx context.Context, apiVersion, kind string) (string, json.RawMessage, uint64, error) {
	permit, ok := ctx.Value(permitKey{}).(*permit)
	if !ok {
		return y.of.Inventory(ctx, apiVersion, kind)
	}
	permit.yield()
	plural, list, revision, err := y.of.Inventory(ctx, apiVersion, kind)
	if taken := permit.take(ctx); taken != nil {
		return "", nil, 0, taken
	}
	return plural, list, revision, err
}
