package node

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// command is the container as a process of this machine. Its paths are in the
// pod's folder instead of the root, and its ports are free ones.
func (p *pod) command(ctx context.Context) (*exec.Cmd, error) {
	if err := p.writeVolumes(ctx); err != nil {
		return nil, err
	}
	for _, port := range p.container().Ports {
		free, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		p.ports[port.ContainerPort] = free
	}
	kubeconfig, err := p.kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	c := p.container()
	env := map[string]string{}
	for _, e := range c.Env {
		if env[e.Name], err = p.value(ctx, e); err != nil {
			return nil, err
		}
	}
	env["KUBECONFIG"] = kubeconfig
	env["HOME"], env["TMPDIR"] = p.dir, os.TempDir()
	var args []string
	for _, a := range c.Args {
		args = append(args, p.here(expand(a, env)))
	}
	cmd := exec.Command(p.node.opts.Binary, args...)
	cmd.Dir = p.dir
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

// value is that of a variable of the container.
func (p *pod) value(ctx context.Context, e corev1.EnvVar) (string, error) {
	from := e.ValueFrom
	switch {
	case from == nil:
		return p.here(e.Value), nil
	case from.FieldRef != nil:
		switch from.FieldRef.FieldPath {
		case "metadata.name":
			return p.pod.Name, nil
		case "metadata.namespace":
			return p.pod.Namespace, nil
		case "metadata.uid":
			return string(p.pod.UID), nil
		case "spec.nodeName":
			return Name, nil
		case "status.podIP", "status.hostIP":
			return p.node.dial, nil
		}
	case from.SecretKeyRef != nil:
		s, err := p.node.client.CoreV1().Secrets(p.pod.Namespace).Get(ctx, from.SecretKeyRef.Name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		return string(s.Data[from.SecretKeyRef.Key]), nil
	case from.ConfigMapKeyRef != nil:
		m, err := p.node.client.CoreV1().ConfigMaps(p.pod.Namespace).Get(ctx, from.ConfigMapKeyRef.Name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		return m.Data[from.ConfigMapKeyRef.Key], nil
	}
	return "", fmt.Errorf("variable %s: this node does not know where its value comes from", e.Name)
}

// expand replaces $(NAME) as Kubernetes does.
func expand(s string, env map[string]string) string {
	for name, value := range env {
		s = strings.ReplaceAll(s, "$("+name+")", value)
	}
	return s
}

// here is a value with the container's paths and ports replaced by those of this
// machine: "/pki/tls.crt", "--x=/a,/b", "8443", ":8081", "--port=9443".
func (p *pod) here(value string) string {
	mounts := slices.Clone(p.container().VolumeMounts)
	slices.SortFunc(mounts, func(a, b corev1.VolumeMount) int { return len(b.MountPath) - len(a.MountPath) })
	var paths []string
	volumes := map[string]string{}
	for _, m := range mounts {
		path := strings.TrimSuffix(m.MountPath, "/")
		paths, volumes[path] = append(paths, regexp.QuoteMeta(path)), p.volume(m.Name)
	}
	if len(paths) > 0 { // all at once: what replaces one path may have another in it
		all := regexp.MustCompile(`(^|[=,:])(` + strings.Join(paths, "|") + `)(/|$|,)`)
		value = all.ReplaceAllStringFunc(value, func(found string) string {
			parts := all.FindStringSubmatch(found)
			return parts[1] + volumes[parts[2]] + parts[3]
		})
	}
	for port, free := range p.ports {
		exact := regexp.MustCompile(`(^|[=:])` + strconv.Itoa(int(port)) + `$`)
		if exact.MatchString(value) {
			return exact.ReplaceAllString(value, "${1}"+strconv.Itoa(free))
		}
	}
	return value
}

func (p *pod) volume(name string) string { return filepath.Join(p.dir, "volumes", name) }

// writeVolumes makes the pod's volumes what they are to be now. A file that has
// not changed is left alone, another one is replaced in one step.
func (p *pod) writeVolumes(ctx context.Context) error {
	for _, v := range p.pod.Spec.Volumes {
		if err := os.MkdirAll(p.volume(v.Name), 0o700); err != nil {
			return err
		}
		files, err := p.files(ctx, v)
		if err != nil {
			return fmt.Errorf("volume %q: %w", v.Name, err)
		}
		for name, text := range files {
			file := filepath.Join(p.volume(v.Name), filepath.FromSlash(name))
			if have, err := os.ReadFile(file); err == nil && bytes.Equal(have, text) {
				continue
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(file+".new", text, 0o600); err != nil {
				return err
			}
			if err := os.Rename(file+".new", file); err != nil {
				return err
			}
		}
	}
	return nil
}

// files are those of a volume, nil of an empty one.
func (p *pod) files(ctx context.Context, v corev1.Volume) (map[string][]byte, error) {
	files := map[string][]byte{}
	var items []corev1.KeyToPath
	var optional *bool
	var err error
	switch {
	case v.EmptyDir != nil, v.Projected != nil: // the latter is the token, which the kubeconfig has
		return nil, nil
	case v.Secret != nil:
		var s *corev1.Secret
		items, optional = v.Secret.Items, v.Secret.Optional
		if s, err = p.node.client.CoreV1().Secrets(p.pod.Namespace).Get(ctx, v.Secret.SecretName, metav1.GetOptions{}); err == nil {
			files = s.Data
		}
	case v.ConfigMap != nil:
		var m *corev1.ConfigMap
		items, optional = v.ConfigMap.Items, v.ConfigMap.Optional
		if m, err = p.node.client.CoreV1().ConfigMaps(p.pod.Namespace).Get(ctx, v.ConfigMap.Name, metav1.GetOptions{}); err == nil {
			for key, text := range m.Data {
				files[key] = []byte(text)
			}
		}
	default:
		return nil, fmt.Errorf("this node has Secrets, ConfigMaps and empty folders")
	}
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil, nil
	}
	if err != nil || len(items) == 0 {
		return files, err
	}
	chosen := map[string][]byte{}
	for _, item := range items {
		text, ok := files[item.Key]
		if !ok && (optional == nil || !*optional) {
			return nil, fmt.Errorf("it has no key %q", item.Key)
		}
		if ok {
			chosen[item.Path] = text
		}
	}
	return chosen, nil
}

// kubeconfig writes one with a token of the pod's ServiceAccount and returns its
// path.
func (p *pod) kubeconfig(ctx context.Context) (string, error) {
	seconds := int64(24 * 60 * 60)
	account := p.pod.Spec.ServiceAccountName
	request := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.pod.Name, UID: p.pod.UID},
	}}
	token, err := p.node.client.CoreV1().ServiceAccounts(p.pod.Namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("token of service account %s/%s: %w", p.pod.Namespace, account, err)
	}
	admin := rest.CopyConfig(p.node.opts.Config)
	if err := rest.LoadTLSFiles(admin); err != nil {
		return "", err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[Name] = &clientcmdapi.Cluster{Server: admin.Host, CertificateAuthorityData: admin.CAData}
	config.AuthInfos[Name] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts[Name] = &clientcmdapi.Context{Cluster: Name, AuthInfo: Name, Namespace: p.pod.Namespace}
	config.CurrentContext = Name
	file := filepath.Join(p.dir, "kubeconfig")
	return file, clientcmd.WriteToFile(*config, file)
}
