package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// What a host has answered, for errors.Is. Anything else is about what it sent,
// and comes again when it is asked again.
var (
	// ErrNotFound is for what a host says it does not have.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized is for what a host does not give to these credentials.
	// Registries also say so of what they do not have.
	ErrUnauthorized = errors.New("not authorized")
	// ErrUnavailable is for a host that cannot be reached or cannot answer
	// now. Another attempt may help.
	ErrUnavailable = errors.New("not available")
)

// ClientOptions say how a client reaches hosts.
type ClientOptions struct {
	// Sources are of a sources.yml.
	Sources Sources
	// DockerConfig is the folder of a config.json with credentials, or that
	// file. Default: $DOCKER_CONFIG, else .docker in the user's home.
	DockerConfig string
	// UserAgent is what the client says it is. Default "warder".
	UserAgent string
	// Stall is how long a host may send and take nothing before a request to
	// it is ended. Default 30s. How long a request takes in all is for its
	// context to say.
	Stall time.Duration
	// Pushed is told how many bytes of a module that is pushed have gone, and
	// how many there are. It starts again when the upload does, and is not
	// called when the registry has the module already. Default: nobody is.
	Pushed func(done, total int64)
	// Log gets what no error tells. Default: nothing.
	Log *slog.Logger
}

// Client talks to registries and other hosts of modules. It changes nothing on
// disk and is safe for concurrent use.
type Client struct {
	hosts  *hosts
	keys   *keychain
	agent  string
	pushed func(done, total int64)

	mu       sync.Mutex
	sessions map[string]session
}

// session is a registry that has told how to be asked for one repository.
type session struct {
	transport http.RoundTripper
	until     time.Time
}

// sessionFor is how long a session is used. Credentials that have changed are
// taken up when it ends; a registry that refuses the old ones ends it at once.
const sessionFor = time.Minute

// maxSessions bounds them: policies may ask for any image.
const maxSessions = 256

// NewClient makes a client.
func NewClient(opts ClientOptions) (*Client, error) {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	stall := opts.Stall
	if stall <= 0 {
		stall = 30 * time.Second
	}
	file, err := dockerConfigFile(opts.DockerConfig)
	if err != nil {
		return nil, err
	}
	keys := &keychain{file: file, log: log}
	if opts.DockerConfig != "" { // what somebody asked for is better wrong now than later
		if _, err := keys.read(); err != nil {
			return nil, err
		}
	}
	hosts, err := newHosts(opts.Sources, stall)
	if err != nil {
		return nil, err
	}
	return &Client{hosts: hosts, keys: keys, agent: firstOf(opts.UserAgent, "warder"), pushed: opts.Pushed, sessions: map[string]session{}}, nil
}

// Reach returns the options with which a Verifier reads from the registry of
// ref: transport, credentials and context. It is a Reach.
func (c *Client) Reach(ctx context.Context, ref name.Reference) ([]remote.Option, error) {
	return c.small(ctx, ref, transport.PullScope)
}

// ReachForPush is Reach for Sign, which also pushes.
func (c *Client) ReachForPush(ctx context.Context, ref name.Reference) ([]remote.Option, error) {
	return c.small(ctx, ref, transport.PushScope)
}

// small returns options with which small things alone are read.
func (c *Client) small(ctx context.Context, ref name.Reference, action string) ([]remote.Option, error) {
	s, err := c.session(ctx, ref.Context(), action)
	if err != nil {
		return nil, err
	}
	return []remote.Option{remote.WithContext(ctx), remote.WithTransport(bounded{s})}, nil
}

// options returns the options with which go-containerregistry talks to the
// registry of repo, for an action: transport.PullScope or PushScope.
func (c *Client) options(ctx context.Context, repo name.Repository, action string) ([]remote.Option, error) {
	s, err := c.session(ctx, repo, action)
	if err != nil {
		return nil, err
	}
	return []remote.Option{remote.WithContext(ctx), remote.WithTransport(s)}, nil
}

