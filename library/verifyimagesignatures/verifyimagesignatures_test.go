package verifyimagesignatures_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/library/verifyimagesignatures"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, verifyimagesignatures.Policy(), "testdata") }

const (
	digest = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"
	keyed  = `{"signatures": [{"image": "ghcr.io/team/*", "keyless": [{"issuer": "i", "subject": "s"}]}]}`
	pod    = `{"metadata": {"name": "web"}, "spec": {"x-unknown": 1,
		"initContainers": [{"image": "ghcr.io/team/a:1"}],
		"containers": [{"image": "nginx"}, {"image": "ghcr.io/team/b:1@` + digest + `"}],
		"ephemeralContainers": [{"image": "ghcr.io/team/a:1"}]}}`
)

func trusted(digest string) sdktest.Answer {
	return sdktest.Answer{Capability: "oci/v2/verify", Payload: json.RawMessage(`{"is_trusted": true, "digest": "` + digest + `"}`)}
}

func judgeWith(t *testing.T, settings string, req *sdk.Request, answers ...sdktest.Answer) (sdk.Verdict, *sdktest.Host) {
	t.Helper()
	host := sdktest.NewHost(t, answers...)
	v, err := sdktest.Load(t, verifyimagesignatures.Policy(), settings)(sdk.WithHost(t.Context(), host), req)
	if err == nil {
		v, err = v.Resolve(req)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v, host
}

func TestPinsWhatIsVerified(t *testing.T) {
	v, host := judgeWith(t, keyed, sdktest.Request(t, "Pod", pod), trusted(digest))
	want := strings.ReplaceAll(pod, `"ghcr.io/team/a:1"`, `"ghcr.io/team/a:1@`+digest+`"`)
	if !v.Accepted || string(v.MutatedObject) != want {
		t.Errorf("verdict %+v, object %s\nwant %s", v, v.MutatedObject, want)
	}
	if len(host.Calls()) != 2 {
		t.Errorf("%d calls, want one for each image that the signature is for", len(host.Calls()))
	}
	again := sdktest.Request(t, "Pod", string(v.MutatedObject))
	if v, _ = judgeWith(t, keyed, again, trusted(digest)); !v.Accepted || v.MutatedObject != nil {
		t.Errorf("second pass: verdict %+v, want it accepted as it is", v)
	}
}

func TestLeavesImagesAloneWhenToldTo(t *testing.T) {
	settings := strings.Replace(keyed, "{", `{"modifyImagesWithDigest": false, `, 1)
	if v, _ := judgeWith(t, settings, sdktest.Request(t, "Pod", pod), trusted(digest)); !v.Accepted || v.MutatedObject != nil {
		t.Errorf("verdict %+v, want it accepted as it is", v)
	}
}

// A pod that exists would be started anew by another image.
func TestUpdateOfAPodPinsNewImagesAlone(t *testing.T) {
	req := sdktest.Request(t, "Pod", `{"spec": {"containers": [{"image": "ghcr.io/team/a:1"}, {"image": "ghcr.io/team/b:2"}]}}`)
	req.Operation = sdk.Update
	req.OldObject = json.RawMessage(`{"spec": {"containers": [{"image": "ghcr.io/team/a:1"}, {"image": "ghcr.io/team/b:1"}]}}`)
	v, _ := judgeWith(t, keyed, req, trusted(digest))
	if want := `{"spec": {"containers": [{"image": "ghcr.io/team/a:1"}, {"image": "ghcr.io/team/b:2@` + digest + `"}]}}`; string(v.MutatedObject) != want {
		t.Errorf("object %s, want %s", v.MutatedObject, want)
	}
}

func TestRejectsWhatDoesNotVerify(t *testing.T) {
	tests := []struct {
		name, settings string
		answers        []sdktest.Answer
		want           string
	}{
		{"an error", keyed, []sdktest.Answer{{Capability: "oci/v2/verify", Err: errors.New("no signature")}},
			"Resource web is not accepted: verification of image ghcr.io/team/a:1 failed: no signature (spec.initContainers[0].image), " +
				"verification of image ghcr.io/team/b:1@" + digest + " failed: no signature (spec.containers[1].image), " +
				"verification of image ghcr.io/team/a:1 failed: no signature (spec.ephemeralContainers[0].image)"},
		{"no trust", strings.Replace(keyed, "team/*", "team/b*", 1),
			[]sdktest.Answer{{Capability: "oci/v2/verify", Payload: json.RawMessage(`{"is_trusted": false, "digest": ""}`)}},
			"Resource web is not accepted: verification of image ghcr.io/team/b:1@" + digest + " failed: it is not trusted (spec.containers[1].image)"},
		{"two signatures of different digests",
			`{"signatures": [{"image": "nginx", "githubActions": {"owner": "o"}}, {"image": "ngin?", "keyless": [{"issuer": "i", "subject": "s"}]}]}`,
			[]sdktest.Answer{
				{Capability: "oci/v2/verify", Payload: json.RawMessage(`{"is_trusted": true, "digest": "sha256:1"}`),
					Question: json.RawMessage(`{"type": "SigstoreGithubActionsVerify", "image": "nginx", "owner": "o", "annotations": null}`)},
				trusted("sha256:2"),
			},
			"Resource web is not accepted: verification of image nginx failed: signatures are of sha256:1 and sha256:2 (spec.containers[0].image)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, _ := judgeWith(t, tt.settings, sdktest.Request(t, "Pod", pod), tt.answers...)
			if v.Accepted || v.Message != tt.want {
				t.Errorf("verdict %+v\nwant %s", v, tt.want)
			}
		})
	}
}

