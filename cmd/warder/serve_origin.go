package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/engine"
)

// origin is where the modules of a server come from, and whom its policies ask
// about images: what sources.yml, verification.yml and the trust root say. When
// these files change it is another one, without a restart.
type origin struct {
	config *serveConfig
	log    *slog.Logger
	store  *artifact.Store     // nil where there is no folder for one
	public *artifact.TrustRoot // of the public Sigstore; fetched when it is needed
	now    atomic.Pointer[access]

	seen  string // the stamp of files that have changed, at the last look
	wrong string // why they could not be read, as it was logged
}

// access is how registries are reached, and who must have signed, at one moment.
type access struct {
	stamp    string   // of the files
	files    []string // that sources.yml names
	trust    *artifact.TrustRoot
	noTrust  error // why there is none
	client   *artifact.Client
	verifier *artifact.Verifier
	puller   *artifact.Puller
}

func newOrigin(c *serveConfig, log *slog.Logger) (*origin, error) {
	o := &origin{config: c, log: log}
	dir, err := c.storeDir()
	if err != nil {
		log.Warn("modules are not kept: there is no folder for a store", "error", err)
	} else if o.store, err = artifact.OpenStore(dir); err != nil {
		return nil, err
	}
	cache := c.sigstoreCache
	if cache == "" && o.store != nil {
		cache = filepath.Join(dir, ".warder", "sigstore")
	}
	o.public = artifact.FetchTrustRoot(artifact.TUFOptions{CacheDir: cache, Log: log})
	r, err := o.read()
	if err != nil {
		return nil, err
	}
	if r.noTrust != nil {
		log.Warn("Cannot create Sigstore trust root, verification relying on Rekor and Fulcio will fail", "error", r.noTrust)
	}
	o.take(r)
	return o, nil
}

// take makes r what counts from now on.
func (o *origin) take(r *access) {
	if o.config.trustConfig != "" && r.trust != nil {
		o.log.Info("Sigstore trust root read", "from", r.trust.String())
	}
	o.now.Store(r)
}

// storeDir is where modules are kept: the folder that was asked for, or that of
// kwctl in the user's cache.
func (c *serveConfig) storeDir() (string, error) {
	if c.downloadDir != "" {
		return c.downloadDir, nil
	}
	return artifact.DefaultStore()
}

