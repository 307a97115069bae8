//go:build !wasip1

package library_test

import (
	"path/filepath"
	"testing"

	"github.com/warder-dev/warder/library"
)

func TestForImageFindsWhatStandsForAPolicyOfKubewarden(t *testing.T) {
	for repository, want := range map[string]string{
		"ghcr.io/kubewarden/policies/pod-privileged":      "pod-privileged",
		"ghcr.io/kubewarden/policies/apparmor-psp":        "apparmor-psp",
		"ghcr.io/kubewarden/policies/psp-apparmor":        "apparmor-psp",
		"ghcr.io/kubewarden/policies/psp-capabilities":    "capabilities-psp",
		"ghcr.io/kubewarden/policies/echo":                "", // there is none
		"ghcr.io/kubewarden/policies/min-replicas":        "", // ours is not Kubewarden's
		"ghcr.io/kubewarden/policies/pod-privileged/more": "",
		"ghcr.io/kubewarden/policies/":                    "",
		"ghcr.io/kubewarden/tests/pod-privileged":         "",
		"ghcr.io/kubewarden/pod-privileged":               "",
		"ghcr.io/somebody/policies/pod-privileged":        "",
		"mirror.example.com/kubewarden/policies/labels":   "",
		"pod-privileged": "",
	} {
		if b, ok := library.ForImage(repository); b.Name != want || ok != (want != "") {
			t.Errorf("ForImage(%q) = %q, %t, want %q", repository, b.Name, ok, want)
		}
	}
}

// A policy whose conformance cases we pass stands for Kubewarden's, and what
// stands for it is there.
func TestReplacementsAreThePoliciesWithConformanceCases(t *testing.T) {
	count := 0
	for _, b := range library.All() {
		if b.Image() == "" {
			continue
		}
		count++
		if found, ok := library.ForImage(b.Image()); !ok || found.Name != b.Name {
			t.Errorf("ForImage(%q) = %q, %t", b.Image(), found.Name, ok)
		}
	}
	if count != 46 {
		t.Errorf("%d built-ins stand for a Kubewarden policy, want the 46 of the list: one has another name", count)
	}
	for _, c := range readConformance(t, filepath.Join("testdata", "conformance")) {
		if b, ok := c.builtin(); ok && b.Image() == "" && b.Name != "cel-policy" { // which is no part of the library
			t.Errorf("%s has conformance cases, and stands for no policy", b.Name)
		}
	}
}
