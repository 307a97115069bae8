package artifact

import (
	"fmt"
	"strings"
)

// Module returns the module that a reference had last, without asking anybody:
// nil when the store has none.
func (s *Store) Module(uri string) (*Module, error) {
	r, err := ParseReference(uri)
	if err != nil {
		return nil, err
	}
	switch r.Scheme {
	case Registry, HTTP, HTTPS:
		return s.find(r)
	default:
		return nil, fmt.Errorf("reference %q: a store has modules of registries and web servers", strings.TrimSpace(uri))
	}
}
