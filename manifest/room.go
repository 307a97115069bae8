package manifest

import (
	"encoding/json"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	v1 "github.com/warder-dev/warder/api/v1"
)

// maxConfiguration is how many bytes the bundles of a policy server may have
// together, of the 1.5 MiB that etcd takes. It is some 480 webhooks of one rule.
const maxConfiguration = 1400 << 10

// perWebhook is what a webhook has beside what is said of it: two authorities,
// while one is being replaced, and what the API server notes of field managers.
const perWebhook = 2400

// reserve takes the room that a policy needs in the configuration of its bundle.
// When there is none the error says so: a configuration that is too large would
// not be taken at all, and whoever may write policies in one namespace could keep
// those of everybody from being registered.
func (p *plan) reserve(pol v1.Policy, name string) error {
	k, hook := key{pol.Mutating(), BundledName(p.server)}, p.bundleHook(name)
	now := p.current[k]
	if _, known := p.used[k]; !known {
		for _, h := range now.hooks {
			p.used[k] += sizeOf(h)
		}
	}
	was, there := pol.Status.Enforced, now.hook(hook) != nil
	if there && was != nil && was.Bundle == name && was.Generation == pol.Object.GetGeneration() {
		return nil // it is among what is there
	}
	rules := wire(union(rulesOf(pol, p.Server.Spec)))
	need := sizeOf(p.hook(pol, hook, "/review/"+name, rules))
	if there || p.bundles[bundle{pol.Mutating(), name}] != nil {
		need -= sizeOf(p.hook(pol, hook, "/review/"+name, nil))
	}
	if used := p.used[k]; used+need > maxConfiguration {
		return fmt.Errorf("policy server %q has no room for the webhook of this policy: it takes %d bytes, and %d of %d are left; "+
			"give it to another policy server, or let policies share webhooks: those with the same selectors, matchConditions and timeoutSeconds do",
			p.server, need, max(maxConfiguration-used, 0), maxConfiguration)
	}
	p.used[k] += need
	return nil
}

// sizeOf is how many bytes a webhook takes.
func sizeOf(h admissionv1.MutatingWebhook) int {
	h.ClientConfig.CABundle = nil
	text, err := json.Marshal(h)
	if err != nil {
		return 0 // what the API server has sent, and we send, is JSON
	}
	return perWebhook + len(text)
}
