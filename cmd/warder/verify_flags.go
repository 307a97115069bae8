package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/warder-dev/warder/artifact"
)

// verificationFlags are the flags about by whom a policy must be signed, which
// several commands have. They are those of kwctl.
type verificationFlags struct {
	keys        []string // files
	annotations []string // key=value
	certEmail   string
	certIssuer  string
	githubOwner string
	githubRepo  string
	configPath  string
	trustConfig string
	trustDigest string
}

func (v *verificationFlags) addFlags(f *pflag.FlagSet) {
	f.StringArrayVarP(&v.keys, "verification-key", "k", nil, "file of a public key that must have signed; repeated, all of them must")
	f.StringArrayVarP(&v.annotations, "verification-annotation", "a", nil, "KEY=VALUE that must be signed too; repeated, all of them must")
	f.StringVar(&v.certEmail, "cert-email", "", "e-mail address of who must have signed without a key; with --cert-oidc-issuer")
	f.StringVar(&v.certIssuer, "cert-oidc-issuer", "", "who must have vouched for --cert-email, such as https://github.com/login/oauth")
	f.StringVar(&v.githubOwner, "github-owner", "", "owner of the GitHub repository whose workflow must have signed")
	f.StringVar(&v.githubRepo, "github-repo", "", "that repository, without its owner; with --github-owner")
	f.StringVar(&v.configPath, "verification-config-path", "", "file that says by whom it must be signed; without the flags above")
	f.StringVar(&v.trustConfig, "sigstore-trust-config", "", "file of the Sigstore trust root (default: that of the public Sigstore, fetched when it is needed)")
	f.StringVar(&v.trustDigest, "sigstore-trust-config-digest", "", "digest (sha256:...) that --sigstore-trust-config must have")
}

// config returns by whom a policy must be signed: as the flags say, or the file
// that they name, or the file in the user's configuration folder. It is nil when
// none of them is there.
func (v *verificationFlags) config() (*artifact.VerificationConfig, error) {
	signers, err := v.signers()
	switch {
	case err != nil:
		return nil, err
	case v.configPath != "" && (len(signers) > 0 || len(v.annotations) > 0):
		return nil, usagef("--verification-config-path excludes the flags that say by whom a policy must be signed")
	case v.configPath != "":
		return readVerificationConfig(v.configPath)
	case len(signers) > 0:
		return &artifact.VerificationConfig{AllOf: signers}, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil, nil // there is no such folder, and so no file in it
	}
	config, err := readVerificationConfig(filepath.Join(dir, "kubewarden", "verification-config.yml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return config, err
}

func readVerificationConfig(path string) (*artifact.VerificationConfig, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	config, err := artifact.ParseVerificationConfig(path, text)
	if err != nil {
		return nil, err
	}
	return &config, nil
}

// signers are those that the flags name, each with the annotations.
func (v *verificationFlags) signers() ([]artifact.Signer, error) {
	annotations, err := keyValues("--verification-annotation", v.annotations)
	if err != nil {
		return nil, err
	}
	var signers []artifact.Signer
	for _, path := range v.keys {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("--verification-key: %w", err)
		}
		if _, err := artifact.ParsePublicKey(text); err != nil {
			return nil, fmt.Errorf("--verification-key %q: %w", path, err)
		}
		signers = append(signers, artifact.Signer{PublicKey: string(text), Owner: path})
	}
	switch {
	case (v.certEmail == "") != (v.certIssuer == ""):
		return nil, usagef("--cert-email and --cert-oidc-issuer: want both")
	case v.certEmail != "":
		signers = append(signers, artifact.Signer{Identity: &artifact.Identity{Issuer: v.certIssuer, Subject: v.certEmail}})
	}
	switch {
	case v.githubRepo != "" && v.githubOwner == "":
		return nil, usagef("--github-repo: want --github-owner too")
	case strings.Contains(v.githubRepo, "/"):
		return nil, usagef("--github-repo %q: want it without its owner", v.githubRepo)
	case v.githubOwner != "":
		signers = append(signers, artifact.Signer{GitHub: &artifact.GitHub{Owner: v.githubOwner, Repo: v.githubRepo}})
	}
	if len(annotations) > 0 && len(signers) == 0 && v.configPath == "" {
		return nil, usagef("--verification-annotation: want by whom it must be signed too")
	}
	for i := range signers {
		signers[i].Annotations = annotations
	}
	return signers, nil
}

// keyValues reads a flag with KEY=VALUE; nil is none.
func keyValues(flag string, list []string) (map[string]string, error) {
	var out map[string]string
	for _, text := range list {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, usagef("%s %q: want KEY=VALUE", flag, text)
		}
		if _, twice := out[key]; twice {
			return nil, usagef("%s: %q is there twice", flag, key)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[key] = value
	}
	return out, nil
}

// verifier returns what verifies signatures, with the trust root of the flags.
func (v *verificationFlags) verifier(client *artifact.Client, log *slog.Logger) (*artifact.Verifier, error) {
	trust, err := v.trustRoot(log)
	if err != nil {
		return nil, err
	}
	return artifact.NewVerifier(artifact.VerifierOptions{Reach: client.Reach, TrustRoot: trust, Log: log}), nil
}

// trustRoot is that of the file, or that of the public Sigstore.
func (v *verificationFlags) trustRoot(log *slog.Logger) (*artifact.TrustRoot, error) {
	switch {
	case v.trustConfig != "":
		return artifact.ReadTrustRoot(v.trustConfig, v.trustDigest)
	case v.trustDigest != "":
		return nil, usagef("--sigstore-trust-config-digest: want --sigstore-trust-config too")
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return artifact.FetchTrustRoot(artifact.TUFOptions{Log: log}), nil // nothing is kept then
	}
	return artifact.FetchTrustRoot(artifact.TUFOptions{CacheDir: filepath.Join(dir, "warder", "sigstore"), Log: log}), nil
}
