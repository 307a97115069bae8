package manifest

import (
	"cmp"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/policy"
)

// WebhookInput is what decides on the webhooks of a policy server.
type WebhookInput struct {
	Server  *v1.PolicyServer
	Options Options

	// CABundle is who signs the server's certificate, in PEM: while the authority
	// is being replaced, the new one and the old one.
	CABundle []byte

	// Settled are the server's policies whose generation every live replica
	// holds. They get what their spec says.
	Settled []v1.Policy

	// Unsettled are its other policies. They keep the webhooks that they have,
	// which get no narrower, and they get no others. A policy that is to have no
	// webhook any more, being deleted or without a server, is in neither list.
	Unsettled []v1.Policy

	// Validating and Mutating are the webhook configurations as they are now: those
	// with LabelPartOf or LabelLegacy, and those named BundledName. Whoever else's
	// are left alone.
	Validating []admissionv1.ValidatingWebhookConfiguration
	Mutating   []admissionv1.MutatingWebhookConfiguration
}

// WebhookSet is what there is to do, in this order, so that no request is missed:
// all of Widen, then all of Narrow, then all of Delete. All three are empty when
// everything is as it should be.
type WebhookSet struct {
	// Widen are to be applied first: they match all that they did.
	Widen []v1.Object
	// Narrow are to be applied after that.
	Narrow []v1.Object
	// Delete have the names, and the UIDs that they had.
	Delete []v1.Object

	// Enforced is where each policy is asked for once that is done, by unique
	// name. One that is not in it is not asked for.
	Enforced map[string]v1.Enforcement

	// Refused are settled policies that cannot be registered, with the reason.
	Refused map[string]error
}

// BundledName is the name of the configurations with the bundles of a policy
// server.
func BundledName(server string) string { return ServerName(server) + ".warder" }

// key tells configurations apart: a validating one and a mutating one may have
// the same name.
type key struct {
	mutating bool
	name     string
}

func (k key) compare(other key) int {
	if k.mutating != other.mutating {
		if other.mutating {
			return -1
		}
		return 1
	}
	return cmp.Compare(k.name, other.name)
}

// plan is the making of a WebhookSet.
type plan struct {
	WebhookInput
	server  string
	current map[key]configuration
	wanted  map[key]configuration
	bundles map[bundle]*members
	used    map[key]int // bytes of configurations with bundles
	set     WebhookSet
}

// bundle is a webhook of several policies.
type bundle struct {
	mutating bool
	name     string
}

// members are the policies of a bundle.
type members struct {
	settled []v1.Policy
	kept    bool // somebody unsettled is among those that the webhook is for
	order   int32
	first   string // unique name of the first in order
}

// Webhooks says what to do about the webhooks of a policy server.
//
// A webhook whose policies are all settled has exactly the union of their rules;
// one with an unsettled policy has that in addition to what it has now.
// Configurations of the server's that nobody needs are deleted, also those of
// policies that are gone, of the other kind after "mutating" has changed, of the
// other setting of "webhooks", and under the names of old versions of Kubewarden.
func Webhooks(in WebhookInput) WebhookSet {
	p := &plan{
		WebhookInput: in, server: in.Server.Name,
		current: map[key]configuration{}, wanted: map[key]configuration{}, bundles: map[bundle]*members{}, used: map[key]int{},
		set: WebhookSet{Enforced: map[string]v1.Enforcement{}, Refused: map[string]error{}},
	}
	p.takeCurrent()
	for _, pol := range sorted(in.Unsettled) {
		p.keep(pol)
	}
	for _, pol := range sorted(in.Settled) {
		p.register(pol)
	}
	p.bundled()
	p.steps()
	return p.set
}

func sorted(policies []v1.Policy) []v1.Policy {
	return slices.SortedFunc(slices.Values(policies), func(a, b v1.Policy) int {
		return cmp.Compare(a.UniqueName(), b.UniqueName())
	})
}

