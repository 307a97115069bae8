// Package usergrouppsp is the built-in policy user-group-psp: it controls the
// users and groups that the containers of pods, and of what makes pods, run as.
package usergrouppsp

import (
	"context"
	"fmt"
	"strconv"

	"github.com/warder-dev/warder/sdk"
)

// Policy returns the policy user-group-psp.
func Policy() sdk.Policy { return sdk.Define(judge) }

// judge keeps the message to the sentence of the Kubewarden policy: scripts
// match the whole of it. Where and what is in a warning.
func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
	spec, err := req.PodSpec()
	if err != nil {
		return refuse("Cannot parse validation request", err.Error()), nil
	}
	if !spec.Exists() {
		return sdk.Accept(), nil
	}
	j := judgement{Settings: s, pod: spec.Get("securityContext")}
	// The API server refuses user and group IDs in pods for Windows.
	j.windows = spec.Get("os", "name").String() == "windows"
	verdict, err := j.judge(ctx, spec)
	if wrong := spec.Err(); wrong != nil {
		return refuse("Cannot parse validation request", wrong.Error()), nil
	}
	return verdict, err
}

func refuse(reason, detail string) sdk.Verdict {
	return sdk.Verdict{Message: reason, Warnings: []string{detail}}
}

// judgement is the work on one pod spec.
type judgement struct {
	*Settings
	pod     sdk.Value // the pod's security context
	windows bool
	patch   sdk.Patch
}

func (j *judgement) judge(ctx context.Context, spec sdk.Value) (sdk.Verdict, error) {
	way := spec.Pointer()
	lists := []string{"initContainers", "containers", "ephemeralContainers"}
	for n, list := range spec.Fields(lists...) {
		for i, c := range list.Elements() {
			var image user
			if j.asksImage() && c.Get("image").Exists() {
				var refusal *sdk.Verdict
				var err error
				if image, refusal, err = j.imageUser(ctx, c.Get("image")); err != nil {
					return sdk.Verdict{}, err
				} else if refusal != nil {
					return *refusal, nil
				}
			}
			if !c.Exists() {
				continue
			}
			at := subject{c.Get("securityContext"), j.pod, way + "/" + lists[n] + "/" + strconv.Itoa(i), c.Path, image}
			if refusal := j.ids(at); refusal != nil {
				return *refusal, nil
			}
		}
	}
	at := subject{j.pod, sdk.Value{}, way, spec.Path, user{}}
	// What containers say counts before what the pod says; the pod is completed
	// when one of them was, for the containers to come.
	if len(j.patch) > 0 {
		if refusal := j.ids(at); refusal != nil {
			return *refusal, nil
		}
	}
	if refusal := j.supplemental(at); refusal != nil {
		return *refusal, nil
	}
	return sdk.Verdict{Accepted: true, Patch: j.patch}, nil
}

// subject is a container, or the pod, with a security context.
type subject struct {
	own, inherited sdk.Value // security contexts
	pointer        string    // to the subject
	path           func() string
	image          user
}

// get returns what holds for the subject: its own field, or else the pod's.
func (a subject) get(field string) sdk.Value {
	own, inherited := a.own.Get(field), a.inherited.Get(field)
	if own.Exists() {
		return own
	}
	return inherited
}

func (a subject) field(name string) string { return a.path() + ".securityContext." + name }

func (j *judgement) ids(a subject) *sdk.Verdict {
	user := j.nonRoot
	if j.RunAsUser.Rule != mustRunAsNonRoot {
		user = func(a subject) *sdk.Verdict { return j.id(a, &j.RunAsUser, wordsOfUser(), a.image.uid) }
	}
	if refusal := user(a); refusal != nil {
		return refusal
	}
	return j.id(a, &j.RunAsGroup, wordsOfGroup(), a.image.gid)
}

// words are how the Kubewarden policy speaks of users or of groups.
type words struct{ field, outside, image, missing string }

