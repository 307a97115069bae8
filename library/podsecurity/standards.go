package podsecurity

import (
	"slices"
	"strings"

	"github.com/warder-dev/warder/sdk"
)

// standard is one check of the Pod Security Standards.
type standard struct {
	// id is its name in k8s.io/pod-security-admission.
	id    string
	level string
	// since is the minor version that it begins with.
	since int
	// replaces is the check of the level baseline whose place it takes.
	replaces string
	// advice says what to do with the places it has found.
	advice string
	find   func(p *pod, f *findings)
}

// standards are all checks, those of baseline first, each part in the order of
// the names. Source: k8s.io/pod-security-admission v0.37.2, and
// https://kubernetes.io/docs/concepts/security/pod-security-standards/.
func standards() []standard {
	return []standard{
		{id: "appArmorProfile", level: baseline, find: appArmorProfile,
			advice: "leave it out, or name RuntimeDefault or Localhost (runtime/default or localhost/… in an annotation)"},
		{id: "capabilities_baseline", level: baseline, find: capabilitiesBaseline,
			advice: "containers may add no capability beyond those they have anyway: remove it"},
		{id: "hostNamespaces", level: baseline, find: hostNamespaces,
			advice: "the pod would share a namespace with its node: remove it or set it to false"},
		{id: "hostPathVolumes", level: baseline, find: hostPathVolumes,
			advice: "the pod would see the files of its node: use another type of volume"},
		{id: "hostPorts", level: baseline, find: hostPorts,
			advice: "the pod would take a port of its node: remove it and use a Service"},
		{id: "hostProbesAndHostLifecycle", level: baseline, since: 34, find: hostProbes,
			advice: "the kubelet would connect to another host than the pod: remove it"},
		{id: "privileged", level: baseline, find: privileged,
			advice: "the container could do what its node can do: remove it or set it to false"},
		{id: "procMount", level: baseline, find: procMountBaseline,
			advice: "the container would see the whole of /proc: remove it or set it to Default, or set hostUsers to false (from v1.35 on)"},
		{id: "seLinuxOptions", level: baseline, find: seLinuxOptions,
			advice: "remove user and role; type may be container_t, container_init_t, container_kvm_t or container_engine_t (from v1.31 on)"},
		{id: "seccompProfile_baseline", level: baseline, find: seccompBaseline,
			advice: "leave it out, or name RuntimeDefault or Localhost (runtime/default or localhost/… in an annotation)"},
		{id: "sysctls", level: baseline, find: sysctls,
			advice: "it is not one that is safe for the other pods of the node: remove it"},
		{id: "windowsHostProcess", level: baseline, find: windowsHostProcess,
			advice: "the container would be a process of its node: remove it or set it to false"},

		{id: "allowPrivilegeEscalation", level: restricted, since: 8, find: allowPrivilegeEscalation,
			advice: "set it to false in each container"},
		{id: "capabilities_restricted", level: restricted, since: 22, replaces: "capabilities_baseline", find: capabilitiesRestricted,
			advice: "containers must have ALL among capabilities.drop, and may add NET_BIND_SERVICE alone"},
		{id: "procMount_restricted", level: restricted, since: 35, replaces: "procMount", find: procMount,
			advice: "the container would see the whole of /proc: remove it or set it to Default"},
		{id: "restrictedVolumes", level: restricted, replaces: "hostPathVolumes", find: restrictedVolumes,
			advice: "use a type that shows nothing of the node and of its network: " + strings.Join(volumeTypes(), ", ")},
		{id: "runAsNonRoot", level: restricted, find: runAsNonRoot,
			advice: "set it to true for the pod or for each container, and nowhere to false, or set hostUsers to false (from v1.35 on)"},
		{id: "runAsUser", level: restricted, since: 23, find: runAsUser,
			advice: "name another user than 0, or none, or set hostUsers to false (from v1.35 on)"},
		{id: "seccompProfile_restricted", level: restricted, since: 19, replaces: "seccompProfile_baseline", find: seccompRestricted,
			advice: "set it to RuntimeDefault or Localhost for the pod or for each container, and nowhere to something else"},
	}
}

const appArmorAnnotation = "container.apparmor.security.beta.kubernetes.io/"

func appArmorProfile(p *pod, f *findings) {
	p.owners(func(o *owner) { profile(o, o.appArmor, f) })
	for name, v := range p.annotations.Members() {
		container, ok := strings.CutPrefix(name, appArmorAnnotation)
		if !ok {
			continue
		}
		if text := v.String(); text != "" && text != "runtime/default" && !strings.HasPrefix(text, "localhost/") {
			f.has(p.named(container), v, text)
		}
	}
}

