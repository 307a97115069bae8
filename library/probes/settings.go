package probes

import (
	"errors"
	"fmt"
)

// Settings are the settings of probes. Liveness and Readiness must both be
// given, and at least one of them enforced.
type Settings struct {
	Liveness  *Probe `json:"liveness"`
	Readiness *Probe `json:"readiness"`
	// Compat asks for probes of init and ephemeral containers too, as the
	// Kubewarden policy does. Kubernetes refuses probes there, so that no pod
	// with such containers is accepted. Default false: init containers count
	// when they are sidecars (restartPolicy: Always), which may have probes.
	Compat bool `json:"compat"`
}

// Probe is what containers must say about one of their probes.
type Probe struct {
	// Enforce asks for the probe. When it is false nothing is looked at. It
	// must be given.
	Enforce *bool `json:"enforce"`

	// Each of these bounds the probe's field of the same name, which must then
	// be there. By default it is not looked at.
	PeriodSeconds                 *Bounds `json:"periodSeconds"`
	FailureThreshold              *Bounds `json:"failureThreshold"`
	InitialDelaySeconds           *Bounds `json:"initialDelaySeconds"`
	SuccessThreshold              *Bounds `json:"successThreshold"`
	TerminationGracePeriodSeconds *Bounds `json:"terminationGracePeriodSeconds"`
	TimeoutSeconds                *Bounds `json:"timeoutSeconds"`
}

// Bounds are the least and the most that a field may be, both included. At
// least one must be given, and each more than zero.
type Bounds struct {
	// Minimum is the least it may be.
	Minimum *int64 `json:"minimum"`
	// Limit is the most it may be.
	Limit *int64 `json:"limit"`
}

// Validate reports everything that is wrong.
func (s *Settings) Validate() error {
	errs := []error{s.Liveness.validate("liveness"), s.Readiness.validate("readiness")}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !s.Liveness.enforced() && !s.Readiness.enforced() {
		return errors.New("at least one of liveness or readiness probe enforcement must be enabled")
	}
	return nil
}

func (p *Probe) enforced() bool { return p != nil && p.Enforce != nil && *p.Enforce }

func (p *Probe) validate(name string) error {
	if p == nil {
		return fmt.Errorf("%s: missing; to leave this probe alone, give {enforce: false}", name)
	}
	var errs []error
	if p.Enforce == nil {
		errs = append(errs, fmt.Errorf("%s.enforce: missing", name))
	}
	for _, f := range p.fields() {
		if err := f.bounds.validate(); err != nil {
			errs = append(errs, fmt.Errorf("invalid %s probe settings: %s validation failed: %w", name, f.name, err))
		}
	}
	return errors.Join(errs...)
}

type boundedField struct {
	name   string
	bounds *Bounds // nil if the field is not looked at
}

func (p *Probe) fields() []boundedField {
	return []boundedField{
		{"periodSeconds", p.PeriodSeconds},
		{"failureThreshold", p.FailureThreshold},
		{"initialDelaySeconds", p.InitialDelaySeconds},
		{"successThreshold", p.SuccessThreshold},
		{"terminationGracePeriodSeconds", p.TerminationGracePeriodSeconds},
		{"timeoutSeconds", p.TimeoutSeconds},
	}
}

func (b *Bounds) validate() error {
	switch {
	case b == nil:
		return nil
	case b.Minimum == nil && b.Limit == nil:
		return errors.New("neither minimum nor limit is given")
	case b.Minimum != nil && *b.Minimum <= 0:
		return fmt.Errorf("minimum %d is not greater than zero", *b.Minimum)
	case b.Limit != nil && *b.Limit <= 0:
		return fmt.Errorf("limit %d is not greater than zero", *b.Limit)
	case b.Minimum != nil && b.Limit != nil && *b.Minimum > *b.Limit:
		return fmt.Errorf("minimum %d is greater than limit %d", *b.Minimum, *b.Limit)
	}
	return nil
}
