package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"
)

// pod is one pod that runs here.
type pod struct {
	node  *Node
	pod   *corev1.Pod
	dir   string
	ports map[int32]int // of the container: on this machine

	stopping chan struct{}
	stopOnce sync.Once
	done     chan struct{} // closed when the process is gone for good

	mu       sync.Mutex
	process  *exec.Cmd
	restarts int32
	ready    bool
	started  bool
}

func newPod(n *Node, p *corev1.Pod) *pod {
	return &pod{
		node: n, pod: p.DeepCopy(), dir: filepath.Join(n.opts.Dir, p.Namespace+"_"+p.Name), ports: map[int32]int{},
		stopping: make(chan struct{}), done: make(chan struct{}),
	}
}

func (p *pod) stop() { p.stopOnce.Do(func() { close(p.stopping) }) }

func (p *pod) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return fmt.Errorf("pod %s/%s: no process of it runs", p.pod.Namespace, p.pod.Name)
	}
	return p.process.Process.Kill()
}

func (p *pod) pid() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return 0, fmt.Errorf("pod %s/%s: no process of it runs", p.pod.Namespace, p.pod.Name)
	}
	return p.process.Process.Pid, nil
}

func (p *pod) address(port int32) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil { // else its ports do not change
		return "", fmt.Errorf("pod %s/%s: no process of it runs", p.pod.Namespace, p.pod.Name)
	}
	at, ok := p.ports[port]
	if !ok {
		return "", fmt.Errorf("pod %s/%s: its container has no port %d", p.pod.Namespace, p.pod.Name, port)
	}
	return net.JoinHostPort(p.node.dial, strconv.Itoa(at)), nil
}

// maxBackOff bounds how long a pod waits that ends again and again.
const maxBackOff = 5 * time.Second

// run starts the process, and again when it ends, until the pod is to stop.
func (p *pod) run(ctx context.Context) {
	defer close(p.done)
	log := p.node.opts.Log.With("pod", p.pod.Namespace+"/"+p.pod.Name)
	finished := false
	defer func() {
		if !finished {
			p.gone(ctx)
		}
	}()
	backOff := 100 * time.Millisecond
	for {
		began := time.Now()
		ran, err := p.once(ctx)
		select {
		case <-p.stopping:
			return
		case <-ctx.Done():
			return
		default:
		}
		if ran && p.pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
			finished = p.finish(ctx, err)
			return
		}
		log.Warn("process of a pod ended", "error", err)
		if time.Since(began) > 10*time.Second {
			backOff = 100 * time.Millisecond
		}
		if ran {
			p.mu.Lock()
			p.restarts++
			p.mu.Unlock()
		}
		select {
		case <-p.stopping:
			return
		case <-ctx.Done():
			return
		case <-time.After(backOff):
		}
		backOff = min(2*backOff, maxBackOff)
	}
}

// once prepares the pod, runs its process and returns when it has ended. Ran says
// that there was a process.
func (p *pod) once(ctx context.Context) (ran bool, err error) {
	if err := p.bind(ctx); err != nil {
		return false, err
	}
	cmd, err := p.command(ctx)
	if err != nil {
		return false, errors.Join(err, p.setStatus(ctx, err.Error()))
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { _ = log.Close() }() // the process has written to it, not we
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return false, err
	}
	p.mu.Lock()
	p.process, p.started, p.ready = cmd, true, false
	p.mu.Unlock()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	probing, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { p.watch(probing) })
	defer watching.Wait()
	defer cancel()
	select {
	case err = <-ended:
	case <-p.stopping:
		err = p.end(cmd, ended)
	case <-ctx.Done(): // the node is switched off
		_ = cmd.Process.Kill()
		err = <-ended
	}
	p.mu.Lock()
	p.process, p.started = nil, false
	p.mu.Unlock()
	return true, err
}

// end asks the process to end, and kills it when the pod's grace period is over.
// Its address is taken back first, as endpoints do for a pod that ends.
func (p *pod) end(cmd *exec.Cmd, ended <-chan error) error {
	grace := 30 * time.Second
	if s := p.pod.Spec.TerminationGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	_ = p.withdraw(ctx) // the cluster may be gone already
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		return <-ended
	}
}

// finish says how the pod of a Job has ended, and leaves the pod to whoever made
// it.
func (p *pod) finish(ctx context.Context, ended error) bool {
	state := corev1.ContainerStateTerminated{Reason: "Completed", FinishedAt: metav1.Now()}
	phase := corev1.PodSucceeded
	if ended != nil {
		phase, state.Reason, state.Message, state.ExitCode = corev1.PodFailed, "Error", ended.Error(), 1
	}
	_ = os.RemoveAll(filepath.Join(p.dir, "volumes"))
	pods := p.node.client.CoreV1().Pods(p.pod.Namespace)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		now, err := pods.Get(ctx, p.pod.Name, metav1.GetOptions{})
		if err != nil || now.UID != p.pod.UID {
			return err
		}
		now.Status.Phase = phase
		now.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: p.container().Name, Image: p.container().Image, State: corev1.ContainerState{Terminated: &state},
		}}
		_, err = pods.UpdateStatus(ctx, now, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		p.node.opts.Log.Warn("end of a pod not written", "pod", p.pod.Name, "error", err)
	}
	return err == nil
}

