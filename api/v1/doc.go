// Package v1 is the custom resources of policies.kubewarden.io/v1: policy
// servers, policies and groups of policies, of one namespace or of the whole
// cluster. They have every field that Kubewarden's have, under the same names;
// a field that only warder has says "An extension of warder" in its description.
//
// The markers above the fields are what controller-gen makes the
// CustomResourceDefinitions of ("make generate"): what they refuse, the API
// server refuses, even while nothing of warder runs.
//
// +kubebuilder:object:generate=true
// +groupName=policies.kubewarden.io
package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion returns the group and version of the kinds of this package.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: "policies.kubewarden.io", Version: "v1"}
}

// AddToScheme makes the kinds of this package known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(),
		&PolicyServer{}, &PolicyServerList{},
		&AdmissionPolicy{}, &AdmissionPolicyList{},
		&ClusterAdmissionPolicy{}, &ClusterAdmissionPolicyList{},
		&AdmissionPolicyGroup{}, &AdmissionPolicyGroupList{},
		&ClusterAdmissionPolicyGroup{}, &ClusterAdmissionPolicyGroupList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}

// Finalizer keeps a policy until no webhook asks for it any more, and a policy
// server until no policy of it has a webhook.
const Finalizer = "kubewarden.io/finalizer"

// LegacyFinalizer is what old versions of Kubewarden have set; it is removed
// where it is found.
const LegacyFinalizer = "kubewarden"

// Annotations of policies that people and reports read.
const (
	AnnotationSeverity    = "io.kubewarden.policy.severity"
	AnnotationCategory    = "io.kubewarden.policy.category"
	AnnotationDescription = "io.kubewarden.policy.description"
	AnnotationTitle       = "io.artifacthub.displayName"
)
