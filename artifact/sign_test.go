package artifact

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestSign(t *testing.T) {
	r := newSigningRegistry(t)
	for name, key := range map[string]crypto.Signer{
		"P-256": newECDSA(t, elliptic.P256()), "P-384": newECDSA(t, elliptic.P384()), "RSA": newRSA(t, 2048), "Ed25519": newEd25519(t),
	} {
		t.Run(name, func(t *testing.T) {
			image := r.push(t, strings.ToLower(name))
			digest, err := Sign(context.Background(), image.ref, key, SignOptions{Annotations: map[string]string{"env": "prod"}})
			if err != nil || digest != image.digest.String() {
				t.Fatalf("Sign = %q, %v", digest, err)
			}
			image.wantVerified(t, nil, Signer{PublicKey: publicPEM(t, key), Annotations: map[string]string{"env": "prod"}})
			image.wantRefused(t, nil, `its annotation "env"`, Signer{PublicKey: publicPEM(t, key), Annotations: map[string]string{"env": "dev"}})
		})
	}
}

func TestSignKeepsOthersSignatures(t *testing.T) {
	s := newSigstore(t)
	r := newSigningRegistry(t)
	image := r.push(t, "app")
	alice, bob := newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P256())
	image.attach(t, s.keylessLayer(t, image, leafOptions{}, nil))
	signAll := func() {
		t.Helper()
		for _, key := range []crypto.Signer{alice, bob} {
			if _, err := Sign(context.Background(), "registry://"+image.ref, key, SignOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	layers := func() int {
		t.Helper()
		return len(must(must(remote.Image(image.sigTag()))(t).Layers())(t))
	}
	signAll()
	image.wantVerified(t, s.trustRoot(t), Signer{PublicKey: publicPEM(t, alice)}, Signer{PublicKey: publicPEM(t, bob)}, Signer{Identity: &Identity{someIssuer, someSubject}})
	if n := layers(); n != 3 {
		t.Errorf("%d signatures, want 3", n)
	}
	signAll() // says nothing new
	if n := layers(); n != 3 {
		t.Errorf("%d signatures after everybody has signed again, want 3", n)
	}
}

func TestSignRefuses(t *testing.T) {
	r := newSigningRegistry(t)
	if _, err := Sign(context.Background(), r.host+"/nope:1", newEd25519(t), SignOptions{}); err == nil || !strings.Contains(err.Error(), "nope") {
		t.Errorf("Sign of no image: %v", err)
	}
	if _, err := Sign(context.Background(), r.push(t, "app").ref, newRSA(t, 1024), SignOptions{}); err == nil || !strings.Contains(err.Error(), "1024 bits") {
		t.Errorf("Sign with a weak key: %v", err)
	}
}

func TestGeneratedKeys(t *testing.T) {
	for name, password := range map[string][]byte{"plain": nil, "encrypted": []byte("hunter2")} {
		t.Run(name, func(t *testing.T) {
			private, public, err := GenerateKey(password)
			if err != nil {
				t.Fatal(err)
			}
			key, err := ParsePrivateKey(private, password)
			if err != nil {
				t.Fatal(err)
			}
			if have := publicPEM(t, key); have != string(public) {
				t.Errorf("the private key is that of %s, not of %s", have, public)
			}
			if password == nil {
				return
			}
			for _, wrong := range [][]byte{nil, {}, []byte("hunter3")} {
				if _, err := ParsePrivateKey(private, wrong); err == nil {
					t.Errorf("the password %q opens it", wrong)
				}
			}
		})
	}
}

func TestPrivateKeyFormats(t *testing.T) {
	ec, rsaKey := newECDSA(t, elliptic.P256()), newRSA(t, 2048)
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	pkcs8 := func(key any) []byte { return must(x509.MarshalPKCS8PrivateKey(key))(t) }
	tests := []struct{ name, text, want string }{
		{"PKCS#8 ECDSA", block("PRIVATE KEY", pkcs8(ec)), ""},
		{"PKCS#8 RSA", block("PRIVATE KEY", pkcs8(rsaKey)), ""},
		{"PKCS#8 Ed25519", block("PRIVATE KEY", pkcs8(newEd25519(t))), ""},
		{"SEC 1", block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ec))(t)), ""},
		{"PKCS#1", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), ""},
		{"nothing", "", "it is not PEM"},
		{"a public key", publicPEM(t, ec), "its PEM says PUBLIC KEY; want PRIVATE KEY"},
		{"broken", block("PRIVATE KEY", []byte("x")), "asn1"},
		{"small", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(newRSA(t, 1024))), "an RSA key of 1024 bits"},
		{"large", strings.Repeat("x", maxKeyBytes+1), "a key has at most"},
		{"encrypted", block("ENCRYPTED COSIGN PRIVATE KEY", []byte("{}")), "say the password in COSIGN_PASSWORD"},
		{"encrypted with DES", "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-CBC,0000000000000000\n\nAAAA\n-----END EC PRIVATE KEY-----\n", "not safe"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParsePrivateKey([]byte(tt.text), nil)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("ParsePrivateKey: %v, want %q", err, tt.want)
			}
		})
	}
}
