//go:build !wasip1

package library_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestPolarisChecksNameABuiltinAndItsSettings(t *testing.T) {
	names := map[string]bool{}
	for _, check := range library.PolarisChecks() {
		b, ok := library.Lookup(check.Builtin)
		if !ok {
			t.Errorf("%s: no built-in %q", check.Name, check.Builtin)
			continue
		}
		if check.Category != b.Category || !slices.Contains(severities(), check.Severity) {
			t.Errorf("%s: category %q, severity %q; category of %s: %q", check.Name, check.Category, check.Severity, b.Name, b.Category)
		}
		if _, err := b.Policy.Load([]byte(check.Settings)); err != nil {
			t.Errorf("%s: settings: %v", check.Name, err)
		}
		if names[check.Name] {
			t.Errorf("%s: twice", check.Name)
		}
		names[check.Name] = true
	}
	if len(names) < 44 {
		t.Errorf("%d checks; Polaris has 44 and those of the Gateway API", len(names))
	}
}

// Each check has a file of objects: fail.json, fail-2.json and so on must be
// refused, pass.json and so on accepted. What the host answers is in
// fail.host.json.
func TestPolarisChecksHaveTheVerdictOfPolaris(t *testing.T) {
	for _, check := range library.PolarisChecks() {
		t.Run(check.Name, func(t *testing.T) {
			b, _ := library.Lookup(check.Builtin)
			cases := polarisCases(t, check)
			if cases["fail"] == nil || cases["pass"] == nil {
				t.Error("want an object that fails and one that passes")
			}
			for name, c := range cases {
				ctx := t.Context()
				if c.Answers != nil {
					ctx = sdk.WithHost(ctx, sdktest.NewHost(t, c.Answers...))
				}
				v, err := sdktest.Load(t, b.Policy, check.Settings)(ctx, c.Request)
				if err == nil {
					v, err = v.Resolve(c.Request)
				}
				if want := strings.HasPrefix(name, "pass"); err != nil || v.Accepted != want || v.MutatedObject != nil {
					t.Errorf("%s: accepted %t, %q, %v, want accepted %t", name, v.Accepted, v.Message, err, want)
				}
				if strings.HasPrefix(v.Message, "Cannot parse") {
					t.Errorf("%s: the object is not what it is taken for: %s", name, v.Message)
				}
			}
		})
	}
}

// polarisCases reads the objects of a check, by the name of the part.
func polarisCases(t *testing.T, check library.PolarisCheck) map[string]*sdktest.Case {
	t.Helper()
	text, err := os.ReadFile("testdata/polaris/" + check.Name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	heads := regexp.MustCompile(`(?m)^-- (\S+)\.json --\n`)
	parts, at := map[string]string{}, heads.FindAllSubmatchIndex(text, -1)
	for i, head := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		parts[string(text[head[2]:head[3]])] = string(text[head[1]:end])
	}
	cases := map[string]*sdktest.Case{}
	for name, object := range parts {
		if strings.HasSuffix(name, ".host") {
			if parts[strings.TrimSuffix(name, ".host")] == "" {
				t.Errorf("%s: answers without an object", name)
			}
			continue
		}
		if !regexp.MustCompile(`^(fail|pass)(-\d+)?$`).MatchString(name) {
			t.Errorf("part %q, want fail or pass", name)
		}
		whole := fmt.Sprintf("%s\n-- request.json --\n{\"namespace\": \"shop\", \"object\": %s}\n-- want --\nallowed\n", name, object)
		if host, ok := parts[name+".host"]; ok {
			whole += "-- host.json --\n" + host
		}
		c, err := sdktest.ParseCase(whole)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cases[name] = &c
	}
	return cases
}

// A file that no check reads is one whose check has another name by now.
func TestPolarisFixturesBelongToACheck(t *testing.T) {
	files, err := filepath.Glob("testdata/polaris/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		if !slices.ContainsFunc(library.PolarisChecks(), func(c library.PolarisCheck) bool { return c.Name == name }) {
			t.Errorf("%s: there is no such check", file)
		}
	}
}

// hostPathSet is every type of volume but one.
func TestHostPathSetAllowsEveryOtherTypeOfVolume(t *testing.T) {
	var want []string
	for field := range reflect.TypeFor[corev1.VolumeSource]().Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "hostPath" {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	for _, check := range library.PolarisChecks() {
		var settings struct{ AllowedTypes []string }
		if check.Name != "hostPathSet" {
			continue
		}
		if err := sdk.View([]byte(check.Settings)).Decode(&settings); err != nil || !slices.Equal(settings.AllowedTypes, want) {
			t.Errorf("%v: allowedTypes %q, want %q", err, settings.AllowedTypes, want)
		}
		return
	}
	t.Error("no such check")
}
