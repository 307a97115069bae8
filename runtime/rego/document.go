package rego

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/warder-dev/warder/sdk"
)

// Kind names a kind that a policy may see.
type Kind struct{ APIVersion, Kind string }

// Inventory is what there is in the cluster. It is safe for concurrent use.
type Inventory interface {
	// Inventory returns the objects of a kind as a List in JSON, and the plural
	// of the kind. Two lists of the same revision are equal; revision 0 may be
	// any.
	Inventory(ctx context.Context, apiVersion, kind string) (plural string, list json.RawMessage, revision uint64, err error)
}

// input is the input document for a request.
func (f Flavour) input(req *sdk.Request, settings json.RawMessage) ([]byte, error) {
	size := len(req.Object) + len(req.OldObject) + len(req.Options) + len(req.Raw) + len(settings) + 1024
	input := make([]byte, 0, size)
	if f == OPA {
		input = req.AppendJSON(append(input, `{"request":`...))
		return append(input, '}'), nil
	}
	if req.Raw != nil {
		return nil, errors.New("Gatekeeper does not support raw validation requests") //nolint:staticcheck // upstream's text
	}
	input = append(append(input, `{"parameters":`...), settings...)
	input = req.AppendJSON(append(input, `,"review":`...))
	return append(input, '}'), nil
}

// listing is the objects of one kind.
type listing struct {
	Kind
	plural   string
	list     json.RawMessage
	revision uint64
}

// errNoInventory is what a policy that wants to see the cluster is told where
// there is none.
var errNoInventory = errors.New("cannot build Rego context aware data: callback channel is not set")

// gather asks for all objects that the policy may see.
func (p *Program) gather(ctx context.Context) ([]listing, error) {
	if p.opts.Inventory == nil {
		return nil, errNoInventory
	}
	all := make([]listing, 0, len(p.opts.Kinds))
	for _, k := range p.opts.Kinds {
		plural, list, revision, err := p.opts.Inventory.Inventory(ctx, k.APIVersion, k.Kind)
		if err != nil {
			return nil, err
		}
		all = append(all, listing{k, plural, list, revision})
	}
	return all, nil
}

// sameRevisions reports whether two inventories are known to be equal.
func sameRevisions(a, b []listing) bool {
	return slices.EqualFunc(a, b, func(a, b listing) bool {
		return a.revision == b.revision && a.revision != 0 && a.plural == b.plural
	})
}

// resource is an object of the cluster.
type resource struct {
	apiVersion, kind, namespace, name string
	text                              json.RawMessage
}

func (l listing) objects() ([]resource, error) {
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal(l.list, &list); err != nil {
		return nil, fmt.Errorf("inventory of %s %s: %w", l.APIVersion, l.Kind.Kind, err)
	}
	all := make([]resource, 0, len(list.Items))
	for i, text := range list.Items {
		var head struct {
			APIVersion string
			Kind       string
			Metadata   struct{ Name, Namespace string }
		}
		if err := json.Unmarshal(text, &head); err != nil {
			return nil, fmt.Errorf("inventory of %s %s: item %d: %w", l.APIVersion, l.Kind.Kind, i, err)
		}
		if head.Metadata.Name == "" {
			return nil, fmt.Errorf("inventory of %s %s: item %d has no name", l.APIVersion, l.Kind.Kind, i)
		}
		if head.APIVersion == "" {
			head.APIVersion, head.Kind = l.APIVersion, l.Kind.Kind
		}
		all = append(all, resource{head.APIVersion, head.Kind, head.Metadata.Namespace, head.Metadata.Name, text})
	}
	return all, nil
}

// tree is a JSON object whose leaves are objects of the cluster. A value is a
// tree or a json.RawMessage.
type tree map[string]any

// put puts a value at the end of a path.
func (t tree) put(value json.RawMessage, path ...string) {
	for _, name := range path[:len(path)-1] {
		inner, ok := t[name].(tree)
		if !ok {
			inner = tree{}
			t[name] = inner
		}
		t = inner
	}
	t[path[len(path)-1]] = value
}

// data is the data document of a policy that sees the cluster: the settings, or
// nothing, and what there is.
func (p *Program) data(inventory []listing) ([]byte, error) {
	if p.opts.Flavour == Gatekeeper {
		return gatekeeperData(inventory)
	}
	cluster, err := opaInventory(inventory)
	if err != nil {
		return nil, err
	}
	document := map[string]any{}
	for name, value := range p.settings {
		document[name] = value
	}
	document["kubernetes"] = cluster
	return json.Marshal(document)
}

// opaInventory is <plural>.<namespace>.<name> for objects in namespaces, and
// <plural>.<name> for others. Two kinds with one plural share it.
func opaInventory(inventory []listing) (tree, error) {
	all, namespaced := tree{}, map[string]bool{}
	for _, l := range inventory {
		objects, err := l.objects()
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			inNamespace, known := namespaced[l.plural]
			switch is := o.namespace != ""; {
			case !known:
				namespaced[l.plural] = is
			case is && !inNamespace:
				return nil, errors.New("trying to add a namespaced resource to a list of clusterwide resources")
			case !is && inNamespace:
				return nil, errors.New("trying to add a clusterwide resource to a list of namespaced resources")
			}
			if o.namespace == "" {
				all.put(o.text, l.plural, o.name)
			} else {
				all.put(o.text, l.plural, o.namespace, o.name)
			}
		}
	}
	return all, nil
}

// gatekeeperData is inventory.cluster.<apiVersion>.<kind>.<name> and
// inventory.namespace.<namespace>.<apiVersion>.<kind>.<name>.
func gatekeeperData(inventory []listing) ([]byte, error) {
	all := tree{"cluster": tree{}, "namespace": tree{}}
	for _, l := range inventory {
		objects, err := l.objects()
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if o.namespace == "" {
				all.put(o.text, "cluster", o.apiVersion, o.kind, o.name)
			} else {
				all.put(o.text, "namespace", o.namespace, o.apiVersion, o.kind, o.name)
			}
		}
	}
	return json.Marshal(tree{"inventory": all})
}

// members splits settings, which are an object.
func members(settings json.RawMessage) (map[string]json.RawMessage, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(settings, &all); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return all, nil
}
