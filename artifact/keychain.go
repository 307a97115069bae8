package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// helperTimeout bounds one call of a credential helper. One that asks a cloud
// takes a second; one that waits for a person would wait for ever.
const helperTimeout = 30 * time.Second

// keychain finds credentials in the config.json of Docker. The file is read
// whenever it is asked, since it may be a mounted Secret that is rotated. It is
// what go-containerregistry calls a ContextKeychain.
type keychain struct {
	file string // empty: there is none
	log  *slog.Logger
}

// dockerConfig is what of config.json is about credentials.
type dockerConfig struct {
	Auths       map[string]json.RawMessage `json:"auths"`
	CredHelpers map[string]string          `json:"credHelpers"`
	CredsStore  string                     `json:"credsStore"`
}

// dockerConfigFile is the config.json in a folder, or the file itself; without
// either that of $DOCKER_CONFIG, or of the user.
func dockerConfigFile(given string) (string, error) {
	switch {
	case given != "":
		info, err := os.Stat(given)
		if err != nil {
			return "", fmt.Errorf("docker config: %w", err)
		}
		if !info.IsDir() {
			return given, nil
		}
		return filepath.Join(given, "config.json"), nil
	case os.Getenv("DOCKER_CONFIG") != "":
		return filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", nil //nolint:nilerr // who has no home has no credentials in it
	}
	return filepath.Join(home, ".docker", "config.json"), nil
}

func (k *keychain) read() (*dockerConfig, error) {
	c := &dockerConfig{}
	if k.file == "" {
		return c, nil
	}
	text, err := os.ReadFile(k.file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("docker config: %w", err)
	}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("docker config: %s: %w", k.file, err)
	}
	return c, nil
}

// Resolve implements authn.Keychain.
func (k *keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext implements authn.ContextKeychain. What cannot be found out is
// anonymous, as with Kubewarden, and said in the log.
func (k *keychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	c, err := k.read()
	if err != nil {
		return nil, err
	}
	for _, key := range []string{target.String(), target.RegistryStr()} {
		auth, err := c.find(ctx, key)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			k.log.Warn("no credentials for a registry: it is asked without", "registry", target.RegistryStr(), "error", err)
			return authn.Anonymous, nil
		}
		if auth != nil {
			return authn.FromConfig(*auth), nil
		}
	}
	return authn.Anonymous, nil
}

// find returns the credentials of a registry, or of a repository in it; nil
// when there are none.
func (c *dockerConfig) find(ctx context.Context, key string) (*authn.AuthConfig, error) {
	names := []string{key}
	if key == name.DefaultRegistry { // Docker Hub, for historical reasons
		names = []string{authn.DefaultAuthKey, key, "docker.io", "registry-1.docker.io"}
	}
	for _, n := range names {
		helper := c.CredHelpers[n]
		if helper == "" && !strings.Contains(strings.TrimPrefix(n, "https://"), "/") || n == authn.DefaultAuthKey {
			helper = firstOf(helper, c.CredsStore)
		}
		if helper != "" {
			auth, err := askHelper(ctx, helper, n)
			if auth != nil || err != nil {
				return auth, err
			}
		}
		raw, ok := c.auth(n)
		if !ok {
			continue
		}
		var auth authn.AuthConfig
		if err := json.Unmarshal(raw, &auth); err != nil {
			return nil, fmt.Errorf("auths: %q: %w", n, err)
		}
		if auth != (authn.AuthConfig{}) {
			return &auth, nil
		}
	}
	return nil, nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// auth finds an entry by its exact name, or by one with a scheme or a path of
// the old API.
func (c *dockerConfig) auth(registry string) (json.RawMessage, bool) {
	if raw, ok := c.Auths[registry]; ok {
		return raw, true
	}
	for _, before := range []string{"https://", "http://"} {
		for _, after := range []string{"", "/", "/v1", "/v1/", "/v2", "/v2/"} {
			if raw, ok := c.Auths[before+registry+after]; ok {
				return raw, true
			}
		}
	}
	return nil, false
}

// askHelper runs docker-credential-NAME get. nil is a registry that it does not
// know. Protocol: https://docs.docker.com/reference/cli/docker/login/#credential-helper-protocol.
func askHelper(ctx context.Context, helper, registry string) (*authn.AuthConfig, error) {
	program := "docker-credential-" + helper
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "get")
	cmd.Stdin = strings.NewReader(registry)
	cmd.WaitDelay = time.Second // a grandchild may hold the pipes
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if said := strings.TrimSpace(stdout.String()); strings.Contains(said, "credentials not found") {
			return nil, nil // the only way a helper has to say so
		}
		// Standard output is not quoted: a secret may be in it.
		return nil, fmt.Errorf("%s: %w%s", program, err, after(": ", strings.TrimSpace(stderr.String())))
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil {
		return nil, fmt.Errorf("%s: its answer is not JSON", program)
	}
	if answer.Username == "<token>" {
		return &authn.AuthConfig{IdentityToken: answer.Secret}, nil
	}
	return &authn.AuthConfig{Username: answer.Username, Password: answer.Secret}, nil
}

// after is text with something before it, and nothing for no text.
func after(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}
