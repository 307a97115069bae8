package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/warder-dev/warder/artifact"
)

// sourcesConfig is how the commands that use a network reach registries.
type sourcesConfig struct {
	sources      string
	dockerConfig string
}

func (c *sourcesConfig) addFlags(f *pflag.FlagSet) {
	f.StringVar(&c.sources, "sources-path", "", "sources.yml: insecure hosts, CAs and proxies (default: sources.yaml or sources.yml in ~/.config/kubewarden)")
	f.StringVar(&c.dockerConfig, "docker-config-json-path", "", "folder of the config.json with credentials, or that file (default: $DOCKER_CONFIG, else ~/.docker)")
}

// client makes the client that these flags ask for.
func (c *sourcesConfig) client(cmd *cobra.Command) (*artifact.Client, error) {
	opts, err := c.options(cmd)
	if err != nil {
		return nil, err
	}
	return artifact.NewClient(opts)
}

// options are those of the client.
func (c *sourcesConfig) options(cmd *cobra.Command) (artifact.ClientOptions, error) {
	opts := artifact.ClientOptions{DockerConfig: c.dockerConfig, UserAgent: "warder/" + version(), Log: speech(cmd)}
	file := c.sources
	if file == "" {
		file = defaultSources()
	}
	if file != "" {
		var err error
		if opts.Sources, err = artifact.ReadSources(file); err != nil {
			return opts, err
		}
	}
	return opts, nil
}

// defaultSources is kwctl's own file, if there is one.
func defaultSources() string {
	config, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	for _, name := range []string{"sources.yaml", "sources.yml"} {
		file := filepath.Join(config, "kubewarden", name)
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return ""
}

// openStore opens the store that kwctl uses too.
func openStore() (*artifact.Store, error) {
	dir, err := artifact.DefaultStore()
	if err != nil {
		return nil, err
	}
	return artifact.OpenStore(dir)
}

// wants is for commands with one argument each of these names.
func wants(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usagef("want %s %s, have %s; see %s --help", cmd.CommandPath(), strings.Join(names, " "), count(len(args), "argument", "arguments"), cmd.CommandPath())
		}
		return nil
	}
}

// hint says what to do about an error that people meet often.
func hint(err error) error {
	if errors.Is(err, artifact.ErrUnauthorized) {
		return fmt.Errorf("%w\nIf it exists, log in with docker login, or name a config.json with --docker-config-json-path", err)
	}
	return hintSources(err)
}

// hintSources says how a host is reached that has no HTTPS.
func hintSources(err error) error {
	var plain *artifact.PlainHTTPError
	if errors.As(err, &plain) {
		return fmt.Errorf("%w; give the file with --sources-path", err)
	}
	return err
}

// bytesText is a size as people read it.
func bytesText(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