// register wants for a settled policy what its spec says.
func (p *plan) register(pol v1.Policy) {
	name := pol.UniqueName()
	enforced := v1.Enforcement{
		Generation: pol.Object.GetGeneration(), Configuration: BundledName(p.server), Mutating: pol.Mutating(),
	}
	if err := refusal(pol, p.Server.Spec.Webhooks); err != nil {
		p.set.Refused[name] = err
		p.keep(pol)
		return
	}
	if p.Server.Spec.Webhooks != v1.PerPolicy {
		enforced.Bundle = policy.BundleOf(pol)
		if err := p.reserve(pol, enforced.Bundle); err != nil {
			p.set.Refused[name] = err
			p.keep(pol)
			return
		}
		m := p.member(bundle{pol.Mutating(), enforced.Bundle}, pol)
		m.settled = append(m.settled, pol)
		p.set.Enforced[name] = enforced
		return
	}
	enforced.Configuration = name
	p.wanted[key{pol.Mutating(), name}] = configuration{
		labels:      map[string]string{LabelPartOf: PartOf},
		annotations: annotationsOf(pol),
		hooks:       []admissionv1.MutatingWebhook{p.hook(pol, PolicyWebhookName(pol), "/validate/"+name, ownRules(pol, p.Server.Spec))},
	}
	p.set.Enforced[name] = enforced
}

// PolicyWebhookName is the name of the webhook that a policy has by itself.
func PolicyWebhookName(pol v1.Policy) string { return pol.UniqueName() + ".kubewarden.admission" }

// keep leaves an unsettled policy what it has.
func (p *plan) keep(pol v1.Policy) {
	name := pol.UniqueName()
	was := pol.Status.Enforced
	if was != nil && was.Bundle != "" && was.Configuration == BundledName(p.server) {
		now, ok := p.current[key{was.Mutating, was.Configuration}]
		if ok && now.hook(p.bundleHook(was.Bundle)) != nil {
			p.member(bundle{was.Mutating, was.Bundle}, pol).kept = true
			p.set.Enforced[name] = *was
		}
	}
	for _, k := range []key{{false, name}, {true, name}, {false, pol.OldName()}, {true, pol.OldName()}} {
		now, ok := p.current[k]
		if !ok || !now.isOf(pol) {
			continue
		}
		kept := now.clone()
		for i := range kept.hooks {
			client := p.clientConfig("/validate/" + name)
			if k.name != name {
				client = kept.hooks[i].ClientConfig // its path is of the old name
				client.CABundle = p.CABundle
			}
			kept.hooks[i].ClientConfig = client
		}
		p.wanted[k] = kept
		if _, ok := p.set.Enforced[name]; ok {
			continue
		}
		enforced := v1.Enforcement{Configuration: k.name, Mutating: k.mutating}
		if was != nil && was.At != v1.AtAPIServer && was.Configuration == k.name && was.Mutating == k.mutating {
			enforced = *was
		}
		p.set.Enforced[name] = enforced
	}
}

// member notes that a policy is in a bundle.
func (p *plan) member(b bundle, pol v1.Policy) *members {
	order, name := int32(0), pol.UniqueName()
	if pol.Single != nil {
		order = pol.Single.Order
	}
	m := p.bundles[b]
	if m == nil {
		m = &members{order: order, first: name}
		p.bundles[b] = m
	}
	if order < m.order || order == m.order && name < m.first {
		m.order, m.first = order, name
	}
	return m
}

// bundled wants the two configurations with the bundles.
func (p *plan) bundled() {
	names := slices.SortedFunc(keys(p.bundles), func(a, b bundle) int {
		if a.mutating && b.mutating { // the API server asks one after the other
			x, y := p.bundles[a], p.bundles[b]
			return cmp.Or(cmp.Compare(x.order, y.order), cmp.Compare(x.first, y.first), cmp.Compare(a.name, b.name))
		}
		return cmp.Compare(a.name, b.name)
	})
	for _, b := range names {
		k := key{b.mutating, BundledName(p.server)}
		c, ok := p.wanted[k]
		if !ok {
			c = configuration{labels: bundledLabels(p.server), owners: Owners(p.Server)}
		}
		c.hooks = append(c.hooks, p.bundleOf(b, p.current[k]))
		p.wanted[k] = c
	}
}

// bundleOf is the webhook of a bundle, which there may be already.
func (p *plan) bundleOf(b bundle, now configuration) admissionv1.MutatingWebhook {
	m, name := p.bundles[b], p.bundleHook(b.name)
	var rules []rule
	for _, pol := range m.settled {
		rules = append(rules, rulesOf(pol, p.Server.Spec)...)
	}
	was := now.hook(name)
	if m.kept && was != nil {
		if len(m.settled) == 0 {
			hook := *was.DeepCopy()
			hook.ClientConfig = p.clientConfig("/review/" + b.name)
			return hook
		}
		rules = append(rules, rulesIn(*was)...)
	}
	return p.hook(m.settled[0], name, "/review/"+b.name, wire(union(rules)))
}

// bundleHook is the name of a bundle's webhook, which has to have two dots.
func (p *plan) bundleHook(name string) string {
	return name + "." + ServerName(p.server) + ".warder.dev"
}
