package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/util/proxy"
	clientinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/warder-dev/warder/devcluster/cluster"
)

// resolveTimeout bounds how long a webhook waits until the API server knows its
// Services: less than the 10s that a webhook has by default.
const resolveTimeout = 5 * time.Second

// resolver is how the API server finds what is behind a Service, for each call of
// a webhook: where Cluster.RouteService says, or else at a ready endpoint of an
// EndpointSlice. Kubernetes' own can only do the latter, and no endpoint may have
// an address of loopback; so a machine without a network had none. As that one it
// watches both kinds: asking for them would cost more than the call.
type resolver struct {
	dir   string // of the cluster
	known func() (*informers, error)
}

// informers know all Services and EndpointSlices.
type informers struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
	synced   []cache.InformerSynced
}

func newResolver(dir string) *resolver {
	return &resolver{dir: dir, known: sync.OnceValues(func() (*informers, error) {
		cfg, err := cluster.ReadConfig(dir)
		if err != nil {
			return nil, err
		}
		client, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			return nil, err
		}
		factory := clientinformers.NewSharedInformerFactory(client, 0)
		services, slices := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
		i := &informers{
			services: services.Lister(), slices: slices.Lister(),
			synced: []cache.InformerSynced{services.Informer().HasSynced, slices.Informer().HasSynced},
		}
		factory.Start(wait.NeverStop) // they end with the process
		return i, nil
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
	known, err := r.known()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	if !cache.WaitForCacheSync(ctx.Done(), known.synced...) {
		return "", errors.New("the API server does not know its Services yet")
	}
	service, err := known.services.Services(namespace).Get(name)
	if err != nil {
		return "", err
	}
	portName, err := namedPort(service, port)
	if err != nil {
		return "", err
	}
	slices, err := known.slices.EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name}))
	if err != nil {
		return "", err
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
