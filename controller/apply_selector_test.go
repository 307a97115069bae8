package controller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestASelectorWithALabelMoreIsAnotherOne(t *testing.T) {
	desired := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"selector": map[string]any{"app": "x"}}}}
	for name, test := range map[string]struct {
		selector map[string]string
		want     bool
	}{
		"the same":     {map[string]string{"app": "x"}, true},
		"a label more": {map[string]string{"app": "x", "other": "y"}, false},
		"another":      {map[string]string{"app": "y"}, false},
		"none":         {nil, false},
	} {
		if have := selectsAs(&corev1.Service{Spec: corev1.ServiceSpec{Selector: test.selector}}, desired); have != test.want {
			t.Errorf("%s: %t, want %t", name, have, test.want)
		}
	}
	if !selectsAs(&corev1.ConfigMap{}, desired) {
		t.Error("a ConfigMap selects nothing")
	}
}