func TestAsksTheHostForEachKindOfSignature(t *testing.T) {
	ca := newCertificate(t, nil)
	leaf := newCertificate(t, ca)
	text, err := json.Marshal(map[string]any{"signatures": []any{
		map[string]any{"image": "*", "pubKeys": []string{ca.pem}, "annotations": map[string]string{"a": "b"}},
		map[string]any{"image": "*", "keylessPrefix": []any{map[string]string{"issuer": "i", "urlPrefix": "https://u/"}, map[string]string{"issuer": "j", "url_prefix": "https://v/"}}},
		map[string]any{"image": "*", "githubActions": map[string]string{"owner": "o", "repo": "r"}},
		map[string]any{"image": "*", "certificates": []string{leaf.pem, leaf.pem}, "certificateChain": []string{ca.pem}, "requireRekorBundle": true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, host := judgeWith(t, string(text), sdktest.Request(t, "Pod", `{"spec": {"containers": [{"image": "a"}]}}`), trusted(digest))
	var have []string
	for _, call := range host.Calls() {
		var q struct {
			Type   string
			Rekor  bool `json:"require_rekor_bundle"`
			Prefix []struct {
				URL string `json:"url_prefix"`
			} `json:"keyless_prefix"`
			Chain [][]int `json:"certificate_chain"`
		}
		if err := json.Unmarshal(call.Payload, &q); err != nil {
			t.Fatal(err)
		}
		for _, p := range q.Prefix {
			q.Type += " " + p.URL
		}
		if q.Rekor && len(q.Chain) == 1 && len(q.Chain[0]) == len(ca.pem) {
			q.Type += " with rekor and chain"
		}
		have = append(have, q.Type)
	}
	const certificate = "SigstoreCertificateVerify with rekor and chain"
	want := []string{"SigstorePubKeyVerify", "SigstoreKeylessPrefixVerify https://u/ https://v/", "SigstoreGithubActionsVerify", certificate, certificate}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("questions (-want +have):\n%s", diff)
	}
}

func TestNoVerdictWhenTheTimeIsOver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v, err := sdktest.Load(t, verifyimagesignatures.Policy(), keyed)(sdk.WithHost(ctx, sdktest.NewHost(t)), sdktest.Request(t, "Pod", pod))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("verdict %+v, %v, want none", v, err)
	}
}

func TestSecondPassChangesNothing(t *testing.T) {
	host := sdktest.NewHost(t, trusted(digest))
	judge := sdktest.Load(t, verifyimagesignatures.Policy(), `{"signatures": [{"image": "*", "githubActions": {"owner": "o"}}]}`)
	sdktest.Idempotent(t, func(ctx context.Context, req *sdk.Request) (sdk.Verdict, error) {
		return judge(sdk.WithHost(ctx, host), req)
	}, sdktest.RandomWorkload)
}
