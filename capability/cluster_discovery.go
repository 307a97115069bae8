package capability

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// askAgainAfter is how long the list of a group's resources is good for. A kind
// that is not in it may be there later: custom resource definitions come and go.
const askAgainAfter = 10 * time.Second

// apiResource is where the API server has the objects of a kind.
type apiResource struct {
	schema.GroupVersionResource
	namespaced bool
}

// request addresses the resource.
func (a apiResource) request(r *rest.Request) *rest.Request {
	return r.AbsPath(apiPath(a.GroupVersion())).Resource(a.Resource)
}

func apiPath(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.String()
}

// discovery knows the resources of kinds. What was found stays known.
type discovery struct {
	client *rest.RESTClient
	asked  *cache // what the API server said of a group and version

	mu    sync.RWMutex
	found map[Resource]apiResource
}

func newDiscovery(client *rest.RESTClient) *discovery {
	return &discovery{client: client, asked: newCache(4<<20, askAgainAfter), found: map[Resource]apiResource{}}
}

// find returns the resource of a kind.
func (d *discovery) find(ctx context.Context, r Resource) (apiResource, error) {
	d.mu.RLock()
	api, ok := d.found[r]
	d.mu.RUnlock()
	if ok {
		return api, nil
	}
	gv, err := groupVersion(r.APIVersion)
	if err != nil {
		return apiResource{}, err
	}
	list, err := d.asked.get(ctx, r.APIVersion, func(ctx context.Context) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		return raw(d.client.Get().AbsPath(apiPath(gv)).Do(ctx))
	})
	if err == nil {
		api, ok, err = pick(list, gv, r.Kind)
	}
	switch {
	case err != nil:
		return apiResource{}, fmt.Errorf("error finding resource %s / %s: %w", r.APIVersion, r.Kind, err)
	case !ok:
		return apiResource{}, fmt.Errorf("Cannot find resource %s/%s", r.APIVersion, r.Kind) //nolint:staticcheck // upstream's text
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found[r] = api
	return api, nil
}

// forget makes find ask again for a kind that has turned out not to be there.
func (d *discovery) forget(r Resource) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.found, r)
	d.asked.forget(r.APIVersion)
}

// groupVersion splits an apiVersion, which becomes a part of a path.
func groupVersion(apiVersion string) (schema.GroupVersion, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	bad := err != nil || gv.Version == "" || len(rest.IsValidPathSegmentName(gv.Version)) > 0 || len(rest.IsValidPathSegmentName(gv.Group)) > 0
	if bad || gv.Group == "" && strings.Contains(apiVersion, "/") {
		return schema.GroupVersion{}, fmt.Errorf("cannot determine group and version for %s", apiVersion)
	}
	return gv, nil
}

// pick returns the first resource of a kind in an APIResourceList. What has a
// "/" in its name is a subresource, which cannot be listed.
func pick(raw []byte, gv schema.GroupVersion, kind string) (apiResource, bool, error) {
	var list struct {
		Resources []struct {
			Name, Kind string
			Namespaced bool
		}
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return apiResource{}, false, err
	}
	for _, r := range list.Resources {
		if r.Kind == kind && r.Name != "" && !strings.Contains(r.Name, "/") {
			return apiResource{gv.WithResource(r.Name), r.Namespaced}, true, nil
		}
	}
	return apiResource{}, false, nil
}
