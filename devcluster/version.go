package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	_ "unsafe" // for go:linkname

	"k8s.io/component-base/version"
)

// Kubernetes' own builds set these with -ldflags, which "go run" would have to
// be given each time. They are set once, first thing in a process.
var (
	//go:linkname gitVersion k8s.io/component-base/version.gitVersion
	gitVersion string
	//go:linkname gitMajor k8s.io/component-base/version.gitMajor
	gitMajor string
	//go:linkname gitMinor k8s.io/component-base/version.gitMinor
	gitMinor string
	//go:linkname gitTreeState k8s.io/component-base/version.gitTreeState
	gitTreeState string
)

// setVersion makes Kubernetes know its version: that of the module which we are
// built with.
func setVersion() error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("version: this binary does not say what it is built of")
	}
	for _, dep := range info.Deps {
		if dep.Path != "k8s.io/kubernetes" {
			continue
		}
		numbers := strings.SplitN(strings.TrimPrefix(dep.Version, "v"), ".", 3)
		if len(numbers) != 3 {
			return fmt.Errorf("version: k8s.io/kubernetes is at %q, which is no version", dep.Version)
		}
		gitVersion, gitMajor, gitMinor, gitTreeState = dep.Version, numbers[0], numbers[1], "archive"
		return version.SetDynamicVersion(dep.Version)
	}
	return errors.New("version: this binary is built without k8s.io/kubernetes")
}
