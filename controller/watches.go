package controller

import (
	"context"
	"time"

	"golang.org/x/time/rate"
	appsv1 "k8s.io/api/apps/v1"
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
	"github.com/warder-dev/warder/manifest"
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

// serverDeployed names the policy server of a Deployment.
func serverDeployed(o client.Object) string { return o.GetLabels()[manifest.LabelPolicyServer] }

// available says whether the Service of a policy server leads to a replica.
func available(d *appsv1.Deployment) bool { return d.Status.AvailableReplicas > 0 }

// podsReplaced are the changes of Deployments after which other pods are there, or
// the first or none is available.
func podsReplaced() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(u event.UpdateEvent) bool {
		a, ok := u.ObjectOld.(*appsv1.Deployment)
		b, also := u.ObjectNew.(*appsv1.Deployment)
		return !ok || !also || available(a) != available(b) ||
			a.Status.Replicas != b.Status.Replicas || a.Status.UpdatedReplicas != b.Status.UpdatedReplicas ||
			!equality.Semantic.DeepEqual(a.Status.TerminatingReplicas, b.Status.TerminatingReplicas)
	}}
}

// loopOptions are those of a loop that handles so many names at a time. What
// fails is tried again soon, then ever less often, at last every minute.
func loopOptions(atOnce int) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: atOnce,
		// A round takes seconds at most. One that hangs shall not hold up its policy
		// server for ever.
		ReconciliationTimeout: 2 * time.Minute,
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
