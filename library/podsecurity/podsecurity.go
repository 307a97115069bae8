// Package podsecurity is the built-in policy pod-security: the Pod Security
// Standards of Kubernetes, each level in each version.
//
// Its verdicts are those of k8s.io/pod-security-admission.
package podsecurity

import (
	"bytes"
	"context"
	"maps"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/sdk"
)

// Policy returns the policy pod-security.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	return check.Pods(req, func(spec sdk.Value) string {
		p := podOf(req, req.ViewObject(), spec)
		if req.Operation == sdk.Update && p.unchanged(req) {
			return ""
		}
		var problems strings.Builder
		for _, c := range s.checks {
			f := findings{settings: s, pod: p, id: c.id}
			c.find(p, &f)
			if f.places.Len() > 0 {
				problems.WriteString("\n- " + c.id + ": " + f.places.String() + "; " + c.advice)
			}
		}
		if problems.Len() == 0 {
			return ""
		}
		return "The Pod Security Standard " + s.Level + " v1." + strconv.Itoa(s.minor) + " is not met:" + problems.String()
	})
}

// pod is what the checks look at. As an owner it has what is said for all
// containers.
type pod struct {
	owner
	namespace    string
	annotations  sdk.Value
	runtimeClass sdk.Value
	hostNetwork  sdk.Value
	hostPID      sdk.Value
	hostIPC      sdk.Value
	volumes      sdk.Value
	containers   []owner // of all three lists
	windows      bool
	ownUsers     bool // root inside is not root outside

	looked []sdk.Value // at in the spec
}

// owner is what has a security context: a pod or a container.
type owner struct {
	value sdk.Value
	security

	// Of containers alone.
	name, image, ports, lifecycle sdk.Value
	probes                        []sdk.Value
}

// security is a security context. Some fields are of pods alone, others of
// containers.
type security struct {
	context                                        sdk.Value
	allowPrivilegeEscalation, appArmor, capability sdk.Value
	privileged, procMount, runAsNonRoot, runAsUser sdk.Value
	seLinux, seccomp, sysctls, windowsOptions      sdk.Value
}

func securityOf(v sdk.Value) security {
	f := v.Fields("allowPrivilegeEscalation", "appArmorProfile", "capabilities", "privileged", "procMount", "runAsNonRoot",
		"runAsUser", "seLinuxOptions", "seccompProfile", "sysctls", "windowsOptions")
	return security{v, f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8], f[9], f[10]}
}

// podOf reads the pod of an object, or the one that the object makes.
func podOf(req *sdk.Request, object, spec sdk.Value) *pod {
	f := spec.Fields("hostNetwork", "hostPID", "hostIPC", "hostUsers", "os", "securityContext", "runtimeClassName", "volumes",
		"initContainers", "containers", "ephemeralContainers")
	way := sdk.PodTemplatePath(req.Kind.Kind)
	metadata := append(append([]string{}, way[:len(way)-1]...), "metadata", "annotations")
	p := &pod{
		owner:       owner{value: spec, security: securityOf(f[5])},
		namespace:   req.Namespace,
		annotations: object.Get(metadata...),
		hostNetwork: f[0], hostPID: f[1], hostIPC: f[2], runtimeClass: f[6], volumes: f[7],
		ownUsers: f[3].Exists() && !f[3].Bool(),
		windows:  f[4].Get("name").String() == "windows",
		looked:   f,
	}
	for _, list := range f[8:] {
		for _, c := range list.Elements() {
			of := c.Fields("securityContext", "name", "image", "ports", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
			p.containers = append(p.containers, owner{
				value: c, security: securityOf(of[0]),
				name: of[1], image: of[2], ports: of[3], lifecycle: of[4], probes: of[5:],
			})
		}
	}
	return p
}

// unchanged reports whether an update leaves everything alone that the standards
// look at. What is there already can then be scaled, and its finalizers be taken
// away, also when it would be refused today. A text that only looks different
// counts as a change.
func (p *pod) unchanged(req *sdk.Request) bool {
	object := req.ViewOldObject()
	old := podOf(req, object, object.Get(sdk.PodTemplatePath(req.Kind.Kind)...))
	if !maps.Equal(p.profiles(), old.profiles()) {
		return false
	}
	for i, v := range p.looked {
		if !bytes.Equal(v.Raw(), old.looked[i].Raw()) {
			return false
		}
	}
	return old.value.Exists()
}

// profiles are the annotations that stand for a profile.
func (p *pod) profiles() map[string]string {
	found := map[string]string{}
	for name, v := range p.annotations.Members() {
		if strings.HasPrefix(name, appArmorAnnotation) || strings.HasPrefix(name, seccompContainer) || name == seccompPod {
			found[name] = v.String()
		}
	}
	return found
}

// owners calls f with the pod, and then with each of its containers.
func (p *pod) owners(f func(o *owner)) {
	f(&p.owner)
	p.each(f)
}

// each calls f with each container.
func (p *pod) each(f func(c *owner)) {
	for i := range p.containers {
		f(&p.containers[i])
	}
}

// findings are what one check has found.
type findings struct {
	settings *Settings
	pod      *pod
	id       string
	places   sdk.Places
}

// has notes a value that the owner has and must not have.
func (f *findings) has(o *owner, v sdk.Value, value string) {
	if !f.settings.excepts(f.pod, f.id, o, value) {
		f.places.Addf(v, " is %s", v.Raw())
	}
}

// lacks notes what is not there below v, and has to be.
func (f *findings) lacks(o *owner, v sdk.Value, field string) {
	if !f.settings.excepts(f.pod, f.id, o, "") {
		f.places.Addf(v, ".%s is not set", field)
	}
}
