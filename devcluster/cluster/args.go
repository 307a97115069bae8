package cluster

import (
	"fmt"
	"path/filepath"
)

// serviceRange is where Services get their addresses. Nothing routes to them.
const serviceRange = "10.96.0.0/16"

// auditPolicy writes down who asked for what, and what admission noted down,
// but no bodies.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

func (c *Cluster) pki(name string) string { return filepath.Join(c.dir, "pki", name) }

// etcdArgs are flags of our own: see the command etcd of devcluster.
func (c *Cluster) etcdArgs() []string {
	return []string{
		"--data=" + filepath.Join(c.dir, "etcd"),
		"--address-file=" + c.etcdAddressFile(),
		"--ca=" + c.pki("ca.crt"),
		"--cert=" + c.pki("etcd.crt"),
		"--key=" + c.pki("etcd.key"),
	}
}

func (c *Cluster) etcdAddressFile() string { return filepath.Join(c.dir, "etcd.address") }

func (c *Cluster) apiServerArgs() []string {
	args := []string{
		"--etcd-servers=https://" + c.proxy.addr(),
		"--etcd-cafile=" + c.pki("ca.crt"),
		"--etcd-certfile=" + c.pki("etcd.crt"),
		"--etcd-keyfile=" + c.pki("etcd.key"),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.port),
		// The Service "kubernetes" may not have an address of loopback.
		"--endpoint-reconciler-type=none",
		"--tls-cert-file=" + c.pki("apiserver.crt"),
		"--tls-private-key-file=" + c.pki("apiserver.key"),
		"--client-ca-file=" + c.pki("ca.crt"),
		"--service-account-key-file=" + c.pki("service-account.pub"),
		"--service-account-signing-key-file=" + c.pki("service-account.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=Node,RBAC",
		"--allow-privileged=true",
	}
	if c.opts.AuditLog != "" {
		args = append(args, "--audit-log-path="+c.opts.AuditLog, "--audit-policy-file="+c.auditPolicyFile())
	}
	return append(args, c.opts.APIServerArgs...)
}

func (c *Cluster) auditPolicyFile() string {
	if c.opts.AuditPolicy != "" {
		return c.opts.AuditPolicy
	}
	return filepath.Join(c.dir, "audit-policy.yaml")
}

func (c *Cluster) controllerManagerArgs() []string {
	kubeconfig := filepath.Join(c.dir, "pki", "controller-manager.kubeconfig")
	args := []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--secure-port=0",
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + c.pki("service-account.key"),
		"--root-ca-file=" + c.pki("ca.crt"),
		"--cluster-signing-cert-file=" + c.pki("ca.crt"),
		"--cluster-signing-key-file=" + c.pki("ca.key"),
		"--service-cluster-ip-range=" + serviceRange,
		// What was deleted is to be gone soon: tests wait for it.
		"--kube-api-qps=300",
		"--kube-api-burst=600",
		// There are no nodes and no disks.
		"--controllers=*,-node-ipam-controller,-node-lifecycle-controller,-taint-eviction-controller," +
			"-device-taint-eviction-controller,-persistentvolume-binder-controller,-persistentvolume-attach-detach-controller," +
			"-persistentvolume-expander-controller,-persistentvolume-protection-controller,-ephemeral-volume-controller",
	}
	return append(args, c.opts.ControllerManagerArgs...)
}
