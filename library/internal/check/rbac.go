package check

import (
	"context"
	"fmt"
	"slices"

	"github.com/warder-dev/warder/sdk"
)

// PodExec returns the rules of a role that allow to run commands in containers.
func PodExec(role sdk.Value) (places sdk.Places) {
	for _, rule := range role.Get("rules").Elements() {
		lists := rule.Fields("apiGroups", "resources", "verbs")
		// Over a websocket exec is a GET.
		if !has(lists[0], "", "*") || !has(lists[2], "create", "get", "*") {
			continue
		}
		for _, resource := range lists[1].Elements() {
			switch resource.String() {
			case "pods/exec", "pods/attach", "*/exec", "*/attach", "*":
				places.Addf(resource, " is %q", resource.String())
			}
		}
	}
	return places
}

// Everything returns the rules of a role that allow all there is: every verb, of
// every resource, in every group.
func Everything(role sdk.Value) (places sdk.Places) {
	for _, rule := range role.Get("rules").Elements() {
		lists := rule.Fields("apiGroups", "resources", "verbs")
		if has(lists[0], "*") && has(lists[1], "*") && allVerbs(lists[2]) {
			places.Add(rule)
		}
	}
	return places
}

// allVerbs reports whether the list is "*", or has each verb that a resource has
// but deletecollection.
func allVerbs(list sdk.Value) bool {
	all := has(list, "*")
	named := 0
	for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
		if has(list, verb) {
			named++
		}
	}
	return all || named == 7
}

// has reports whether one of the texts is in the list.
func has(list sdk.Value, texts ...string) bool {
	found := false
	for _, entry := range list.Elements() {
		found = slices.Contains(texts, entry.String()) || found
	}
	return found
}

// Bindings asks about the role that a binding gives to somebody.
type Bindings struct {
	// Allowed are the names of bindings that are not looked at, as Listed
	// takes them.
	Allowed []string
	// AllowMissing accepts a binding whose role is not there.
	AllowMissing bool
	// Refused returns the rules in a role that nobody may be given.
	Refused func(role sdk.Value) sdk.Places
	// Reason says what such a role does: "allows everything".
	Reason string
}

// Judge reads the role, and refuses the binding for what is in it.
func (b Bindings) Judge(ctx context.Context, req *sdk.Request) (sdk.Verdict, error) {
	var failed error
	verdict, err := Kinds(req, []string{"RoleBinding", "ClusterRoleBinding"}, func(binding sdk.Value) string {
		query, given := b.roleOf(req, binding)
		if !given || binding.Err() != nil {
			return ""
		}
		if query.Kind == "Role" && query.Namespace == "" {
			failed = ErrNoNamespace
			return ""
		}
		var role sdk.Value
		switch answer, err := sdk.GetResource(ctx, query); {
		case err == nil:
			role = sdk.View(answer)
		case ctx.Err() != nil || !NotFound(err):
			failed = err
			return ""
		case b.AllowMissing:
			return ""
		default:
			return "roleRef names the " + query.Kind + " " + query.Name +
				", which does not exist: whoever makes it decides what is given. Make it first, or correct the name"
		}
		places := b.Refused(role)
		if err := role.Err(); err != nil {
			failed = fmt.Errorf("the %s %s: %w", query.Kind, query.Name, err)
			return ""
		}
		if places.Len() == 0 {
			return ""
		}
		return "roleRef is the " + query.Kind + " " + query.Name + ", which " + b.Reason + ": " + places.String() +
			". Bind a role that has what is needed, or ask for the binding to be added to allowedBindings"
	})
	if failed != nil {
		return sdk.Verdict{}, failed
	}
	return verdict, err
}

// roleOf returns which role a binding gives to somebody; given is false if that
// does not matter.
func (b Bindings) roleOf(req *sdk.Request, binding sdk.Value) (role sdk.GetQuery, given bool) {
	ref := binding.Get("roleRef").Fields("kind", "name")
	role = sdk.GetQuery{APIVersion: "rbac.authorization.k8s.io/v1", Kind: ref[0].String(), Name: ref[1].String()}
	if role.Kind == "Role" {
		role.Namespace = req.Namespace
	}
	somebody := false
	for _, subject := range binding.Get("subjects").Elements() {
		somebody = subject.Exists() || somebody
	}
	metadata := binding.Get("metadata")
	leaving := metadata.Get("deletionTimestamp").Exists()
	allowed := Listed(metadata.Get("name").String(), b.Allowed)
	// A binding of another kind is one that the API server refuses.
	known := role.Kind == "ClusterRole" || role.Kind == "Role"
	return role, known && somebody && !leaving && !allowed && req.UserInfo.Username != BootstrapUser
}
