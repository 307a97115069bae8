package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/warder-dev/warder/policy"
)

// settings lets the modules of a policy check their settings, unless something is
// wrong with the module or the settings already.
func (w *kindWebhooks) settings(ctx context.Context, c *policyCheck) field.ErrorList {
	if w.opts.Settings == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, settingsTimeout)
	defer cancel()
	spec := field.NewPath("spec")
	if c.policy.Group == nil {
		return w.settingsOf(ctx, c, c.policy, spec)
	}
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(c.policy.Group.Members)) {
		m := c.policy.Group.Members[name]
		m.ID, m.Namespace = c.policy.ID+"/"+policy.ID(name), c.policy.Namespace
		errs = append(errs, w.settingsOf(ctx, c, m, spec.Child("policies").Key(name))...)
	}
	return errs
}

func (w *kindWebhooks) settingsOf(ctx context.Context, c *policyCheck, p policy.Policy, path *field.Path) field.ErrorList {
	if p.CEL != nil {
		return nil // there are none
	}
	module, settings := path.Child("module"), path.Child("settings")
	for _, e := range c.errs {
		if overlap(e.Field, module.String()) || overlap(e.Field, settings.String()) {
			return nil
		}
	}
	err := w.opts.Settings(ctx, p)
	bad := (*ModuleError)(nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &bad):
		return field.ErrorList{field.Invalid(module, p.Module, bad.Error())}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		c.warnings = append(c.warnings, fmt.Sprintf(
			"%s: the module did not say within %s whether it takes them; the policy server asks it again", settings, settingsTimeout))
		return nil
	}
	value := any(p.Settings)
	if len(p.Settings) == 0 {
		value = json.RawMessage("null")
	}
	if len(p.Settings) > maxShownSettings {
		value = field.OmitValueType{}
	}
	return field.ErrorList{field.Invalid(settings, value, err.Error())}
}

// maxShownSettings is how many bytes of settings a message repeats.
const maxShownSettings = 256
