package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
)

// There are no nodes, so nothing is behind a Service; but the API server calls
// webhooks through Services. Where it finds what it calls is said in a file,
// which it reads at each connection that it makes.

// routes are addresses, host:port, by "namespace/name:port".
type routes map[string][]string

func routesPath(dir string) string { return filepath.Join(dir, "services.json") }

// RouteService says where the API server finds what is behind the port of a
// Service: at one of the addresses, host:port, each time chosen anew. There need
// be no such Service. Without addresses nothing is behind it, as at first.
//
// What listens there needs a certificate for NAME.NAMESPACE.svc. Connections
// that the API server has stay what they are.
func (c *Cluster) RouteService(namespace, name string, port int, addresses ...string) error {
	for _, a := range addresses {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("service %s/%s: %w", namespace, name, err)
		}
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	all, err := readRoutes(c.dir)
	if err != nil {
		return err
	}
	all[routeKey(namespace, name, port)] = addresses
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return writeFile(routesPath(c.dir), text)
}

func routeKey(namespace, name string, port int) string {
	return fmt.Sprintf("%s/%s:%d", namespace, name, port)
}

func readRoutes(dir string) (routes, error) {
	all := routes{}
	text, err := os.ReadFile(routesPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", routesPath(dir), err)
	}
	return all, nil
}

// Resolver is how an API server that runs in Dir finds what is behind a Service.
type Resolver struct{ Dir string }

// ResolveEndpoint returns an address that RouteService was told.
func (r Resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	all, err := readRoutes(r.Dir)
	if err != nil {
		return nil, err
	}
	key := routeKey(namespace, name, int(port))
	addresses := all[key]
	if len(addresses) == 0 {
		return nil, fmt.Errorf("nothing is behind the Service %s: devcluster runs no pods, and was not told where it is", key)
	}
	return &url.URL{Scheme: "https", Host: addresses[rand.IntN(len(addresses))]}, nil
}
