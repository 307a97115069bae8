package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	v1 "github.com/warder-dev/warder/api/v1"
)

// pageSize is how many objects are listed at once where the API server does not
// stream its lists. Source: kubectl's.
const pageSize = 500

// watchBackoff is how long a watch waits that does not work: at most 10 s, for
// while it waits no policy is taken up. Fifty replicas with five watches are 25
// requests a second then.
func watchBackoff() wait.Backoff {
	return wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 6, Cap: 10 * time.Second}
}

// watches are the five watches of a replica.
type watches struct {
	replica *Replica
	epoch   int // counts how often they were started
	running sync.WaitGroup
	cancel  context.CancelFunc
}

// restart starts the watches from nothing: each begins with a list that the API
// server answers from etcd, or from what it knows to be as new. It returns what
// the keeper calls these lists.
func (w *watches) restart(ctx context.Context) (epoch int) {
	w.stop()
	w.epoch++
	ctx, w.cancel = context.WithCancel(logr.NewContext(ctx, logr.Discard())) // we log what is worth it
	for _, resource := range resources() {
		s := &source{replica: w.replica, resource: resource, log: w.replica.log.With("resource", resource), epoch: w.epoch}
		w.running.Go(func() { s.run(ctx) })
	}
	return w.epoch
}

// stop ends the watches, and waits until nothing comes from them any more.
func (w *watches) stop() {
	if w.cancel != nil {
		w.cancel()
	}
	w.running.Wait()
}

// source is one watch: it lists and watches a resource, and is the store that
// client-go puts into what comes.
type source struct {
	replica  *Replica
	resource string
	log      *slog.Logger
	epoch    int

	mu      sync.Mutex
	failure error // of the last request, nil when it works
	since   time.Time
}

func (s *source) run(ctx context.Context) {
	logger, backoff := logr.Discard(), watchBackoff()
	reflector := cache.NewReflectorWithOptions(&cache.ListWatch{
		ListWithContextFunc: s.list, WatchFuncWithContext: s.watch,
	}, newObject(s.resource), s, cache.ReflectorOptions{Name: s.resource, Logger: &logger, Backoff: &backoff})
	reflector.WatchListPageSize = pageSize
	reflector.RunWithContext(ctx)
}

// narrow leaves out other policy servers.
func (s *source) narrow(o *metav1.ListOptions) {
	if s.resource == v1.ResourcePolicyServers {
		o.FieldSelector = "metadata.name=" + s.replica.opts.PolicyServer
	}
}

func (s *source) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if o.ResourceVersion == "0" {
		o.ResourceVersion = "" // the most recent
	}
	s.narrow(&o)
	list, err := s.replica.api.list(ctx, s.resource, o)
	s.note("list", err)
	return list, err
}

func (s *source) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	s.narrow(&o)
	events, err := s.replica.api.watch(ctx, s.resource, o)
	if o.SendInitialEvents == nil || err == nil || apierrors.ReasonForError(err) == metav1.StatusReasonUnknown {
		s.note("watch", err) // else the API server does not stream lists, and is asked for pages next
	}
	return events, err
}

// note remembers whether the watch works, and logs when that changes.
func (s *source) note(verb string, err error) {
	if errors.Is(err, context.Canceled) {
		return // it was stopped
	}
	err = withoutURL(err)
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		err = fmt.Errorf("the ServiceAccount of this server needs the verb %q on %s.%s: %w", verb, s.resource, v1.GroupVersion().Group, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil && s.failure != nil:
		s.log.Info("watch works again", "after", time.Since(s.since))
	case err != nil && s.failure == nil:
		s.since = time.Now()
		fallthrough
	case err != nil && s.failure.Error() != err.Error():
		s.log.Error("watch does not work; what is loaded goes on to be served", "error", err)
	}
	s.failure = err
}

// withoutURL is an error of a request without its URL, which is another one each
// time and says nothing that is not said besides.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// Add, Update, Delete, Replace, Bookmark and Resync are called by client-go, one
// after the other, in the order of the events.

// Add takes up an object that is new.
func (s *source) Add(obj any) error { return s.Update(obj) }

// Update takes up an object that has changed.
func (s *source) Update(obj any) error {
	o, ok := obj.(v1.Object)
	if !ok {
		return fmt.Errorf("a watch of %s gets %T", s.resource, obj)
	}
	s.replica.keeper.update(s.resource, o)
	return nil
}

// Delete takes up that an object is gone.
func (s *source) Delete(obj any) error {
	o, ok := obj.(v1.Object)
	if !ok {
		return fmt.Errorf("a watch of %s gets %T", s.resource, obj)
	}
	s.replica.keeper.remove(s.resource, o)
	return nil
}

// Replace takes up a whole list: what is not in it is gone.
func (s *source) Replace(list []any, version string) error {
	objects := make([]v1.Object, 0, len(list))
	for _, obj := range list {
		o, ok := obj.(v1.Object)
		if !ok {
			return fmt.Errorf("a list of %s has %T", s.resource, obj)
		}
		objects = append(objects, o)
	}
	s.replica.keeper.replace(listed{resource: s.resource, version: version, epoch: s.epoch}, objects)
	return nil
}

// Bookmark takes up that nothing has happened until then.
func (s *source) Bookmark(version string) error {
	s.replica.keeper.observe(s.resource, version)
	return nil
}

// Resync does nothing: there is nobody to tell again.
func (s *source) Resync() error { return nil }
