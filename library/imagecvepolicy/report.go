package imagecvepolicy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// vulnerabilityReport is what counts of a VulnerabilityReport.
type vulnerabilityReport struct {
	Report struct {
		Results []struct {
			Vulnerabilities []vulnerability `json:"vulnerabilities"`
		} `json:"results"`
	} `json:"report"`
}

type vulnerability struct {
	CVE           string          `json:"cve"`
	FixedVersions []string        `json:"fixedVersions"`
	Severity      string          `json:"severity"`
	Suppressed    bool            `json:"suppressed"`
	CVSS          map[string]cvss `json:"cvss"`
}

type cvss struct {
	V3Score json.RawMessage `json:"v3score"` // a string with a number
}

// score returns the CVSS v3 score of the source that is best known, false if
// there is none.
func (v vulnerability) score() (float64, bool) {
	sources := []string{"nvd", "redhat", "ghsa", "bitnami"}
	for _, source := range append(sources, slices.Sorted(maps.Keys(v.CVSS))...) {
		text := strings.Trim(string(v.CVSS[source].V3Score), `"`)
		if score, err := strconv.ParseFloat(text, 64); err == nil {
			return score, true
		}
	}
	return 0, false
}

// judge says why an image with the report is refused, "" if it is not.
func (s *Settings) judge(r vulnerabilityReport) string {
	var all, counted []vulnerability
	var names, denied []string
	for _, result := range r.Report.Results {
		all = append(all, result.Vulnerabilities...)
	}
	for _, v := range all {
		names = append(names, v.CVE)
		if slices.Contains(s.DenyAlways, v.CVE) {
			denied = append(denied, v.CVE)
		}
		if !slices.Contains(s.AllowAlways, v.CVE) && (!v.Suppressed || s.IgnoreVexStatus) {
			counted = append(counted, v)
		}
	}
	if len(denied) > 0 {
		return "Affected by the following CVEs that are always denied: " + list(denied)
	}
	if s.CveName != nil {
		if problem := s.CveName.rule().Problem(names); problem != "" {
			return "Failed to validate the CVE name: " + problem
		}
	}
	if problem := s.CvssScore.problem(counted); problem != "" {
		return problem
	}
	return s.MaxSeverity.problem(counted)
}

func (c *CvssScore) problem(counted []vulnerability) string {
	if c == nil {
		return ""
	}
	count := 0
	for _, v := range counted {
		if score, ok := v.score(); ok && score >= *c.Threshold {
			count++
		}
	}
	if count <= int(*c.MaxCount) {
		return ""
	}
	return fmt.Sprintf("Exceeded the CVSS score threshold: %v with %d CVEs, found %d CVEs", *c.Threshold, *c.MaxCount, count)
}

func (m MaxSeverity) problem(counted []vulnerability) string {
	total, withoutFixes := map[string]int{}, map[string]int{}
	for _, v := range counted {
		severity := strings.ToLower(v.Severity)
		if !slices.Contains([]string{"critical", "high", "medium", "low"}, severity) {
			severity = "unknown"
		}
		total[severity]++
		if len(v.FixedVersions) == 0 {
			withoutFixes[severity]++
		}
	}
	var text strings.Builder
	for _, severity := range m.inOrder() {
		if severity.limit == nil {
			continue
		}
		most, have, which := severity.limit.Total, total, "CVEs"
		if most == nil {
			most, have, which = severity.limit.TotalWithoutFixes, withoutFixes, "CVEs without fixes"
		}
		if count := have[strings.ToLower(severity.name)]; count > int(*most) {
			fmt.Fprintf(&text, "%s: found %d %s, at most %d could be tolerated\n", severity.name, count, which, *most)
		}
	}
	if text.Len() == 0 {
		return ""
	}
	return "Exceeded the number of allowed CVEs: " + text.String()
}
