package admission

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// certificates is the server's key pair and the CAs of its clients, as they are
// in the files now.
type certificates struct {
	certFile, keyFile string
	caFiles           []string
	log               *slog.Logger
	watch             *watch
	current           atomic.Pointer[tls.Config]
}

// loadCertificates reads the files of opts, or makes a certificate when there
// are none. The error says which file is no good.
func loadCertificates(opts ServerOptions) (*certificates, error) {
	c := &certificates{certFile: opts.CertFile, keyFile: opts.KeyFile, caFiles: opts.ClientCAFiles, log: opts.Log}
	if c.certFile == "" {
		return c, c.selfSign()
	}
	// Looked at first: what changes while they are loaded is loaded again.
	c.watch = newWatch(slices.Concat([]string{c.certFile, c.keyFile}, c.caFiles))
	config, err := c.load()
	if err != nil {
		return nil, err
	}
	c.current.Store(config)
	return c, nil
}

// config is what a listener uses: it looks for the current files at each
// handshake. Connections that are there already are not touched.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c.current.Load(), nil
		},
	}
}

// follow loads the files again when they change, until ctx is done. Files that
// do not fit together leave the old ones in use: half a change is a
// certificate whose key is still to come.
func (c *certificates) follow(ctx context.Context, every time.Duration) {
	if c.watch == nil {
		return
	}
	c.watch.run(ctx, every, func() {
		config, err := c.load()
		if err != nil {
			c.log.Error("certificates not reloaded, the old ones stay in use", "error", err)
			return
		}
		c.current.Store(config)
		c.log.Info("certificates reloaded", "fingerprint", fingerprint(config.Certificates[0]))
	})
}

func (c *certificates) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate %q with key %q: %w", c.certFile, c.keyFile, err)
	}
	config := serverConfig(pair)
	if len(c.caFiles) == 0 {
		return config, nil
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = x509.NewCertPool()
	for _, name := range c.caFiles {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("client CA: %w", err)
		}
		if !config.ClientCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("client CA: %s: no certificate in PEM is in it", name)
		}
	}
	return config, nil
}

func serverConfig(pair tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{pair},
		// Of TLS 1.2 only what encrypts and authenticates in one, as in TLS 1.3.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}

func fingerprint(pair tls.Certificate) string {
	sum := sha256.Sum256(pair.Certificate[0])
	return "sha256:" + hex.EncodeToString(sum[:])
}

// selfSignedLife is how long a certificate made in memory is good for: longer
// than a process that is started by hand, which is what it is for.
const selfSignedLife = 365 * 24 * time.Hour

// selfSign makes a certificate for this host that nobody trusts yet.
func (c *certificates) selfSign() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("self-signed certificate: key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fmt.Errorf("self-signed certificate: serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "warder"},
		NotBefore:             time.Now().Add(-time.Hour), // clocks differ
		NotAfter:              time.Now().Add(selfSignedLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that it can be given as a caBundle
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if name, err := os.Hostname(); err == nil && name != "localhost" {
		template.DNSNames = append(template.DNSNames, name)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("self-signed certificate: %w", err)
	}
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	c.current.Store(serverConfig(pair))
	c.log.Warn("no certificate is given: made one that no client trusts", "fingerprint", fingerprint(pair), "expires", template.NotAfter)
	return nil
}