// profile notes the type of a profile unless it is one that confines.
func profile(o *owner, v sdk.Value, f *findings) {
	kind := v.Get("type")
	switch {
	case !v.Exists() || kind.String() == "RuntimeDefault" || kind.String() == "Localhost":
	case kind.Exists():
		f.has(o, kind, kind.String())
	default:
		f.lacks(o, v, "type")
	}
}

// named is the container of the name, or the pod if it has none.
func (p *pod) named(container string) *owner {
	for i := range p.containers {
		if p.containers[i].name.String() == container {
			return &p.containers[i]
		}
	}
	return &p.owner
}

func capabilitiesBaseline(p *pod, f *findings) {
	added(p, f, "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
		"SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")
}

// added notes the capabilities that containers add, but for those that they may.
func added(p *pod, f *findings, allowed ...string) {
	p.each(func(c *owner) {
		add := c.capability.Get("add")
		for _, v := range add.Elements() {
			switch name := v.String(); {
			case slices.Contains(allowed, name):
			case v.Exists():
				f.has(c, v, name)
			default:
				f.has(c, add, "") // null is a capability without a name
			}
		}
	})
}

func capabilitiesRestricted(p *pod, f *findings) {
	if p.windows && f.settings.minor >= 25 {
		return // the API server takes no capabilities there
	}
	p.each(func(c *owner) {
		for _, v := range c.capability.Get("drop").Elements() {
			if v.String() == "ALL" {
				return
			}
		}
		if !f.settings.excepts(p, f.id, c, "") {
			f.places.Addf(c.value, ".securityContext.capabilities.drop has no ALL")
		}
	})
	added(p, f, "NET_BIND_SERVICE")
}

func hostNamespaces(p *pod, f *findings) {
	names := []string{"hostNetwork", "hostPID", "hostIPC"}
	for i, v := range []sdk.Value{p.hostNetwork, p.hostPID, p.hostIPC} {
		if v.Bool() {
			f.has(&p.owner, v, names[i])
		}
	}
}

func hostPathVolumes(p *pod, f *findings) {
	for _, v := range p.volumes.Elements() {
		host := v.Get("hostPath")
		if path := host.Get("path"); path.Exists() {
			f.has(&p.owner, path, path.String())
		} else if host.Exists() {
			f.lacks(&p.owner, host, "path")
		}
	}
}

func hostPorts(p *pod, f *findings) {
	p.each(func(c *owner) {
		for _, port := range c.ports.Elements() {
			if v := port.Get("hostPort"); v.Int() != 0 {
				f.has(c, v, v.Scalar())
			}
		}
	})
}

func hostProbes(p *pod, f *findings) {
	p.each(func(c *owner) {
		for _, handler := range append(c.lifecycle.Fields("postStart", "preStop"), c.probes...) {
			for _, action := range handler.Fields("httpGet", "tcpSocket") {
				if v := action.Get("host"); v.String() != "" {
					f.has(c, v, v.String())
				}
			}
		}
	})
}

func privileged(p *pod, f *findings) {
	p.each(func(c *owner) {
		if c.privileged.Bool() {
			f.has(c, c.privileged, "true")
		}
	})
}

func procMountBaseline(p *pod, f *findings) {
	if !p.relaxed(f) {
		procMount(p, f)
	}
}

// relaxed reports whether the pod has users of its own, so that some checks ask
// for less.
func (p *pod) relaxed(f *findings) bool { return p.ownUsers && f.settings.minor >= 35 }

func procMount(p *pod, f *findings) {
	p.each(func(c *owner) {
		if v := c.procMount; v.Exists() && v.String() != "Default" {
			f.has(c, v, v.String())
		}
	})
}

func seLinuxOptions(p *pod, f *findings) {
	allowed := []string{"", "container_t", "container_init_t", "container_kvm_t"}
	if f.settings.minor >= 31 {
		allowed = append(allowed, "container_engine_t")
	}
	p.owners(func(o *owner) {
		of := o.seLinux.Fields("type", "user", "role")
		if !slices.Contains(allowed, of[0].String()) {
			f.has(o, of[0], of[0].String())
		}
		for _, v := range of[1:] {
			if v.String() != "" {
				f.has(o, v, v.String())
			}
		}
	})
}

