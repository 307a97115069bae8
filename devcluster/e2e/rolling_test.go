package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/warder-dev/warder/devcluster/cluster"
	"github.com/warder-dev/warder/devcluster/stage"
)

const serverPods = "policy-server-default"

// serving waits until the policy server has that many pods, all ready, none of
// which is about to end or one of the others.
func serving(s *stage.Stage, want int, others ...string) {
	s.T.Helper()
	s.Eventually(func() string {
		pods := s.Pods(serverPods)
		for _, p := range pods {
			status := p.Status.ContainerStatuses
			if p.DeletionTimestamp != nil || len(status) == 0 || !status[0].Ready || slices.Contains(others, p.Name) {
				return fmt.Sprintf("pod %s is not ready, or is to go", p.Name)
			}
		}
		if len(pods) != want {
			return fmt.Sprintf("%d pods, want %d", len(pods), want)
		}
		return ""
	})
}

// lasting are the names of the pods that are ready, and not about to end.
func lasting(s *stage.Stage) []string {
	s.T.Helper()
	var all []string
	for _, p := range s.Pods(serverPods) {
		if status := p.Status.ContainerStatuses; p.DeletionTimestamp == nil && len(status) > 0 && status[0].Ready {
			all = append(all, p.Name)
		}
	}
	return all
}

func TestPodsOfAPolicyServerComeAndGo(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "--policy-server-replicas=2")
	s.Ready(s.Apply(capOf("no-privileged", "builtin://pod-privileged", "")))
	serving(s, 2)
	judges(s, "no-privileged")

	l := startLoad(s, stage.Pod("p", stage.Privileged))
	l.more(s, loadRate/4)
	for range 5 {
		name := lasting(s)[0]
		if err := s.Client.CoreV1().Pods(stage.Namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		s.Eventually(func() string { // its successor; the old one ends meanwhile
			if now := lasting(s); len(now) != 2 || slices.Contains(now, name) {
				return fmt.Sprintf("ready are %q, want two without %s", now, name)
			}
			return ""
		})
	}
	serving(s, 2) // the last one that was deleted has ended
	allRefused(t, l.stop(t, "5 pods deleted in turn"))

	l = startLoad(s, stage.Pod("p", stage.Privileged))
	var old []string
	for _, p := range s.Pods(serverPods) {
		old = append(old, p.Name)
	}
	patch := []byte(`{"spec": {"env": [{"name": "KUBEWARDEN_LOG_LEVEL", "value": "warn"}]}}`)
	if _, err := s.Dynamic.Resource(resource("policyservers")).Patch(t.Context(), "default", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	serving(s, 2, old...)
	setReplicas(s, "default", 3)
	serving(s, 3)
	setReplicas(s, "default", 1)
	serving(s, 1)
	allRefused(t, l.stop(t, "a rollout, three replicas, one"))
	setReplicas(s, "default", 2)
	serving(s, 2)

	l = startLoad(s, stage.Pod("p", stage.Privileged))
	l.more(s, loadRate/4)
	killed := time.Now()
	if err := s.Node.Kill(stage.Namespace, s.Pods(serverPods)[0].Name); err != nil {
		t.Fatal(err)
	}
	l.more(s, loadRate)
	serving(s, 2)
	l.more(s, loadRate/4)
	failed, last := 0, killed
	for _, one := range l.stop(t, "kill -9 of one of two") {
		switch {
		case one.err == nil:
			t.Errorf("let through %s after the kill", one.began.Sub(killed))
		case one.failed():
			failed++
			if one.ended.After(last) {
				last = one.ended
			}
		}
	}
	t.Logf("kill -9 of one of two replicas: %d requests failed, the last one %s after the kill", failed, last.Sub(killed).Round(time.Millisecond))
	t.Logf("all is well after %s", judges(s, "no-privileged"))
}

// balancer sends connections to the backends that are ready, in turn.
type balancer struct {
	listener net.Listener
	mu       sync.Mutex
	next     int
	backends []*backend
	open     sync.WaitGroup
}

// backend is a "warder serve" that is started again and again on its ports.
type backend struct {
	api, probes string
	process     *process
}

func newBalancer(t *testing.T) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l}
	ctx, cancel := context.WithCancel(context.Background())
	b.open.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			b.open.Go(func() { b.carry(ctx, client) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); cancel(); b.open.Wait() })
	return b
}

// ready says whether the backend's probe does.
func (b *backend) ready() bool {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + b.probes + "/readiness")
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // its status is what counts
	return resp.StatusCode == http.StatusOK
}