// gone tells the cluster that the pod has ended, if it was to.
func (p *pod) gone(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = p.withdraw(ctx)
	_ = os.RemoveAll(filepath.Join(p.dir, "volumes"))
	now := int64(0)
	_ = p.node.client.CoreV1().Pods(p.pod.Namespace).Delete(ctx, p.pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.pod.UID},
	})
}

// bind says that the pod runs here.
func (p *pod) bind(ctx context.Context) error {
	if p.pod.Spec.NodeName != "" {
		return nil
	}
	err := p.node.client.CoreV1().Pods(p.pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: p.pod.Name, Namespace: p.pod.Namespace, UID: p.pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: Name},
	}, metav1.CreateOptions{})
	if err == nil || apierrors.IsConflict(err) { // it was bound by us already
		p.pod.Spec.NodeName = Name
		return nil
	}
	return err
}

// watch probes the process, keeps the pod's status and addresses what they are,
// and its volumes what Secrets and ConfigMaps say.
func (p *pod) watch(ctx context.Context) {
	ticker := time.NewTicker(syncEvery)
	defer ticker.Stop()
	said := ""
	for {
		ready := p.probe(ctx)
		p.mu.Lock()
		p.ready = ready
		now := fmt.Sprint(ready, p.restarts, p.servicesKey())
		p.mu.Unlock()
		if now != said && ctx.Err() == nil {
			err := p.setStatus(ctx, "")
			if err == nil && ready {
				err = p.announce(ctx)
			} else if err == nil {
				err = p.withdraw(ctx)
			}
			if err == nil {
				said = now
			} else {
				p.node.opts.Log.Warn("status of a pod not written", "pod", p.pod.Name, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := p.writeVolumes(ctx); err != nil && ctx.Err() == nil {
			p.node.opts.Log.Warn("volumes of a pod not written", "pod", p.pod.Name, "error", err)
		}
	}
}

// probe asks the container's readiness probe, of which it knows HTTP alone. A
// container without one is ready.
func (p *pod) probe(ctx context.Context) bool {
	probe := p.container().ReadinessProbe
	if probe == nil || probe.HTTPGet == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	scheme := "http"
	if probe.HTTPGet.Scheme == corev1.URISchemeHTTPS {
		return true // certificates are not this node's business
	}
	url := fmt.Sprintf("%s://%s:%d%s", scheme, p.node.dial, p.hostPort(probe.HTTPGet.Port), probe.HTTPGet.Path)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // only its status counts
	return resp.StatusCode < http.StatusBadRequest
}

func (p *pod) container() *corev1.Container { return &p.pod.Spec.Containers[0] }

// hostPort is where the container's port is on this machine.
func (p *pod) hostPort(port intstr.IntOrString) int {
	for _, c := range p.container().Ports {
		if port.Type == intstr.String && c.Name == port.StrVal || port.Type == intstr.Int && c.ContainerPort == port.IntVal {
			return p.ports[c.ContainerPort]
		}
	}
	return port.IntValue()
}

// setStatus writes the pod's status. Trouble is why it does not run.
func (p *pod) setStatus(ctx context.Context, trouble string) error {
	p.mu.Lock()
	ready, started, restarts := p.ready, p.started, p.restarts
	p.mu.Unlock()
	pods := p.node.client.CoreV1().Pods(p.pod.Namespace)
	now, err := pods.Get(ctx, p.pod.Name, metav1.GetOptions{})
	if err != nil || now.UID != p.pod.UID {
		return err
	}
	is := corev1.ConditionFalse
	if ready {
		is = corev1.ConditionTrue
	}
	stamp := metav1.Now()
	now.Status.Phase = corev1.PodPending
	state := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: trouble}}
	if started {
		now.Status.Phase = corev1.PodRunning
		state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: stamp}}
	}
	now.Status.HostIP, now.Status.StartTime = p.node.address, &stamp
	now.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: stamp},
		{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: stamp},
		{Type: corev1.ContainersReady, Status: is, LastTransitionTime: stamp},
		{Type: corev1.PodReady, Status: is, LastTransitionTime: stamp},
	}
	now.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: p.container().Name, Image: p.container().Image, Ready: ready, Started: &started, RestartCount: restarts, State: state,
	}}
	_, err = pods.UpdateStatus(ctx, now, metav1.UpdateOptions{})
	return err
}
