package engine

import (
	"context"

	"github.com/warder-dev/warder/policy"
)

// Check loads a policy that is no group as Load does, and lets go of it: nothing
// serves it, and what it may read of the cluster is not watched. The error is a
// *LoadError.
func (e *Engine) Check(ctx context.Context, p policy.Policy) error {
	ent := newEntry(p, "")
	w := e.fetches.want(Answering(p).Modules())
	defer w.leave()
	if err := e.compileModule(ctx, ent, w); err != nil {
		return err
	}
	ent.release()
	return nil
}