// Annotations that stood for a field before v1.19.
const (
	seccompPod       = "seccomp.security.alpha.kubernetes.io/pod"
	seccompContainer = "container.seccomp.security.alpha.kubernetes.io/"
)

func seccompBaseline(p *pod, f *findings) {
	if f.settings.minor >= 19 {
		p.owners(func(o *owner) { profile(o, o.seccomp, f) })
		return
	}
	for name, v := range p.annotations.Members() {
		o := &p.owner
		if container, ok := strings.CutPrefix(name, seccompContainer); ok {
			if o = p.named(container); o == &p.owner {
				continue
			}
		} else if name != seccompPod {
			continue
		}
		if text := v.String(); text != "runtime/default" && text != "docker/default" && !strings.HasPrefix(text, "localhost/") {
			f.has(o, v, text)
		}
	}
}

func seccompRestricted(p *pod, f *findings) {
	if p.windows && f.settings.minor >= 25 {
		return // the API server takes no profile there
	}
	p.owners(func(o *owner) { profile(o, o.seccomp, f) })
	if p.seccomp.Exists() {
		return
	}
	p.each(func(c *owner) {
		if !c.seccomp.Exists() {
			f.lacks(c, c.value, "securityContext.seccompProfile.type")
		}
	})
}

func sysctls(p *pod, f *findings) {
	for _, s := range p.sysctls.Elements() {
		v := s.Get("name")
		name := v.String()
		since, ok := map[string]int{
			"kernel.shm_rmid_forced": 0, "net.ipv4.ip_local_port_range": 0, "net.ipv4.tcp_syncookies": 0,
			"net.ipv4.ping_group_range": 0, "net.ipv4.ip_unprivileged_port_start": 0,
			"net.ipv4.ip_local_reserved_ports": 27,
			"net.ipv4.tcp_keepalive_time":      29, "net.ipv4.tcp_fin_timeout": 29,
			"net.ipv4.tcp_keepalive_intvl": 29, "net.ipv4.tcp_keepalive_probes": 29,
			"net.ipv4.tcp_rmem": 32, "net.ipv4.tcp_wmem": 32,
			"net.ipv4.tcp_slow_start_after_idle": 37, "net.ipv4.tcp_notsent_lowat": 37,
		}[name]
		switch {
		case ok && since <= f.settings.minor:
		case v.Exists():
			f.has(&p.owner, v, name)
		default:
			f.lacks(&p.owner, s, "name")
		}
	}
}

func windowsHostProcess(p *pod, f *findings) {
	p.owners(func(o *owner) {
		if v := o.windowsOptions.Get("hostProcess"); v.Bool() {
			f.has(o, v, "true")
		}
	})
}

func allowPrivilegeEscalation(p *pod, f *findings) {
	if p.windows && f.settings.minor >= 25 {
		return // the API server takes no such field there
	}
	p.each(func(c *owner) {
		switch v := c.allowPrivilegeEscalation; {
		case !v.Exists():
			f.lacks(c, c.value, "securityContext.allowPrivilegeEscalation")
		case v.Bool():
			f.has(c, v, "true")
		}
	})
}

// volumeTypes are those of the level restricted.
func volumeTypes() []string {
	return []string{"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"}
}

func restrictedVolumes(p *pod, f *findings) {
	allowed := volumeTypes()
volumes:
	for _, volume := range p.volumes.Elements() {
		kind := ""
		for name, v := range volume.Members() {
			switch {
			case name == "name" || !v.Exists():
			case slices.Contains(allowed, name):
				continue volumes
			default:
				kind = name
			}
		}
		if f.settings.excepts(p, f.id, &p.owner, kind) {
			continue
		}
		if kind == "" {
			f.places.Addf(volume, " has no type")
		} else {
			f.places.Add(volume.Get(kind))
		}
	}
}

func runAsNonRoot(p *pod, f *findings) {
	if p.relaxed(f) {
		return
	}
	p.owners(func(o *owner) {
		if v := o.runAsNonRoot; v.Exists() && !v.Bool() {
			f.has(o, v, "false")
		}
	})
	if p.runAsNonRoot.Exists() {
		return
	}
	p.each(func(c *owner) {
		if !c.runAsNonRoot.Exists() {
			f.lacks(c, c.value, "securityContext.runAsNonRoot")
		}
	})
}

func runAsUser(p *pod, f *findings) {
	if p.relaxed(f) {
		return
	}
	p.owners(func(o *owner) {
		if v := o.runAsUser; v.Exists() && v.Int() == 0 {
			f.has(o, v, "0")
		}
	})
}
