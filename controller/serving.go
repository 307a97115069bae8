package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/warder-dev/warder/manifest"
)

// served is a server that needs a certificate.
type served struct {
	secret  string
	hosts   []string
	labels  map[string]string
	owners  []metav1.OwnerReference
	callers []client.Object // webhook configurations
}

// serving keeps the certificate of a server. What it returns is when to look
// again, zero for whenever.
func (c *certKeeper) serving(ctx context.Context, of served, ca authority) (time.Duration, error) {
	now := time.Now()
	s, err := c.secret(ctx, of.secret)
	if err != nil {
		return 0, err
	}
	late, fault := ca.fault(s, of.hosts, now)
	owned := ownedBy(s, of.owners)
	if fault == nil && s.Annotations[annotationCertFormat] == "1" && owned {
		return 0, nil
	}
	if late {
		if wait := c.untrusted(of, ca, now); wait > 0 {
			return wait, nil
		}
	}
	if fault != nil {
		p, err := ca.issue(of.hosts, now)
		if err != nil {
			return 0, fmt.Errorf("secret %s/%s: %w", s.Namespace, s.Name, err)
		}
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = p.certPEM, p.keyPEM
	} else {
		fault = errors.New("it has been made by an old version, or for another owner")
	}
	s.Labels, s.Annotations = with(s.Labels, of.labels), with(s.Annotations, map[string]string{annotationCertFormat: "1"})
	if !owned {
		s.OwnerReferences = of.owners
	}
	return 0, c.save(ctx, s, fault.Error())
}

// ownedBy says whether an object has all these owners. A policy server that was
// deleted and made again is another owner: what is left of the old one's would be
// collected.
func ownedBy(o metav1.Object, owners []metav1.OwnerReference) bool {
	return !slices.ContainsFunc(owners, func(want metav1.OwnerReference) bool {
		return !slices.ContainsFunc(o.GetOwnerReferences(), func(have metav1.OwnerReference) bool { return have.UID == want.UID })
	})
}

// with is the map with more in it.
func with(m, more map[string]string) map[string]string {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, more)
	return out
}

// untrusted is how long to wait until everybody who calls the server trusts the
// authority.
func (c *certKeeper) untrusted(of served, ca authority, now time.Time) time.Duration {
	p := c.published.of(of.secret, func() *publication { return &publication{} })
	for _, o := range of.callers {
		for _, to := range clientsOf(o) {
			if !contains(to.CABundle, ca.cert) {
				p.authority = ""
				return publishGrace
			}
		}
	}
	if serial := ca.cert.SerialNumber.String(); p.authority != serial {
		p.authority, p.since = serial, now
	}
	return p.since.Add(publishGrace).Sub(now)
}

// retire forgets an old authority that has expired and of which no certificate is
// in use.
func (c *certKeeper) retire(ctx context.Context, ca authority) error {
	s, err := c.secret(ctx, manifest.SecretCA)
	if err != nil || bytes.Equal(s.Data[keyOldCACert], ca.old) {
		return err
	}
	var all corev1.SecretList
	if err := c.client.List(ctx, &all, client.InNamespace(c.Manifest.Namespace)); err != nil {
		return err
	}
	for _, used := range all.Items {
		cert, err := parseCertificate(used.Data[corev1.TLSCertKey])
		if err != nil || used.Name != manifest.SecretWebhook && used.Labels[manifest.LabelComponent] != "policy-server" {
			continue
		}
		if !signedBy(cert, ca.cert) && time.Now().Before(cert.NotAfter) {
			return nil
		}
	}
	setOrDelete(s.Data, keyOldCACert, ca.old)
	return c.save(ctx, s, "the old authority has expired")
}
