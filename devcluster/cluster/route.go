package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
)

// LoopbackAddress is what an EndpointSlice has for 127.0.0.1, which the API
// server's validation does not let it have. It is of the range for benchmarks
// (RFC 2544), which nobody routes.
const LoopbackAddress = "198.18.0.1"

// routes are addresses, host:port, by "namespace/name:port". They are in a file
// of the cluster's folder, which the API server reads each time that it connects.
type routes map[string][]string

func routesPath(dir string) string { return filepath.Join(dir, "services.json") }

// RouteService says where the API server finds what is behind the port of a
// Service, when it calls a webhook: at one of the addresses, host:port, chosen
// anew for each connection. There need be no such Service. Without addresses,
// as at first, it looks for the Service's EndpointSlices.
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

// Route returns one of the addresses that RouteService was told in dir, and
// whether it was told any.
func Route(dir, namespace, name string, port int) (address string, ok bool, err error) {
	all, err := readRoutes(dir)
	addresses := all[routeKey(namespace, name, port)]
	if err != nil || len(addresses) == 0 {
		return "", false, err
	}
	return addresses[rand.IntN(len(addresses))], true, nil
}
