package secrets_test

import (
	"strings"
	"testing"

	"github.com/warder-dev/warder/library/internal/secrets"
)

func TestFindsSecretsByNameAndValue(t *testing.T) {
	tests := []struct {
		name, value string
		want        bool
	}{
		{"DB_PASSWORD", "hunter2", true},
		{"dbpasswd", "hunter2", true},
		{"AWS_SECRET_ACCESS_KEY", "x", true},
		{"api.key", "x", true},
		{"GITHUB_TOKEN", "x", true},
		{"token", "x", true},
		{"TOKEN_URL", "https://example.com", false},
		{"password-policy.json", "{}", false},
		{"NOTATOKENISER", "x", false},
		{"KEY", "x", false},
		{"DB_PASSWORD", "", false},
		{"DB_PASSWORD", "$(OTHER)", false},
		{"USE_TOKEN", "true", false},
		{"GOOGLE_APPLICATION_CREDENTIALS", "/var/run/secrets/key.json", false},
		{"TOKEN", "/abc", true},
		{"config", "a\n-----BEGIN RSA PRIVATE KEY-----\n", true},
		{"config", "-----BEGIN CERTIFICATE-----", false},
		{"config", "id: AKIAIOSFODNN7EXAMPLE", true},
		{"config", "ghp_" + strings.Repeat("a", 36), true},
		{"config", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlMTIz", true},
		{"FINE_PASSWORD", "x", false},
	}
	s := secrets.Settings{AllowedNames: []string{"FINE_PASSWORD"}}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		have := s.Finds(tt.name, tt.value)
		if (have != "") != tt.want {
			t.Errorf("%s=%s: have %q, want one: %t", tt.name, tt.value, have, tt.want)
		}
		if len(tt.value) > 3 && strings.Contains(have, tt.value) {
			t.Errorf("%s: %q quotes the value", tt.name, have)
		}
	}
}

func TestSettingsReplaceTheExpressions(t *testing.T) {
	s := secrets.Settings{Names: []string{`^pin$`}, Values: []string{}}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if s.Finds("pin", "1234") == "" || s.Finds("password", "-----BEGIN PRIVATE KEY-----") != "" {
		t.Error("the default expressions are still there, or the given one is not")
	}
	bad := secrets.Settings{Names: []string{"a", "("}, Values: []string{"["}}
	err := bad.Validate()
	if err == nil || !strings.Contains(err.Error(), "names[1]: ") || !strings.Contains(err.Error(), "values[0]: ") {
		t.Errorf("have %v, want both expressions", err)
	}
}
