package install

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/warder-dev/warder/manifest"
)

func TestKindsComeFirst(t *testing.T) {
	objects, err := Objects(manifest.InstallOptions{Image: "x", Namespace: "policies"})
	if err != nil {
		t.Fatal(err)
	}
	crds, err := manifest.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range objects {
		if isKind := o.GetKind() == "CustomResourceDefinition"; isKind != (i < len(crds)) {
			t.Errorf("%s is number %d of %d", nameOf(o), i, len(objects))
		}
		if _, ok := o.Object["status"]; ok {
			t.Errorf("%s has a status, which is not ours to say", nameOf(o))
		}
		if ns := o.GetNamespace(); ns != "" && ns != "policies" {
			t.Errorf("%s is in another namespace", nameOf(o))
		}
	}
	if got := namespaceOf(objects); got != "policies" {
		t.Errorf("namespace = %q", got)
	}
}

func TestObjectsOfOptionsThatCannotBe(t *testing.T) {
	if _, err := Objects(manifest.InstallOptions{}); err == nil || !strings.Contains(err.Error(), "image: ") {
		t.Errorf("error = %v, want that there is no image", err)
	}
}

func TestComplaints(t *testing.T) {
	tests := []struct{ name, object, want string }{
		{"none", `{metadata: {generation: 2}}`, "nobody has said yet whether it is ready"},
		{"of another type", `{status: {conditions: [{type: Loaded, status: "True"}]}}`, "nobody has said yet whether it is ready"},
		{"of an older generation", `{metadata: {generation: 2}, status: {observedGeneration: 1, conditions: [{type: Ready, status: "True"}]}}`,
			"nobody has said yet whether it is ready"},
		{"false", `{status: {conditions: [{type: Ready, status: "False", reason: Loading, message: wait}]}}`, "Loading: wait"},
		{"unknown", `{status: {conditions: [{type: Ready, status: Unknown, reason: R, message: m}]}}`, "R: m"},
		{"true", `{metadata: {generation: 2}, status: {observedGeneration: 2, conditions: [{type: Ready, status: "True"}]}}`, ""},
		{"no list", `{status: {conditions: true}}`, "nobody has said yet whether it is ready"},
		{"no object in the list", `{status: {conditions: [true]}}`, "nobody has said yet whether it is ready"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(tt.object), &o.Object); err != nil {
				t.Fatal(err)
			}
			// As the API server's answers are decoded.
			if generation, ok := o.Object["metadata"].(map[string]any); ok {
				generation["generation"] = int64(2)
			}
			if status, ok := o.Object["status"].(map[string]any); ok {
				if n, ok := status["observedGeneration"].(float64); ok {
					status["observedGeneration"] = int64(n)
				}
			}
			if diff := cmp.Diff(tt.want, complaint(o, "Ready")); diff != "" {
				t.Errorf("complaint (-want +got):\n%s", diff)
			}
		})
	}
}

func TestElsewhereErrorSaysWhereAndWhatToDo(t *testing.T) {
	var err error = &ElsewhereError{Namespace: "kubewarden", Deployment: "kubewarden-controller"}
	for _, want := range []string{"deployment kubewarden/kubewarden-controller: ", "install into that namespace", "remove it first"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	if !errors.As(err, new(*ElsewhereError)) {
		t.Error("it is no ElsewhereError")
	}
}

func TestUntilSaysWhatItWaitsFor(t *testing.T) {
	var waited []string
	c := &Client{Wait: func(what string) { waited = append(waited, what) }}
	answers := []string{"one", "two", ""}
	err := c.until(t.Context(), "thing", func() (string, error) {
		answer := answers[0]
		answers = answers[1:]
		return answer, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"thing: one", "thing: two"}, waited); diff != "" {
		t.Errorf("waited for (-want +got):\n%s", diff)
	}
}

func TestUntilEndsWithTheLastComplaint(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &Client{Wait: func(string) { cancel() }}
	err := c.until(ctx, "thing", func() (string, error) { return "", errors.New("no answer") })
	if !errors.Is(err, ctx.Err()) || err.Error() != "thing: no answer: context canceled" {
		t.Errorf("error = %v", err)
	}
}
