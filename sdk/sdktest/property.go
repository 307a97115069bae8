package sdktest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/warder-dev/warder/sdk"
)

// Idempotent checks, over random objects, what a policy that mutates promises:
//
//   - what it has mutated it accepts as it is: a second pass changes nothing;
//   - the patch is minimal: a value that no operation names is the same
//     afterwards, one that the policy has never heard of too.
//
// Objects makes the request from a source of random numbers, which is the same
// in every run; RandomWorkload is one. The test fails when too few of the
// requests are mutated to show anything: choose objects that need it. A policy
// that asks its host is given as a function that calls it with a context of
// sdk.WithHost.
func Idempotent(t testing.TB, judge sdk.Judge, objects func(*rand.Rand) *sdk.Request) {
	t.Helper()
	const rounds, enough = 500, 25
	mutated := 0
	for seed := range uint64(rounds) {
		req := objects(rand.New(rand.NewPCG(seed, 0))) //nolint:gosec // the same numbers in every run
		first, err := judge(t.Context(), req)
		if err != nil || !first.Accepted {
			continue
		}
		problem := passAgain(t, judge, req, first)
		switch {
		case problem == unchanged:
		case problem != "":
			t.Fatalf("seed %d: %s\nobject: %s\npatch: %s", seed, problem, req.Object, textOf(first.Patch))
		default:
			mutated++
		}
	}
	if mutated < enough {
		t.Errorf("%d of %d random objects were mutated, want at least %d", mutated, rounds, enough)
	}
}

const unchanged = "unchanged"

// passAgain returns what is wrong with a mutation, "" if nothing, unchanged if
// there is none.
func passAgain(t testing.TB, judge sdk.Judge, req *sdk.Request, first sdk.Verdict) string {
	patch := first.Patch
	first, err := first.Resolve(req)
	if err != nil {
		return err.Error()
	}
	if first.MutatedObject == nil {
		return unchanged
	}
	if sameJSON(first.MutatedObject, req.Object) {
		return "the patch changes nothing"
	}
	if lost := damaged(req.Object, first.MutatedObject, patch); lost != "" {
		return "no operation names " + lost + ", and it has changed"
	}
	again := *req
	again.Object = first.MutatedObject
	second, err := judge(t.Context(), &again)
	if err == nil {
		second, err = second.Resolve(&again)
	}
	switch {
	case err != nil:
		return "second pass: " + err.Error()
	case !second.Accepted:
		return "second pass: rejected: " + second.Message
	case second.MutatedObject != nil:
		return fmt.Sprintf("second pass: changed again, from %s to %s", again.Object, second.MutatedObject)
	}
	return ""
}

// damaged returns the pointer to a value of before that is not in after, and
// which is neither at nor below a place that the patch names, "" if none.
func damaged(before, after json.RawMessage, patch sdk.Patch) string {
	old, current := map[string]string{}, map[string]string{}
	leaves("", sdk.View(before), old)
	leaves("", sdk.View(after), current)
	for _, pointer := range slices.Sorted(maps.Keys(old)) {
		named := slices.ContainsFunc(patch, func(op sdk.PatchOperation) bool {
			return pointer == op.Path || strings.HasPrefix(pointer, op.Path+"/")
		})
		if have, ok := current[pointer]; !named && (!ok || have != old[pointer]) {
			return pointer
		}
	}
	return ""
}

// leaves collects the texts of the values in v that hold no other, by pointer.
// Null is absence, and empty objects may be filled.
func leaves(pointer string, v sdk.Value, into map[string]string) {
	if !v.Exists() {
		return
	}
	switch v.Raw()[0] {
	case '{':
		for name, inner := range v.Members() {
			leaves(pointer+"/"+sdk.EscapePointer(name), inner, into)
		}
	case '[':
		for i, inner := range v.Elements() {
			leaves(pointer+"/"+strconv.Itoa(i), inner, into)
		}
	default:
		into[pointer] = string(v.Raw())
	}
}

