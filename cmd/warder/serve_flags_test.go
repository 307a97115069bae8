package main

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/warder-dev/warder/engine"
)

// upstream is every flag of Kubewarden's policy-server with its variable, a
// value for it, and whether this version honours it. Source: its reference of
// the command line, version 1.36.
func upstream() []struct {
	flag, variable, value string
	supported             bool
} {
	return []struct {
		flag, variable, value string
		supported             bool
	}{
		{"addr", "KUBEWARDEN_BIND_ADDRESS", "[::]", true},
		{"port", "KUBEWARDEN_PORT", "8443", true},
		{"readiness-probe-port", "KUBEWARDEN_READINESS_PROBE_PORT", "8082", true},
		{"workers", "KUBEWARDEN_WORKERS", "4", true},
		{"cert-file", "KUBEWARDEN_CERT_FILE", "/pki/policy-server-cert", true},
		{"key-file", "KUBEWARDEN_KEY_FILE", "/pki/policy-server-key", true},
		{"client-ca-file", "KUBEWARDEN_CLIENT_CA_FILE", "/ca/a.pem,/ca/b.pem", true},
		{"policies", "KUBEWARDEN_POLICIES", "/config/policies.yml", true},
		{"policies-download-dir", "KUBEWARDEN_POLICIES_DOWNLOAD_DIR", "/tmp/", true},
		{"sigstore-cache-dir", "KUBEWARDEN_SIGSTORE_CACHE_DIR", "/tmp/sigstore-data", true},
		{"sigstore-trust-config", "KUBEWARDEN_SIGSTORE_TRUST_CONFIG_PATH", "/trust.json", true},
		{"sources-path", "KUBEWARDEN_SOURCES_PATH", "/sources.yml", true},
		{"verification-path", "KUBEWARDEN_VERIFICATION_CONFIG_PATH", "/verification.yml", true},
		{"docker-config-json-path", "KUBEWARDEN_DOCKER_CONFIG_JSON_PATH", "/home/kubewarden/.docker", true},
		{"log-level", "KUBEWARDEN_LOG_LEVEL", "debug", true},
		{"log-fmt", "KUBEWARDEN_LOG_FMT", "json", true},
		{"log-no-color", "NO_COLOR", "true", true},
		{"enable-metrics", "KUBEWARDEN_ENABLE_METRICS", "true", true},
		{
			"always-accept-admission-reviews-on-namespace", "KUBEWARDEN_ALWAYS_ACCEPT_ADMISSION_REVIEWS_ON_NAMESPACE",
			"kubewarden", true,
		},
		{"disable-timeout-protection", "KUBEWARDEN_DISABLE_TIMEOUT_PROTECTION", "true", true},
		{"policy-timeout", "KUBEWARDEN_POLICY_TIMEOUT", "5", true},
		{"ignore-kubernetes-connection-failure", "KUBEWARDEN_IGNORE_KUBERNETES_CONNECTION_FAILURE", "true", true},
		{"enable-pprof", "KUBEWARDEN_ENABLE_PPROF", "true", true},
		{"continue-on-errors", "KUBEWARDEN_CONTINUE_ON_ERRORS", "false", true},
		{"daemon", "KUBEWARDEN_DAEMON", "true", false},
		{"daemon-pid-file", "KUBEWARDEN_DAEMON_PID_FILE", "policy-server.pid", false},
		{"daemon-stdout-file", "KUBEWARDEN_DAEMON_STDOUT_FILE", "/tmp/out", false},
		{"daemon-stderr-file", "KUBEWARDEN_DAEMON_STDERR_FILE", "/tmp/err", false},
	}
}

// parse reads a command line and an environment as serve does.
func parse(args []string, environ map[string]string) (*serveConfig, *pflag.FlagSet, error) {
	c := &serveConfig{}
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.addFlags(f)
	if err := f.Parse(args); err != nil {
		return c, f, err
	}
	err := c.fromEnvironment(f, func(name string) (string, bool) {
		value, ok := environ[name]
		return value, ok
	})
	if err != nil {
		return c, f, err
	}
	return c, f, c.validate()
}

func TestEveryFlagOfKubewardenIsTakenOrRefusedByName(t *testing.T) {
	var flags []string
	for _, tt := range upstream() {
		flags = append(flags, tt.flag)
		if have := environment()[tt.flag]; have != tt.variable {
			t.Errorf("variable of --%s = %q, want %q", tt.flag, have, tt.variable)
		}
		if _, refused := unsupported()[tt.flag]; refused == tt.supported {
			t.Errorf("--%s: refused %t, want %t", tt.flag, refused, !tt.supported)
		}
		ways := map[string]struct {
			args    []string
			environ map[string]string
		}{
			"--" + tt.flag: {args: []string{"--" + tt.flag + "=" + tt.value}},
			tt.variable:    {environ: map[string]string{tt.variable: tt.value}},
		}
		for name, way := range ways {
			_, f, err := parse(way.args, way.environ)
			usage := (*usageError)(nil)
			switch {
			case tt.supported && err != nil:
				t.Errorf("%s: %v", name, err)
			case tt.supported && strings.Trim(f.Lookup(tt.flag).Value.String(), "[]") != strings.Trim(tt.value, "[]"):
				t.Errorf("%s: value %q, want %q", name, f.Lookup(tt.flag).Value, tt.value)
			case !tt.supported && (!errors.As(err, &usage) || !strings.HasPrefix(err.Error(), name+": ")):
				t.Errorf("%s: %v, want it refused by its name", name, err)
			}
		}
	}
	slices.Sort(flags)
	if diff := cmp.Diff(flags, slices.Sorted(maps.Keys(environment()))); diff != "" {
		t.Errorf("flags with a variable (-want +have):\n%s", diff)
	}
}

