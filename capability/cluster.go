package capability

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"github.com/warder-dev/warder/sdk"
)

const (
	// requestTimeout bounds one request to the API server that is no list and
	// no watch. Source: the largest timeoutSeconds of a webhook.
	requestTimeout = 30 * time.Second

	// freshFor is how long an object or an access review is answered from
	// memory. Source: Kubewarden's host capabilities reference.
	freshFor = 5 * time.Second

	// answerFor is how long an assembled list stays that nobody asks for.
	answerFor = 10 * time.Minute
)

// ClusterOptions say how much of a cluster is kept, and for how long.
type ClusterOptions struct {
	// Log gets what goes wrong between calls. Default none.
	Log *slog.Logger

	// AnswerBytes bounds the assembled lists that are kept beside the objects
	// themselves. Default 32 MiB.
	AnswerBytes int

	// ObjectBytes bounds each of the answers of get_resource and of can_i that
	// are kept for five seconds. Default 8 MiB.
	ObjectBytes int

	// Idle is how long a kind is watched that no policy declares, after the
	// last call that asked for it. Default 10m.
	Idle time.Duration

	// MaxAge is how long lists are answered from what is known while the watch
	// of the kind does not work. Default 5m.
	MaxAge time.Duration
}

// Cluster is what policies know of the Kubernetes cluster: one client, one watch
// for each kind however many ask, and what was answered lately. It is safe for
// concurrent use.
type Cluster struct {
	options   ClusterOptions
	log       *slog.Logger
	client    *rest.RESTClient
	discovery *discovery
	objects   *cache // by kind, name and namespace
	reviews   *cache // by the review
	answers   *cache // assembled lists, by query
	revision  atomic.Uint64
	backoff   wait.Backoff

	running context.Context
	stop    context.CancelFunc
	mu      sync.Mutex
	kinds   map[Resource]*kindWatch
}

// NewCluster returns the cluster that config leads to, with the privileges of
// its user. It does not contact the API server. Close ends what it starts.
func NewCluster(config *rest.Config, options ClusterOptions) (*Cluster, error) {
	if config == nil {
		return nil, errors.New("cluster: no client configuration")
	}
	if err := options.complete(); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c := rest.CopyConfig(config)
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"}) // Status, for errors
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	c.Timeout = 0 // a watch has none
	if c.QPS == 0 && c.RateLimiter == nil {
		c.QPS = -1 // the API server has its own limits, and a call its deadline
	}
	if c.UserAgent == "" {
		c.UserAgent = "warder"
	}
	if c.WarningHandler == nil && c.WarningHandlerWithContext == nil {
		c.WarningHandlerWithContext = rest.NoWarnings{} // else they go to the process's stderr
	}
	client, err := rest.UnversionedRESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	cluster := &Cluster{
		options: options, log: options.Log, client: client, discovery: newDiscovery(client),
		objects: newCache(options.ObjectBytes, freshFor), reviews: newCache(options.ObjectBytes, freshFor),
		answers: newCache(options.AnswerBytes, answerFor),
		// Source: client-go's own, which is the reference's too.
		backoff: wait.Backoff{Duration: 800 * time.Millisecond, Factor: 2, Jitter: 1, Steps: 38, Cap: 30 * time.Second},
		kinds:   map[Resource]*kindWatch{},
	}
	cluster.running, cluster.stop = context.WithCancel(context.Background())
	go cluster.dropIdle()
	return cluster, nil
}

// complete sets what is left out.
func (o *ClusterOptions) complete() error {
	var errs []error
	for name, negative := range map[string]bool{
		"AnswerBytes": o.AnswerBytes < 0, "ObjectBytes": o.ObjectBytes < 0, "Idle": o.Idle < 0, "MaxAge": o.MaxAge < 0,
	} {
		if negative {
			errs = append(errs, fmt.Errorf("%s is negative", name))
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.AnswerBytes = orElse(o.AnswerBytes, 32<<20)
	o.ObjectBytes = orElse(o.ObjectBytes, 8<<20)
	o.Idle = orElse(o.Idle, 10*time.Minute)
	o.MaxAge = orElse(o.MaxAge, 5*time.Minute)
	return errors.Join(errs...)
}

// orElse returns n, and otherwise when it is zero.
func orElse[N int | time.Duration](n, otherwise N) N {
	if n == 0 {
		return otherwise
	}
	return n
}

// Close ends every watch. Calls that come later are answered with an error.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop()
	c.kinds = map[Resource]*kindWatch{}
}

// Watch starts to watch kinds that a policy declares, so that its first call
// need not wait, and returns at once. The kinds are kept until release is
// called, once.
func (c *Cluster) Watch(resources []Resource) (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var declared []*kindWatch
	for _, r := range resources {
		if w := c.watchOf(r); w != nil {
			w.declared++
			declared = append(declared, w)
		}
	}
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, w := range declared {
			w.declared--
			w.used = time.Now()
		}
	})
}

// watchOf returns the watch of a kind, which it starts when there is none; nil
// after Close.
func (c *Cluster) watchOf(r Resource) *kindWatch {
	if w, ok := c.kinds[r]; ok || c.running.Err() != nil {
		return w
	}
	ctx, stop := context.WithCancel(c.running)
	w := &kindWatch{
		cluster: c, resource: r, stop: stop, used: time.Now(), news: make(chan struct{}),
		store: newStore(func() uint64 { return c.revision.Add(1) }),
	}
	c.kinds[r] = w
	go w.run(ctx)
	return w
}

