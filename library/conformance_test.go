//go:build !wasip1

package library_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/warder-dev/warder/capability"
	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/review"
	"github.com/warder-dev/warder/runtime/celpolicy"
	"github.com/warder-dev/warder/sdk"
)

// conformanceCase is one line of cases.jsonl; the README beside it says what
// the fields mean.
type conformanceCase struct {
	ID                string          `json:"id"`
	Policy            string          `json:"policy"`
	Name              string          `json:"name"`
	Settings          json.RawMessage `json:"settings"`
	Request           string          `json:"request"`
	Raw               bool            `json:"raw"`
	Replay            *string         `json:"replay"`
	AllowContextAware bool            `json:"allowContextAware"`
	Network           bool            `json:"network"`
	Expect            expectation     `json:"expect"`
}

type expectation struct {
	Exit             any                `json:"exit"` // 0 or "nonzero"
	Allowed          *bool              `json:"allowed"`
	OutputMatches    []string           `json:"outputMatches"`
	OutputNotMatches []string           `json:"outputNotMatches"`
	Patched          *bool              `json:"patched"`
	PatchMatches     []string           `json:"patchMatches"`
	PatchOps         []patchExpectation `json:"patchOps"`
}

type patchExpectation struct {
	Match map[string]any `json:"match"`
	Count *int           `json:"count"`
}

// outcome is what a run of kwctl leaves.
type outcome struct {
	exit   int
	output string // without the last newline
}

// TestConformance judges the public cases of Kubewarden's policy library as
// `kwctl run` would. WARDER_CASES names another folder of cases.
func TestConformance(t *testing.T) {
	dir := os.Getenv("WARDER_CASES")
	if dir == "" {
		dir = filepath.Join("testdata", "conformance")
	}
	cases := readConformance(t, dir)
	scores := map[string]*score{}
	var all score
	for _, c := range cases {
		s := scores[c.Policy]
		if s == nil {
			s = &score{}
			scores[c.Policy] = s
		}
		if reason := c.cannotRun(); reason != "" {
			s.listed, s.reason = s.listed+1, reason
			all.listed++
			continue
		}
		if t.Run(c.ID, func(t *testing.T) { c.check(t, dir) }) {
			s.passed++
			all.passed++
		} else {
			s.failed++
			all.failed++
		}
	}
	for policy, s := range scores {
		if _, ok := (conformanceCase{Policy: policy}).builtin(); ok && s.passed+s.failed == 0 && s.reason != needsNetwork && os.Getenv("WARDER_CASES") == "" {
			t.Errorf("%s: no case has run", policy)
		}
	}
	for _, policy := range slices.Sorted(maps.Keys(scores)) {
		t.Logf("%s: %s", policy, scores[policy])
	}
	_, _ = fmt.Fprintln(os.Stdout, "conformance:", &all)
}

type score struct {
	passed, failed, listed int
	reason                 string // for the listed ones
}

func (s *score) String() string {
	text := fmt.Sprintf("%d passed, %d failed, %d listed", s.passed, s.failed, s.listed)
	if s.reason != "" {
		text += " (" + s.reason + ")"
	}
	return text
}

func readConformance(t *testing.T, dir string) (cases []conformanceCase) {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var c conformanceCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("cases.jsonl line %d: %v", len(cases)+1, err)
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s: no cases", dir)
	}
	return cases
}

// builtin is the built-in of the case's policy, which is named by its folder:
// most are called like their module, with "-policy" behind it.
func (c conformanceCase) builtin() (library.Builtin, bool) {
	if c.Policy == celpolicy.Name { // not among the others: it is made of the API server's packages
		return library.Builtin{Name: c.Policy, Policy: celpolicy.Policy(), AsksHost: true}, true
	}
	others := map[string]string{"pod-runtime-class-policy": "pod-runtime", "volumeMounts-policy": "volumemounts"}
	for _, name := range []string{c.Policy, strings.TrimSuffix(c.Policy, "-policy"), others[c.Policy]} {
		if b, ok := library.Lookup(name); ok {
			return b, true
		}
	}
	return library.Builtin{}, false
}

