// Package pdbhpareplicas is the built-in policy pdb-hpa-replicas: it refuses
// PodDisruptionBudgets that want as many pods as a HorizontalPodAutoscaler may
// leave, so that no node can be drained when there is little to do.
package pdbhpareplicas

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/library/internal/check"
	"github.com/warder-dev/warder/library/internal/selector"
	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of pdb-hpa-replicas: there are none.
type Settings struct{}

// Policy returns the policy pdb-hpa-replicas. It looks at a budget, an autoscaler
// and the workload between them when any of the three comes, and reads the other
// two from the namespace of the request.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, _ *Settings, req *sdk.Request) (sdk.Verdict, error) {
	var failed error
	kinds := []string{"PodDisruptionBudget", "HorizontalPodAutoscaler", "Deployment", "StatefulSet"}
	verdict, err := check.Kinds(req, kinds, func(object sdk.Value) string {
		leaving := object.Get("metadata", "deletionTimestamp").Exists()
		n := namespace{ctx: ctx, name: req.Namespace}
		var conflict string
		switch req.Kind.Kind {
		case "PodDisruptionBudget":
			conflict, failed = n.ofBudget(budgetOf(object))
		case "HorizontalPodAutoscaler":
			conflict, failed = n.ofScaler(scalerOf(object))
		default:
			name := object.Get("metadata", "name").String()
			conflict, failed = n.ofWorkload(req.Kind.Kind, name, selector.Labels(object.Get("spec", "template", "metadata")))
		}
		if leaving {
			failed, conflict = nil, ""
		}
		if object.Err() != nil {
			failed = nil // and is what is wrong
		}
		return conflict
	})
	if failed != nil {
		return sdk.Verdict{}, failed
	}
	return verdict, err
}

// budget is what a PodDisruptionBudget says.
type budget struct {
	name, minAvailable string
	selector           sdk.Value
}

func budgetOf(v sdk.Value) budget {
	spec := v.Get("spec").Fields("minAvailable", "selector")
	return budget{v.Get("metadata", "name").String(), spec[0].Scalar(), spec[1]}
}

// pods is how many of the replicas must stay, 0 if the budget does not say. A
// part of one is a whole one, as it is for the disruption controller.
func (b budget) pods(replicas int64) int64 {
	number, percent := strings.CutSuffix(b.minAvailable, "%")
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil { // the API server refuses it
		return 0
	}
	if percent {
		return (n*replicas + 99) / 100
	}
	return n
}

// scaler is what a HorizontalPodAutoscaler says.
type scaler struct {
	name, kind, target string
	minReplicas        int64
}

func scalerOf(v sdk.Value) scaler {
	spec := v.Get("spec").Fields("minReplicas", "scaleTargetRef")
	s := scaler{v.Get("metadata", "name").String(), spec[1].Get("kind").String(), spec[1].Get("name").String(), 1}
	if spec[0].Exists() {
		s.minReplicas = spec[0].Int()
	}
	return s
}

// conflict says why the two cannot be together, "" if they can.
func conflict(b budget, s scaler) string {
	kept := b.pods(min(s.minReplicas, 1<<31-1))
	if kept <= 0 || kept < s.minReplicas {
		return ""
	}
	return fmt.Sprintf("The PodDisruptionBudget %s wants %d of the pods of the %s %s (minAvailable %s), and the HorizontalPodAutoscaler %s may leave %d "+
		"(minReplicas): then no node with such a pod can be drained. Raise minReplicas, or set maxUnavailable in place of minAvailable",
		b.name, kept, s.kind, s.target, b.minAvailable, s.name, s.minReplicas)
}

// namespace is where the other two are.
type namespace struct {
	ctx  context.Context //nolint:containedctx // of one request
	name string
}

func (n namespace) ofBudget(b budget) (string, error) {
	if b.minAvailable == "" || !b.selector.Exists() {
		return "", nil
	}
	scalers, err := n.scalers()
	if err != nil {
		return "", err
	}
	for _, s := range scalers {
		reason := conflict(b, s)
		if reason == "" {
			continue
		}
		labels, err := n.labels(s)
		if err != nil {
			return "", err
		}
		if labels != nil && selector.Matches(b.selector, labels) {
			return reason, nil
		}
	}
	return "", nil
}

func (n namespace) ofScaler(s scaler) (string, error) {
	labels, err := n.labels(s)
	if err != nil || labels == nil {
		return "", err
	}
	return n.among([]scaler{s}, labels)
}

func (n namespace) ofWorkload(kind, name string, labels map[string]string) (string, error) {
	scalers, err := n.scalers()
	if err != nil {
		return "", err
	}
	var own []scaler
	for _, s := range scalers {
		if s.kind == kind && s.target == name {
			own = append(own, s)
		}
	}
	if own == nil {
		return "", nil
	}
	return n.among(own, labels)
}

// among looks for a budget of pods with the labels that one of the scalers cannot
// be with.
func (n namespace) among(scalers []scaler, labels map[string]string) (string, error) {
	list, err := n.list("policy/v1", "PodDisruptionBudget")
	if err != nil {
		return "", err
	}
	reason := ""
	for _, item := range list.Get("items").Elements() {
		b := budgetOf(item)
		for _, s := range scalers {
			if reason == "" && b.selector.Exists() && selector.Matches(b.selector, labels) {
				reason = conflict(b, s)
			}
		}
	}
	return reason, wrap("PodDisruptionBudgets", list)
}

// labels returns the labels of the pods that a scaler makes more and less of, nil
// if it is for something else, or for nothing.
func (n namespace) labels(s scaler) (map[string]string, error) {
	if s.kind != "Deployment" && s.kind != "StatefulSet" || s.target == "" {
		return nil, nil
	}
	if n.name == "" {
		return nil, check.ErrNoNamespace
	}
	answer, err := sdk.GetResource(n.ctx, sdk.GetQuery{APIVersion: "apps/v1", Kind: s.kind, Namespace: n.name, Name: s.target})
	if err != nil {
		if n.ctx.Err() == nil && check.NotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	workload := sdk.View(answer)
	labels := selector.Labels(workload.Get("spec", "template", "metadata"))
	if err := workload.Err(); err != nil {
		return nil, fmt.Errorf("the %s %s: %w", s.kind, s.target, err)
	}
	return labels, nil
}

func (n namespace) scalers() ([]scaler, error) {
	list, err := n.list("autoscaling/v2", "HorizontalPodAutoscaler")
	if err != nil {
		return nil, err
	}
	var scalers []scaler
	for _, item := range list.Get("items").Elements() {
		scalers = append(scalers, scalerOf(item))
	}
	return scalers, wrap("HorizontalPodAutoscalers", list)
}

func (n namespace) list(apiVersion, kind string) (sdk.Value, error) {
	if n.name == "" {
		return sdk.Value{}, check.ErrNoNamespace
	}
	answer, err := sdk.ListResources(n.ctx, sdk.ListQuery{APIVersion: apiVersion, Kind: kind, Namespace: n.name})
	return sdk.View(answer), err
}

// wrap returns what is wrong with a list.
func wrap(kinds string, list sdk.Value) error {
	if err := list.Err(); err != nil {
		return fmt.Errorf("the list of %s: %w", kinds, err)
	}
	return nil
}
