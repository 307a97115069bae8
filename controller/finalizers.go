package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	v1 "github.com/warder-dev/warder/api/v1"
)

// addFinalizer keeps an object until its webhooks are gone.
func addFinalizer(ctx context.Context, c client.Client, o client.Object) error {
	if controllerutil.ContainsFinalizer(o, v1.Finalizer) {
		return nil
	}
	base := o.DeepCopyObject().(client.Object)
	controllerutil.AddFinalizer(o, v1.Finalizer)
	return patchFinalizers(ctx, c, o, base)
}

// removeFinalizers lets an object go, as far as it is up to us.
func removeFinalizers(ctx context.Context, c client.Client, o client.Object) error {
	base := o.DeepCopyObject().(client.Object)
	one, other := controllerutil.RemoveFinalizer(o, v1.Finalizer), controllerutil.RemoveFinalizer(o, v1.LegacyFinalizer)
	if !one && !other {
		return nil
	}
	return patchFinalizers(ctx, c, o, base)
}

// patchFinalizers writes the list. The patch has all of it, so it must be about
// the version that we know: others have finalizers too.
func patchFinalizers(ctx context.Context, c client.Client, o, base client.Object) error {
	err := c.Patch(ctx, o, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	if err := client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("finalizers of %s %q: %w", o.GetNamespace(), o.GetName(), err)
	}
	return nil
}

// manyAtOnce bounds the writes of one round that are under way together.
const manyAtOnce = 16

// each does something for all items, several at a time, and returns what went
// wrong with any of them: one does not keep the others from being done.
func each[T any](ctx context.Context, items []T, do func(context.Context, T) error) error {
	var (
		group errgroup.Group
		mu    sync.Mutex
		errs  []error
	)
	group.SetLimit(manyAtOnce)
	for _, item := range items {
		group.Go(func() error {
			if err := do(ctx, item); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
			return nil
		})
	}
	_ = group.Wait() // they return nothing
	return errors.Join(errs...)
}

// memory keeps something for each name. Safe for concurrent use; what it keeps is
// not.
type memory[T any] struct {
	mu  sync.Mutex
	all map[string]T
}

// of returns what is kept for the name, made if need be.
func (m *memory[T]) of(name string, make_ func() T) T {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[string]T{}
	}
	kept, ok := m.all[name]
	if !ok {
		kept = make_()
		m.all[name] = kept
	}
	return kept
}

func (m *memory[T]) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, name)
}