const needsNetwork = "needs a network"

// cannotRun says why the case is listed and not run, "" if it is run.
func (c conformanceCase) cannotRun() string {
	_, ok := c.builtin()
	switch {
	case !ok:
		return "no built-in of this name yet"
	case c.Network:
		return needsNetwork
	}
	return ""
}

// read returns the request, and the session if there is one.
func (c conformanceCase) read(t *testing.T, dir string) (request, session []byte) {
	t.Helper()
	request, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(c.Request)))
	if err == nil && c.Replay != nil {
		session, err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(*c.Replay)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return request, session
}

func (c conformanceCase) check(t *testing.T, dir string) {
	request, session := c.read(t, dir)
	have := c.run(request, session)
	for _, problem := range c.Expect.problems(have) {
		t.Errorf("%s: %s\nexit %d, output:\n%s", c.Name, problem, have.exit, have.output)
	}
}

// run does what `kwctl run` does. A session answers what the policy asks of its
// host; nil is none.
func (c conformanceCase) run(text, session []byte) outcome {
	builtin, _ := c.builtin()
	return c.judge(builtin.Policy, text, session)
}

func (c conformanceCase) judge(p sdk.Policy, text, session []byte) outcome {
	failed := func(format string, args ...any) outcome { return outcome{1, fmt.Sprintf(format, args...)} }
	judge, err := p.Load(c.Settings)
	if err != nil {
		return failed("Provided settings are not valid: %v", err)
	}
	req, err := c.parseRequest(text)
	if err != nil {
		return failed("request: %v", err)
	}
	ctx, warn, err := c.replay(context.Background(), session)
	if err != nil {
		return failed("%v", err)
	}
	verdict, err := judge(ctx, req)
	if err != nil {
		return failed("no verdict: %v", err)
	}
	response, err := review.FromVerdict(req, verdict)
	if err != nil {
		return failed("%v", err)
	}
	line, err := responseLine(response)
	if err != nil {
		return failed("%v", err)
	}
	return outcome{0, warn() + line}
}

// replay returns a context in which the session answers, and what there is to
// warn of afterwards. Without allowContextAware it reads nothing of the cluster.
func (c conformanceCase) replay(ctx context.Context, session []byte) (context.Context, func() string, error) {
	if session == nil {
		return ctx, func() string { return "" }, nil
	}
	recorded, err := capability.ParseSession(session)
	if err != nil {
		return nil, nil, err
	}
	host := &capability.Host{Policy: c.Policy, Allows: func(string) bool { return true }, Log: slog.New(slog.DiscardHandler)}
	if c.AllowContextAware {
		// A built-in says nowhere what it reads: what the session has.
		for _, kind := range regexp.MustCompile(`api_version: (\S+)\s+kind: (\S+)`).FindAllSubmatch(session, -1) {
			host.Resources = append(host.Resources, capability.Resource{APIVersion: string(kind[1]), Kind: string(kind[2])})
		}
	}
	warn := func() (text string) {
		for _, question := range recorded.Unplayed() {
			text += "warning: recorded and not asked: " + question + "\n"
		}
		return text
	}
	return sdk.WithHost(ctx, capability.NewPlayer(host, recorded)), warn, nil
}

func (c conformanceCase) parseRequest(text []byte) (*sdk.Request, error) {
	if err := sdk.Check(text); err != nil {
		return nil, err
	}
	if c.Raw {
		return sdk.RawRequest(text), nil
	}
	if inner := sdk.View(text).Get("request"); inner.Exists() {
		return sdk.ParseRequest(inner.Raw())
	}
	return sdk.ParseRequest(text)
}

