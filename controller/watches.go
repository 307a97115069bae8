package controller

import (
	"context"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/warder-dev/warder/api/v1alpha1"
)

// mapped makes requests for the policy server that an object is about.
func mapped(server func(client.Object) string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return request(server(o))
	})
}

// exceptHeartbeats leaves out the changes of replicas that say nothing but that
// they live.
func exceptHeartbeats() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(u event.UpdateEvent) bool {
		a, ok := u.ObjectOld.(*v1alpha1.PolicyServerReplica)
		b, also := u.ObjectNew.(*v1alpha1.PolicyServerReplica)
		if !ok || !also {
			return true
		}
		x, y := a.Status, b.Status
		x.RenewTime, y.RenewTime = metav1.MicroTime{}, metav1.MicroTime{}
		return !equality.Semantic.DeepEqual(x, y) || a.Spec != b.Spec
	}}
}

// loopOptions are those of a loop that handles so many names at a time. What
// fails is tried again soon, then ever less often, at last every minute.
func loopOptions(atOnce int) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: atOnce,
		RateLimiter: workqueue.NewTypedMaxOfRateLimiter(
			workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](20*time.Millisecond, time.Minute),
			&workqueue.TypedBucketRateLimiter[reconcile.Request]{Limiter: rate.NewLimiter(50, 200)},
		),
	}
}

// once is a source of requests that are there from the beginning.
func once(requests []reconcile.Request) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		for _, r := range requests {
			queue.Add(r)
		}
		return nil
	})
}
