package stage

import (
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Inventory is every object of the cluster, as "resource.group namespace/name",
// with its finalizers behind. Events are not in it: the cluster forgets them by
// itself.
func (s *Stage) Inventory() []string {
	s.T.Helper()
	groups, err := discovery.NewDiscoveryClientForConfigOrDie(s.Admin).ServerPreferredResources()
	if err != nil {
		s.T.Fatal(err)
	}
	var all []string
	for _, g := range groups {
		gv, err := schema.ParseGroupVersion(g.GroupVersion)
		if err != nil {
			s.T.Fatal(err)
		}
		for _, r := range g.APIResources {
			if !slices.Contains(r.Verbs, "list") || r.Name == "events" || r.Name == "componentstatuses" {
				continue
			}
			found, err := s.Dynamic.Resource(gv.WithResource(r.Name)).List(s.T.Context(), metav1.ListOptions{})
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) { // the kind has just gone
				continue
			}
			if err != nil {
				s.T.Fatalf("%s: %v", r.Name, err)
			}
			for _, o := range found.Items {
				all = append(all, fmt.Sprintf("%s %s/%s %v", gv.WithResource(r.Name).GroupResource(), o.GetNamespace(), o.GetName(), o.GetFinalizers()))
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
