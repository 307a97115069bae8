package imagecvepolicy_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/warder-dev/warder/library/imagecvepolicy"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, imagecvepolicy.Policy(), "testdata") }

var (
	sha = "sha256:" + strings.Repeat("0a", 32)
	pod = `{"metadata": {"name": "web", "namespace": "shop"}, "spec": {"containers": [{"image": "ghcr.io/a/b@` + sha + `"}]}}`
)

const report = `{"items": [{"report": {"results": [{"vulnerabilities": [
	{"cve": "CVE-1", "severity": "CRITICAL", "fixedVersions": ["2"], "suppressed": false, "cvss": {"ghsa": {"v3score": "9.9"}, "nvd": {"v3score": "8.0"}}},
	{"cve": "CVE-2", "severity": "CRITICAL", "suppressed": false, "cvss": {"nvd": {"v3score": ""}, "zzz": {"v3score": "9.1"}}},
	{"cve": "CVE-3", "severity": "HIGH", "suppressed": true, "cvss": {"redhat": {"v3score": "9.5"}}}]},
	{"vulnerabilities": [{"cve": "CVE-4", "severity": "NEGLIGIBLE", "suppressed": false}]}]}}]}`

func listed(payload string, err error) sdktest.Answer {
	return sdktest.Answer{Capability: "kubernetes/list_resources_by_namespace", Payload: json.RawMessage(payload), Err: err}
}

func message(t *testing.T, settings, pod string, answers ...sdktest.Answer) (string, *sdktest.Host) {
	t.Helper()
	host := sdktest.NewHost(t, answers...)
	v, err := sdktest.Load(t, imagecvepolicy.Policy(), settings)(sdk.WithHost(t.Context(), host), sdktest.Request(t, "Pod", pod))
	if err != nil || v.Accepted != (v.Message == "") {
		t.Fatalf("verdict %+v, %v", v, err)
	}
	return strings.TrimPrefix(v.Message, "Resource web is not accepted: ghcr.io/a/b@"+sha+": "), host
}