// carry connects a client with a backend that is ready.
func (b *balancer) carry(ctx context.Context, client net.Conn) {
	defer func() { _ = client.Close() }() // one way or the other
	b.mu.Lock()
	all := slices.Concat(b.backends[b.next%len(b.backends):], b.backends[:b.next%len(b.backends)])
	b.next++
	b.mu.Unlock()
	for _, to := range all {
		if !to.ready() {
			continue
		}
		server, err := net.Dial("tcp", to.api)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })
		var both sync.WaitGroup
		both.Go(func() {
			_, _ = io.Copy(server, client)
			_ = server.(*net.TCPConn).CloseWrite()
		})
		_, _ = io.Copy(client, server) // an end is an end
		_, _ = client.Close(), server.Close()
		both.Wait()
		stop()
		return
	}
}

// serve starts the backend, and returns when it is ready.
func (b *backend) serve(s *stage.Stage, dir string) {
	s.T.Helper()
	binary, err := cluster.Find("warder")
	if err != nil {
		s.T.Fatal(err)
	}
	_, api, _ := net.SplitHostPort(b.api)
	_, probes, _ := net.SplitHostPort(b.probes)
	cmd := exec.Command(binary, "serve", "--policy-server", "default", "--report-namespace", stage.Namespace,
		"--addr", "127.0.0.1", "--port", api, "--readiness-probe-port", probes, "--drain", "1s",
		"--cert-file", filepath.Join(dir, "tls.crt"), "--key-file", filepath.Join(dir, "tls.key"))
	p := &process{cmd: cmd, done: make(chan error, 1), log: &logged{}}
	cmd.Stderr = p.log
	cmd.Env = append(os.Environ(), "POD_NAME=serve-"+api, "KUBECONFIG="+s.Cluster.Kubeconfig())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.T.Fatal(err)
	}
	go func() { p.done <- cmd.Wait() }()
	b.process = p
	s.T.Cleanup(func() {
		p.stop(os.Kill)
		if s.T.Failed() {
			text := p.log.String()
			s.T.Logf("serve on %s, its end:\n%s", b.api, text[max(0, len(text)-4000):])
		}
	})
	s.Eventually(func() string {
		if !b.ready() {
			return "the server on " + b.api + " is not ready:\n" + p.log.String()
		}
		return ""
	})
}

func TestServersBehindABalancer(t *testing.T) {
	t.Parallel()
	s := stage.Bare(t, cluster.Options{})
	b := newBalancer(t)
	s.Warder("install")
	setReplicas(s, "warder-controller", 0)
	noPods(s, "warder-controller")
	p := &plane{T: t, cluster: s.Cluster, kube: s.Client, dynamic: s.Dynamic}
	p.startController("--policy-server-url", "default=https://"+b.listener.Addr().String())
	// No pods: the servers are the test's.
	setReplicas(s, "default", 0)
	dir := t.TempDir()
	s.Eventually(func() string {
		secret, err := s.Client.CoreV1().Secrets(stage.Namespace).Get(t.Context(), "policy-server-default", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for _, name := range []string{"tls.crt", "tls.key"} {
			if err := os.WriteFile(filepath.Join(dir, name), secret.Data[name], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")); err != nil {
			return err.Error()
		}
		return ""
	})
	noPods(s, serverPods)
	for range 2 {
		var ports []string
		for range 2 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ports = append(ports, l.Addr().String())
			_ = l.Close()
		}
		b.backends = append(b.backends, &backend{api: ports[0], probes: ports[1]})
	}
	for _, one := range b.backends {
		one.serve(s, dir)
	}
	s.Ready(s.Apply(capOf("no-privileged", "builtin://pod-privileged", "")))
	judges(s, "no-privileged")
	l := startLoad(s, stage.Pod("p", stage.Privileged))
	for i := range 6 {
		one := b.backends[i%2]
		l.more(s, loadRate/4)
		_ = one.process.cmd.Process.Signal(syscall.SIGTERM)
		err := <-one.process.done
		one.process.done <- err
		if err != nil || strings.Contains(one.process.log.String(), "panic") {
			t.Errorf("round %d: the server ended with %v:\n%s", i, err, one.process.log)
		}
		one.serve(s, dir)
	}
	l.more(s, loadRate/4)
	allRefused(t, l.stop(t, "two servers behind a balancer, ended and started in turn, 6 times"))
}