func wordsOfUser() words {
	return words{"runAsUser", "User ID outside defined ranges", "User ID defined in the container image is outside defined ranges", "Missing user ID"}
}

func wordsOfGroup() words {
	return words{"runAsGroup", "Group ID is outside defined ranges", "Group ID defined in the container image is outside defined ranges", "Missing group ID"}
}

// id applies MustRunAs or MayRunAs to the user or the group of a subject. The
// image's ID is nil if it is not known.
func (j *judgement) id(a subject, rule *Rule, w words, image *int64) *sdk.Verdict {
	if j.windows || rule.Rule != mustRunAs && rule.Rule != mayRunAs {
		return nil
	}
	if image != nil && !rule.contains(*image) {
		return refusal(w.image, fmt.Sprintf("%s.image is configured with ID %d: allowed are %s", a.path(), *image, rule))
	}
	have := a.get(w.field)
	first := rule.Ranges[0].Min
	switch {
	case rule.Overwrite && (!have.Exists() || have.Int() != first):
		j.patch.Set(a.pointer+"/securityContext/"+w.field, first)
	case have.Exists() && !rule.contains(have.Int()):
		return refusal(w.outside, fmt.Sprintf("%s is %d: allowed are %s", have.Path(), have.Int(), rule))
	case have.Exists() || rule.Rule == mayRunAs:
	case j.ValidateOnly:
		return refusal(w.missing, fmt.Sprintf("%s is missing: allowed are %s", a.field(w.field), rule))
	default:
		j.patch.Set(a.pointer+"/securityContext/"+w.field, first)
	}
	return nil
}

func refusal(reason, detail string) *sdk.Verdict {
	v := refuse(reason, detail)
	return &v
}

// nonRoot applies MustRunAsNonRoot.
func (j *judgement) nonRoot(a subject) *sdk.Verdict {
	const notSet = "RunAsNonRoot should be set to true"
	nonRoot, id := a.get("runAsNonRoot"), a.get("runAsUser")
	switch {
	case a.image.uid != nil && *a.image.uid == 0:
		return refusal("User ID defined in the container image cannot be root ID (0)", a.path()+".image is configured to run as root")
	case nonRoot.Exists() && !nonRoot.Bool():
		return refusal(notSet, nonRoot.Path()+" is false: remove it or set it to true")
	case id.Exists() && id.Int() == 0:
		return refusal("Invalid user ID: cannot run container with root ID (0)", id.Path()+" is 0: remove it or choose another user")
	case nonRoot.Bool():
	case j.ValidateOnly:
		return refusal(notSet, a.field("runAsNonRoot")+" is missing")
	default:
		j.patch.Set(a.pointer+"/securityContext/runAsNonRoot", true)
	}
	return nil
}

// supplemental applies the rule for the supplemental groups of a pod.
func (j *judgement) supplemental(a subject) *sdk.Verdict {
	rule := &j.SupplementalGroups
	if j.windows || rule.Rule != mustRunAs && rule.Rule != mayRunAs {
		return nil
	}
	var groups []int64
	var outside sdk.Places
	for _, group := range a.own.Get("supplementalGroups").Elements() {
		groups = append(groups, group.Int())
		if !rule.contains(group.Int()) {
			outside.Addf(group, " is %d", group.Int())
		}
	}
	first := rule.Ranges[0].Min
	switch {
	case rule.Overwrite && (len(groups) != 1 || groups[0] != first):
		j.patch.Set(a.pointer+"/securityContext/supplementalGroups", []int64{first})
	case outside.Len() > 0:
		return refusal("Group ID is outside defined ranges", fmt.Sprintf("%s: allowed are %s", outside.String(), rule))
	case len(groups) > 0 || rule.Rule == mayRunAs:
	case j.ValidateOnly:
		return refusal("Missing supplemental group ID", fmt.Sprintf("%s is missing: allowed are %s", a.field("supplementalGroups"), rule))
	default:
		j.patch.Set(a.pointer+"/securityContext/supplementalGroups", []int64{first})
	}
	return nil
}
