// Package hostnamespacespsp is the built-in policy host-namespaces-psp: it
// refuses pods, and what makes pods, that share a namespace of the node or take
// ports of the node that are not allowed.
package hostnamespacespsp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of host-namespaces-psp. The zero value allows
// nothing of the node.
type Settings struct {
	// AllowHostIPC lets pods share the IPC namespace of the node. Default false.
	AllowHostIPC bool `json:"allow_host_ipc"`
	// AllowHostNetwork lets pods share the network of the node. Default false.
	AllowHostNetwork bool `json:"allow_host_network"`
	// AllowHostPID lets pods share the PID namespace of the node. Default false.
	AllowHostPID bool `json:"allow_host_pid"`
	// AllowHostPorts are the ports of the node that containers may take.
	AllowHostPorts []PortRange `json:"allow_host_ports"`
}

// PortRange is a range of ports, both ends included. Both must be given.
type PortRange struct {
	// Min is the lowest port, Max the highest.
	Min *int32 `json:"min"`
	Max *int32 `json:"max"`
}

// Validate reports every range that cannot be.
func (s *Settings) Validate() error {
	var errs []error
	for i, r := range s.AllowHostPorts {
		switch {
		case r.Min == nil:
			errs = append(errs, fmt.Errorf("allow_host_ports[%d].min: missing", i))
		case r.Max == nil:
			errs = append(errs, fmt.Errorf("allow_host_ports[%d].max: missing", i))
		case *r.Min > *r.Max:
			errs = append(errs, fmt.Errorf("port min %d cannot be greater than max %d", *r.Min, *r.Max))
		}
	}
	return errors.Join(errs...)
}

func (s *Settings) allows(port int64) bool {
	for _, r := range s.AllowHostPorts {
		if int64(*r.Min) <= port && port <= int64(*r.Max) {
			return true
		}
	}
	return false
}

// Policy returns the policy host-namespaces-psp.
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
	reason := namespaces(s, spec)
	if reason == "" {
		reason = ports(s, spec)
	}
	if err := spec.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if reason != "" {
		return sdk.Reject(reason), nil
	}
	return sdk.Accept(), nil
}

// namespaces returns why the pod may not share the node's namespaces, "" if it
// may. All three are looked at, so that a misshapen one is never passed over.
func namespaces(s *Settings, spec sdk.Value) (reason string) {
	fields := []struct {
		name, what string
		allowed    bool
	}{
		{"hostIPC", "IPC", s.AllowHostIPC},
		{"hostNetwork", "host network", s.AllowHostNetwork},
		{"hostPID", "host PID", s.AllowHostPID},
	}
	values := spec.Fields(fields[0].name, fields[1].name, fields[2].name)
	for i, f := range fields {
		field := values[i]
		if field.Bool() && !f.allowed && reason == "" {
			reason = fmt.Sprintf("Pod has %s enabled, but this is not allowed: %s is true. Remove the field or set it to false",
				f.what, field.Path())
		}
	}
	return reason
}

// ports returns which ports of the node the pod may not take, "" if none.
func ports(s *Settings, spec sdk.Value) string {
	lists := []struct{ name, what string }{
		{"initContainers", "init containers"},
		{"containers", "containers"},
		{"ephemeralContainers", "ephemeral containers"},
	}
	containers := spec.Fields(lists[0].name, lists[1].name, lists[2].name)
	for i, list := range lists {
		if places := s.unallowed(containers[i]); places != "" {
			return "Pod is using unallowed host ports in " + list.what + ": " + places + ". " + s.advice()
		}
	}
	return ""
}

// unallowed names the host ports of a list of containers that are not allowed,
// "" if there are none.
func (s *Settings) unallowed(list sdk.Value) string {
	var places sdk.Places
	for _, c := range list.Elements() {
		for _, port := range c.Get("ports").Elements() {
			if field := port.Get("hostPort"); field.Exists() && !s.allows(field.Int()) {
				places.Addf(field, " is %d", field.Int())
			}
		}
	}
	return places.String()
}

func (s *Settings) advice() string {
	if len(s.AllowHostPorts) == 0 {
		return "No host port is allowed: remove the field"
	}
	ranges := make([]string, len(s.AllowHostPorts))
	for i, r := range s.AllowHostPorts {
		ranges[i] = fmt.Sprintf("%d-%d", *r.Min, *r.Max)
	}
	return "Allowed are " + strings.Join(ranges, ", ")
}
