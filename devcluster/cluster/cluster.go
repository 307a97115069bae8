// Package cluster runs a Kubernetes control plane on this machine: etcd, a
// kube-apiserver and a kube-controller-manager, each as a process of its own,
// which is the devcluster binary under another name. TLS and RBAC are on. There
// is no kubelet and no scheduler: pods stay Pending.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Part names a component.
type Part string

// The components, in the order in which they start.
const (
	Etcd              Part = "etcd"
	APIServer         Part = "kube-apiserver"
	ControllerManager Part = "kube-controller-manager"
)

// Options are what a cluster is made of. Only Dir has no default.
type Options struct {
	// Dir keeps everything: data, keys, logs. It is made if need be. A second
	// cluster on it finds what the first one left: the same data, the same
	// certificates, the same port.
	Dir string

	// Binary is the devcluster binary. Default: FindBinary.
	Binary string

	// Port is where the API server listens, on 127.0.0.1. Default: that of
	// the last time, or else one that is free.
	Port int

	// AuditLog is a file to which the API server writes its audit events, one
	// JSON object a line. Default: none.
	AuditLog string

	// AuditPolicy is the file of an audit policy. Default: every request, with
	// its annotations but without bodies.
	AuditPolicy string

	// WithoutControllerManager leaves it out. Then nobody makes the "default"
	// ServiceAccounts, without which no pod can be created, and nobody
	// collects garbage or finishes the deletion of namespaces.
	WithoutControllerManager bool

	// APIServerArgs and ControllerManagerArgs are appended to the flags. Of a
	// flag that is there twice the last one counts, or both do.
	APIServerArgs         []string
	ControllerManagerArgs []string
}

// Cluster is a control plane that runs. It ends with Stop, or with this process,
// however that ends. Safe for concurrent use.
type Cluster struct {
	opts  Options
	dir   string // absolute
	port  int
	lock  *os.File
	ca    *authority
	proxy *proxy
	ended chan error // the first component that ended by itself

	changing  sync.Mutex // held while a part starts or stops
	mu        sync.Mutex
	processes map[Part]*process
}

