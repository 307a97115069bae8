// Package v1alpha1 is the custom resources of policies.warder.dev/v1alpha1,
// which are warder's own.
//
// +kubebuilder:object:generate=true
// +groupName=policies.warder.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion returns the group and version of the kinds of this package.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: "policies.warder.dev", Version: "v1alpha1"}
}

// AddToScheme makes the kinds of this package known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(), &PolicyServerReplica{}, &PolicyServerReplicaList{})
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}
