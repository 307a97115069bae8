// Package sysctlpsp is the built-in policy sysctl-psp: it restricts the kernel
// parameters that pods, and what makes pods, may set.
package sysctlpsp

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of sysctl-psp. The zero value allows the sysctls
// that are safe.
type Settings struct {
	// AllowedUnsafeSysctls are names that are allowed beside the safe ones.
	AllowedUnsafeSysctls []string `json:"allowedUnsafeSysctls"`
	// ForbiddenSysctls are names, or their beginnings with "*" behind, that are
	// forbidden, safe or not. A name in AllowedUnsafeSysctls is allowed though a
	// beginning fits.
	ForbiddenSysctls []string `json:"forbiddenSysctls"`
}

// Validate reports every list with patterns that cannot be, and contradictions.
func (s *Settings) Validate() error {
	var errs []error
	if slices.ContainsFunc(s.AllowedUnsafeSysctls, func(name string) bool { return strings.Contains(name, "*") }) {
		errs = append(errs, errors.New("allowedUnsafeSysctls doesn't accept patterns with `*`"))
	}
	if slices.ContainsFunc(s.ForbiddenSysctls, func(name string) bool { return strings.Contains(strings.TrimSuffix(name, "*"), "*") }) {
		errs = append(errs, errors.New("forbiddenSysctls only accepts patterns with `*` as suffix"))
	}
	for _, list := range [][]string{s.AllowedUnsafeSysctls, s.ForbiddenSysctls} {
		for i, name := range list {
			list[i] = normal(name)
		}
	}
	var both []string
	for _, name := range s.AllowedUnsafeSysctls {
		if slices.Contains(s.ForbiddenSysctls, name) {
			both = append(both, name)
		}
	}
	if len(both) > 0 {
		slices.Sort(both)
		errs = append(errs, errors.New("these sysctls cannot be allowed and forbidden at the same time: "+strings.Join(slices.Compact(both), ", ")))
	}
	return errors.Join(errs...)
}

// safe are the sysctls that cannot harm another pod. Source: the Kubewarden
// policy; Kubernetes knows more of them since 1.22.
func safe(name string) bool {
	switch name {
	case "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range":
		return true
	}
	return false
}

// Policy returns the policy sysctl-psp.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if errors.Is(err, sdk.ErrNoPodSpec) && req.Raw == nil {
		return sdk.Accept(), nil
	}
	if err != nil {
		return sdk.Verdict{}, err
	}
	reason := ""
	for _, sysctl := range spec.Get("securityContext", "sysctls").Elements() {
		name := sysctl.Get("name")
		if why := s.refuse(normal(name.String())); why != "" && reason == "" {
			reason = "sysctl " + name.String() + " " + why + ": " + name.Path() + ". Remove it"
		}
	}
	if err := spec.Err(); err != nil {
		return sdk.Verdict{}, err
	}
	if reason != "" {
		return sdk.Reject(reason), nil
	}
	return sdk.Accept(), nil
}

// normal is the name with dots. Kubernetes takes kernel/shm_rmid_forced as the
// same; a dot after the first slash is one of an interface's name.
func normal(name string) string {
	if first := strings.IndexAny(name, "./"); first < 0 || name[first] == '.' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, name)
}

// refuse returns why the sysctl may not be set, "" if it may.
func (s *Settings) refuse(name string) string {
	allowed := slices.Contains(s.AllowedUnsafeSysctls, name)
	for _, forbidden := range s.ForbiddenSysctls {
		beginning, pattern := strings.CutSuffix(forbidden, "*")
		if name == forbidden || pattern && strings.HasPrefix(name, beginning) && !allowed {
			return "is on the forbidden list"
		}
	}
	if !allowed && !safe(name) {
		return "is not on safe list, nor is in the allowedUnsafeSysctls list"
	}
	return ""
}
