package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/policy"
)

// builtinScheme is how the URIs of built-ins start.
const builtinScheme = "builtin://"

// isResources reports whether a policy is a file of custom resources.
func isResources(what string) bool {
	return !strings.Contains(what, "://") && slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(what))
}

// policies are those that are asked, as they would be enforced: nothing is let
// through because of a mode, or because nobody could judge it.
func (f *runFlags) policies(cmd *cobra.Command, what string) ([]policy.Policy, error) {
	var all []policy.Policy
	var err error
	if isResources(what) {
		all, err = resourcesIn(what)
	} else {
		all, err = f.module(cmd, what)
	}
	if err != nil {
		return nil, err
	}
	if _, err := policy.ParseGrants(f.grants); err != nil {
		return nil, fmt.Errorf("--allowed-host-capabilities: %w", err)
	}
	for i := range all {
		p := &all[i]
		p.Mode, p.FailurePolicy, p.HostCapabilities = policy.Protect, policy.Fail, f.grants
		f.limitContext(cmd, p)
		if p.Group == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(p.Group.Members)) {
			m := p.Group.Members[name]
			m.ID, m.HostCapabilities = policy.ID(string(p.ID)+"/"+name), f.grants
			f.limitContext(cmd, &m)
			p.Group.Members[name] = m
		}
	}
	return all, nil
}

// limitContext takes away what the policy may read of the cluster unless it is
// allowed, and says so.
func (f *runFlags) limitContext(cmd *cobra.Command, p *policy.Policy) {
	if f.contextAware || len(p.ContextAwareResources) == 0 {
		return
	}
	var kinds []string
	for _, r := range p.ContextAwareResources {
		kinds = append(kinds, r.APIVersion+"/"+r.Kind)
	}
	speech(cmd).Warn("the policy reads the cluster and may not; --allow-context-aware allows it", "policy", string(p.ID), "reads", kinds)
	p.ContextAwareResources = nil
}

// module is the policy of one module, with the settings of the flags.
func (f *runFlags) module(cmd *cobra.Command, what string) ([]policy.Policy, error) {
	settings, err := f.settings()
	if err != nil {
		return nil, err
	}
	p := policy.Policy{ID: "policy-from-cli", Module: what, Settings: settings, AllowedToMutate: true}
	if name, ok := strings.CutPrefix(what, builtinScheme); ok {
		if b, ok := library.Lookup(name); ok {
			for _, r := range b.Reads() {
				p.ContextAwareResources = append(p.ContextAwareResources, policy.Resource{APIVersion: r.APIVersion, Kind: r.Kind})
			}
		}
		return []policy.Policy{p}, nil
	}
	if info, err := os.Stat(strings.TrimPrefix(what, "file://")); err == nil && info.Mode().IsRegular() {
		absolute, err := filepath.Abs(strings.TrimPrefix(what, "file://"))
		if err != nil {
			return nil, err
		}
		p.Module = "file://" + absolute
	}
	puller, err := newPuller(cmd, &f.sources, &f.verification)
	if err != nil {
		return nil, err
	}
	wasm, err := moduleAt(cmd.Context(), puller, strings.TrimPrefix(p.Module, "file://"))
	if err != nil {
		return nil, hint(err)
	}
	meta, err := artifact.ReadMetadata(wasm)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if meta != nil {
		for _, r := range meta.ContextAwareResources {
			p.ContextAwareResources = append(p.ContextAwareResources, policy.Resource{APIVersion: r.APIVersion, Kind: r.Kind})
		}
	}
	return []policy.Policy{p}, nil
}

// settings are those of the flags, nil for none.
func (f *runFlags) settings() (json.RawMessage, error) {
	name, text := "--settings-json", []byte(f.settingsJSON)
	if f.settingsPath != "" {
		var err error
		name = f.settingsPath
		if text, err = os.ReadFile(name); err != nil {
			return nil, err
		}
	}
	if !hasContent(text) {
		return nil, nil
	}
	settings, err := asJSON(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case string(settings) == "null":
		return nil, nil
	case settings[0] != '{':
		return nil, fmt.Errorf("%s: want an object, have another value", name)
	}
	return settings, nil
}

// resourcesIn are the policies of a file of custom resources.
func resourcesIn(name string) ([]policy.Policy, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	documents := yamlDocuments(text)
	if len(documents) == 0 {
		return nil, fmt.Errorf("%s: has no policy", name)
	}
	var all []policy.Policy
	var errs []error
	seen := map[policy.ID]bool{}
	for i, document := range documents {
		p, err := resource(document)
		if err == nil && seen[p.ID] {
			err = fmt.Errorf("policy %q is there already", p.ID)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: document %d: %w", name, i+1, err))
			continue
		}
		seen[p.ID] = true
		all = append(all, p)
	}
	return all, errors.Join(errs...)
}

// resource is the policy of one custom resource.
func resource(document []byte) (policy.Policy, error) {
	var of struct {
		APIVersion, Kind string
	}
	text, err := asJSON(document)
	if err != nil {
		return policy.Policy{}, err
	}
	if err := json.Unmarshal(text, &of); err != nil {
		return policy.Policy{}, fmt.Errorf("want a custom resource: %w", err)
	}
	if of.APIVersion != v1.GroupVersion().String() {
		return policy.Policy{}, fmt.Errorf("apiVersion: want %s, have %q", v1.GroupVersion(), of.APIVersion)
	}
	object := v1.Kind(of.Kind).New()
	if object == nil {
		return policy.Policy{}, fmt.Errorf("kind: want a policy or a group of policies, have %q", of.Kind)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(object); err != nil {
		return policy.Policy{}, fmt.Errorf("%s: %w", of.Kind, err)
	}
	view, ok := v1.View(object)
	if !ok {
		return policy.Policy{}, fmt.Errorf("kind: want a policy or a group of policies, have %q", of.Kind)
	}
	if view.Object.GetName() == "" {
		return policy.Policy{}, errors.New("metadata.name: say what the policy is called")
	}
	return policy.FromResource(view, v1.PolicyServerSpec{})
}