// Start starts a cluster, and returns when the API server is ready and, with a
// controller manager, when pods can be created in the namespace "default".
// ctx bounds the start alone.
//
// The error is *InUseError when a cluster runs on the folder already, and
// *EndedError when a component gave up.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil || opts.Dir == "" {
		return nil, errors.Join(errors.New("cluster: Options.Dir: no folder to keep the state in"), err)
	}
	if opts.Binary == "" {
		if opts.Binary, err = FindBinary(); err != nil {
			return nil, err
		}
	}
	c := &Cluster{opts: opts, dir: dir, ended: make(chan error, 1), processes: map[Part]*process{}}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cluster: %w", err), c.Stop(context.WithoutCancel(ctx)))
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	// Keys are in it: it is for its owner alone.
	if err := os.MkdirAll(filepath.Join(c.dir, "pki"), 0o700); err != nil {
		return err
	}
	var err error
	if c.lock, err = lock(ctx, c.dir); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	if c.proxy, err = newProxy(); err != nil {
		return err
	}
	for _, part := range c.parts() {
		if err := c.StartPart(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// prepare writes the files that the components read.
func (c *Cluster) prepare() error {
	var err error
	if c.port, err = c.choosePort(); err != nil {
		return err
	}
	if c.ca, err = loadAuthority(filepath.Join(c.dir, "pki")); err != nil {
		return err
	}
	if err := c.issueFiles(); err != nil {
		return err
	}
	return writeFile(filepath.Join(c.dir, "audit-policy.yaml"), []byte(auditPolicy))
}

func (c *Cluster) parts() []Part {
	if c.opts.WithoutControllerManager {
		return []Part{Etcd, APIServer}
	}
	return []Part{Etcd, APIServer, ControllerManager}
}

// Stop ends all components, the last one first, and returns when they are gone.
// The data stays. ctx bounds how long they are asked; then they are killed.
func (c *Cluster) Stop(ctx context.Context) error {
	var errs []error
	for _, part := range []Part{ControllerManager, APIServer, Etcd} {
		errs = append(errs, c.StopPart(ctx, part))
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.proxy != nil {
		errs = append(errs, c.proxy.close())
		c.proxy = nil
	}
	if c.lock != nil {
		errs = append(errs, removeState(c.dir), c.lock.Close())
		c.lock = nil
	}
	return errors.Join(errs...)
}

// StartPart starts a component that was stopped or killed, and returns when it
// is ready. For one that runs it does nothing.
func (c *Cluster) StartPart(ctx context.Context, part Part) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.lock == nil {
		return fmt.Errorf("%s: the cluster was stopped", part)
	}
	if c.running(part) != nil {
		return nil
	}
	cmd := command{binary: c.opts.Binary, part: part, dir: c.dir}
	var ready func(context.Context) error
	switch part {
	case Etcd:
		if err := os.Remove(c.etcdAddressFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		cmd.args, ready = c.etcdArgs(), c.etcdReady
	case APIServer:
		if err := c.waitForPort(ctx); err != nil {
			return err
		}
		cmd.args, ready = c.apiServerArgs(), c.apiServerReady
	case ControllerManager:
		cmd.args, ready = c.controllerManagerArgs(), c.controllersReady
	default:
		return fmt.Errorf("no component is called %q", part)
	}
	p, err := cmd.start()
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.processes[part] = p
	c.mu.Unlock()
	if err := c.await(ctx, p, ready); err != nil {
		return errors.Join(err, p.kill())
	}
	go c.watch(p)
	return c.writeState()
}

// running is the process of a part, or nil.
func (c *Cluster) running(part Part) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.processes[part]
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	default:
		return p
	}
}

// watch notes when a process ends that should not.
func (c *Cluster) watch(p *process) {
	<-p.done
	if p.expected.Load() {
		return
	}
	select {
	case c.ended <- p.ended():
	default: // one is enough to know that all is over
	}
}

// Ended receives an *EndedError when a component ends that nobody stopped or
// killed by way of this Cluster.
func (c *Cluster) Ended() <-chan error { return c.ended }

// StopPart ends one component in order, and returns when it is gone. Of one
// that does not run it makes nothing.
func (c *Cluster) StopPart(ctx context.Context, part Part) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	if p := c.running(part); p != nil {
		return p.stop(ctx)
	}
	return nil
}

// KillPart ends one component as kill -9 does, and returns when it is gone.
func (c *Cluster) KillPart(part Part) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	if p := c.running(part); p != nil {
		return p.kill()
	}
	return nil
}

// RestartAPIServer stops the API server and starts it again, on the same port
// and with the same data. It returns when it is ready.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	if err := c.StopPart(ctx, APIServer); err != nil {
		return err
	}
	return c.StartPart(ctx, APIServer)
}

// SlowEtcd makes each request of the API server to etcd take longer by delay;
// 0 ends that. With 10s and more the API server takes its connections for dead.
func (c *Cluster) SlowEtcd(delay time.Duration) {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.proxy != nil {
		c.proxy.delay.Store(int64(delay))
	}
}

// Dir is the folder of the cluster. Each component logs there, to a file that is
// called as the Part, with ".log".
func (c *Cluster) Dir() string { return c.dir }

// URL is where the API server listens: https://127.0.0.1:PORT.
func (c *Cluster) URL() string { return fmt.Sprintf("https://127.0.0.1:%d", c.port) }

// CA is the certificate that the API server's own, and those of its clients,
// are signed with, in PEM.
func (c *Cluster) CA() []byte { return c.ca.pem }

// Kubeconfig is the path of a kubeconfig for the user "admin", whom nothing is
// forbidden.
func (c *Cluster) Kubeconfig() string { return KubeconfigPath(c.dir) }

// Config is what the kubeconfig says. It limits no rates.
func (c *Cluster) Config() (*rest.Config, error) { return ReadConfig(c.dir) }
