package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChartIsCurrent(t *testing.T) {
	files, err := files()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join("warder", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(have)); diff != "" {
			t.Errorf("%s is not what manifest says; run: go generate ./charts (-manifest +chart)\n%s", name, diff)
		}
	}
	crds, err := filepath.Glob("warder/crds/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range crds {
		if name, err := filepath.Rel("warder", file); err != nil || files[filepath.ToSlash(name)] == nil {
			t.Errorf("%s is of no kind that there is; delete it", file)
		}
	}
}

func TestTokensThatCannotBe(t *testing.T) {
	tests := []struct{ name, says, want string }{
		{"a verb that is none", "maybe .Values.a", `field: xtoken0x: "maybe .Values.a" is nothing that a token says`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := &template{object: map[string]any{}}
			o.object["field"] = o.token(tt.says)
			if _, err := o.text(""); err == nil || err.Error() != tt.want {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
	t.Run("a token amid text", func(t *testing.T) {
		o := &template{object: map[string]any{}}
		o.object["field"] = "--flag=" + o.token("{{ 1 }}")
		if text, err := o.text(""); err == nil {
			t.Errorf("no error, and the text:\n%s", text)
		}
	})
}

func TestEachTokenIsATemplate(t *testing.T) {
	o := &template{object: map[string]any{}}
	o.object["a"] = map[string]any{
		"expr": o.token("{{ .A }}"), "if": o.token("if .B\ntrue"), "with": o.token("with .C"), "quoted": o.token("quoted .D"),
		"set": o.token("set .E"), "list": []any{"x", o.token("append .F")}, "namespace": releaseNamespace,
	}
	const want = `{{- if .G }}
---
a:
  expr: {{ .A }}
  {{- if .B }}
  if: true
  {{- end }}
  list:
  - x
  {{- with .F }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  namespace: {{ .Release.Namespace | quote }}
  {{- with .D }}
  quoted: {{ . | quote }}
  {{- end }}
  {{- if not (kindIs "invalid" (.E)) }}
  set: {{ toJson (.E) }}
  {{- end }}
  {{- with .C }}
  with:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
`
	got, err := o.text(".G")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("template (-want +got):\n%s", diff)
	}
}
