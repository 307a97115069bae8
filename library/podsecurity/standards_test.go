//go:build !wasip1

package podsecurity_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/warder-dev/warder/library/podsecurity"
	"github.com/warder-dev/warder/sdk"
)

// judges are this policy beside the evaluator of k8s.io/pod-security-admission.
type judges struct {
	evaluator policy.Evaluator
	checks    []policy.Check
	ours      map[string]sdk.Judge // by level and version
}

func newJudges(t *testing.T) *judges {
	t.Helper()
	checks := policy.DefaultChecks()
	evaluator, err := policy.NewEvaluator(checks, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &judges{evaluator: evaluator, checks: checks, ours: map[string]sdk.Judge{}}
}

func (j *judges) judge(t *testing.T, level api.Level, version api.Version) sdk.Judge {
	t.Helper()
	settings := fmt.Sprintf(`{"level": %q, "version": %q}`, level, version)
	if j.ours[settings] == nil {
		judge, err := podsecurity.Policy().Load(json.RawMessage(settings))
		if err != nil {
			t.Fatal(err)
		}
		j.ours[settings] = judge
	}
	return j.ours[settings]
}

// refusing are the checks of the evaluator's that refuse the pod, by name.
func (j *judges) refusing(level api.Level, version api.Version, pod *corev1.Pod) []string {
	allowed := map[policy.CheckID]bool{}
	var replaced []policy.CheckID
	for _, c := range j.checks {
		if c.Level == api.LevelRestricted && level != api.LevelRestricted {
			continue
		}
		for i := len(c.Versions) - 1; i >= 0; i-- {
			if v := c.Versions[i]; version.Latest() || !version.Older(v.MinimumVersion) {
				allowed[c.ID] = v.CheckPod(&pod.ObjectMeta, &pod.Spec).Allowed
				replaced = append(replaced, v.OverrideCheckIDs...)
				break
			}
		}
	}
	var ids []string
	for id, ok := range allowed {
		if !ok && !slices.Contains(replaced, id) {
			ids = append(ids, string(id))
		}
	}
	slices.Sort(ids)
	return ids
}

var named = regexp.MustCompile(`\n- ([A-Za-z_]+): `)

// compare asks both, and says whether the pod is allowed.
func (j *judges) compare(t *testing.T, at api.LevelVersion, pod *corev1.Pod, req *sdk.Request) bool {
	t.Helper()
	verdict, err := j.judge(t, at.Level, at.Version)(context.Background(), req)
	if err != nil {
		t.Fatalf("%s: %v\n%s", at, err, req.Object)
	}
	allowed := policy.AggregateCheckResults(j.evaluator.EvaluatePod(at, &pod.ObjectMeta, &pod.Spec)).Allowed
	var ids []string
	for _, m := range named.FindAllStringSubmatch(verdict.Message, -1) {
		ids = append(ids, m[1])
	}
	slices.Sort(ids)
	if diff := cmp.Diff(j.refusing(at.Level, at.Version, pod), ids); diff != "" || verdict.Accepted != allowed {
		t.Fatalf("%s: accepted %t, the evaluator: %t; checks that refuse (-evaluator +ours):\n%s%s\n%s",
			at, verdict.Accepted, allowed, diff, verdict.Message, req.Object)
	}
	return allowed
}

// versions are those in which something of the standards has changed, and latest.
func (j *judges) versions() []api.Version {
	versions := []api.Version{api.MajorMinorVersion(1, 0), api.LatestVersion()}
	for _, c := range j.checks {
		for _, v := range c.Versions {
			if !slices.Contains(versions, v.MinimumVersion) {
				versions = append(versions, v.MinimumVersion)
			}
		}
	}
	return versions
}

func levels() []api.Level { return []api.Level{api.LevelBaseline, api.LevelRestricted} }

// Every pod of the fixtures of k8s.io/pod-security-admission/test gets the verdict
// that it was written for, and that of the evaluator at every other level and
// version. They are unexported there; the same pods are in its testdata.
func TestFixturesGetTheVerdictOfPodSecurityAdmission(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/pod-security-admission").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "test", "testdata", "*", "*", "*", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 4500 {
		t.Fatalf("%d fixtures, want those of k8s.io/pod-security-admission v0.37.2", len(files))
	}
	j, asked := newJudges(t), 0
	seen := map[string]bool{}
	for _, file := range files {
		pod, text := readPod(t, file)
		parts := strings.Split(filepath.ToSlash(file), "/")
		level, version, folder := api.Level(parts[len(parts)-4]), parts[len(parts)-3], parts[len(parts)-2]
		own, err := api.ParseVersion(version)
		if err != nil {
			t.Fatal(err)
		}
		req := podRequest(text)
		if allowed := j.compare(t, api.LevelVersion{Level: level, Version: own}, pod, req); allowed != (folder == "pass") {
			t.Errorf("%s: allowed %t", file, allowed)
		}
		asked++
		pod.Name = "" // it is the file's
		key, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(key)] {
			continue
		}
		seen[string(key)] = true
		for _, level := range levels() {
			for _, version := range j.versions() {
				j.compare(t, api.LevelVersion{Level: level, Version: version}, pod, req)
				asked++
			}
		}
	}
	t.Logf("%d fixtures, %d of them different, %d verdicts compared", len(files), len(seen), asked)
}