func TestAFlagWinsOverItsVariable(t *testing.T) {
	environ := map[string]string{
		"KUBEWARDEN_PORT": "1", "KUBEWARDEN_WORKERS": "3", "KUBEWARDEN_CLIENT_CA_FILE": "a,b",
		"KUBEWARDEN_CONTINUE_ON_ERRORS": "false", "KUBEWARDEN_POLICY_TIMEOUT": "9",
	}
	c, _, err := parse([]string{"--port", "2", "--client-ca-file", "c", "--client-ca-file", "d,e", "--continue-on-errors"}, environ)
	if err != nil {
		t.Fatal(err)
	}
	if c.port != 2 || c.workers != 3 || !slices.Equal(c.clientCAs, []string{"c", "d", "e"}) || !c.continueOnErrors {
		t.Errorf("config = %+v, want port 2, workers 3, CAs c, d and e, and to continue on errors", c)
	}
	if c.evaluationTimeout() != 9*time.Second {
		t.Errorf("timeout = %s, want 9s", c.evaluationTimeout())
	}
	// A variable that loses is not looked at.
	if _, _, err := parse([]string{"--port", "2"}, map[string]string{"KUBEWARDEN_PORT": "none"}); err != nil {
		t.Errorf("a variable that loses: %v", err)
	}
}

func TestDefaultsAreKubewardensButForWhatIsWrittenDown(t *testing.T) {
	c, _, err := parse(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.addr != "0.0.0.0" || c.port != 3000 || c.probePort != 8081 || c.policies != "policies.yml" || c.logLevel != "info" || c.logFormat != "text" {
		t.Errorf("config = %+v, want Kubewarden's defaults", c)
	}
	if c.evaluationTimeout() != engine.DefaultTimeout || !c.continueOnErrors {
		t.Errorf("timeout %s, continue %t, want %s and to continue", c.evaluationTimeout(), c.continueOnErrors, engine.DefaultTimeout)
	}
	if c, _, err = parse([]string{"--disable-timeout-protection", "--policy-timeout=0"}, nil); err != nil || c.evaluationTimeout() != engine.NoTimeout {
		t.Errorf("timeout = %s, %v, want none", c.evaluationTimeout(), err)
	}
}

func TestBooleanVariablesTakeTheUsualSpellings(t *testing.T) {
	tests := []struct {
		variable, value string
		want            bool
		problem         string
	}{
		{"KUBEWARDEN_ENABLE_PPROF", "true", true, ""},
		{"KUBEWARDEN_ENABLE_PPROF", "YES", true, ""},
		{"KUBEWARDEN_ENABLE_PPROF", "on", true, ""},
		{"KUBEWARDEN_ENABLE_PPROF", "1", true, ""},
		{"KUBEWARDEN_ENABLE_PPROF", "False", false, ""},
		{"KUBEWARDEN_ENABLE_PPROF", "0", false, ""},
		{"KUBEWARDEN_ENABLE_PPROF", "no", false, ""},
		{"KUBEWARDEN_ENABLE_PPROF", "", false, ""},
		{"KUBEWARDEN_ENABLE_PPROF", "perhaps", false, "KUBEWARDEN_ENABLE_PPROF: "},
		{"NO_COLOR", "1", true, ""},
		{"NO_COLOR", "please", true, ""},
		{"NO_COLOR", "", false, ""},
	}
	for _, tt := range tests {
		c, _, err := parse(nil, map[string]string{tt.variable: tt.value})
		if tt.problem != "" {
			if usage := (*usageError)(nil); !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), tt.problem) {
				t.Errorf("%s=%s: %v, want it refused by its name", tt.variable, tt.value, err)
			}
			continue
		}
		have := c.pprof
		if tt.variable == "NO_COLOR" {
			have = c.logNoColor
		}
		if err != nil || have != tt.want {
			t.Errorf("%s=%s: %t, %v, want %t", tt.variable, tt.value, have, err, tt.want)
		}
	}
}

func TestWhatIsRefusedMayBeSwitchedOff(t *testing.T) {
	environ := map[string]string{"KUBEWARDEN_DAEMON": "false", "KUBEWARDEN_DAEMON_PID_FILE": ""}
	if _, _, err := parse([]string{"--daemon=false", "--daemon-stdout-file="}, environ); err != nil {
		t.Errorf("flags that ask for nothing: %v", err)
	}
}

func TestAddressesAreWrittenAsKubewardenWantsThem(t *testing.T) {
	for addr, ok := range map[string]bool{"127.0.0.1": true, "[::1]": true, "::": true, "localhost": false, "": false, "1.2.3.4:80": false} {
		if _, _, err := parse([]string{"--addr", addr}, nil); (err == nil) != ok {
			t.Errorf("--addr %q: %v, want it taken: %t", addr, err, ok)
		}
	}
}