// responseLine is the response as kwctl prints it: on one line, nulls left out.
func responseLine(r review.Response) (string, error) {
	type status struct {
		Message string `json:"message,omitempty"`
		Code    int    `json:"code,omitempty"`
	}
	line := struct {
		UID              string            `json:"uid"`
		Allowed          bool              `json:"allowed"`
		PatchType        string            `json:"patchType,omitempty"`
		Patch            []byte            `json:"patch,omitempty"` // in base64
		Status           *status           `json:"status,omitempty"`
		AuditAnnotations map[string]string `json:"auditAnnotations,omitempty"`
		Warnings         []string          `json:"warnings,omitempty"`
	}{UID: r.UID, Allowed: r.Allowed, Patch: r.Patch, AuditAnnotations: r.AuditAnnotations, Warnings: r.Warnings}
	if r.Patch != nil {
		line.PatchType = "JSONPatch"
	}
	if r.Status != nil {
		line.Status = &status{r.Status.Message, r.Status.Code}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(line)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// problems returns every expectation that does not hold.
func (e expectation) problems(have outcome) (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	switch e.Exit {
	case "nonzero":
		if have.exit == 0 {
			wrong("exit 0, want another")
		}
	case float64(0):
		if have.exit != 0 {
			wrong("exit %d, want 0", have.exit)
		}
	case nil:
	default:
		wrong("the case expects the unknown exit %v", e.Exit)
	}
	problems = append(problems, matchProblems("output", have.output, e.OutputMatches)...)
	for _, pattern := range e.OutputNotMatches {
		if found, err := regexp.MatchString(pattern, have.output); found || err != nil {
			wrong("the output matches %q, or it is no pattern: %v", pattern, err)
		}
	}
	return append(problems, e.responseProblems(have)...)
}

func matchProblems(what, text string, patterns []string) (problems []string) {
	for _, pattern := range patterns {
		found, err := regexp.MatchString(pattern, text)
		if err != nil || !found {
			problems = append(problems, fmt.Sprintf("the %s does not match %q, or it is no pattern: %v", what, pattern, err))
		}
	}
	return problems
}

// responseProblems looks at what is inside of the response.
func (e expectation) responseProblems(have outcome) (problems []string) {
	if e.Allowed == nil && e.Patched == nil && len(e.PatchMatches) == 0 && len(e.PatchOps) == 0 {
		return nil
	}
	var response struct {
		Allowed *bool   `json:"allowed"`
		Patch   *string `json:"patch"`
	}
	lines := strings.Split(have.output, "\n") // warnings come before the response
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &response); err != nil {
		return []string{"the output is no response: " + err.Error()}
	}
	if e.Allowed != nil && (response.Allowed == nil || *response.Allowed != *e.Allowed) {
		problems = append(problems, fmt.Sprintf("allowed is not %t", *e.Allowed))
	}
	if e.Patched != nil && *e.Patched != (response.Patch != nil) {
		problems = append(problems, fmt.Sprintf("a patch is there: %t, want %t", response.Patch != nil, *e.Patched))
	}
	var patch []byte
	if response.Patch != nil {
		var err error
		if patch, err = base64.StdEncoding.DecodeString(*response.Patch); err != nil {
			return append(problems, "patch: "+err.Error())
		}
	}
	problems = append(problems, matchProblems("patch", string(patch), e.PatchMatches)...)
	return append(problems, opProblems(patch, e.PatchOps)...)
}

func opProblems(patch []byte, wanted []patchExpectation) (problems []string) {
	if len(wanted) == 0 {
		return nil
	}
	var ops []any
	if err := json.Unmarshal(patch, &ops); err != nil {
		return []string{"patch: " + err.Error()}
	}
	for _, want := range wanted {
		count := 0
		for _, op := range ops {
			if contains(op, want.Match) {
				count++
			}
		}
		if want.Count == nil && count == 0 || want.Count != nil && count != *want.Count {
			problems = append(problems, fmt.Sprintf("%d operations contain %v in %s", count, want.Match, patch))
		}
	}
	return problems
}

// contains reports whether have holds want: an object when each of want's
// members is contained, anything else when it is equal.
func contains(have, want any) bool {
	object, ok := want.(map[string]any)
	if !ok {
		return reflect.DeepEqual(have, want)
	}
	members, ok := have.(map[string]any)
	if !ok {
		return false
	}
	for key, value := range object {
		inner, ok := members[key]
		if !ok || !contains(inner, value) {
			return false
		}
	}
	return true
}

// A runner that passes whatever happens would hide every defect.
func TestConformanceRunnerFindsWhatIsWrong(t *testing.T) {
	yes, one := true, 1
	good := outcome{0, `{"uid":"u","allowed":true,"patch":"` +
		base64.StdEncoding.EncodeToString([]byte(`[{"op":"add","path":"/a","value":{"b":1,"c":2}}]`)) + `"}`}
	bare := outcome{0, `{"uid":"u","allowed":false}`}
	tests := []struct {
		name   string
		expect expectation
	}{
		{"allowed", expectation{Allowed: &yes}},
		{"patched", expectation{Patched: &yes}},
		{"output", expectation{OutputMatches: []string{`(?s)^.*"allowed":true`}}},
		{"no output", expectation{OutputNotMatches: []string{`false`}}},
		{"patch", expectation{PatchMatches: []string{`"op":"add"`}}},
		{"operation", expectation{PatchOps: []patchExpectation{{Match: map[string]any{"value": map[string]any{"b": 1.0}}}}}},
		{"operations", expectation{PatchOps: []patchExpectation{{Match: map[string]any{"op": "add"}, Count: &one}}}},
	}
	for _, tt := range tests {
		if problems := tt.expect.problems(good); len(problems) > 0 {
			t.Errorf("%s: %q, want none for the good response", tt.name, problems)
		}
		if problems := tt.expect.problems(bare); len(problems) == 0 {
			t.Errorf("%s: no problems, want one for the bare response", tt.name)
		}
	}
	if problems := (expectation{Exit: "nonzero"}).problems(bare); len(problems) != 1 {
		t.Errorf("exit: %q, want one problem", problems)
	}
	if problems := (expectation{Exit: float64(0)}).problems(outcome{1, ""}); len(problems) != 1 {
		t.Errorf("exit: %q, want one problem", problems)
	}
}

// Until there is a built-in that asks its host, this policy shows that sessions
// are replayed: it wants the Namespace of a Pod to be there, as
// context-aware-demo does among other things.
func TestConformanceReplaysSessions(t *testing.T) {
	knowsNamespace := sdk.Define(func(ctx context.Context, _ *struct{}, req *sdk.Request) (sdk.Verdict, error) {
		if _, err := sdk.GetResource(ctx, sdk.GetQuery{APIVersion: "v1", Kind: "Namespace", Name: req.Namespace}); err != nil {
			return sdk.Reject(err.Error()), nil
		}
		return sdk.Accept(), nil
	})
	asksNothing := sdk.Define(func(context.Context, *struct{}, *sdk.Request) (sdk.Verdict, error) { return sdk.Accept(), nil })
	yes, no := true, false
	dir := filepath.Join("testdata", "conformance")
	replayed := 0
	for _, c := range readConformance(t, dir) {
		if c.Policy != "context-aware-demo" || c.Expect.Allowed == nil || c.Name == "Accept and mutate" {
			continue
		}
		replayed++
		request, session := c.read(t, dir)
		for _, problem := range c.Expect.problems(c.judge(knowsNamespace, request, session)) {
			t.Errorf("%s: %s", c.Name, problem)
		}
		unused := expectation{Exit: 0.0, Allowed: &yes, OutputMatches: []string{`^warning: recorded and not asked: !KubernetesGetResource \{`}}
		for _, problem := range unused.problems(c.judge(asksNothing, request, session)) {
			t.Errorf("%s, when nothing is asked: %s", c.Name, problem)
		}
		c.AllowContextAware = false
		refused := expectation{Exit: 0.0, Allowed: &no, OutputMatches: []string{"not been granted access to Kubernetes v1/Namespace resources"}}
		for _, problem := range refused.problems(c.judge(knowsNamespace, request, session)) {
			t.Errorf("%s, without allowContextAware: %s", c.Name, problem)
		}
	}
	if replayed < 2 {
		t.Errorf("%d cases are replayed, want at least 2", replayed)
	}
}
