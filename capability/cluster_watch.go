package capability

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	kubecache "k8s.io/client-go/tools/cache"
)

// pageSize is how many objects are listed at once where the API server does not
// stream its lists. Source: the reference's, and kubectl's.
const pageSize = 500

// kindWatch keeps all objects of one kind, for everybody who asks.
type kindWatch struct {
	cluster  *Cluster
	resource Resource
	store    *store
	stop     context.CancelFunc

	users, declared int       // under the cluster's lock, as is
	used            time.Time // when the last user left

	mu      sync.Mutex
	failure error         // of the last attempt, nil when it works
	since   time.Time     // when it began to fail
	news    chan struct{} // closed when failure changes
}

// run watches until ctx is done.
func (w *kindWatch) run(ctx context.Context) {
	ctx = logr.NewContext(ctx, logr.Discard()) // we log what is worth it
	again := w.cluster.backoff.DelayFunc()
	for {
		api, err := w.cluster.discovery.find(ctx, w.resource)
		if err == nil {
			w.watch(ctx, api)
		} else {
			w.failed(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(again()):
		}
	}
}

// watch keeps the store up to date until ctx is done or the kind has gone.
func (w *kindWatch) watch(ctx context.Context, api apiResource) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	source := &kubecache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			p, err := w.list(ctx, api, o)
			if apierrors.IsNotFound(err) {
				w.cluster.discovery.forget(w.resource)
				cancel()
			}
			return p, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return w.open(ctx, api, o)
		},
	}
	logger, backoff := logr.Discard(), w.cluster.backoff
	r := kubecache.NewReflectorWithOptions(source, &object{}, w.store, kubecache.ReflectorOptions{
		Name: w.resource.String(), Logger: &logger, Backoff: &backoff,
	})
	r.WatchListPageSize = pageSize
	r.RunWithContext(ctx)
}

// list fetches one page.
func (w *kindWatch) list(ctx context.Context, api apiResource, o metav1.ListOptions) (*page, error) {
	if o.ResourceVersion == "0" {
		o.ResourceVersion = "" // the most recent, and in pages
	}
	body, err := w.cluster.request(api, o).Stream(ctx)
	var p *page
	if err == nil {
		p, err = readPage(body, newObjectParser(w.resource))
		body.Close()
	}
	if err != nil {
		w.failed(explain("list", w.resource, api, err))
		return nil, err
	}
	w.works()
	return p, nil
}

// open starts a watch.
func (w *kindWatch) open(ctx context.Context, api apiResource, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	body, err := w.cluster.request(api, o).Stream(ctx)
	if err != nil {
		// A list that the API server does not stream is asked for in pages.
		if o.SendInitialEvents == nil || !isAnswer(err) {
			w.failed(explain("watch", w.resource, api, err))
		}
		return nil, err
	}
	w.works()
	events := newEventStream(body, newObjectParser(w.resource))
	return watch.NewStreamWatcherWithLogger(logr.Discard(), events, brokenEvent{w.cluster.log, w.resource}), nil
}

// request asks for the objects of a resource in all namespaces.
func (c *Cluster) request(api apiResource, o metav1.ListOptions) *rest.Request {
	return api.request(c.client.Get()).SpecificallyVersionedParams(&o, metav1.ParameterCodec, schema.GroupVersion{Version: "v1"})
}

// isAnswer says whether it is the API server that has refused.
func isAnswer(err error) bool {
	reason := apierrors.ReasonForError(err)
	return reason != metav1.StatusReasonUnknown && reason != metav1.StatusReasonTooManyRequests
}

// isFinal says whether an error stays until somebody changes something.
func isFinal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err)
}

// explain adds to an error of the API server what was asked of it, and who is
// not allowed to.
func explain(verb string, r Resource, api apiResource, err error) error {
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return fmt.Errorf("%s %s: the ServiceAccount of this server needs the verb %q on %s: %w", verb, r, verb, api.GroupResource(), err)
	}
	return fmt.Errorf("%s %s: %w", verb, r, err)
}

// failed notes that the watch does not work, and why.
func (w *kindWatch) failed(err error) {
	if errors.Is(err, context.Canceled) {
		return // it was stopped
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.failure == nil:
		w.since = time.Now()
		fallthrough
	case w.failure.Error() != err.Error():
		w.cluster.log.Warn("watch does not work; what is known is served meanwhile", "resource", w.resource.String(), "error", err)
	}
	w.failure = err
	close(w.news)
	w.news = make(chan struct{})
}

// works notes that the watch works again.
func (w *kindWatch) works() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure != nil {
		w.cluster.log.Info("watch works again", "resource", w.resource.String(), "after", time.Since(w.since))
		w.failure = nil
	}
}

// state returns since when and why the watch does not work, and what is closed
// when that changes.
func (w *kindWatch) state() (since time.Time, news <-chan struct{}, failure error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since, w.news, w.failure
}

// wait waits for the first list. It does not wait for what will not come by
// itself, and says why when ctx is done before.
func (w *kindWatch) wait(ctx context.Context) error {
	for {
		since, news, failure := w.state()
		select {
		case <-w.store.synced:
			if age := time.Since(since); failure != nil && age > w.cluster.options.MaxAge {
				return fmt.Errorf("what is known of %s is %s old: %w", w.resource, age.Round(time.Second), failure)
			}
			return nil
		default:
		}
		if failure != nil && isFinal(failure) {
			return failure
		}
		select {
		case <-w.store.synced:
		case <-news:
		case <-ctx.Done():
			if _, _, failure = w.state(); failure != nil {
				return fmt.Errorf("%w, waiting for the first list of %s: %w", ctx.Err(), w.resource, failure)
			}
			return fmt.Errorf("%w, waiting for the first list of %s", ctx.Err(), w.resource)
		}
	}
}

// assemble returns the List of what a query selects, after eight bytes that say
// which revision it is of.
func (w *kindWatch) assemble(q listQuery) ([]byte, error) {
	f, err := q.filter()
	if err != nil {
		return nil, err
	}
	objects, revision, err := w.store.find(f)
	if err != nil {
		return nil, err
	}
	head := appendJSON([]byte(`{"apiVersion":`), q.resource.APIVersion)
	head = appendJSON(append(head, `,"kind":`...), q.resource.Kind+"List")
	head = append(head, `,"metadata":{},"items":[`...)
	m := newMask(q.masks)
	size := revisionBytes + len(head) + len("]}")
	if m == nil {
		for _, o := range objects {
			size += len(o.text) + 1
		}
	}
	answer := binary.BigEndian.AppendUint64(make([]byte, 0, size), revision)
	answer = append(answer, head...)
	for i, o := range objects {
		if i > 0 {
			answer = append(answer, ',')
		}
		answer = m.appendTo(answer, o.text)
	}
	return append(answer, "]}"...), nil
}

// revisionBytes is the length of the revision before an assembled answer.
const revisionBytes = 8