// session returns a transport that has the registry's permission for an action
// in a repository, as far as these credentials get it.
func (c *Client) session(ctx context.Context, repo name.Repository, action string) (http.RoundTripper, error) {
	key := repo.Name() + " " + action
	c.mu.Lock()
	s, ok := c.sessions[key]
	c.mu.Unlock()
	if ok && time.Now().Before(s.until) {
		return s.transport, nil
	}
	auth, err := authn.Resolve(ctx, c.keys, repo)
	if err != nil {
		return nil, err
	}
	base := transport.NewUserAgent(&retrying{
		once: c.hosts, more: transport.NewRetry(c.hosts, transport.WithRetryPredicate(mayRetry), transport.WithRetryStatusCodes(
			http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout)),
	}, c.agent)
	authorized, err := transport.NewWithContext(ctx, repo.Registry, auth, base, []string{repo.Scope(action)})
	var said *transport.Error
	if errors.As(err, &said) && said.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s is no registry: %w", repo.RegistryStr(), err) // which is not that the image is missing
	}
	if err != nil {
		return nil, classify(once(err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sessions) >= maxSessions {
		c.forgetSessions()
	}
	c.sessions[key] = session{authorized, time.Now().Add(sessionFor)}
	return authorized, nil
}

// once takes out what go-containerregistry says twice: it asks hosts with a local
// name or address over HTTP after HTTPS. That is one and the same here, or it is
// refused; and a host that is away is away, whatever its address.
func once(err error) error {
	var first *url.Error
	if errors.As(err, &first) {
		return first
	}
	return err
}

// forgetSessions drops those that have ended, or else half of them.
func (c *Client) forgetSessions() {
	now := time.Now()
	maps.DeleteFunc(c.sessions, func(_ string, s session) bool { return now.After(s.until) })
	for key := range c.sessions {
		if len(c.sessions) <= maxSessions/2 {
			return
		}
		delete(c.sessions, key)
	}
}

// failed classifies the error of a request to a repository, and ends its
// sessions when the registry has refused them.
func (c *Client) failed(repo name.Repository, err error) error {
	err = classify(err)
	if errors.Is(err, ErrUnauthorized) {
		c.mu.Lock()
		defer c.mu.Unlock()
		maps.DeleteFunc(c.sessions, func(key string, _ session) bool { return strings.HasPrefix(key, repo.Name()+" ") })
	}
	return err
}

// retrying sends again what has no body and met a passing error; uploads are
// begun again by go-containerregistry.
type retrying struct{ once, more http.RoundTripper }

func (r *retrying) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		return r.more.RoundTrip(req)
	}
	return r.once.RoundTrip(req)
}

// mayRetry is for errors after which the same request may succeed at once.
func mayRetry(err error) bool {
	var said *transport.Error
	if errors.As(err, &said) {
		return said.Temporary()
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// classify says of an error which of ours it is.
func classify(err error) error {
	var said *transport.Error
	var plain *PlainHTTPError
	var request *url.Error
	var network net.Error
	is := func(kinds ...error) bool {
		return slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) })
	}
	switch {
	case err == nil, is(ErrNotFound, ErrUnauthorized, ErrUnavailable, context.Canceled):
		return err
	case errors.As(err, &plain) && plain.Err == nil:
		return err // who asks for http:// has to change something
	case errors.As(err, &said):
		return wrapStatus(said.StatusCode, err)
	case errors.As(err, &request), errors.As(err, &network), is(io.ErrUnexpectedEOF, errStalled, context.DeadlineExceeded):
		return &kindError{ErrUnavailable, err}
	}
	return err
}

// wrapStatus says of an error with an HTTP status which of ours it is.
func wrapStatus(status int, err error) error {
	switch {
	case status == http.StatusNotFound, status == http.StatusGone:
		return &kindError{ErrNotFound, err}
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return &kindError{ErrUnauthorized, err}
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return &kindError{ErrUnavailable, err}
	}
	return err
}

// kindError is an error that is one of ours too.
type kindError struct{ kind, err error }

func (e *kindError) Error() string   { return fmt.Sprintf("%v: %v", e.kind, e.err) }
func (e *kindError) Unwrap() []error { return []error{e.kind, e.err} }
