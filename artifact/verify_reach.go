package artifact

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Reach says how the registry of a reference is reached: credentials,
// transport, certificates. For Sign it must allow to push.
type Reach func(ctx context.Context, ref name.Reference) ([]remote.Option, error)

// reachDefault uses the credentials of the Docker configuration and the
// certificates of the system.
func reachDefault(context.Context, name.Reference) ([]remote.Option, error) {
	return []remote.Option{
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithTransport(bounded{remote.DefaultTransport}),
	}, nil
}

// options returns those of the registry of ref, bound to ctx.
func (r Reach) options(ctx context.Context, ref name.Reference) ([]remote.Option, error) {
	if r == nil {
		r = reachDefault
	}
	opts, err := r(ctx, ref)
	if err != nil {
		return nil, err
	}
	return append(opts, remote.WithContext(ctx)), nil
}

// bounded is a transport for what is read of registries here, all of which is
// small. The library reads as many as 100 MiB of a manifest, and who reads it is
// a server, on behalf of whoever may name an image.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxManifestBytes}
	}
	return resp, err
}

// boundedBody is a body that fails when more comes than is left.
type boundedBody struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("the registry sends more than %d bytes", maxManifestBytes)
	}
	return n, err
}
