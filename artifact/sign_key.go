package artifact

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// GenerateKey returns a new key to sign with, ECDSA on the curve P-256: the
// private key in PEM (PKCS#8), encrypted as cosign does it when there is a
// password, and the public key in PEM (SPKI).
func GenerateKey(password []byte) (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if public, err = cryptoutils.MarshalPublicKeyToPEM(key.Public()); err != nil {
		return nil, nil, err
	}
	if len(password) == 0 {
		private, err = cryptoutils.MarshalPrivateKeyToPEM(key)
		return private, public, err
	}
	der, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(key, cryptoutils.StaticPasswordFunc(password))
	if err != nil {
		return nil, nil, err
	}
	return cryptoutils.PEMEncode(cryptoutils.EncryptedSigstorePrivateKeyPEMType, der), public, nil
}

// ParsePublicKey reads a public key in PEM (SPKI): ECDSA, RSA or Ed25519, of a
// size that is safe.
func ParsePublicKey(text []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("it is not PEM")
	case block.Type != "PUBLIC KEY":
		return nil, fmt.Errorf("its PEM says %s; want PUBLIC KEY", block.Type)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("something follows the key")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return key, checkKey(key)
}

// maxKeyBytes bounds a private key in PEM; one of RSA with 8192 bits has 7 KiB.
const maxKeyBytes = 64 << 10

// ParsePrivateKey reads a private key in PEM: PKCS#8, SEC 1 or PKCS#1, or one
// that cosign has encrypted with the password.
func ParsePrivateKey(text, password []byte) (crypto.Signer, error) {
	if len(text) > maxKeyBytes {
		return nil, fmt.Errorf("it has %d bytes; a key has at most %d", len(text), maxKeyBytes)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	var ask cryptoutils.PassFunc
	switch block.Type {
	case "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return nil, errors.New("it is encrypted in a way that is not safe; convert it to PKCS#8")
		}
	case "ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY":
		if password == nil {
			return nil, errors.New("it is encrypted; say the password in COSIGN_PASSWORD")
		}
		ask = cryptoutils.StaticPasswordFunc(password)
	default:
		return nil, fmt.Errorf("its PEM says %s; want PRIVATE KEY, or a key that cosign has encrypted", block.Type)
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(text, ask)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of the type %T cannot sign", key)
	}
	return signer, checkKey(signer.Public())
}
