package celpolicy

import (
	"context"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/ref"

	"github.com/warder-dev/warder/sdk"
)

// kubernetesFunctions are kw.k8s:
//
//	kw.k8s.apiVersion('v1').kind('Pod').namespace('a').labelSelector('app=b').list().items
//	kw.k8s.apiVersion('v1').kind('Namespace').get('a').metadata.labels
func kubernetesFunctions() []function {
	builder, client := cel.ObjectType("kw.k8s.ClientBuilder"), cel.ObjectType("kw.k8s.Client")
	text := []*cel.Type{cel.StringType}
	// with is a function that changes one thing of the query.
	with := func(name string, change func(q *sdk.ListQuery, value string)) function {
		return function{name: name, on: client, args: text, result: client, build: func(args []ref.Val) ref.Val {
			q := as[sdk.ListQuery](args[0])
			change(&q, as[string](args[1]))
			return object{client, q}
		}}
	}
	return []function{
		{name: "kw.k8s.apiVersion", args: text, result: builder, build: func(args []ref.Val) ref.Val {
			return object{builder, as[string](args[0])}
		}},
		{name: "kind", on: builder, args: text, result: client, build: func(args []ref.Val) ref.Val {
			return object{client, sdk.ListQuery{APIVersion: as[string](args[0]), Kind: as[string](args[1])}}
		}},
		with("namespace", func(q *sdk.ListQuery, value string) { q.Namespace = value }),
		with("labelSelector", func(q *sdk.ListQuery, value string) { q.LabelSelector = value }),
		with("fieldSelector", func(q *sdk.ListQuery, value string) { q.FieldSelector = value }),
		with("fieldMask", func(q *sdk.ListQuery, value string) { q.FieldMasks = append(slices.Clip(q.FieldMasks), value) }),
		{name: "list", on: client, result: cel.DynType, ask: func(ctx context.Context, args []ref.Val) ref.Val {
			list, err := sdk.ListResources(ctx, as[sdk.ListQuery](args[0]))
			if err != nil {
				return failed("cannot list all Kubernetes resources: %w", err)
			}
			return fromJSON(list)
		}},
		{name: "get", on: client, args: text, result: cel.DynType, ask: func(ctx context.Context, args []ref.Val) ref.Val {
			q := as[sdk.ListQuery](args[0])
			found, err := sdk.GetResource(ctx, sdk.GetQuery{
				APIVersion: q.APIVersion, Kind: q.Kind, Name: as[string](args[1]), Namespace: q.Namespace, FieldMasks: q.FieldMasks,
			})
			if err != nil {
				return failed("cannot get Kubernetes resource: %w", err)
			}
			return fromJSON(found)
		}},
	}
}
