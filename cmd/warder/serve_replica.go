package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/replica"
)

// replica returns what keeps the engine's policies those that name the
// PolicyServer.
func (c *serveConfig) replica(eng *engine.Engine, log *slog.Logger, registry *prometheus.Registry) (*replica.Replica, error) {
	config, err := clusterConfig("")
	if err != nil {
		return nil, err
	}
	return replica.New(replica.Options{
		Config: config, PolicyServer: c.policyServer, Namespace: c.reportNamespace, Name: c.replicaName,
		Owner: podOf(os.Getenv, c.reportNamespace), Version: version(), Engine: eng, Log: log, Metrics: replica.NewMetrics(registry),
	})
}

// podOf is the pod that the server is in, if its environment says which one and
// the pod is in that namespace: what it owns goes with it. Nothing can be owned
// from another namespace.
func podOf(getenv func(string) string, namespace string) *metav1.OwnerReference {
	name, uid := getenv("POD_NAME"), getenv("POD_UID")
	if name == "" || uid == "" || getenv("POD_NAMESPACE") != namespace {
		return nil
	}
	return &metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: name, UID: types.UID(uid)}
}

// keepReplica keeps the policies those in the cluster until ctx is done.
func (l *loader) keepReplica(ctx context.Context) {
	var others sync.WaitGroup
	defer others.Wait()
	others.Go(func() { l.refresh(ctx) })
	others.Go(func() { poll(ctx, l.origin.look) })
	l.replica.Run(ctx, func() {
		l.report()
		debug.FreeOSMemory() // what compiling has left: some 7 MB for each WebAssembly policy
		l.ready()
	})
}
