package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// pollEvery is how often it is looked whether something is ready.
const pollEvery = 25 * time.Millisecond

// errNotYet is how a check says that it is to be asked again; what it wraps is
// the reason, for when time runs out.
var errNotYet = errors.New("not ready yet")

func notYet(err error) error { return fmt.Errorf("%w: %w", errNotYet, err) }

// poll asks check until it says something else than "not yet", or ctx is done.
func poll(ctx context.Context, check func(context.Context) error) error {
	for {
		err := check(ctx)
		if !errors.Is(err, errNotYet) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(pollEvery):
		}
	}
}

// await waits until the process is ready. One that ends is not waited for.
func (c *Cluster) await(ctx context.Context, p *process, ready func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.done:
			cancel(p.ended())
		case <-ctx.Done():
		}
	}()
	err := poll(ctx, ready)
	var ended *EndedError
	if err != nil && errors.As(context.Cause(ctx), &ended) {
		return ended
	}
	if err != nil {
		return fmt.Errorf("%s: %w; its log is %s", p.part, err, p.log)
	}
	return nil
}

// etcdReady tells the proxy where etcd is.
func (c *Cluster) etcdReady(context.Context) error {
	text, err := os.ReadFile(c.etcdAddressFile())
	if errors.Is(err, fs.ErrNotExist) {
		return notYet(err)
	}
	if err != nil {
		return err
	}
	address := strings.TrimSpace(string(text))
	c.proxy.target.Store(&address)
	return nil
}

func (c *Cluster) apiServerReady(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	code := 0
	body, err := client.RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&code).Raw()
	if err != nil {
		return notYet(err)
	}
	if code != http.StatusOK {
		return notYet(fmt.Errorf("/readyz: %d %s", code, body))
	}
	return nil
}

// controllersReady waits for the first thing that controllers make.
func (c *Cluster) controllersReady(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
	if err != nil {
		return notYet(err)
	}
	_, err = client.CoreV1().ConfigMaps("default").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return notYet(err)
	}
	return err
}

func (c *Cluster) client() (*kubernetes.Clientset, error) {
	cfg, err := c.Config()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(cfg)
}

// choosePort returns the port of the API server: the one that was asked for,
// that of the last time, or a free one.
func (c *Cluster) choosePort() (int, error) {
	if c.opts.Port != 0 {
		return c.opts.Port, nil
	}
	if state, err := ReadState(c.dir); err == nil && state.Port != 0 {
		return state.Port, nil
	}
	// Not the kernel's choice: it gives from the same range to everybody who
	// connects somewhere, and would give ours while the API server restarts.
	for range 100 {
		if port := 20000 + rand.IntN(10000); free(port) {
			return port, nil
		}
	}
	return 0, errors.New("a hundred ports from 20000 to 29999 were tried, and none is free")
}

func free(port int) bool {
	l, err := net.Listen("tcp", address(port))
	return err == nil && l.Close() == nil
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// waitForPort waits a little for a port that is not free: an API server whose
// devcluster was killed goes a moment later.
func (c *Cluster) waitForPort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return poll(ctx, func(context.Context) error {
		if !free(c.port) {
			return notYet(fmt.Errorf("port %d is in use; choose another one, or 0", c.port))
		}
		return nil
	})
}
