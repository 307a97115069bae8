// Package probes is the built-in policy probes: it asks for liveness and
// readiness probes, and keeps their fields within bounds.
package probes

import (
	"context"
	"errors"
	"fmt"

	"github.com/warder-dev/warder/library/internal/problems"
	"github.com/warder-dev/warder/sdk"
)

// Policy returns the policy probes.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	spec, err := req.PodSpec()
	if errors.Is(err, sdk.ErrNoPodSpec) {
		return sdk.Accept(), nil
	}
	if err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	var found problems.List
	lists := spec.Fields("containers", "initContainers", "ephemeralContainers")
	for i, what := range []string{"container", "init container", "ephemeral container"} {
		for _, c := range lists[i].Elements() {
			fields := c.Fields("name", "restartPolicy", "livenessProbe", "readinessProbe")
			sidecar := i == 1 && fields[1].String() == "Always"
			if i == 0 || sidecar || s.Compat {
				s.judge(container{c, what, fields[0].String(), fields[2], fields[3]}, &found)
			}
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if found.Empty() {
		return sdk.Accept(), nil
	}
	return sdk.Reject(found.Join("; ")), nil
}

type container struct {
	sdk.Value
	what, name          string
	liveness, readiness sdk.Value
}

func (s *Settings) judge(c container, found *problems.List) {
	probes := []struct {
		kind, field string
		have        sdk.Value
		want        *Probe
	}{
		{"liveness", "livenessProbe", c.liveness, s.Liveness},
		{"readiness", "readinessProbe", c.readiness, s.Readiness},
	}
	for _, p := range probes {
		probe := p.have
		if !p.want.enforced() {
			continue
		}
		if !probe.Exists() {
			found.Add(func() string {
				return fmt.Sprintf("%s %s is invalid: container %s without %s probe is not accepted. Add %s to %s",
					c.what, c.name, c.name, p.kind, p.field, c.Path())
			})
			continue
		}
		if c.what == "ephemeral container" {
			continue
		}
		for _, f := range p.want.fields() {
			if problem := f.bounds.problem(probe.Get(f.name)); problem != "" {
				found.Add(func() string {
					return fmt.Sprintf("%s %s is invalid: %s validation failed: %s, in %s", c.what, c.name, f.name, problem, probe.Path())
				})
			}
		}
	}
}

// problem says why a field's value is not accepted, "" if it is.
func (b *Bounds) problem(field sdk.Value) string {
	switch n := field.Int(); {
	case b == nil:
		return ""
	case !field.Exists():
		return "missing value"
	case b.Minimum != nil && n < *b.Minimum:
		return fmt.Sprintf("%d is below the minimum of %d", n, *b.Minimum)
	case b.Limit != nil && n > *b.Limit:
		return fmt.Sprintf("%d is above the limit of %d", n, *b.Limit)
	}
	return ""
}
