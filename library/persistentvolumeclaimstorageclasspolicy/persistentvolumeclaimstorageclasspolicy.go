// Package persistentvolumeclaimstorageclasspolicy is the built-in policy
// persistentvolumeclaim-storageclass-policy: it limits the storage classes that
// PersistentVolumeClaims may ask for, or gives them another.
package persistentvolumeclaimstorageclasspolicy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/warder-dev/warder/sdk"
)

// Settings are the settings of persistentvolumeclaim-storageclass-policy.
// Exactly one of the two lists must be set. A claim that names no class has the
// class "".
type Settings struct {
	// DeniedStorageClasses are classes that no claim may ask for.
	DeniedStorageClasses []string `json:"deniedStorageClasses"`
	// AllowedStorageClasses are the only classes that claims may ask for.
	AllowedStorageClasses []string `json:"allowedStorageClasses"`
	// FallbackStorageClass is what a claim gets in place of a class that it may
	// not ask for. Default: it is refused.
	FallbackStorageClass *string `json:"fallbackStorageClass"`
}

// Validate reports the first contradiction, in the words of the Kubewarden
// policy.
func (s *Settings) Validate() error {
	fallback := func(among []string) bool {
		return s.FallbackStorageClass != nil && slices.Contains(among, *s.FallbackStorageClass)
	}
	switch denied, allowed := s.DeniedStorageClasses != nil, s.AllowedStorageClasses != nil; {
	case !denied && !allowed:
		return errors.New("One of deniedStorageClasses or allowedStorageClasses must be set") //nolint:staticcheck // the text is upstream's, and users see it
	case denied && allowed:
		return errors.New("Only one of deniedStorageClasses or allowedStorageClasses can be set") //nolint:staticcheck // the text is upstream's, and users see it
	case denied && len(s.DeniedStorageClasses) == 0:
		return errors.New("deniedStorageClasses cannot be empty")
	case denied && fallback(s.DeniedStorageClasses):
		return errors.New("fallbackStorageClass cannot be in deniedStorageClasses")
	case allowed && len(s.AllowedStorageClasses) == 0:
		return errors.New("allowedStorageClasses cannot be empty")
	case allowed && s.FallbackStorageClass != nil && !fallback(s.AllowedStorageClasses):
		return errors.New("fallbackStorageClass must be in allowedStorageClasses")
	}
	return nil
}

func (s *Settings) allows(class string) bool {
	if s.AllowedStorageClasses != nil {
		return slices.Contains(s.AllowedStorageClasses, class)
	}
	return !slices.Contains(s.DeniedStorageClasses, class)
}

// Policy returns the policy persistentvolumeclaim-storageclass-policy.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(_ context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	if req.Kind.Kind != "PersistentVolumeClaim" {
		return sdk.Accept(), nil
	}
	claim, old := req.ViewObject(), req.ViewOldObject()
	class, annotation := classOf(claim)
	before, _ := classOf(old)
	if err := errors.Join(claim.Err(), old.Err()); err != nil {
		return sdk.Reject("Cannot parse validation request: " + err.Error()), nil
	}
	unchanged := req.Operation == sdk.Update && class == before // what is stored cannot be changed any more
	if req.Object == nil || unchanged || s.allows(class) {
		return sdk.Accept(), nil
	}
	if s.FallbackStorageClass == nil {
		// The message is this sentence alone: scripts match its end too.
		return sdk.Reject(fmt.Sprintf("storage class %q is not allowed", class)), nil
	}
	verdict := sdk.Accept()
	if annotation.Exists() {
		verdict.Patch.Remove(annotation.Pointer())
	}
	verdict.Patch.Set("/spec/storageClassName", *s.FallbackStorageClass)
	return verdict, nil
}

// classOf returns the class that a claim asks for, and the annotation if that
// says so: Kubernetes still reads it, before the field.
func classOf(claim sdk.Value) (class string, annotation sdk.Value) {
	annotation = claim.Get("metadata", "annotations", "volume.beta.kubernetes.io/storage-class")
	field := claim.Get("spec", "storageClassName")
	if annotation.Exists() {
		return annotation.String(), annotation
	}
	return field.String(), annotation
}
