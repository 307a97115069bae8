package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/kubernetes"

	"github.com/warder-dev/warder/devcluster/cluster"
)

// resolveTimeout bounds how long the API server asks itself what is behind a
// Service: less than the 10s that a webhook has by default.
const resolveTimeout = 5 * time.Second

// resolver is how the API server finds what is behind a Service, each time that
// it connects: where Cluster.RouteService says, or else at a ready endpoint of
// an EndpointSlice. Kubernetes' own can only do the latter, and no endpoint may
// have an address of loopback; so a machine without a network had none.
type resolver struct {
	dir    string // of the cluster
	client func() (*kubernetes.Clientset, error)
}

func newResolver(dir string) *resolver {
	return &resolver{dir: dir, client: sync.OnceValues(func() (*kubernetes.Clientset, error) {
		cfg, err := cluster.ReadConfig(dir)
		if err != nil {
			return nil, err
		}
		return kubernetes.NewForConfig(cfg)
	})}
}

// ResolveEndpoint returns an address of the port of a Service.
func (r *resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	address, ok, err := cluster.Route(r.dir, namespace, name, int(port))
	if err == nil && !ok {
		address, err = r.endpoint(namespace, name, port)
	}
	if err != nil {
		return nil, fmt.Errorf("service %s/%s:%d: %w", namespace, name, port, err)
	}
	return &url.URL{Scheme: "https", Host: address}, nil
}

func (r *resolver) endpoint(namespace, name string, port int32) (string, error) {
	client, err := r.client()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	service, err := client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	portName, err := namedPort(service, port)
	if err != nil {
		return "", err
	}
	list, err := client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.Set{discoveryv1.LabelServiceName: name}.String(),
	})
	if err != nil {
		return "", err
	}
	slices := make([]*discoveryv1.EndpointSlice, len(list.Items))
	for i := range list.Items {
		slices[i] = &list.Items[i]
	}
	address, err := proxy.RandomEndpoint(name, slices, portName, corev1.IPv4Protocol, nil)
	if err != nil {
		return "", err
	}
	if host, port, err := net.SplitHostPort(address); err == nil && host == cluster.LoopbackAddress {
		return net.JoinHostPort("127.0.0.1", port), nil
	}
	return address, nil
}

// namedPort returns the name that the port of a Service has.
func namedPort(service *corev1.Service, port int32) (string, error) {
	for _, p := range service.Spec.Ports {
		if p.Port == port {
			return p.Name, nil
		}
	}
	return "", fmt.Errorf("it has no port %d", port)
}
