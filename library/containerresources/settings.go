package containerresources

import (
	"errors"
	"fmt"
	"strings"

	"github.com/warder-dev/warder/library/internal/quantity"
)

// Settings are the settings of container-resources. At least one of CPU and
// Memory must be given; the other one is then not looked at.
type Settings struct {
	CPU    *Bounds `json:"cpu"`
	Memory *Bounds `json:"memory"`
	// IgnoreImages are images, as containers write them, whose containers are
	// left alone; one that ends in "*" is a prefix.
	IgnoreImages []string `json:"ignoreImages"`
}

// Bounds are what the limits and requests of one resource may be, and what they
// are where a container does not say. A quantity of zero is no bound. They must
// be in this order: minRequest, defaultRequest, maxRequest, minLimit,
// defaultLimit, maxLimit, none less than the one before.
type Bounds struct {
	MinLimit       quantity.Quantity `json:"minLimit"`
	MaxLimit       quantity.Quantity `json:"maxLimit"`
	MinRequest     quantity.Quantity `json:"minRequest"`
	MaxRequest     quantity.Quantity `json:"maxRequest"`
	DefaultRequest quantity.Quantity `json:"defaultRequest"`
	DefaultLimit   quantity.Quantity `json:"defaultLimit"`
	// IgnoreValues asks only that there are a limit and a request.
	IgnoreValues bool `json:"ignoreValues"`
}

var (
	errNoSettings = errors.New("no settings provided. At least one resource limit or request must be verified")
	errAllZero    = errors.New("all the quantities must be defined")
)

// Validate reports everything that is wrong with the quantities.
func (s *Settings) Validate() error {
	if s.CPU == nil && s.Memory == nil {
		return errNoSettings
	}
	cpu, memory := s.CPU.validate("cpu"), s.Memory.validate("memory")
	// Bounds without any are those of somebody who wants the other resource
	// alone to be bounded: then only the presence is checked, as with ignoreValues.
	if cpu == nil && errors.Is(memory, errAllZero) || memory == nil && errors.Is(cpu, errAllZero) {
		return nil
	}
	return errors.Join(cpu, memory)
}

// presenceOnly reports whether a limit and a request must be there and may be
// anything.
func (b *Bounds) presenceOnly() bool { return b != nil && (b.IgnoreValues || b.allZero()) }

func (b *Bounds) allZero() bool {
	for _, q := range b.inOrder() {
		if !q.quantity.IsZero() {
			return false
		}
	}
	return true
}

type namedQuantity struct {
	key, name string // in settings, in messages
	quantity  quantity.Quantity
}

// inOrder returns the quantities in the order in which they must be.
func (b *Bounds) inOrder() []namedQuantity {
	return []namedQuantity{
		{"minRequest", "min request", b.MinRequest},
		{"defaultRequest", "default request", b.DefaultRequest},
		{"maxRequest", "max request", b.MaxRequest},
		{"minLimit", "min limit", b.MinLimit},
		{"defaultLimit", "default limit", b.DefaultLimit},
		{"maxLimit", "max limit", b.MaxLimit},
	}
}

func (b *Bounds) validate(resource string) error {
	if b == nil {
		return nil
	}
	errs := []error{fmt.Errorf("invalid %s settings", resource)}
	chain := b.inOrder()
	for _, q := range chain {
		if err := q.quantity.Err(); err != nil {
			errs = append(errs, fmt.Errorf("%s.%s: %w", resource, q.key, err))
		}
	}
	if len(errs) == 1 && b.allZero() && !b.IgnoreValues {
		errs = append(errs, errAllZero)
	}
	for i := len(chain) - 1; i > 0; i-- { // the largest first, as in the Kubewarden policy
		for j := i - 1; j >= 0; j-- {
			lesser, greater := chain[j], chain[i]
			if !greater.quantity.IsZero() && lesser.quantity.Compare(greater.quantity) > 0 {
				errs = append(errs, fmt.Errorf("%s: %s cannot be greater than %s: %s",
					lesser.name, lesser.quantity, greater.name, greater.quantity))
			}
		}
	}
	if len(errs) == 1 {
		return nil
	}
	return errors.Join(errs...)
}

// ignores reports whether containers of the image are left alone.
func (s *Settings) ignores(image string) bool {
	for _, entry := range s.IgnoreImages {
		if prefix, ok := strings.CutSuffix(entry, "*"); ok && strings.HasPrefix(image, prefix) || image == entry {
			return true
		}
	}
	return false
}
