package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// TrustRoot is whom keyless signatures are trusted from: the authorities that
// issue certificates, the transparency logs, the timestamp authorities. It is
// safe for concurrent use. A nil one trusts nobody.
type TrustRoot struct {
	from string
	load func(context.Context) (root.TrustedMaterial, error)
}

// String says where the trust root comes from, for logs.
func (t *TrustRoot) String() string {
	if t == nil {
		return "none"
	}
	return t.from
}

// material returns the trust root, which may have to be fetched.
func (t *TrustRoot) material(ctx context.Context) (root.TrustedMaterial, error) {
	if t == nil {
		return nil, errors.New("there is no Sigstore trust root that it could be verified with")
	}
	m, err := t.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("the Sigstore trust root (%s) that it is verified with is not to be had: %w", t.from, err)
	}
	return m, nil
}

// maxTrustRootBytes bounds the file of a trust root; the public one has 7 KiB.
const maxTrustRootBytes = 8 << 20

// ReadTrustRoot reads the trust root in a file: Sigstore's ClientTrustConfig,
// of which only trustedRoot is used, or a trusted_root.json alone. Nothing is
// fetched, now or later. Whoever can write the file decides whom to trust; with
// a digest (sha256:<hex>), "" for none, the file must have it.
func ReadTrustRoot(path, digest string) (*TrustRoot, error) {
	text, err := readBounded(path, maxTrustRootBytes)
	if err != nil {
		return nil, fmt.Errorf("sigstore trust root %q: %w", path, err)
	}
	have := sha256Of(text).String()
	if digest != "" && !strings.EqualFold(strings.TrimPrefix(digest, "sha256:"), strings.TrimPrefix(have, "sha256:")) {
		return nil, fmt.Errorf("sigstore trust root %q: it has the digest %s, not %s", path, have, digest)
	}
	material, err := parseTrustRoot(text)
	if err != nil {
		return nil, fmt.Errorf("sigstore trust root %q: %w", path, err)
	}
	return &TrustRoot{
		from: fmt.Sprintf("%s, %s, %s", path, have, describeRoot(material)),
		load: func(context.Context) (root.TrustedMaterial, error) { return material, nil },
	}, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return text, err
}

// parseTrustRoot reads a ClientTrustConfig or a TrustedRoot.
func parseTrustRoot(text []byte) (material *root.TrustedRoot, err error) {
	defer func() {
		if r := recover(); r != nil { // the decoder is not ours, and the file may be read again and again
			material, err = nil, fmt.Errorf("it cannot be read: %v", r)
		}
	}()
	var config struct {
		MediaType   string          `json:"mediaType"`
		TrustedRoot json.RawMessage `json:"trustedRoot"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if len(config.TrustedRoot) > 0 && !bytes.Equal(config.TrustedRoot, []byte("null")) {
		text = config.TrustedRoot
	} else if config.MediaType != root.TrustedRootMediaType01 {
		return nil, fmt.Errorf("want a ClientTrustConfig, which has a trustedRoot, or a trusted root with the mediaType %q", root.TrustedRootMediaType01)
	}
	if material, err = root.NewTrustedRootFromJSON(text); err != nil {
		return nil, err
	}
	switch {
	case len(material.FulcioCertificateAuthorities()) == 0:
		return nil, errors.New("it has no certificateAuthorities: no keyless signature could be trusted")
	case len(material.RekorLogs()) == 0:
		return nil, errors.New("it has no tlogs: no keyless signature could be trusted")
	}
	return material, nil
}

func describeRoot(m root.TrustedMaterial) string {
	return fmt.Sprintf("certificate authorities: %d, transparency logs: %d, certificate logs: %d, timestamp authorities: %d",
		len(m.FulcioCertificateAuthorities()), len(m.RekorLogs()), len(m.CTLogs()), len(m.TimestampingAuthorities()))
}
