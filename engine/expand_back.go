package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/sdk"
)

// moved is the decision on the pod as one on the workload: places are said as
// they are in the workload, and what changes the pod changes its template. A
// decision without a verdict has neither.
func (x *expansion) moved(ent *entry, req *sdk.Request, d Decision) Decision {
	d.Template = x.base()
	if d.Err != nil {
		return d
	}
	if s := d.Response.Status; s != nil {
		out := *s
		if ent.group == nil { // the message of a group is its owner's own
			out.Message = x.tell(s.Message)
		}
		out.Causes = slices.Clone(s.Causes)
		for i, c := range out.Causes {
			out.Causes[i].Message, out.Causes[i].Field = x.tell(c.Message), x.place(c.Field)
		}
		d.Response.Status = &out
	}
	d.Response.Warnings = slices.Clone(d.Response.Warnings)
	for i, w := range d.Response.Warnings {
		d.Response.Warnings[i] = x.tell(w)
	}
	if d.Response.Patch == nil {
		return d
	}
	if err := x.movePatch(ent, req, &d); err != nil {
		err = fmt.Errorf("internal server error: the change of the pod cannot be made to %s: %w", x.base(), err)
		failed := failure(ent.policy.ID, req, &EvaluationError{ent.policy.ID, "decode", d.Took, err})
		failed.Template, failed.Took = d.Template, d.Took
		return failed
	}
	return d
}

// movePatch makes a patch of the workload of the patch of the pod.
func (x *expansion) movePatch(ent *entry, req *sdk.Request, d *Decision) error {
	var ops sdk.Patch
	if err := json.Unmarshal(d.Response.Patch, &ops); err != nil {
		return err
	}
	ops, left := x.intoTemplate(ops)
	if left != nil {
		d.Response.Warnings = append(d.Response.Warnings, fmt.Sprintf("policy %q changes %s of the pod, which is not taken from %s: left out",
			ent.policy.ID, strings.Join(left, ", "), x.base()))
	}
	d.mutated, d.Response.Patch = nil, nil
	if len(ops) == 0 {
		if !ent.policy.AllowedToMutate {
			d.Response.Patch = json.RawMessage("[]") // it is an attempt all the same, as it is with the pod
		}
		return nil
	}
	var err error
	if d.mutated, err = ops.Apply(req.Object); err != nil {
		return err
	}
	d.Response.Patch, err = review.Diff(req.Object, d.mutated)
	return err
}

// intoTemplate returns the operations on the pod as ones on the workload, and
// the places in the pod that its template does not say anything of.
//
// The pod has the members of the template's metadata and its spec, so that the
// rest of a path stays. It has metadata also where the template has none: what
// is added there makes it first.
func (x *expansion) intoTemplate(ops sdk.Patch) (moved sdk.Patch, left []string) {
	var way strings.Builder
	for _, name := range x.way {
		way.WriteString("/" + sdk.EscapePointer(name))
	}
	for _, op := range ops {
		top, rest, deep := strings.Cut(strings.TrimPrefix(op.Path, "/"), "/")
		name, _, deeper := strings.Cut(rest, "/")
		switch {
		case top == "spec", top == "metadata" && deep && !slices.Contains(addedNames(), name):
			if op.Op == sdk.PatchAdd && top == "metadata" && !deeper {
				op.Op = sdk.PatchSet
			}
			op.Path = way.String() + op.Path
			moved = append(moved, op)
		case top == "status" && slices.Contains([]string{"{}", "null"}, string(op.Value)):
			// Nobody means it: some languages write a pod's empty status.
		case deep:
			left = append(left, top+"."+name)
		case top == "":
			left = append(left, "all")
		default:
			left = append(left, top)
		}
	}
	return moved, slices.Compact(left)
}

// tell returns what a policy says of the pod as it is said of the workload:
// places have the way to the template in front. Text that names none is put
// behind what it is about.
func (x *expansion) tell(text string) string {
	if text == "" {
		return ""
	}
	if told, moved := x.movePlaces(text); moved {
		return told
	}
	return "the pod that " + x.base() + " describes: " + text
}

// place is tell for text that is a place and nothing else.
func (x *expansion) place(field string) string {
	told, _ := x.movePlaces(field)
	return told
}

// movePlaces puts the way to the template in front of the places in a pod that
// the text names: spec.containers[0].image, /metadata/labels/app. A place is
// known by its first two names, the second one being a field of pods that its
// template has too: "spec.minAvailable", said by a policy that has looked at
// another object, is none.
func (x *expansion) movePlaces(text string) (told string, moved bool) {
	var b strings.Builder
	for at := 0; at < len(text); {
		start, end := nextWord(text, at)
		separator := "."
		if end < len(text) && text[end] == '/' {
			separator = "/"
		}
		if x.startsPlace(text, start, end, separator) {
			b.WriteString(text[at:start] + strings.Join(x.way, separator) + separator + text[start:end])
			moved = true
		} else {
			b.WriteString(text[at:end])
		}
		at = end
	}
	return b.String(), moved
}

// nextWord returns the next run of letters, digits and underscores.
func nextWord(text string, at int) (start, end int) {
	for start = at; start < len(text) && !inWord(text[start]); start++ {
	}
	for end = start; end < len(text) && inWord(text[end]); end++ {
	}
	return start, end
}

// inWord takes all that is not ASCII for letters.
func inWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}

// startsPlace reports whether the word is where a place starts. Two of them, or
// more, have a dot or a slash between them, and nothing but the same may be
// before the first.
func (x *expansion) startsPlace(text string, start, end int, separator string) bool {
	word := text[start:end]
	if word != "spec" && word != "metadata" || end == len(text) || text[end] != separator[0] {
		return false
	}
	before := text[:start]
	if rest, ok := strings.CutSuffix(before, separator); ok {
		before = rest
	} else if separator == "/" {
		return false
	}
	if before != "" && (inWord(before[len(before)-1]) || strings.IndexByte("./-)]}", before[len(before)-1]) >= 0) {
		return false
	}
	from, to := nextWord(text, end+1)
	if from != end+1 {
		return false
	}
	return slices.Contains(templateFields(word), text[from:to])
}

// templateFields are the fields of a pod that controllers take from its
// template. Source: k8s.io/api/core/v1, PodSpec; k8s.io/kubernetes
// pkg/controller, GetPodFromTemplate.
func templateFields(of string) []string {
	if of == "metadata" {
		return []string{"labels", "annotations", "finalizers"}
	}
	return []string{
		"activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "containers", "dnsConfig", "dnsPolicy",
		"enableServiceLinks", "ephemeralContainers", "hostAliases", "hostIPC", "hostNetwork", "hostPID", "hostUsers",
		"hostname", "hostnameOverride", "imagePullSecrets", "initContainers", "nodeName", "nodeSelector", "os", "overhead",
		"preemptionPolicy", "priority", "priorityClassName", "readinessGates", "resourceClaims", "resources", "restartPolicy",
		"runtimeClassName", "schedulerName", "schedulingGates", "securityContext", "serviceAccount", "serviceAccountName",
		"setHostnameAsFQDN", "shareProcessNamespace", "subdomain", "terminationGracePeriodSeconds", "tolerations",
		"topologySpreadConstraints", "volumes", "workloadRef",
	}
}
