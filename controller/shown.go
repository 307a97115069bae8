package controller

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/warder-dev/warder/manifest"
)

// shownCertificate is the certificate that the webhooks show: that of the Secret,
// as the cache has it.
type shownCertificate struct {
	reader    client.Reader
	namespace string

	mu      sync.Mutex
	version string
	last    *tls.Certificate
}

// get is tls.Config.GetCertificate. A Secret that is gone or broken for a moment
// changes nothing.
func (s *shownCertificate) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	ctx, cancel := context.WithTimeout(hello.Context(), 5*time.Second)
	defer cancel()
	secret := &corev1.Secret{}
	err := s.reader.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: manifest.SecretWebhook}, secret)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && secret.ResourceVersion != s.version {
		var p tls.Certificate
		if p, err = tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]); err == nil {
			s.version, s.last = secret.ResourceVersion, &p
		}
	}
	if s.last == nil {
		return nil, fmt.Errorf("secret %s/%s: %w", s.namespace, manifest.SecretWebhook, err)
	}
	return s.last, nil
}