// use returns the watch of a kind, which is not dropped until done is called.
func (c *Cluster) use(r Resource) (w *kindWatch, done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w = c.watchOf(r); w == nil {
		return nil, nil, errors.New("the client of the cluster is closed")
	}
	w.users++
	return w, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		w.users--
		w.used = time.Now()
	}, nil
}

// dropIdle drops what nobody wants, now and then.
func (c *Cluster) dropIdle() {
	ticks := time.NewTicker(max(c.options.Idle/4, time.Second))
	defer ticks.Stop()
	for {
		select {
		case <-c.running.Done():
			return
		case now := <-ticks.C:
			c.drop(now)
		}
	}
}

// drop drops the watches that nobody has wanted for long.
func (c *Cluster) drop(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r, w := range c.kinds {
		if w.users == 0 && w.declared == 0 && now.Sub(w.used) > c.options.Idle {
			w.stop()
			delete(c.kinds, r)
			c.log.Info("watch dropped: nobody asks for the kind", "resource", r.String(), "idle", now.Sub(w.used))
		}
	}
}

// list answers a query, and says which revision of the kind the answer is of.
// The answer is shared: nobody may change it.
func (c *Cluster) list(ctx context.Context, q listQuery) (answer []byte, revision uint64, err error) {
	api, err := c.discovery.find(ctx, q.resource)
	if err != nil {
		return nil, 0, err
	}
	if !q.everywhere && !api.namespaced {
		return nil, 0, fmt.Errorf("resource %s is cluster wide. Cannot search for it inside of a namespace", q.resource)
	}
	w, done, err := c.use(q.resource)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	if err := w.wait(ctx); err != nil {
		return nil, 0, err
	}
	at := w.store.at()
	isOf := func(answer []byte) bool { return binary.BigEndian.Uint64(answer) == at }
	answer, err = c.answers.getIf(ctx, q.key(), isOf, func(context.Context) ([]byte, error) { return w.assemble(q) })
	if err != nil {
		return nil, 0, err
	}
	return answer[revisionBytes:], binary.BigEndian.Uint64(answer), nil
}

// objectQuery asks for one object.
type objectQuery struct {
	resource  Resource
	name      string
	namespace *string
	fresh     bool // past the cache
}

// get answers with one object as the API server has it.
func (c *Cluster) get(ctx context.Context, q objectQuery) ([]byte, error) {
	api, err := c.discovery.find(ctx, q.resource)
	if err != nil {
		return nil, err
	}
	namespace, shown := "", "None"
	if q.namespace != nil {
		namespace, shown = *q.namespace, fmt.Sprintf("Some(%q)", *q.namespace)
	}
	if api.namespaced && namespace == "" {
		return nil, fmt.Errorf("Resource %s is namespaced, but no namespace was provided", q.resource)
	}
	load := func(ctx context.Context) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		raw, err := raw(api.request(c.client.Get()).NamespaceIfScoped(namespace, api.namespaced).Name(q.name).Do(ctx))
		switch {
		case apierrors.IsNotFound(err):
			return nil, fmt.Errorf("Cannot find %s named '%s' inside of namespace '%s'", q.resource, q.name, shown) //nolint:staticcheck // upstream's text
		case err != nil:
			return nil, explain("get", q.resource, api, err)
		}
		if err := checkObject(raw); err != nil {
			return nil, fmt.Errorf("get %s: the API server's answer: %w", q.resource, err)
		}
		return raw, nil
	}
	if q.fresh {
		return load(ctx)
	}
	return c.objects.get(ctx, fmt.Sprintf("%q%q%q%q", q.resource.APIVersion, q.resource.Kind, q.name, namespace), load)
}

// raw returns the body of an answer, or the error that is in it.
func raw(result rest.Result) ([]byte, error) {
	if err := result.Error(); err != nil {
		return nil, err
	}
	return result.Raw()
}

// checkObject says why text is no JSON object.
func checkObject(text []byte) error {
	if err := sdk.Check(text); err != nil {
		return err
	}
	if i := skipRawSpace(text, 0); text[i] != '{' {
		return errors.New("want an object")
	}
	return nil
}

// review asks the API server who may do what. The spec is encoded.
func (c *Cluster) review(ctx context.Context, spec json.RawMessage, fresh bool) ([]byte, error) {
	load := func(ctx context.Context) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		body := fmt.Appendf(nil, `{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","metadata":{},"spec":%s}`, spec)
		raw, err := raw(c.client.Post().AbsPath("/apis/authorization.k8s.io/v1/subjectaccessreviews").
			SetHeader("Content-Type", runtime.ContentTypeJSON).Body(body).Do(ctx))
		if err != nil {
			api := apiResource{GroupVersionResource: schema.GroupVersionResource{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}}
			return nil, explain("create", Resource{"authorization.k8s.io/v1", "SubjectAccessReview"}, api, err)
		}
		var answer struct{ Status *accessStatus }
		if err := json.Unmarshal(raw, &answer); err != nil {
			return nil, fmt.Errorf("SubjectAccessReview: %w", err)
		}
		if answer.Status == nil {
			return nil, errors.New("SubjectAccessReview did not return a response")
		}
		return json.Marshal(answer.Status)
	}
	if fresh {
		return load(ctx)
	}
	return c.reviews.get(ctx, string(spec), load)
}

// accessStatus is the status of a SubjectAccessReview.
type accessStatus struct {
	Allowed         bool   `json:"allowed"`
	Denied          bool   `json:"denied,omitempty"`
	Reason          string `json:"reason,omitempty"`
	EvaluationError string `json:"evaluationError,omitempty"`
}
