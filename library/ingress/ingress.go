// Package ingress is the built-in policy ingress: it wants Ingresses to have TLS
// for all their hosts, and limits the ports of the services behind them.
package ingress

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of ingress. The zero value accepts everything.
type Settings struct {
	// RequireTLS wants a certificate for every host. Default false.
	RequireTLS bool `json:"requireTLS"`
	// AllowPorts are the ports of services that traffic may go to. Default: all.
	AllowPorts []uint16 `json:"allowPorts"`
	// DenyPorts are the ports of services that traffic may not go to. Default:
	// none.
	DenyPorts []uint16 `json:"denyPorts"`
}

// Validate reports the ports that are in both lists.
func (s *Settings) Validate() error {
	both := slices.DeleteFunc(slices.Clone(s.AllowPorts), func(port uint16) bool { return !slices.Contains(s.DenyPorts, port) })
	if len(both) > 0 {
		return errors.New("No port can be allowed and denied at the same time: " + set(both))
	}
	return nil
}

// set prints ports as the Kubewarden policy does, but sorted: Set{80, 443}.
func set[Port ~uint16 | ~int64](ports []Port) string {
	return "Set{" + list(ports) + "}"
}

func list[Port ~uint16 | ~int64](ports []Port) string {
	ports = slices.Compact(slices.Sorted(slices.Values(ports)))
	texts := make([]string, len(ports))
	for i, port := range ports {
		texts[i] = strconv.FormatInt(int64(port), 10)
	}
	return strings.Join(texts, ", ")
}

// Policy returns the policy ingress.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	object := req.ViewObject()
	spec := object.Get("spec")
	hosts := readHosts(spec)
	ports := readPorts(spec)
	if err := object.Err(); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	if s.RequireTLS {
		if reason := hosts.reason(); reason != "" {
			return sdk.Reject("Not all hosts have TLS enabled: " + reason), nil
		}
	}
	verdict := sdk.Accept()
	if reason := s.refuses(ports.numbers); reason != "" {
		verdict = sdk.Reject(reason)
	}
	if len(s.AllowPorts)+len(s.DenyPorts) > 0 {
		for _, place := range ports.named {
			verdict.Warnings = append(verdict.Warnings, place+" names a port, whose number is not known here: it has not been checked")
		}
	}
	return verdict, nil
}

// hosts is who answers what. The empty host stands for all that are not named.
type hosts struct {
	certified []string // by spec.tls
	served    []string // by spec.rules, or by spec.defaultBackend if there are none
}

func readHosts(spec sdk.Value) (h hosts) {
	for _, tls := range spec.Get("tls").Elements() {
		named := false
		for _, host := range tls.Get("hosts").Elements() {
			h.certified, named = append(h.certified, host.String()), true
		}
		if !named {
			h.certified = append(h.certified, "")
		}
	}
	for _, rule := range spec.Get("rules").Elements() {
		h.served = append(h.served, rule.Get("host").String())
	}
	if len(h.served) == 0 && spec.Get("defaultBackend").Exists() {
		h.served = append(h.served, "")
	}
	return h
}

// reason says which hosts have no certificate, or which certificates no host, ""
// if they match.
func (h hosts) reason() string {
	var bare, idle []string
	certified, served := map[string]bool{}, map[string]bool{}
	for _, name := range h.certified {
		certified[name] = true
	}
	for _, host := range h.served {
		served[host], served[wildcard(host)] = true, true
		if !certified[host] && !certified[wildcard(host)] {
			bare = append(bare, name(host))
		}
	}
	for _, host := range h.certified {
		if !served[host] {
			idle = append(idle, name(host))
		}
	}
	switch {
	case len(bare) > 0:
		return "spec.tls does not have " + join(bare) + ". Add them to the hosts of an entry there"
	case len(idle) > 0:
		return "spec.tls has hosts for which there is no rule: " + join(idle) + ". Remove them, or correct the rules"
	}
	return ""
}

// wildcard returns the entry that stands for the host and its siblings:
// *.example.com for www.example.com.
func wildcard(host string) string {
	first, parent, ok := strings.Cut(host, ".")
	if !ok || first == "*" {
		return host
	}
	return "*." + parent
}

func name(host string) string {
	if host == "" {
		return "the rule for all hosts"
	}
	return host
}

// maxNames bounds what a message names. Nobody reads on.
const maxNames = 10

func join(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	if more := len(names) - maxNames; more > 0 {
		return strings.Join(names[:maxNames], ", ") + " and " + strconv.Itoa(more) + " more"
	}
	return strings.Join(names, ", ")
}

// ports is where traffic goes to.
type ports struct {
	numbers []int64
	named   []string // the places of those that have a name instead
}

func readPorts(spec sdk.Value) (p ports) {
	p.add(spec.Get("defaultBackend"))
	for _, rule := range spec.Get("rules").Elements() {
		for _, path := range rule.Get("http", "paths").Elements() {
			p.add(path.Get("backend"))
		}
	}
	return p
}

func (p *ports) add(backend sdk.Value) {
	port := backend.Get("service", "port").Fields("number", "name")
	if port[0].Exists() {
		p.numbers = append(p.numbers, port[0].Int())
	}
	if port[1].String() != "" && len(p.named) < maxNames {
		p.named = append(p.named, port[1].Path())
	}
}

// refuses says which ports traffic may not go to, "" if it may.
func (s *Settings) refuses(ports []int64) string {
	in := func(list []uint16) func(int64) bool {
		return func(port int64) bool {
			return slices.ContainsFunc(list, func(p uint16) bool { return int64(p) == port })
		}
	}
	strange := slices.DeleteFunc(slices.Clone(ports), in(s.AllowPorts))
	if len(s.AllowPorts) > 0 && len(strange) > 0 {
		return "these ports are not on the allowed list: " + set(strange) + ". Allowed are " + list(s.AllowPorts)
	}
	denied := in(s.DenyPorts)
	ports = slices.DeleteFunc(slices.Clone(ports), func(port int64) bool { return !denied(port) })
	if len(ports) > 0 {
		return "these ports are explicitly denied: " + set(ports) + ". Send the traffic to others"
	}
	return ""
}