func textOf(patch sdk.Patch) string {
	text, err := marshal(patch)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// RandomWorkload makes a request to create a Pod, or something that makes pods,
// with what policies look at and change: some of it missing, null or empty, and
// fields that no policy knows.
func RandomWorkload(r *rand.Rand) *sdk.Request {
	kinds := []string{"Pod", "Pod", "Pod", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Job", "CronJob"}
	kind := kinds[r.IntN(len(kinds))]
	way := sdk.PodTemplatePath(kind)
	g := workload{r}
	template := g.object(
		g.maybe("metadata", g.metadata),
		`"spec": `+g.podSpec(),
		g.unknown(),
	)
	for i := len(way) - 2; i >= 0; i-- {
		members := []string{fmt.Sprintf("%q: %s", way[i], template), g.unknown()}
		if i == 0 {
			members = append(members, g.maybe("metadata", g.metadata))
		}
		template = g.object(members...)
	}
	req := &sdk.Request{UID: testUID, Operation: sdk.Create, Object: json.RawMessage(template), Namespace: "shop", Name: "web"}
	req.Kind = kindOf(kind, "")
	req.Resource = resourceOf(req.Kind)
	return req
}

type workload struct{ *rand.Rand }

func (g workload) pick(texts ...string) string { return texts[g.IntN(len(texts))] }

// object joins the members that are there, with space in odd places.
func (g workload) object(members ...string) string {
	members = slices.DeleteFunc(members, func(m string) bool { return m == "" })
	return g.pick("{", "{ ", "{\n") + strings.Join(members, g.pick(",", ", ", " ,\n")) + g.pick("}", " }", "\n}")
}

// maybe is the member of the name, or nothing, or null, or an empty object.
func (g workload) maybe(name string, value func() string) string {
	switch g.IntN(8) {
	case 0, 1:
		return ""
	case 2:
		return fmt.Sprintf("%q: null", name)
	case 3:
		return fmt.Sprintf("%q:{}", name)
	}
	return fmt.Sprintf("%q: %s", name, value())
}

// one is a member with one of the values, or nothing.
func (g workload) one(name string, values ...string) string {
	if g.IntN(2) == 0 {
		return ""
	}
	return fmt.Sprintf("%q:%s", name, g.pick(values...))
}

func (g workload) unknown() string {
	return g.one("x-unknown", `1.0`, `1e3`, `12345678901234567890`, `"\u0061<&>"`, `{"a/b~c": [null, {"d": "\/"}]}`, `[[], {}]`)
}

func (g workload) metadata() string {
	keys := []string{"app", "team", "example.com/owner", "propagate.a", "kubernetes.io/os"}
	pairs := func() string {
		var members []string
		for _, key := range keys {
			members = append(members, g.one(key, `"a"`, `"b"`, `""`))
		}
		return g.object(members...)
	}
	return g.object(`"name":"web"`, g.maybe("labels", pairs), g.maybe("annotations", pairs), g.unknown())
}

func (g workload) list(name string, least int, element func() string) string {
	n := least + g.IntN(3)
	if n == 0 {
		return g.one(name, "[]", "null")
	}
	elements := make([]string, n)
	for i := range elements {
		elements[i] = element()
	}
	return fmt.Sprintf("%q: [%s]", name, strings.Join(elements, g.pick(",", ", ")))
}

func (g workload) podSpec() string {
	return g.object(
		g.list("containers", 1, g.container),
		g.list("initContainers", 0, g.container),
		g.list("ephemeralContainers", 0, g.container),
		g.maybe("securityContext", g.securityContext),
		g.one("runtimeClassName", `"kata"`, `"runc"`, `""`, `null`),
		g.one("priorityClassName", `"high"`, `"low"`, `""`),
		g.maybe("dnsConfig", func() string {
			return g.object(g.list("options", 0, func() string {
				return g.object(`"name":`+g.pick(`"ndots"`, `"edns0"`), g.one("value", `"5"`, `"1"`))
			}))
		}),
		g.maybe("os", func() string { return g.pick(`{"name": "linux"}`, `{"name": "windows"}`) }),
		g.unknown(),
	)
}

func (g workload) container() string {
	amounts := func() string { return g.object(g.one("cpu", `"1"`, `"500m"`, `2`), g.one("memory", `"1Gi"`)) }
	return g.object(
		`"name": `+g.pick(`"a"`, `"b"`, `"c"`), g.one("image", `"nginx"`, `"ghcr.io/team/app:1"`, `"nginx@sha256:0000"`),
		g.maybe("securityContext", g.securityContext),
		g.maybe("resources", func() string { return g.object(g.maybe("limits", amounts), g.maybe("requests", amounts)) }),
		g.unknown(),
	)
}

func (g workload) securityContext() string {
	id := func(name string) string { return g.one(name, `0`, `1000`, `1500`, `65534`, `null`) }
	capability := func() string { return g.pick(`"ALL"`, `"KILL"`, `"NET_ADMIN"`) }
	return g.object(
		id("runAsUser"), id("runAsGroup"), id("fsGroup"),
		g.one("runAsNonRoot", "true", "false", "null"),
		g.one("allowPrivilegeEscalation", "true", "false", "null"),
		g.one("supplementalGroups", "[]", "[1000]", "[1500, 1000]", "null"),
		g.maybe("seLinuxOptions", func() string {
			return g.object(g.one("user", `"u"`), g.one("role", `"r"`), g.one("type", `"t"`), g.one("level", `"s0:c1,c2"`, `"s0"`))
		}),
		g.maybe("capabilities", func() string { return g.object(g.list("add", 0, capability), g.list("drop", 0, capability)) }),
		g.unknown(),
	)
}
