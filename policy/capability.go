package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Grants is what a policy may ask of the host. The zero Grants is nothing.
type Grants struct {
	all      bool
	prefixes []string // "oci/", "oci/v2/"
	exact    []string
}

// segment is a level of the names of capabilities; one without children ends a
// name.
type segment map[string]segment

// capabilities returns the capabilities of the host. tracing/log is not one:
// it is always granted.
func capabilities() segment {
	return segment{
		"crypto": {"v1": {"is_certificate_trusted": nil}},
		"kubernetes": {
			"can_i": nil, "get_resource": nil, "list_resources_all": nil, "list_resources_by_namespace": nil,
		},
		"net": {"v1": {"dns_lookup_host": nil}},
		"oci": {
			"v1": {"manifest_digest": nil, "oci_manifest": nil, "oci_manifest_config": nil, "verify": nil},
			"v2": {"verify": nil},
		},
	}
}

// ParseGrants reads the patterns of hostCapabilities: "*" for everything,
// "oci/*" and "oci/v2/*" for what is below, "oci/v2/verify" for one. None
// grant nothing. What follows a "*" is not looked at, as in Kubewarden. The
// error joins one for each pattern that is none; its texts are Kubewarden's.
func ParseGrants(patterns []string) (Grants, error) {
	var g Grants
	var errs []error
	for _, pattern := range patterns {
		pattern = strings.TrimSpace(pattern)
		if pattern == "*" {
			g = Grants{all: true}
			break
		}
		if err := checkPattern(pattern); err != nil {
			errs = append(errs, err)
			continue
		}
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
			g.prefixes = append(g.prefixes, prefix)
		} else {
			g.exact = append(g.exact, pattern)
		}
	}
	if errs != nil {
		return Grants{}, errors.Join(errs...)
	}
	return g, nil
}

func checkPattern(pattern string) error {
	if pattern == "" {
		return errors.New("invalid pattern: pattern must not be empty")
	}
	level := capabilities()
	segments := strings.Split(pattern, "/")
	for i, s := range segments {
		last := i == len(segments)-1
		if strings.Contains(s, "*") && (s != "*" || !last) {
			return fmt.Errorf("invalid pattern %q: wildcard '*' must be the entire last path segment (e.g. 'oci/*'), not a partial match", pattern)
		}
		if s == "*" && level != nil {
			return nil
		}
		next, ok := level[s]
		if !ok {
			options := strings.Join(slices.Sorted(maps.Keys(level)), ", ")
			if level == nil {
				options = fmt.Sprintf("none, %q is a whole capability", strings.Join(segments[:i], "/"))
			}
			return fmt.Errorf("invalid pattern %q: unknown segment %q, valid options at this level are: %s", pattern, s, options)
		}
		level = next
	}
	if level != nil {
		return fmt.Errorf("invalid pattern %q: not a complete capability path; use %q to allow all capabilities under it", pattern, pattern+"/*")
	}
	return nil
}

// Allows reports whether the capability ("oci/v2/verify") is granted.
// "tracing/log" always is.
func (g Grants) Allows(capability string) bool {
	if g.all || capability == "tracing/log" || slices.Contains(g.exact, capability) {
		return true
	}
	return slices.ContainsFunc(g.prefixes, func(prefix string) bool { return strings.HasPrefix(capability, prefix) })
}

// String is how logs show the grants: "[*]", "[]",
// "[oci/*, net/v1/dns_lookup_host]".
func (g Grants) String() string {
	if g.all {
		return "[*]"
	}
	var parts []string
	for _, prefix := range slices.Sorted(slices.Values(g.prefixes)) {
		parts = append(parts, prefix+"*")
	}
	parts = append(parts, slices.Sorted(slices.Values(g.exact))...)
	return "[" + strings.Join(parts, ", ") + "]"
}
