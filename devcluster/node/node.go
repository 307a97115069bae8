// Package node runs the pods of warder as processes of this machine. A dev
// cluster has no kubelet, no scheduler and no container runtime; this is as much
// of the three as warder's own pods need: volumes of Secrets and ConfigMaps, the
// environment, a token of the pod's ServiceAccount, readiness probes,
// EndpointSlices, so that the API server reaches webhooks through their
// Services, and an orderly end. Pods with other images stay Pending.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"

	"github.com/warder-dev/warder/devcluster/cluster"
)

// Name is that of the node.
const Name = "devcluster"

// Options are what a node is made of. All but Log must be set.
type Options struct {
	// Config is for the cluster, with the rights of an administrator.
	Config *rest.Config
	// Binary is warder, which is run for every container whose image is called
	// warder.
	Binary string
	// Dir keeps a folder for each pod: its volumes, and its output in "log".
	Dir string
	// Log gets what happens to pods. Default: nowhere.
	Log *slog.Logger
}

// Node runs pods until its context ends.
type Node struct {
	opts    Options
	client  *kubernetes.Clientset
	address string // where the API server is told that pods are
	dial    string // where they are

	pods     cache.SharedIndexInformer
	services cache.SharedIndexInformer

	mu   sync.Mutex
	runs map[types.UID]*pod
}

// Start registers the node and returns; its pods run until ctx ends. Wait waits
// for the end.
func Start(ctx context.Context, opts Options) (*Node, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	address, dial, err := addresses()
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	client, err := kubernetes.NewForConfig(opts.Config)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	n := &Node{opts: opts, client: client, address: address, dial: dial, runs: map[types.UID]*pod{}}
	if err := n.register(ctx); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	n.pods, n.services = factory.Core().V1().Pods().Informer(), factory.Core().V1().Services().Informer()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), n.pods.HasSynced, n.services.HasSynced) {
		return nil, errors.Join(errors.New("node: its caches did not fill"), ctx.Err())
	}
	return n, nil
}

// addresses returns an address of this machine that the endpoint of a Service
// may have, which one of loopback may not, and the same to dial. A machine that
// has no other has cluster.LoopbackAddress.
func addresses() (announced, dialed string, err error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return "", "", err
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String(), n.IP.String(), nil
		}
	}
	return cluster.LoopbackAddress, "127.0.0.1", nil
}

// register makes the node known. Without it its pods would be collected as
// garbage.
func (n *Node) register(ctx context.Context) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: Name, Labels: map[string]string{corev1.LabelHostname: Name}}}
	if _, err := n.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	// The cluster's own controllers write to it at the same time.
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		node, err := n.client.CoreV1().Nodes().Get(ctx, Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		node.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Devcluster", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		}}
		_, err = n.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	})
}

// syncEvery is how often pods, Secrets and ConfigMaps are compared with what
// runs. It bounds how late a pod starts.
const syncEvery = 200 * time.Millisecond

// Run runs pods until ctx ends; then it kills them, as a node does that is
// switched off.
func (n *Node) Run(ctx context.Context) {
	ticker := time.NewTicker(syncEvery)
	defer ticker.Stop()
	for {
		n.sync(ctx)
		select {
		case <-ctx.Done():
			for _, p := range n.runs {
				<-p.done
			}
			return
		case <-ticker.C:
		}
	}
}

// sync starts what is to run and does not, and stops what is to end.
func (n *Node) sync(ctx context.Context) {
	wanted := map[types.UID]bool{}
	for _, o := range n.pods.GetStore().List() {
		p, ok := o.(*corev1.Pod)
		if !ok || !ours(p) || p.Spec.NodeName != "" && p.Spec.NodeName != Name {
			continue
		}
		wanted[p.UID] = true
		n.mu.Lock()
		run := n.runs[p.UID]
		if run == nil {
			run = newPod(n, p)
			n.runs[p.UID] = run
			go run.run(ctx)
		}
		n.mu.Unlock()
		if p.DeletionTimestamp != nil {
			run.stop()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for uid, run := range n.runs {
		if wanted[uid] {
			continue
		}
		run.stop()
		select {
		case <-run.done:
			delete(n.runs, uid)
		default:
		}
	}
}

// ours says whether a pod is warder's: one container, whose image is called
// warder, in whatever registry.
func ours(p *corev1.Pod) bool {
	if len(p.Spec.Containers) != 1 || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return false
	}
	name, _, _ := strings.Cut(path.Base(p.Spec.Containers[0].Image), ":")
	name, _, _ = strings.Cut(name, "@")
	return name == "warder"
}

// Kill ends the process of a pod as kill -9 does. The node starts another one,
// as a kubelet would.
func (n *Node) Kill(namespace, name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.runs {
		if p.pod.Namespace == namespace && p.pod.Name == name {
			return p.kill()
		}
	}
	return fmt.Errorf("pod %s/%s: no process of it runs", namespace, name)
}

// Address is where a port of the pod's container is on this machine.
func (n *Node) Address(namespace, name string, port int32) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.runs {
		if p.pod.Namespace == namespace && p.pod.Name == name {
			return p.address(port)
		}
	}
	return "", fmt.Errorf("pod %s/%s: no process of it runs", namespace, name)
}

// PID is the process of a pod as it is now.
func (n *Node) PID(namespace, name string) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.runs {
		if p.pod.Namespace == namespace && p.pod.Name == name {
			return p.pid()
		}
	}
	return 0, fmt.Errorf("pod %s/%s: no process of it runs", namespace, name)
}

// Log is what the processes of a pod have written so far.
func (n *Node) Log(namespace, name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(n.opts.Dir, namespace+"_"+name, "log"))
}

// freePort is a port on which nobody listens. It is none of those that the kernel
// gives to connections, which could take it before the pod does.
func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	var errs []error
	for range 100 {
		port := 10000 + rand.IntN(10000)
		l, err := config.Listen(ctx, "tcp", fmt.Sprintf("0.0.0.0:%d", port))
		if err == nil {
			return port, l.Close()
		}
		errs = append(errs, err)
	}
	return 0, fmt.Errorf("no free port: %w", errors.Join(errs...))
}