// stamp changes when what is in one of the files does; more are those that
// sources.yml names.
func (o *origin) stamp(more []string) string {
	sum := sha256.New()
	for _, file := range append([]string{o.config.sources, o.config.verification, o.config.trustConfig}, more...) {
		if file == "" {
			continue
		}
		text, err := os.ReadFile(file)
		_, _ = fmt.Fprintf(sum, "%q %v %d\n", file, err != nil, len(text)) // a hash takes everything
		_, _ = sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// look takes up files that have changed, once they are the same for two looks:
// one that is being written is not what somebody wants. When one cannot be read
// everything stays as it was.
func (o *origin) look() {
	now := o.now.Load()
	stamp := o.stamp(now.files)
	if stamp == now.stamp {
		o.seen, o.wrong = "", ""
		return
	}
	if stamp != o.seen {
		o.seen = stamp
		return
	}
	r, err := o.read()
	if err == nil && now.noTrust == nil {
		err = r.noTrust // and who was trusted until now still is
	}
	if err != nil {
		if err.Error() != o.wrong {
			o.wrong = err.Error()
			o.log.Error("sources, verification and trust root stay as they are", "error", err)
		}
		return
	}
	o.seen, o.wrong = "", ""
	o.take(r)
	o.log.Info("sources, verification or trust root have changed: modules are fetched and verified again")
}

// read reads the files. A trust root that cannot be read is in noTrust: what is
// signed with keys can be verified without.
func (o *origin) read() (*access, error) {
	c := o.config
	sources, err := o.sources()
	if err != nil {
		return nil, err
	}
	r := &access{files: sources.Files, stamp: o.stamp(sources.Files)}
	if sources, err = o.sources(); err != nil { // again: what has changed since then is seen at the next look
		return nil, err
	}
	r.client, err = artifact.NewClient(artifact.ClientOptions{Sources: sources, DockerConfig: c.dockerConfig, UserAgent: "warder/" + version(), Log: o.log})
	if err != nil {
		return nil, err
	}
	r.trust = o.public
	if c.trustConfig != "" {
		r.trust, r.noTrust = artifact.ReadTrustRoot(c.trustConfig, c.trustDigest)
	}
	r.puller = &artifact.Puller{Client: r.client, Store: o.store}
	r.verifier = artifact.NewVerifier(artifact.VerifierOptions{Reach: r.client.Reach, TrustRoot: r.trust, Log: o.log})
	if c.verification != "" {
		config, err := readVerificationConfig(c.verification)
		if err != nil {
			return nil, fmt.Errorf("error while loading verification from %s: %w", c.verification, err)
		}
		gate := &artifact.Gate{Verifier: r.verifier, Config: *config, Store: o.store}
		r.puller.Verify = gate.Verify
	}
	return r, nil
}

// sources reads sources.yml.
func (o *origin) sources() (artifact.Sources, error) {
	if o.config.sources == "" {
		return artifact.Sources{}, nil
	}
	s, err := artifact.ReadSources(o.config.sources)
	if err != nil {
		return s, fmt.Errorf("error while loading sources from %s: %w", o.config.sources, err)
	}
	return s, nil
}

// fetch gets a module for the engine.
func (o *origin) fetch(ctx context.Context, uri string) (engine.Fetched, error) {
	m, err := o.now.Load().puller.Pull(ctx, uri)
	if err != nil {
		return engine.Fetched{}, hintSources(err)
	}
	if m.Unstored != nil {
		o.log.Warn("module not kept in the store: it has to be fetched again at the next start", "module", uri, "error", m.Unstored)
	}
	return engine.Fetched{Wasm: m.Bytes, Reference: m.Reference, Away: hintSources(m.Stale)}, nil
}

// stampOf changes when fetch would give something else.
func (o *origin) stampOf(uri string) string {
	if strings.HasPrefix(uri, "builtin://") {
		return ""
	}
	return engine.FileStamp(uri) + " " + o.now.Load().stamp
}

// services are what the server's policies ask.
func (o *origin) services(metrics *capability.Metrics) (capability.Services, error) {
	s := capability.Services{Images: o, Signatures: o, Cache: capability.NewCache(), Metrics: metrics}
	config, err := clusterConfig("")
	switch {
	case err == nil:
	case o.config.policyServer == "" && (clientcmd.IsEmptyConfig(err) || o.config.ignoreKube):
		o.log.Info("there is no cluster to ask: policies that read one get an error", "reason", err)
		return s, nil
	case o.config.policyServer != "":
		return s, fmt.Errorf("cluster: %w; --policy-server watches policies there: run in a pod, or set KUBECONFIG", err)
	default:
		return s, fmt.Errorf("cluster: %w; with --ignore-kubernetes-connection-failure the server starts without", err)
	}
	if s.Cluster, err = capability.NewCluster(config, capability.ClusterOptions{Log: o.log}); err != nil {
		return s, err
	}
	o.log.Info("policies ask this cluster", "server", config.Host)
	return s, nil
}

// clusterConfig says how the cluster is reached: that of the file, if one is
// named, of $KUBECONFIG or ~/.kube/config, otherwise the one that the pod is in.
func clusterConfig(kubeconfig string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.UserAgent = "warder/" + version()
	return config, nil
}

// Digest implements capability.Images, as Manifest and Config do.
func (o *origin) Digest(ctx context.Context, image string) (string, error) {
	return o.now.Load().client.Digest(ctx, image)
}

// Manifest implements capability.Images.
func (o *origin) Manifest(ctx context.Context, image string) (json.RawMessage, error) {
	return o.now.Load().client.Manifest(ctx, image)
}

// Config implements capability.Images.
func (o *origin) Config(ctx context.Context, image string) (manifest json.RawMessage, digest string, config json.RawMessage, err error) {
	return o.now.Load().client.Config(ctx, image)
}

// Verify implements capability.Signatures.
func (o *origin) Verify(ctx context.Context, image string, signers []artifact.Signer) (string, error) {
	return o.now.Load().verifier.Verify(ctx, image, signers)
}
