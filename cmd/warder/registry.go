package main

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/artifact"
)

// registryConfig is what registry was asked to do.
type registryConfig struct {
	dir, listen       string
	certFile, keyFile string
	verbose           bool
}

func newRegistry() *cobra.Command {
	var c registryConfig
	cmd := &cobra.Command{
		Use:   "registry DIR",
		Short: "Run an OCI registry on a folder",
		Long: `registry serves an OCI registry whose content is in a folder: to try things out,
for tests, and where no other registry can be reached. It knows no users: whoever
reaches it may push and delete.

It writes DIR/sources.yml, which says to warder and kwctl how it is reached.`,
		Example: `  warder registry ./registry
  warder push --sources-path ./registry/sources.yml policy.wasm localhost:5000/policy:v1`,
		Args: wants("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.dir = args[0]
			if (c.certFile == "") != (c.keyFile == "") {
				return usagef("--cert-file and --key-file: want both or none")
			}
			return c.serve(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&c.listen, "listen", "127.0.0.1:5000", "address to listen on")
	f.StringVar(&c.certFile, "cert-file", "", "certificate in PEM (default: plain HTTP)")
	f.StringVar(&c.keyFile, "key-file", "", "key of the certificate in PEM")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "log every request")
	return cmd
}

func (c *registryConfig) serve(ctx context.Context, stderr io.Writer) error {
	level := slog.LevelWarn
	if c.verbose {
		level = slog.LevelInfo
	}
	handler, err := artifact.NewRegistry(c.dir, slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	if c.certFile != "" {
		cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	}
	listener, err := net.Listen("tcp", c.listen)
	if err != nil {
		return err
	}
	if err := c.announce(stderr, listener.Addr().(*net.TCPAddr)); err != nil {
		return errors.Join(err, listener.Close())
	}
	stop := context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(ending) // who is not done by then is cut off
	})
	defer stop()
	if c.certFile != "" {
		err = server.ServeTLS(listener, "", "")
	} else {
		err = server.Serve(listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// announce says how the registry is used, to people and in sources.yml.
func (c *registryConfig) announce(stderr io.Writer, addr *net.TCPAddr) error {
	hosts := []string{addr.String()}
	if addr.IP.IsLoopback() || addr.IP.IsUnspecified() {
		hosts = []string{fmt.Sprintf("localhost:%d", addr.Port), fmt.Sprintf("127.0.0.1:%d", addr.Port)}
	}
	file := filepath.Join(c.dir, "sources.yml")
	text, err := c.sources(hosts)
	if err != nil {
		return err
	}
	err = writeWhole(file, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stderr, "registry on %s, kept in %s\npush:  warder push --sources-path %s policy.wasm %s/policy:v1\n", addr, c.dir, file, hosts[0])
	return err
}

// sources is a sources.yml for the registry: plain HTTP, or its certificate.
func (c *registryConfig) sources(hosts []string) (string, error) {
	text := "# Written by warder registry whenever it starts.\n"
	if c.certFile == "" {
		return text + "insecure_sources:\n  - " + strings.Join(hosts, "\n  - ") + "\n", nil
	}
	rest, err := os.ReadFile(c.certFile)
	if err != nil {
		return "", err
	}
	certs := ""
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" { // and no key, which may be there too
			certs += string(pem.EncodeToMemory(block))
		}
	}
	text += "source_authorities:\n"
	for _, host := range hosts {
		text += fmt.Sprintf("  %q:\n    - type: Data\n      data: |\n        %s\n", host, strings.ReplaceAll(strings.TrimSpace(certs), "\n", "\n        "))
	}
	return text, nil
}