func readPod(t *testing.T, file string) (*corev1.Pod, json.RawMessage) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(text, &pod); err != nil {
		t.Fatal(err)
	}
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i].VolumeSource; *v == (corev1.VolumeSource{}) {
			v.EmptyDir = &corev1.EmptyDirVolumeSource{} // as the API server does, before admission
		}
	}
	object, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return &pod, object
}

func podRequest(object json.RawMessage) *sdk.Request {
	return &sdk.Request{
		UID: "1", Operation: sdk.Create, Namespace: "shop", Object: object,
		Kind: sdk.GroupVersionKind{Version: "v1", Kind: "Pod"},
	}
}

// A pod of any shape gets the evaluator's verdict, and a workload that would make
// it gets that of the pod.
func TestRandomPodsGetTheVerdictOfPodSecurityAdmission(t *testing.T) {
	const pods = 20_000
	j := newJudges(t)
	versions := j.versions()
	allowed := map[api.Level]int{}
	for seed := range uint64(pods) {
		r := &pool{rand.New(rand.NewPCG(seed, 5))} //nolint:gosec // the same pods each time
		pod := r.pod()
		object, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		req := podRequest(object)
		if r.IntN(3) == 0 {
			req = workload(r, pod)
		}
		for _, level := range levels() {
			for _, version := range []api.Version{api.LatestVersion(), versions[r.IntN(len(versions))]} {
				if j.compare(t, api.LevelVersion{Level: level, Version: version}, pod, req) && version.Latest() {
					allowed[level]++
				}
			}
		}
	}
	for _, level := range levels() {
		if n := allowed[level]; n < pods/50 || n > pods*9/10 {
			t.Errorf("%s allows %d of %d: the generator finds one side only", level, n, pods)
		}
	}
	t.Logf("%d pods: baseline allows %d, restricted %d", pods, allowed[api.LevelBaseline], allowed[api.LevelRestricted])
}

// workload is a request for something that would make the pod.
func workload(r *pool, pod *corev1.Pod) *sdk.Request {
	kinds := []string{"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Job", "CronJob"}
	kind := kinds[r.IntN(len(kinds))]
	var object any = map[string]any{"metadata": pod.ObjectMeta, "spec": pod.Spec}
	way := sdk.PodTemplatePath(kind)
	for i := len(way) - 2; i >= 0; i-- {
		object = map[string]any{way[i]: object}
	}
	text, err := json.Marshal(object)
	if err != nil {
		panic(err) // what a Pod is made of always encodes
	}
	req := podRequest(text)
	req.Kind = sdk.GroupVersionKind{Group: "apps", Version: "v1", Kind: kind}
	return req
}
