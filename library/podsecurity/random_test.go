//go:build !wasip1

package podsecurity_test

import (
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// pool is where the fields of random pods come from.
type pool struct{ *rand.Rand }

// rarely is true one time in n, so that not every pod breaks every rule.
func (r *pool) rarely(n int) bool { return r.IntN(n) == 0 }

// one of the values; bad ones rarely.
func one[T any](r *pool, good, bad []T) T {
	if len(good) == 0 || r.rarely(12) {
		return bad[r.IntN(len(bad))]
	}
	return good[r.IntN(len(good))]
}

// perhaps is nil half of the time.
func perhaps[T any](r *pool, good, bad []T) *T {
	if r.rarely(2) {
		return nil
	}
	v := one(r, good, bad)
	return &v
}

func (r *pool) pod() *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	if r.rarely(3) {
		pod.Annotations = r.annotations()
	}
	s := &pod.Spec
	s.HostNetwork, s.HostPID, s.HostIPC = r.rarely(30), r.rarely(30), r.rarely(30)
	s.HostUsers = perhaps(r, []bool{true}, []bool{false})
	if r.rarely(3) {
		s.HostUsers = new(bool)
	}
	if r.rarely(3) {
		s.OS = &corev1.PodOS{Name: one(r, []corev1.OSName{corev1.Linux, corev1.Windows}, []corev1.OSName{"", "Windows"})}
	}
	// Half of the pods set out to be restricted, or few would be.
	good := r.rarely(2)
	if good || r.rarely(2) {
		s.SecurityContext = r.podContext(good)
	}
	for range r.IntN(3) {
		s.InitContainers = append(s.InitContainers, r.container("init", good))
	}
	for range 1 + r.IntN(2) {
		s.Containers = append(s.Containers, r.container("main", good))
	}
	if r.rarely(4) {
		c := r.container("debug", good)
		s.EphemeralContainers = append(s.EphemeralContainers, corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: c.Name, Ports: c.Ports, LivenessProbe: c.LivenessProbe, Lifecycle: c.Lifecycle, SecurityContext: c.SecurityContext,
			},
		})
	}
	for range r.IntN(3) {
		s.Volumes = append(s.Volumes, corev1.Volume{Name: "v", VolumeSource: r.volume()})
	}
	return pod
}

func (r *pool) annotations() map[string]string {
	profiles := func() string {
		return one(r, []string{"runtime/default", "localhost/x", "docker/default"}, []string{"", "unconfined", "localhost", "Runtime/default"})
	}
	all := map[string]string{"team": "a"}
	for _, name := range []string{
		"container.apparmor.security.beta.kubernetes.io/main", "container.apparmor.security.beta.kubernetes.io/gone",
		"container.apparmor.security.beta.kubernetes.io/", "container.seccomp.security.alpha.kubernetes.io/main",
		"container.seccomp.security.alpha.kubernetes.io/gone", "container.seccomp.security.alpha.kubernetes.io/init",
		"seccomp.security.alpha.kubernetes.io/pod", "seccomp.security.alpha.kubernetes.io/pods",
	} {
		if r.rarely(5) {
			all[name] = profiles()
		}
	}
	return all
}

func (r *pool) podContext(good bool) *corev1.PodSecurityContext {
	c := &corev1.PodSecurityContext{
		AppArmorProfile: r.appArmor(), SeccompProfile: r.seccomp(), SELinuxOptions: r.seLinux(), WindowsOptions: r.windows(),
		RunAsNonRoot: perhaps(r, []bool{true}, []bool{false}),
		RunAsUser:    perhaps(r, []int64{1000}, []int64{0, -1}),
	}
	if good {
		yes := true
		c.RunAsNonRoot = &yes
		c.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	}
	for range r.IntN(3) {
		c.Sysctls = append(c.Sysctls, corev1.Sysctl{Name: one(r, []string{
			"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
			"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
			"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
			"net.ipv4.tcp_wmem", "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat",
		}, []string{"kernel.msgmax", "", "net.ipv4/tcp_rmem", "net.core.somaxconn"})})
	}
	return c
}

func (r *pool) container(name string, good bool) corev1.Container {
	c := corev1.Container{Name: name, Image: one(r, []string{"registry.example.com/a"}, []string{"other.example.com/b"})}
	for range r.IntN(2) {
		c.Ports = append(c.Ports, corev1.ContainerPort{ContainerPort: 80, HostPort: one(r, []int32{0}, []int32{80, 65535})})
	}
	c.LivenessProbe, c.ReadinessProbe, c.StartupProbe = r.probe(), r.probe(), r.probe()
	if r.rarely(4) {
		c.Lifecycle = &corev1.Lifecycle{PostStart: r.handler(), PreStop: r.handler()}
	}
	if good || r.rarely(2) {
		c.SecurityContext = r.context(good)
	}
	return c
}

