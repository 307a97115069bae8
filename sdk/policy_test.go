package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// testSettings have something of every kind that settings are made of.
type testSettings struct {
	Mode   string            `json:"mode"`
	Limit  *int              `json:"limit"`
	Ratio  float64           `json:"ratio"`
	Small  int8              `json:"small"`
	Lists  []string          `json:"lists"`
	Rules  []testRule        `json:"rules"`
	ByName map[string]*rules `json:"by_name"`
	Nested *testRule         `json:"nested,omitempty"`
	Opaque opaque            `json:"opaque"`
	NoTag  bool
	Hidden string `json:"-"`
	embedded
}

type embedded struct {
	Inner string `json:"inner"`
}

type rules struct{ Rule testRule }

type testRule struct {
	Path     string `json:"path"`
	ReadOnly bool   `json:"readOnly"`
}

// opaque decodes itself: what names it has only it knows.
type opaque struct{ text string }

func (o *opaque) UnmarshalJSON(text []byte) error {
	o.text = string(text)
	return nil
}

func (s *testSettings) Validate() error {
	if s.Mode == "bad" {
		return errors.New("mode: no mode is called bad")
	}
	return nil
}

func testPolicy() Policy {
	return Define(func(_ context.Context, s *testSettings, req *Request) (Verdict, error) {
		switch s.Mode {
		case "fail":
			return Verdict{}, errors.New("cannot judge")
		case "patch":
			return Verdict{Accepted: true, Patch: Patch{{PatchSet, "/a/b", raw("1")}}}, nil
		}
		return Rejectf("%s/%s in mode %q", req.Namespace, req.Name, s.Mode), nil
	})
}

func TestSettingsErrorsAreForWhoeverWroteThem(t *testing.T) {
	tests := []struct{ settings, want string }{
		{`{"mod": "x"}`, "mod: unknown setting; did you mean mode?"},
		{`{"MODE": "x"}`, ""}, // encoding/json takes any case
		{`{"limits": 1}`, "limits: unknown setting; did you mean limit?"},
		{`{"by-name": {}}`, `["by-name"]: unknown setting; did you mean by_name?`},
		{`{"zzz": 1}`, "zzz: unknown setting; known are NoTag, by_name, inner, limit, lists, mode, nested, opaque, ratio, rules, small"},
		{`{"zzz": null}`, "zzz: unknown setting; known are NoTag, by_name, inner, limit, lists, mode, nested, opaque, ratio, rules, small"},
		{`{"hidden": "x"}`, "hidden: unknown setting; known are NoTag, by_name, inner, limit, lists, mode, nested, opaque, ratio, rules, small"},
		{`{"notag": true}`, ""},
		{`{"iner": "x"}`, "iner: unknown setting; did you mean inner?"},
		{`{"rules": [{"path": "/"}, {"readonly": true}]}`, ""},
		{`{"rules": [{"path": "/"}, {"readOnli": true}]}`, "rules[1].readOnli: unknown setting; did you mean readOnly?"},
		{`{"nested": {"pth": ""}}`, "nested.pth: unknown setting; did you mean path?"},
		{`{"by_name": {"some.name": {"Rule": {"x": 1}}}}`, `by_name["some.name"].Rule.x: unknown setting; known are path, readOnly`},
		{`{"opaque": {"any": ["thing"]}}`, ""},
		{`{"opaque": {"any": 1}, "mod": 1}`, "mod: unknown setting; did you mean mode?"},
		{`{"mode": 1}`, "mode: want a string, have number"},
		{`{"limit": "1"}`, "limit: want an integer (int), have string"},
		{`{"limit": 1.5}`, "limit: want an integer (int), have number 1.5"},
		{`{"small": 128}`, "small: want an integer (int8), have number 128"},
		{`{"ratio": "x"}`, "ratio: want a number, have string"},
		{`{"lists": "x"}`, "lists: want a list, have string"},
		{`{"rules": {}}`, "rules: want a list, have object"},
		{`{"nested": []}`, "nested: want an object, have array"},
		{`{"nested": {"readOnly": 0}}`, "nested.readOnly: want a boolean, have number"},
		{`[]`, "settings: want an object, have array"},
		{`"x"`, "settings: want an object, have string"},
		{`{} {}`, "settings: more than one JSON value"},
		{`{"mode": "bad"}`, "mode: no mode is called bad"},
		{``, ""},
		{` `, ""},
		{`null`, ""},
		{`{}`, ""},
		{`{"limit": null, "rules": null}`, ""},
	}
	for _, tt := range tests {
		_, err := testPolicy().Load(raw(tt.settings))
		have := ""
		if err != nil {
			have = err.Error()
		}
		if have != tt.want {
			t.Errorf("%s: have %q, want %q", tt.settings, have, tt.want)
		}
	}
}

