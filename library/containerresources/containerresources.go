// Package containerresources is the built-in policy container-resources: it
// keeps the CPU and memory requests and limits of the containers of pods, and
// of what makes pods, within bounds, and fills in defaults. Init and ephemeral
// containers are not looked at: the first have ended when the pod does its
// work, the second cannot ask for resources.
package containerresources

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/library/internal/quantity"
	"github.com/warder-dev/warder/sdk"
)

// Policy returns the policy container-resources.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if err != nil {
		return refuse(err.Error()), nil
	}
	var patch sdk.Patch
	way := spec.Pointer() + "/containers/"
	for i, c := range spec.Get("containers").Elements() {
		if !c.Exists() || s.ignores(c.Get("image").String()) {
			continue
		}
		if reason := s.judgeContainer(container{c, way + strconv.Itoa(i)}, &patch); reason != "" {
			return refuse(reason), nil
		}
	}
	if err := spec.Err(); err != nil {
		return refuse(err.Error()), nil
	}
	return sdk.Verdict{Accepted: true, Patch: patch}, nil
}

func refuse(reason string) sdk.Verdict {
	return sdk.Verdict{Message: reason, Code: http.StatusBadRequest}
}

// container is a container and the pointer to it: finding that again for each
// change would cost a reading of the object.
type container struct {
	sdk.Value
	pointer string
}

// judgeContainer returns why the container is refused, "" if it is not, and
// adds what it lacks to the patch.
func (s *Settings) judgeContainer(c container, patch *sdk.Patch) string {
	if reason := s.presence(c); reason != "" {
		return reason
	}
	memory, reason := readResource(c, "memory", s.Memory)
	if reason != "" {
		return reason
	}
	cpu, reason := readResource(c, "cpu", s.CPU)
	if reason != "" {
		return reason
	}
	for _, r := range []*resource{memory, cpu} {
		if reason := r.judge(patch); reason != "" {
			return reason
		}
	}
	stage := ""
	if memory.limit.isDefault || cpu.limit.isDefault {
		stage = "limits"
	}
	for _, r := range []*resource{memory, cpu} {
		if r.addRequest(patch) {
			stage = "requests"
		}
	}
	if stage == "" {
		return "" // what the user wrote is the API server's to compare
	}
	for _, r := range []*resource{memory, cpu} {
		if r.limit.exists() && r.request.exists() && r.limit.Compare(r.request.Quantity) < 0 {
			return fmt.Sprintf("There is an issue after resource %s mutation\n%s limit '%s' is less than the requested '%s' value. "+
				"Please, change the resource configuration or change the policy settings to accommodate the requested value: %s",
				stage, r.name, r.limit, r.request, c.Path())
		}
	}
	return ""
}

// presence returns what the container lacks of the limits and requests whose
// values do not matter, "" if nothing.
func (s *Settings) presence(c container) string {
	cpu, memory := s.CPU.presenceOnly(), s.Memory.presenceOnly()
	resources := c.Get("resources")
	if (cpu || memory) && !resources.Exists() {
		return fmt.Sprintf("container does not have any resource limits or requests: required Cpu:%t, Memory:%t: %s",
			cpu, memory, c.Path())
	}
	for _, kind := range []string{"limit", "request"} {
		list := resources.Get(kind + "s")
		switch {
		case cpu && memory && !list.Exists():
			return fmt.Sprintf("container does not have any resource %ss: %s", kind, c.Path())
		case cpu && amountOf(list.Get("cpu")) == "":
			return fmt.Sprintf("container does not have a cpu %s: %s", kind, c.Path())
		case memory && amountOf(list.Get("memory")) == "":
			return fmt.Sprintf("container does not have a memory %s: %s", kind, c.Path())
		}
	}
	return ""
}

// amountOf returns the text of an amount, "" where there is none.
func amountOf(v sdk.Value) string { return strings.TrimSpace(v.Scalar()) }

// amount is a limit or a request of a container.
type amount struct {
	quantity.Quantity
	kind      string // "limit" or "request"
	place     sdk.Value
	isDefault bool // the policy has set it
}

func (a amount) exists() bool { return a.String() != "" }

// resource is what a container says about one resource.
type resource struct {
	name           string
	bounds         *Bounds // nil if the policy does not look at it
	container      container
	limit, request amount
}

// readResource reads what the container says. The reason says what cannot be read.
func readResource(c container, name string, bounds *Bounds) (r *resource, reason string) {
	r = &resource{name: name, bounds: bounds, container: c}
	r.limit.kind, r.request.kind = "limit", "request"
	for _, a := range []*amount{&r.limit, &r.request} {
		a.place = c.Get("resources", a.kind+"s", name)
		text := amountOf(a.place)
		if text == "" {
			continue
		}
		parsed, err := quantity.Parse(text)
		if err != nil {
			return r, fmt.Sprintf("invalid %s %s: %s: %v", name, a.kind, a.place.Path(), err)
		}
		a.Quantity = parsed
	}
	return r, ""
}

// judge compares what the container says with the bounds, and adds the default
// limit.
func (r *resource) judge(patch *sdk.Patch) string {
	if r.bounds == nil || r.bounds.presenceOnly() {
		return ""
	}
	switch {
	case !r.limit.exists() && !r.bounds.DefaultLimit.IsZero():
		r.limit.Quantity, r.limit.isDefault = r.bounds.DefaultLimit, true
		r.set(patch, "limits", r.bounds.DefaultLimit)
	case r.limit.exists():
		if reason := r.within(r.limit, r.bounds.MinLimit, r.bounds.MaxLimit); reason != "" {
			return reason
		}
	}
	if r.request.exists() {
		return r.within(r.request, r.bounds.MinRequest, r.bounds.MaxRequest)
	}
	return ""
}

// addRequest adds the default request where there is none.
func (r *resource) addRequest(patch *sdk.Patch) bool {
	if r.bounds == nil || r.request.exists() || r.bounds.DefaultRequest.IsZero() {
		return false
	}
	r.request.Quantity = r.bounds.DefaultRequest
	r.set(patch, "requests", r.bounds.DefaultRequest)
	return true
}

func (r *resource) set(patch *sdk.Patch, list string, q quantity.Quantity) {
	patch.Set(r.container.pointer+"/resources/"+list+"/"+r.name, q.String())
}

// within compares an amount with its bounds, of which zero is none.
func (r *resource) within(a amount, least, most quantity.Quantity) string {
	if !most.IsZero() && a.Compare(most) > 0 {
		return fmt.Sprintf("%s %s '%s' exceeds the max allowed value '%s': %s", r.name, a.kind, a, most, a.place.Path())
	}
	if !least.IsZero() && a.Compare(least) < 0 {
		return fmt.Sprintf("%s %s '%s' doesn't reach the min allowed value '%s': %s", r.name, a.kind, a, least, a.place.Path())
	}
	return ""
}
