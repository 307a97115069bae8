package controller

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
)

// enforcedAt refuses a policy that the API server is to enforce by itself, and
// cannot.
func (c *policyCheck) enforcedAt(spec *field.Path) {
	if c.view.Single == nil {
		return
	}
	at := c.view.Single.EnforceAt
	if at != "" && at != v1.AtWebhook && at != v1.AtAPIServer {
		c.add(field.NotSupported(spec.Child("enforceAt"), at, []v1.EnforceAt{v1.AtWebhook, v1.AtAPIServer}))
	}
	if !c.view.AtAPIServer() {
		return
	}
	native, err := manifest.NativeOf(manifest.NativeInput{Policy: c.view})
	for _, unsuited := range unsuitedErrors(err) {
		c.add(field.Forbidden(pathOf(unsuited.Field), unsuited.Problem+fmt.Sprintf(" (spec.enforceAt is %s)", at)))
	}
	c.warnings = append(c.warnings, native.Warnings...)
}

// unsuitedErrors takes joined errors apart.
func unsuitedErrors(err error) []*manifest.UnsuitedError {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*manifest.UnsuitedError
		for _, e := range joined.Unwrap() {
			all = append(all, unsuitedErrors(e)...)
		}
		return all
	}
	if one := (*manifest.UnsuitedError)(nil); errors.As(err, &one) {
		return []*manifest.UnsuitedError{one}
	}
	return nil
}

// pathOf is the field of that name.
func pathOf(name string) *field.Path {
	first, rest, more := strings.Cut(name, ".")
	path := field.NewPath(first)
	if more {
		path = path.Child(rest)
	}
	return path
}
