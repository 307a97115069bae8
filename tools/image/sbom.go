package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// newSBOM lists what a binary was linked from, as the binary itself says it:
// SPDX 2.3 in JSON (https://spdx.github.io/spdx-spec/v2.3).
func newSBOM(b *binary, at time.Time) ([]byte, error) {
	sum := sha256.Sum256(b.content)
	digest := hex.EncodeToString(sum[:])
	main := newPackage("warder", debug.Module{Path: b.info.Main.Path, Version: b.version()})
	main.PackageFileName, main.PrimaryPackagePurpose = "/warder", "APPLICATION"
	main.PackageLicenseConcluded, main.PackageLicenseDeclared = "Apache-2.0", "Apache-2.0"
	main.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: digest}}
	doc := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: fmt.Sprintf("warder-%s-%s-%s", b.version(), b.platform.OS, b.platform.Architecture),
		// A namespace is never used twice: the binary's digest is in it.
		DocumentNamespace: source + "/sbom/" + digest,
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "warder-image"}},
			Created:  at.UTC().Format(time.RFC3339),
		},
		Packages:      []*spdx.Package{main},
		Relationships: []*spdx.Relationship{relation("DOCUMENT", "DESCRIBES", "warder")},
	}
	// Vulnerabilities of the standard library are listed for a module "stdlib".
	modules := []debug.Module{{Path: "stdlib", Version: strings.TrimPrefix(b.info.GoVersion, "go")}}
	for _, m := range b.info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		modules = append(modules, *m)
	}
	for i, m := range modules {
		p := newPackage(common.ElementID(fmt.Sprintf("module-%d", i)), m)
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, relation("warder", "DEPENDS_ON", p.PackageSPDXIdentifier))
	}
	var text bytes.Buffer
	if err := spdxjson.Write(doc, &text, spdxjson.Indent(" "), spdxjson.EscapeHTML(false)); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// newPackage describes a module. The sum is that of go.sum, which is of no
// file and so is not among the package's checksums.
func newPackage(id common.ElementID, m debug.Module) *spdx.Package {
	p := &spdx.Package{
		PackageSPDXIdentifier: id, PackageName: m.Path, PackageVersion: m.Version,
		PackageDownloadLocation: "NOASSERTION", IsFilesAnalyzedTagPresent: true,
		PackageLicenseConcluded: "NOASSERTION", PackageLicenseDeclared: "NOASSERTION", PackageCopyrightText: "NOASSERTION",
		PackageExternalReferences: []*spdx.PackageExternalReference{
			{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl(m)},
		},
	}
	if m.Sum != "" {
		p.PackageSourceInfo = "go.sum: " + m.Sum
	}
	return p
}

// purl is the package URL by which scanners find a module.
// Source: https://github.com/package-url/purl-spec, type golang.
func purl(m debug.Module) string {
	url := "pkg:golang/" + strings.ToLower(m.Path)
	if m.Version == "" {
		return url
	}
	return url + "@" + strings.ReplaceAll(m.Version, "+", "%2B")
}

func relation(a common.ElementID, kind string, b common.ElementID) *spdx.Relationship {
	return &spdx.Relationship{
		RefA: common.DocElementID{ElementRefID: a}, Relationship: kind, RefB: common.DocElementID{ElementRefID: b},
	}
}