func TestBrokenSettingsAreNotBlamedOnANameInThem(t *testing.T) {
	for _, settings := range []string{`{"mode": `, `{"zzz": 1,`, `{mode: 1}`, `{"zzz": 1} x`, `{`} {
		_, err := testPolicy().Load(raw(settings))
		if err == nil || !strings.HasPrefix(err.Error(), "settings: ") {
			t.Errorf("%s: %v, want an error about the settings as a whole", settings, err)
		}
	}
}

func TestAPolicyThatIsNotDefinedSaysSo(t *testing.T) {
	if _, err := (Policy{}).Load(nil); err == nil || !strings.Contains(err.Error(), "sdk.Define") {
		t.Errorf("have %v, want the way to define one", err)
	}
}

// preparedSettings are checked once, and what Validate prepares is there for
// every request.
type preparedSettings struct {
	Names    []string `json:"names"`
	prepared map[string]bool
	calls    int
}

func (s *preparedSettings) Validate() error {
	s.calls++
	s.prepared = map[string]bool{}
	for _, name := range s.Names {
		s.prepared[name] = true
	}
	return nil
}

func TestValidatePreparesTheSettingsOnce(t *testing.T) {
	policy := Define(func(_ context.Context, s *preparedSettings, req *Request) (Verdict, error) {
		return Verdict{Accepted: s.prepared[req.Name], Message: fmt.Sprint(s.calls)}, nil
	})
	judge, err := policy.Load(raw(`{"names": ["a", "b"]}`))
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			name := []string{"a", "x"}[i%2]
			v, err := judge(t.Context(), &Request{Name: name})
			if err != nil || v.Accepted != (name == "a") || v.Message != "1" {
				t.Errorf("%s: %+v, %v", name, v, err)
			}
		})
	}
	wait.Wait()
	if other, err := policy.Load(nil); err != nil {
		t.Error(err)
	} else if v, _ := other(t.Context(), &Request{Name: "a"}); v.Accepted {
		t.Error("settings of one load are those of another")
	}
}

func TestNearestSuggestsSlipsAlone(t *testing.T) {
	known := []string{"allow", "reject", "allowedNamespaces"}
	tests := []struct{ name, want string }{
		{"alow", "allow"},
		{"Allow", "allow"},
		{"rejct", "reject"},
		{"allowedNamespace", "allowedNamespaces"},
		{"allowed_namespaces", "allowedNamespaces"},
		{"x", ""},
		{"", ""},
		{"deny", ""},
		{"completely different", ""},
	}
	for _, tt := range tests {
		if have := Nearest(tt.name, known); have != tt.want {
			t.Errorf("Nearest(%q) = %q, want %q", tt.name, have, tt.want)
		}
	}
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"ab", "ba", 2}, {"same", "same", 0}} {
		if have := distance(tt.a, tt.b); have != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, have, tt.want)
		}
	}
}

func FuzzDecodeSettings(f *testing.F) {
	for _, settings := range []string{`{"mode":"x"}`, `{"by_name":{"a":{"Rule":{"x":1}}}}`, `{"rules":[{}]}`, `{"zzz":`} {
		f.Add([]byte(settings))
	}
	f.Fuzz(func(t *testing.T, settings []byte) {
		var s testSettings
		err := DecodeSettings(settings, &s)
		if err == nil && len(strings.TrimSpace(string(settings))) > 0 && !json.Valid(settings) {
			t.Errorf("%q is no JSON, and decodes", settings)
		}
		if err != nil && err.Error() == "" {
			t.Errorf("%q: an error without words", settings)
		}
	})
}

func TestPolicyWithoutSettingsTakesNone(t *testing.T) {
	p := Define(func(context.Context, *struct{}, *Request) (Verdict, error) { return Accept(), nil })
	if _, err := p.Load(raw(`{"a": 1}`)); err == nil || err.Error() != "a: unknown setting; there are none" {
		t.Errorf("error %v, want one that says that there are none", err)
	}
	if _, err := p.Load(nil); err != nil {
		t.Errorf("no settings: %v", err)
	}
}
