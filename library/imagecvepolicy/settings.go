package imagecvepolicy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/warder-dev/warder/library/internal/criteria"
)

// Settings are the settings of image-cve-policy. The zero value only asks that
// every image has been scanned.
type Settings struct {
	// MaxSeverity is how many vulnerabilities of each severity an image may
	// have. By default any number.
	MaxSeverity MaxSeverity `json:"maxSeverity"`
	// AllowAlways are CVEs that are not counted.
	AllowAlways []string `json:"allowAlways"`
	// DenyAlways are CVEs that no image may have, suppressed or not.
	DenyAlways []string `json:"denyAlways"`
	// IgnoreMissingVulnerabilityReport accepts images that have not been
	// scanned. Default false.
	IgnoreMissingVulnerabilityReport bool `json:"ignoreMissingVulnerabilityReport"`
	// VulnerabilityReportNamespace is where the reports are. Default: the
	// namespace of the workload.
	VulnerabilityReportNamespace string `json:"vulnerabilityReportNamespace"`
	// ImageLookupStrategy is how the report of an image is found: by its
	// "digest", for which a registry may be asked, or by its "tag". Default
	// digest.
	ImageLookupStrategy string `json:"imageLookupStrategy"`
	// IgnoreVexStatus counts vulnerabilities too that a VEX document has
	// suppressed. Default false.
	IgnoreVexStatus bool `json:"ignoreVexStatus"`
	// CvssScore bounds how many vulnerabilities have a high score. Default none.
	CvssScore *CvssScore `json:"cvssScore"`
	// CveName compares the names of all vulnerabilities with a list. Default none.
	CveName *CveName `json:"cveName"`
	// Platform is which image of a multi-platform one counts. Default
	// linux/amd64.
	Platform *Platform `json:"platform"`
}

// MaxSeverity is a limit for each severity; one that is not given is none.
type MaxSeverity struct {
	Critical *Limit `json:"critical"`
	High     *Limit `json:"high"`
	Medium   *Limit `json:"medium"`
	Low      *Limit `json:"low"`
	Unknown  *Limit `json:"unknown"`
}

// Limit is how many vulnerabilities there may be. Exactly one must be given.
type Limit struct {
	// Total counts all of them.
	Total *uint32 `json:"total"`
	// TotalWithoutFixes counts those alone that no version has fixed.
	TotalWithoutFixes *uint32 `json:"totalWithoutFixes"`
}

// CvssScore is how many vulnerabilities may have a CVSS v3 score of Threshold, 0
// to 10, or more. Both must be given.
type CvssScore struct {
	// Threshold is a score, 0 to 10.
	Threshold *float64 `json:"threshold"`
	// MaxCount is how many vulnerabilities may have that score or more.
	MaxCount *uint32 `json:"maxCount"`
}

// CveName compares names as the built-in labels does. Both must be given.
type CveName struct {
	Criteria criteria.Criteria `json:"criteria"`
	// Values are names of vulnerabilities.
	Values []string `json:"values"`
}

func (c *CveName) rule() criteria.Rule {
	return criteria.Rule{Criteria: c.Criteria, Values: c.Values, Noun: "CVE"}
}

// Platform is a platform as image indexes name it. Arch and OS must be given.
type Platform struct {
	// Arch is a GOARCH: "amd64".
	Arch string `json:"arch"`
	// OS is a GOOS: "linux".
	OS string `json:"os"`
	// OSVersion is a version of the operating system. Default any.
	OSVersion string `json:"osVersion"`
	// OSVersionOld is OSVersion as upstream's documentation spells it.
	OSVersionOld string `json:"os_version"`
	// OSFeatures are features that the image must ask for. Default any.
	OSFeatures []string `json:"osFeatures"`
	// Variant is a variant of the CPU: "v7". Default any.
	Variant string `json:"variant"`
}

const (
	byDigest = "digest"
	byTag    = "tag"
)

// Validate reports everything that is wrong.
func (s *Settings) Validate() error {
	var errs []error
	for _, severity := range s.MaxSeverity.inOrder() {
		if err := severity.limit.validate(); err != nil {
			errs = append(errs, fmt.Errorf("maxSeverity.%s: %w", strings.ToLower(severity.name), err))
		}
	}
	var both []string
	for _, cve := range s.AllowAlways {
		if slices.Contains(s.DenyAlways, cve) {
			both = append(both, cve)
		}
	}
	if len(both) > 0 {
		errs = append(errs, errors.New("The following CVEs are both allowed and denied: "+list(both)))
	}
	if !slices.Contains([]string{"", byDigest, byTag}, s.ImageLookupStrategy) {
		errs = append(errs, fmt.Errorf("imageLookupStrategy: %q is none; known are digest, tag", s.ImageLookupStrategy))
	}
	if c := s.CvssScore; c != nil {
		switch {
		case c.Threshold == nil || c.MaxCount == nil:
			errs = append(errs, errors.New("cvssScore: want threshold and maxCount"))
		case *c.Threshold < 0 || *c.Threshold > 10:
			errs = append(errs, fmt.Errorf("cvssScore.threshold must be between 0.0 and 10.0, got %v", *c.Threshold))
		}
	}
	if s.CveName != nil {
		if err := s.CveName.rule().Validate(nil); err != nil {
			errs = append(errs, fmt.Errorf("cveName: %w", err))
		}
	}
	if s.Platform != nil && (s.Platform.Arch == "" || s.Platform.OS == "") {
		errs = append(errs, errors.New("platform: want arch and os"))
	}
	return errors.Join(errs...)
}

func (l *Limit) validate() error {
	switch {
	case l == nil:
		return nil
	case l.Total != nil && l.TotalWithoutFixes != nil:
		return errors.New("cannot specify both 'total' and 'totalWithoutFixes': they are mutually exclusive")
	case l.Total == nil && l.TotalWithoutFixes == nil:
		return errors.New("want 'total' or 'totalWithoutFixes'")
	}
	return nil
}

type severityLimit struct {
	name  string
	limit *Limit
}

func (m MaxSeverity) inOrder() []severityLimit {
	return []severityLimit{
		{"Critical", m.Critical}, {"High", m.High}, {"Medium", m.Medium}, {"Low", m.Low}, {"Unknown", m.Unknown},
	}
}

// platform is the one to look for.
func (s *Settings) platform() Platform {
	if s.Platform == nil {
		return Platform{Arch: "amd64", OS: "linux"}
	}
	p := *s.Platform
	if p.OSVersion == "" {
		p.OSVersion = p.OSVersionOld
	}
	return p
}

// String is how reports name a platform: linux/arm/v7.
func (p Platform) String() string {
	text := p.OS + "/" + p.Arch
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	if p.OSVersion != "" {
		text += ":" + p.OSVersion
	}
	return text
}

// list prints names as the Kubewarden policy does, sorted: ["a", "b"].
func list(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for i, name := range names {
		names[i] = strconv.Quote(name)
	}
	return "[" + strings.Join(names, ", ") + "]"
}