func TestJudgesTheReport(t *testing.T) {
	tests := []struct{ name, settings, want string }{
		{"no limits", `{}`, ""},
		{"denied", `{"denyAlways": ["CVE-3", "CVE-1", "CVE-9"], "maxSeverity": {"critical": {"total": 0}}}`,
			`Affected by the following CVEs that are always denied: ["CVE-1", "CVE-3"]`},
		{"names", `{"cveName": {"criteria": "doesNotContainAnyOf", "values": ["CVE-2"]}}`,
			"Failed to validate the CVE name: Resource must not have any of the CVEs specified in the validation rule. The following invalid CVEs were found: CVE-2"},
		{"at the limit", `{"maxSeverity": {"critical": {"total": 2}, "high": {"total": 0}, "medium": {"total": 0}, "unknown": {"total": 1}}}`, ""},
		{"above the limit", `{"maxSeverity": {"critical": {"total": 1}, "unknown": {"total": 0}}}`,
			"Exceeded the number of allowed CVEs: Critical: found 2 CVEs, at most 1 could be tolerated\nUnknown: found 1 CVEs, at most 0 could be tolerated\n"},
		{"without fixes", `{"maxSeverity": {"critical": {"totalWithoutFixes": 0}}}`,
			"Exceeded the number of allowed CVEs: Critical: found 1 CVEs without fixes, at most 0 could be tolerated\n"},
		{"allowed", `{"allowAlways": ["CVE-2"], "maxSeverity": {"critical": {"total": 1}}}`, ""},
		{"suppressed", `{"ignoreVexStatus": true, "maxSeverity": {"high": {"total": 0}}}`,
			"Exceeded the number of allowed CVEs: High: found 1 CVEs, at most 0 could be tolerated\n"},
		{"score at the limit", `{"cvssScore": {"threshold": 9, "maxCount": 1}}`, ""},
		{"score", `{"cvssScore": {"threshold": 8, "maxCount": 1}}`, "Exceeded the CVSS score threshold: 8 with 1 CVEs, found 2 CVEs"},
		{"score of a suppressed one", `{"ignoreVexStatus": true, "cvssScore": {"threshold": 9.05, "maxCount": 1}}`,
			"Exceeded the CVSS score threshold: 9.05 with 1 CVEs, found 2 CVEs"},
		{"score of an allowed one", `{"allowAlways": ["CVE-2"], "cvssScore": {"threshold": 9, "maxCount": 0}}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if have, _ := message(t, tt.settings, pod, listed(report, nil)); have != tt.want {
				t.Errorf("have %q\nwant %q", have, tt.want)
			}
		})
	}
}

func TestMissingReports(t *testing.T) {
	const ignore = `{"ignoreMissingVulnerabilityReport": true}`
	broken := errors.New("the API server is away")
	tests := []struct {
		name, settings string
		answer         sdktest.Answer
		want           string
	}{
		{"none", `{}`, listed(`{"items": []}`, nil), "Doesn't have a VulnerabilityReport"},
		{"none, ignored", ignore, listed(`{"items": []}`, nil), ""},
		{"not readable", `{}`, listed("", broken), "Doesn't have a VulnerabilityReport: the API server is away"},
		{"not readable, ignored", ignore, listed("", broken), ""},
		{"garbage", `{}`, listed(`{"items": [{"report": 1}]}`, nil), "Doesn't have a VulnerabilityReport that can be read: json: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			have, _ := message(t, tt.settings, pod, tt.answer)
			if !strings.HasPrefix(have, tt.want) || tt.want == "" && have != "" {
				t.Errorf("have %q, want %q", have, tt.want)
			}
		})
	}
}

func TestFindsTheReport(t *testing.T) {
	index := sdktest.Answer{Capability: "oci/v1/oci_manifest", Payload: json.RawMessage(`{"manifests": [
		{"digest": "sha256:amd", "platform": {"architecture": "amd64", "os": "linux"}},
		{"digest": "sha256:arm", "platform": {"architecture": "arm64", "os": "linux", "variant": "v8"}},
		{"digest": "sha256:v6", "platform": {"architecture": "arm", "os": "linux", "variant": "v6"}},
		{"digest": "sha256:v7", "platform": {"architecture": "arm", "os": "linux", "variant": "v7"}},
		{"digest": "sha256:w10", "platform": {"architecture": "amd64", "os": "windows", "os.version": "10", "os.features": ["win32k"]}},
		{"digest": "sha256:w11", "platform": {"architecture": "amd64", "os": "windows", "os.version": "11"}}]}`)}
	single := sdktest.Answer{Capability: "oci/v1/oci_manifest", Payload: json.RawMessage(`{"layers": []}`)}
	digest := sdktest.Answer{Capability: "oci/v1/manifest_digest", Payload: json.RawMessage(`{"digest": "sha256:one"}`)}
	platform := func(text string) string { return `{"platform": ` + text + `}` }
	tests := []struct {
		name, settings, image string
		answers               []sdktest.Answer
		want                  string // the selector, or the message
	}{
		{"digest in the reference", `{}`, "a@" + sha, nil, "imageMetadata.digest=" + sha},
		{"digest in the reference, by tag", `{"imageLookupStrategy": "tag"}`, "a:1@" + sha, nil, "imageMetadata.digest=" + sha},
		{"index", `{}`, "a", []sdktest.Answer{index}, "imageMetadata.digest=sha256:amd"},
		{"the only variant", platform(`{"arch": "arm64", "os": "linux"}`), "a", []sdktest.Answer{index}, "imageMetadata.digest=sha256:arm"},
		{"a variant", platform(`{"arch": "arm", "os": "linux", "variant": "v7"}`), "a", []sdktest.Answer{index}, "imageMetadata.digest=sha256:v7"},
		{"a version", platform(`{"arch": "amd64", "os": "windows", "os_version": "11"}`), "a", []sdktest.Answer{index}, "imageMetadata.digest=sha256:w11"},
		{"a feature", platform(`{"arch": "amd64", "os": "windows", "osFeatures": ["win32k"]}`), "a", []sdktest.Answer{index}, "imageMetadata.digest=sha256:w10"},
		{"several variants", platform(`{"arch": "arm", "os": "linux"}`), "a", []sdktest.Answer{index},
			"a: Failed to fetch the image manifest: the image has 2 manifests for the platform linux/arm: set its variant or osVersion"},
		{"another platform", platform(`{"arch": "s390x", "os": "linux"}`), "a", []sdktest.Answer{index},
			"a: Failed to fetch the image manifest: cannot find a manifest for the specified platform: linux/s390x"},
		{"one platform", platform(`{"arch": "s390x", "os": "linux"}`), "a", []sdktest.Answer{single, digest}, "imageMetadata.digest=sha256:one"},
		{"no registry", `{}`, "a", []sdktest.Answer{{Capability: "oci/v1/oci_manifest", Err: errors.New("401")}}, "a: Failed to fetch the image manifest: 401"},
		{"tag", `{"imageLookupStrategy": "tag", "platform": {"arch": "arm", "os": "linux", "variant": "v7"}}`, "ghcr.io/a/b:1", nil,
			"imageMetadata.repository=a/b,imageMetadata.tag=1,imageMetadata.platform=linux/arm/v7"},
		{"no tag", `{"imageLookupStrategy": "tag"}`, "nginx", nil,
			"imageMetadata.repository=library/nginx,imageMetadata.tag=latest,imageMetadata.platform=linux/amd64"},
		{"no image", `{"ignoreMissingVulnerabilityReport": true}`, "A/B", nil, "A/B: Failed to parse the image name: invalid reference format: repository name must be lowercase"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := `{"metadata": {"name": "web", "namespace": "shop"}, "spec": {"initContainers": [{"image": "` + tt.image + `"}], "containers": [{"image": "` + tt.image + `"}]}}`
			have, host := message(t, tt.settings, pod, append(tt.answers, listed(`{"items": [{}]}`, nil))...)
			have = strings.TrimPrefix(have, "Resource web is not accepted: ")
			for _, call := range host.Calls() {
				if call.Operation == "list_resources_by_namespace" {
					have += sdk.View(call.Payload).Get("field_selector").String()
				}
			}
			if have != tt.want {
				t.Errorf("have %q\nwant %q", have, tt.want)
			}
		})
	}
}

func TestAsksForScoresInTheNamespaceOfTheReports(t *testing.T) {
	const settings = `{"vulnerabilityReportNamespace": "reports", "cvssScore": {"threshold": 1, "maxCount": 9}}`
	_, host := message(t, settings, pod, listed(`{"items": [{}]}`, nil))
	question := sdk.View(host.Calls()[0].Payload)
	if have := string(question.Get("field_masks").Raw()); !strings.Contains(have, "vulnerabilities.cvss") || question.Get("namespace").String() != "reports" {
		t.Errorf("question %s, want scores of namespace reports", host.Calls()[0].Payload)
	}
	_, host = message(t, `{}`, pod, listed(`{"items": [{}]}`, nil))
	if have := sdk.View(host.Calls()[0].Payload).Get("namespace").String(); have != "shop" {
		t.Errorf("namespace %q, want the workload's", have)
	}
}