func (r *pool) context(good bool) *corev1.SecurityContext {
	c := &corev1.SecurityContext{
		AppArmorProfile: r.appArmor(), SELinuxOptions: r.seLinux(), WindowsOptions: r.windows(),
		AllowPrivilegeEscalation: perhaps(r, []bool{false}, []bool{true}),
		Privileged:               perhaps(r, []bool{false}, []bool{true}),
		ProcMount:                perhaps(r, []corev1.ProcMountType{"Default"}, []corev1.ProcMountType{"Unmasked", "", "default"}),
		RunAsNonRoot:             perhaps(r, []bool{true}, []bool{false}),
		RunAsUser:                perhaps(r, []int64{1, 65534}, []int64{0}),
		SeccompProfile:           r.seccomp(),
	}
	if r.rarely(2) {
		c.Capabilities = &corev1.Capabilities{}
		for range r.IntN(3) {
			c.Capabilities.Add = append(c.Capabilities.Add, one(r, []corev1.Capability{
				"NET_BIND_SERVICE", "NET_BIND_SERVICE", "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
				"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
			}, []corev1.Capability{"NET_RAW", "SYS_ADMIN", "ALL", "", "CAP_CHOWN", "chown"}))
		}
		for range r.IntN(3) {
			c.Capabilities.Drop = append(c.Capabilities.Drop, one(r, []corev1.Capability{"ALL"}, []corev1.Capability{"all", "CAP_ALL", "KILL"}))
		}
	}
	if good {
		no := false
		c.AllowPrivilegeEscalation = &no
		if c.Capabilities == nil {
			c.Capabilities = &corev1.Capabilities{}
		}
		c.Capabilities.Drop = append(c.Capabilities.Drop, "ALL")
	}
	return c
}

func (r *pool) appArmor() *corev1.AppArmorProfile {
	if !r.rarely(4) {
		return nil
	}
	return &corev1.AppArmorProfile{Type: one(r, []corev1.AppArmorProfileType{"RuntimeDefault", "Localhost"}, []corev1.AppArmorProfileType{"Unconfined", ""})}
}

func (r *pool) seccomp() *corev1.SeccompProfile {
	if !r.rarely(4) {
		return nil
	}
	return &corev1.SeccompProfile{Type: one(r, []corev1.SeccompProfileType{"RuntimeDefault", "Localhost"}, []corev1.SeccompProfileType{"Unconfined", "", "localhost"})}
}

func (r *pool) seLinux() *corev1.SELinuxOptions {
	if !r.rarely(4) {
		return nil
	}
	return &corev1.SELinuxOptions{
		Type: one(r, []string{"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}, []string{"spc_t", "Container_t"}),
		User: one(r, []string{""}, []string{"root"}), Role: one(r, []string{""}, []string{"sysadm_r"}),
		Level: one(r, []string{"", "s0"}, []string{"s0:c1"}),
	}
}

func (r *pool) windows() *corev1.WindowsSecurityContextOptions {
	if !r.rarely(4) {
		return nil
	}
	return &corev1.WindowsSecurityContextOptions{HostProcess: perhaps(r, []bool{false}, []bool{true})}
}

func (r *pool) probe() *corev1.Probe {
	if !r.rarely(3) {
		return nil
	}
	h := r.handler()
	if h == nil {
		return &corev1.Probe{}
	}
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: h.HTTPGet, TCPSocket: h.TCPSocket, Exec: h.Exec}}
}

func (r *pool) handler() *corev1.LifecycleHandler {
	host := one(r, []string{""}, []string{"127.0.0.1", "example.com"})
	switch r.IntN(4) {
	case 0:
		return &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Host: host, Port: intstr.FromInt32(80)}}
	case 1:
		return &corev1.LifecycleHandler{TCPSocket: &corev1.TCPSocketAction{Host: host, Port: intstr.FromInt32(80)}}
	case 2:
		return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{}}
	}
	return nil
}

func (r *pool) volume() corev1.VolumeSource {
	good := []corev1.VolumeSource{
		{ConfigMap: &corev1.ConfigMapVolumeSource{}}, {CSI: &corev1.CSIVolumeSource{}}, {DownwardAPI: &corev1.DownwardAPIVolumeSource{}},
		{EmptyDir: &corev1.EmptyDirVolumeSource{}}, {Ephemeral: &corev1.EphemeralVolumeSource{}}, {Image: &corev1.ImageVolumeSource{}},
		{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}, {Projected: &corev1.ProjectedVolumeSource{}},
		{Secret: &corev1.SecretVolumeSource{}},
	}
	return one(r, good, []corev1.VolumeSource{
		{}, {HostPath: &corev1.HostPathVolumeSource{Path: "/etc"}}, {HostPath: &corev1.HostPathVolumeSource{}}, {NFS: &corev1.NFSVolumeSource{}},
		{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{}}, {AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{}},
		{GitRepo: &corev1.GitRepoVolumeSource{}}, {ISCSI: &corev1.ISCSIVolumeSource{}}, {Glusterfs: &corev1.GlusterfsVolumeSource{}},
		{RBD: &corev1.RBDVolumeSource{}}, {FlexVolume: &corev1.FlexVolumeSource{}}, {Cinder: &corev1.CinderVolumeSource{}},
		{CephFS: &corev1.CephFSVolumeSource{}}, {Flocker: &corev1.FlockerVolumeSource{}}, {FC: &corev1.FCVolumeSource{}},
		{AzureFile: &corev1.AzureFileVolumeSource{}}, {AzureDisk: &corev1.AzureDiskVolumeSource{}}, {Quobyte: &corev1.QuobyteVolumeSource{}},
		{VsphereVolume: &corev1.VsphereVirtualDiskVolumeSource{}}, {PortworxVolume: &corev1.PortworxVolumeSource{}},
		{PhotonPersistentDisk: &corev1.PhotonPersistentDiskVolumeSource{}}, {ScaleIO: &corev1.ScaleIOVolumeSource{}},
		{StorageOS: &corev1.StorageOSVolumeSource{}},
		{HostPath: &corev1.HostPathVolumeSource{Path: "/etc"}, Secret: &corev1.SecretVolumeSource{}}, // of two types
	})
}
