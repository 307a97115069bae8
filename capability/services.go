package capability

import (
	"context"
	"encoding/json"

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
