package capability

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net"
	"sync"
	"time"

	"github.com/warder-dev/warder/artifact"
)

// Services are what the hosts of all policies of a process ask: one set of
// clients and caches. A nil service answers with an error that says so.
type Services struct {
	// Images answers about images in registries.
	Images Images
	// Signatures says who has signed an image.
	Signatures Signatures
	// Cluster is the Kubernetes cluster that policies read.
	Cluster *Cluster
	// Resolver looks up names; nil is net.DefaultResolver.
	Resolver *net.Resolver
	// Cache keeps answers for a short while; nil keeps none.
	Cache *Cache
	// Metrics counts the calls; nil counts none.
	Metrics *Metrics
}

// Images answers about images in registries. It is safe for concurrent use.
// References are those of Docker: docker.io, library/ and latest are left out.
type Images interface {
	// Digest returns the digest (sha256:<hex>) of the manifest or index.
	Digest(ctx context.Context, image string) (string, error)
	// Manifest returns the manifest or index as JSON.
	Manifest(ctx context.Context, image string) (json.RawMessage, error)
	// Config returns the manifest of an image (of an index, the entry of the
	// host's own platform), its digest, and its configuration.
	Config(ctx context.Context, image string) (manifest json.RawMessage, digest string, config json.RawMessage, err error)
}

// Signatures says who has signed an image. It is safe for concurrent use.
type Signatures interface {
	// Verify returns the digest of the image's manifest or index when every
	// one of signers has signed it, and an error otherwise.
	Verify(ctx context.Context, image string, signers []artifact.Signer) (digest string, err error)
}

// Resource names a kind that a policy may read from the cluster.
type Resource struct{ APIVersion, Kind string }

// String returns apiVersion and kind as in "apps/v1/Deployment".
func (r Resource) String() string { return r.APIVersion + "/" + r.Kind }

// Cache is what the hosts of a process remember: answers of registries and of
// the resolver for a short while, and Mozilla's roots for good. Failures are
// never kept. It is safe for concurrent use; NewCache makes one.
type Cache struct {
	images, signatures, names *cache // nil keeps nothing
	roots                     func() *x509.CertPool
}

const (
	// registryTTL is how long answers of registries count, from Kubewarden.
	registryTTL = time.Minute
	// nameTTL is short: Kubewarden asks its resolver each time, whatever its
	// documentation says of a minute.
	nameTTL = 5 * time.Second

	// imageBytes is room for 8 manifests of the largest size that registries
	// take (4 MiB, OCI distribution-spec), or some ten thousand of the usual 2 KiB.
	imageBytes = 32 << 20
	// signatureBytes and nameBytes are room for some ten thousand answers of 100
	// bytes, with what the cache itself needs for each.
	signatureBytes = 4 << 20
	nameBytes      = 4 << 20
)

// NewCache returns an empty cache.
func NewCache() *Cache {
	return &Cache{
		images:     newCache(imageBytes, registryTTL),
		signatures: newCache(signatureBytes, registryTTL),
		names:      newCache(nameBytes, nameTTL),
		roots:      sync.OnceValue(mozillaRoots),
	}
}

func (s Services) cache() *Cache {
	if s.Cache == nil {
		return &Cache{roots: mozillaRoots}
	}
	return s.Cache
}

// keep returns what c has for key, or what load finds; c may be nil. An error
// is a failure.
func keep(ctx context.Context, c *cache, key string, load func(context.Context) ([]byte, error)) ([]byte, error) {
	var answer []byte
	var err error
	if c == nil {
		answer, err = load(ctx)
	} else {
		answer, err = c.get(ctx, key, load)
	}
	return answer, evaluated(err)
}
