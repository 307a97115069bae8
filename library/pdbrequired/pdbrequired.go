// Package pdbrequired is the built-in policy pdb-required: it wants workloads of
// several replicas to have a PodDisruptionBudget.
package pdbrequired

import (
	"context"
	"errors"
	"fmt"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/library/internal/selector"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of pdb-required.
type Settings struct {
	// MinReplicas is from how many replicas on there must be a budget. Default 2:
	// one for a single replica would let no node be drained.
	MinReplicas int64 `json:"minReplicas"`
}

// Validate reports a number that is none.
func (s *Settings) Validate() error {
	if s.MinReplicas == 0 {
		s.MinReplicas = 2
	}
	if s.MinReplicas < 0 {
		return fmt.Errorf("minReplicas: want 1 or more, have %d", s.MinReplicas)
	}
	return nil
}

// Policy returns the policy pdb-required. It lists the PodDisruptionBudgets of
// the request's namespace, so budgets come first.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	var failed error
	verdict, err := check.Kinds(req, []string{"Deployment", "StatefulSet"}, func(object sdk.Value) string {
		spec := object.Get("spec")
		labels := selector.Labels(spec.Get("template", "metadata"))
		replicas := int64(1)
		if field := spec.Get("replicas"); field.Exists() {
			replicas = field.Int()
		}
		if leaving := object.Get("metadata", "deletionTimestamp"); leaving.Exists() || replicas < s.MinReplicas || object.Err() != nil {
			return ""
		}
		var found bool
		if found, failed = hasBudget(ctx, req.Namespace, labels); found || failed != nil {
			return ""
		}
		return fmt.Sprintf("There is no PodDisruptionBudget for the %d replicas: when nodes are drained all of them may go at once. "+
			"Make one first, with a selector for the labels of spec.template", replicas)
	})
	if failed != nil {
		return sdk.Verdict{}, failed
	}
	return verdict, err
}

// hasBudget reports whether a PodDisruptionBudget selects the labels.
func hasBudget(ctx context.Context, namespace string, labels map[string]string) (bool, error) {
	if namespace == "" {
		return false, errors.New("the request has no namespace")
	}
	answer, err := sdk.ListResources(ctx, sdk.ListQuery{APIVersion: "policy/v1", Kind: "PodDisruptionBudget", Namespace: namespace})
	if err != nil {
		return false, err
	}
	list, found := sdk.View(answer), false
	for _, budget := range list.Get("items").Elements() {
		// Without a selector a budget is for no pod.
		if s := budget.Get("spec", "selector"); s.Exists() && selector.Matches(s, labels) {
			found = true
		}
	}
	if err := list.Err(); err != nil {
		return false, fmt.Errorf("the list of PodDisruptionBudgets: %w", err)
	}
	return found, nil
}
