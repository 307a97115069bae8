package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/controller"
	"github.com/warder-dev/warder/policy"
)

// newTestChecker returns a checker whose store has the demo's module, as kwctl
// would have put it there.
func newTestChecker(t *testing.T) *settingsChecker {
	t.Helper()
	root := t.TempDir()
	store, err := artifact.OpenStore(root)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(root, "registry", "ghcr.io", "acme")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"v1", "latest"} {
		if err := unpack(filepath.Join(folder, "teamlabel:"+tag)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := newSettingsChecker(store, t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestModulesAtHandCheckSettings(t *testing.T) {
	c := newTestChecker(t)
	const guest, good = "ghcr.io/acme/teamlabel:v1", `{"teams": ["a"]}`
	for _, tt := range []struct {
		name, module, settings, want string
		aboutModule                  bool
	}{
		{"good built-in", "builtin://safe-labels", `{"mandatory_labels": ["a"]}`, "", false},
		{"no settings", "builtin://safe-labels", "", "", false},
		{"a built-in's own words", "builtin://safe-labels", `{"mandatory_labels": ["a"], "denied_labels": ["a"]}`,
			"These labels cannot be mandatory and denied at the same time: a", false},
		{"unknown built-in", "builtin://safe-label", "", "no built-in policy has this name; did you mean safe-labels?", true},
		{"module of the store", guest, good, "", false},
		{"module of the store with a scheme", "registry://" + guest, good, "", false},
		{"its own words", guest, `{"teams": 1}`, "teams", false},
		{"latest was another one perhaps", "ghcr.io/acme/teamlabel:latest", `{"teams": 1}`, "", false},
		{"latest without saying so", "ghcr.io/acme/teamlabel", `{"teams": 1}`, "", false},
		{"not in the store", "registry://ghcr.io/acme/other:v1", `{"teams": 1}`, "", false},
		{"a file is another machine's", "file:///etc/passwd", "", "", false},
		{"no reference", "ftp://host/p.wasm", "", "unknown scheme: ftp", true},
	} {
		p := policy.Policy{ID: "p", Module: tt.module, Settings: json.RawMessage(tt.settings), HostCapabilities: []string{"*"}}
		for range 2 { // the second answer is kept from the first
			err := c.check(t.Context(), p)
			about := (*controller.ModuleError)(nil)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) || errors.As(err, &about) != tt.aboutModule {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			}
		}
	}
}

// What a built-in answers for is checked by the built-in: nothing needs to be in
// the store.
func TestThePreferredBuiltinChecksSettings(t *testing.T) {
	c := newTestChecker(t)
	const module, other = "ghcr.io/kubewarden/policies/safe-labels:v1", "ghcr.io/acme/policies/safe-labels:v1"
	const answers = "(builtin://safe-labels answers in place of " + module + ")"
	for _, tt := range []struct {
		name, module, settings, want string
		prefer                       bool
	}{
		{"refused", module, `{"mandatory": ["a"]}`, answers, true},
		{"taken", module, `{"mandatory_labels": ["a"]}`, "", true},
		{"nobody prefers it", module, `{"mandatory": ["a"]}`, "", false},
		{"somebody else's module", other, `{"mandatory": ["a"]}`, "", true},
		{"the built-in by its name", "builtin://safe-labels", `{"mandatory": ["a"]}`, "unknown setting", true},
	} {
		p := policy.Policy{ID: "p", Module: tt.module, Settings: json.RawMessage(tt.settings), PreferBuiltin: tt.prefer}
		for range 2 { // the second answer is kept from the first
			if err := c.check(t.Context(), p); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			}
		}
	}
}

func TestACheckThatTakesTooLongIsNoRefusal(t *testing.T) {
	c := newTestChecker(t)
	for range maxChecks {
		c.slots <- struct{}{} // others are asked, and do not answer
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := policy.Policy{ID: "p", Module: "builtin://safe-labels", Settings: json.RawMessage(`{"mandatory_labels": 1}`)}
	if err := c.check(ctx, p); !errors.Is(err, context.Canceled) {
		t.Errorf("check = %v, want %v", err, context.Canceled)
	}
	for range maxChecks {
		<-c.slots
	}
	if err := c.check(t.Context(), p); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("check = %v, want the module's answer", err)
	}
}
