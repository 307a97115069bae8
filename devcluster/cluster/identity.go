package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// tokenSeconds is how long a token of ServiceAccountConfig holds: 24 hours.
const tokenSeconds = 24 * 60 * 60

// UserConfig is for a client whom the API server knows by this name and in these
// groups, with a certificate of its own. RBAC says what it may; a new name may
// nothing but what "system:authenticated" may.
//
// It can be a service account: see ServiceAccountUser.
func (c *Cluster) UserConfig(name string, groups ...string) (*rest.Config, error) {
	p, err := c.ca.issue(identity{name: name, groups: groups, usage: x509.ExtKeyUsageClientAuth})
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", name, err)
	}
	cfg := c.anonymous()
	cfg.TLSClientConfig.CertData, cfg.TLSClientConfig.KeyData = p.cert, p.key
	return cfg, nil
}

// ServiceAccountUser is the name and the groups that a service account has for
// the API server; for UserConfig, when there need be no such object.
func ServiceAccountUser(namespace, name string) (user string, groups []string) {
	return "system:serviceaccount:" + namespace + ":" + name,
		[]string{"system:serviceaccounts", "system:serviceaccounts:" + namespace}
}

// ServiceAccountConfig is for a client with a token of the service account,
// which must exist. The token holds for a day.
func (c *Cluster) ServiceAccountConfig(ctx context.Context, namespace, name string) (*rest.Config, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	seconds := int64(tokenSeconds)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	answer, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("service account %s/%s: %w", namespace, name, err)
	}
	cfg := c.anonymous()
	cfg.BearerToken = answer.Status.Token
	return cfg, nil
}

// anonymous knows the way to the API server, and says of nobody who it is.
func (c *Cluster) anonymous() *rest.Config {
	return &rest.Config{
		Host:            c.URL(),
		TLSClientConfig: rest.TLSClientConfig{CAData: c.ca.pem},
		QPS:             -1, // tests wait for the server, not for their client
	}
}

// WriteKubeconfig writes a kubeconfig that says what cfg says: server, CA, and
// certificate or token.
func WriteKubeconfig(path string, cfg *rest.Config) error {
	const name = "devcluster"
	k := clientcmdapi.NewConfig()
	k.Clusters[name] = &clientcmdapi.Cluster{Server: cfg.Host, CertificateAuthorityData: cfg.CAData}
	k.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: cfg.CertData,
		ClientKeyData:         cfg.KeyData,
		Token:                 cfg.BearerToken,
	}
	k.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	k.CurrentContext = name
	text, err := clientcmd.Write(*k)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return writeFile(path, text)
}

// ReadConfig is what the kubeconfig of the cluster on dir says. It limits no
// rates.
func ReadConfig(dir string) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", KubeconfigPath(dir))
	if err != nil {
		return nil, err
	}
	cfg.QPS = -1
	return cfg, nil
}

// issueFiles writes the certificates, keys and kubeconfigs of the components and
// of the admin.
func (c *Cluster) issueFiles() error {
	dir := filepath.Join(c.dir, "pki")
	for _, name := range []string{"etcd", "apiserver"} {
		if err := c.ca.issueFile(dir, identity{name: name, usage: x509.ExtKeyUsageServerAuth}); err != nil {
			return err
		}
	}
	if err := c.issueServiceAccountKey(); err != nil {
		return err
	}
	admin, err := c.UserConfig("admin", "system:masters")
	if err != nil {
		return err
	}
	manager, err := c.UserConfig("system:kube-controller-manager")
	if err != nil {
		return err
	}
	return errors.Join(
		WriteKubeconfig(c.Kubeconfig(), admin),
		WriteKubeconfig(c.pki("controller-manager.kubeconfig"), manager),
	)
}

// issueServiceAccountKey makes the pair of keys that tokens are signed with, if
// there is none.
func (c *Cluster) issueServiceAccountKey() error {
	public := c.pki("service-account.pub")
	if _, err := os.Stat(public); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writeKey(c.pki("service-account.key"), key); err != nil {
		return err
	}
	return writeFile(public, encodePEM("PUBLIC KEY", der))
}
