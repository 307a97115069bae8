// Package highriskserviceaccount is the built-in policy
// high-risk-service-account: it refuses pods, and what makes pods, whose service
// account may do what is dangerous.
package highriskserviceaccount

import (
	"context"
	"net/http"

	"github.com/warder-dev/warder/sdk"
)

// Policy returns the policy high-risk-service-account. It needs the capability
// kubernetes/can_i.
func Policy() sdk.Policy { return sdk.Define(judge) }

func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	if req.Raw != nil {
		return sdk.Verdict{}, sdk.ErrRaw
	}
	if req.Operation == sdk.Delete {
		return sdk.Accept(), nil
	}
	spec, err := req.PodSpec()
	var name string
	mounted := false
	if err == nil {
		name, mounted = serviceAccount(spec)
		err = spec.Err()
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "Failed to extract pod spec: "+err.Error()), nil
	}
	if !mounted {
		return sdk.Accept(), nil
	}
	return s.judge(ctx, req.Namespace, name)
}

func refuse(code uint16, reason string) sdk.Verdict { return sdk.Verdict{Message: reason, Code: code} }

// serviceAccount returns the name of the pod's service account, and whether
// containers get its token.
func serviceAccount(spec sdk.Value) (name string, mounted bool) {
	name = "default"
	for _, field := range spec.Fields("serviceAccountName", "serviceAccount") {
		if given := field.String(); given != "" {
			name = given
			break
		}
	}
	automount := spec.Get("automountServiceAccountToken")
	if mounted = automount.Bool() || !automount.Exists(); mounted {
		return name, true
	}
	for _, volume := range spec.Get("volumes").Elements() { // a token may be asked for by hand
		for _, source := range volume.Get("projected", "sources").Elements() {
			mounted = mounted || source.Get("serviceAccountToken").Exists()
		}
	}
	return name, mounted
}

// judge asks for each permission until the account has one.
func (s *Settings) judge(ctx context.Context, namespace, name string) (sdk.Verdict, error) {
	user := "system:serviceaccount:" + namespace + ":" + name
	permissions := s.permissions()
	answered := false
	// The account by itself first, which is what the Kubewarden policy asks,
	// then what it may do because of the groups that it is in.
	groups := [][]string{nil, {"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}}
	for _, groups := range groups {
		for _, p := range permissions {
			status, err := sdk.CanI(ctx, sdk.AccessReview{User: user, Groups: groups, Attributes: p})
			switch {
			case ctx.Err() != nil:
				return sdk.Verdict{}, ctx.Err()
			case err != nil:
				sdk.Log(ctx, sdk.LevelWarn, "failed to check a permission", map[string]any{"user": user, "error": err.Error()})
			case status.Allowed:
				return refuse(http.StatusForbidden, rejection(user, p)), nil
			default:
				answered = true
			}
		}
	}
	if !answered {
		return refuse(http.StatusForbidden, "Failed to check permissions for all SubjectAccessReviews"), nil
	}
	return sdk.Accept(), nil
}

func rejection(user string, p sdk.ResourceAttributes) string {
	where := "in the cluster"
	if p.Namespace != "" {
		where = "in namespace '" + p.Namespace + "'"
	}
	return "Cannot use service account '" + user + "' with permissions to perform " +
		p.Verb + " " + p.Group + "/" + p.Resource + " " + where +
		". Choose another serviceAccountName, or set automountServiceAccountToken to false"
}
