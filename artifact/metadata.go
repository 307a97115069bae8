package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/warder-dev/warder/wasm"
)

// MetadataSection is the custom section in which a module says what it is.
const MetadataSection = "io.kubewarden.metadata"

// KubewardenVersion is the version of Kubewarden that warder stands for when a
// policy says which one it needs at least: the one whose documented policy API
// and host capabilities warder has. Source: the documentation of Kubewarden's
// admission controller, version 1.38.
const KubewardenVersion = "1.38.0"

// Metadata is what a module says of itself.
//
// Schema: https://docs.kubewarden.io/tutorials/writing-policies/metadata.
type Metadata struct {
	// ProtocolVersion is empty when it is not said.
	ProtocolVersion ProtocolVersion
	Rules           []Rule
	Annotations     map[string]string // nil when there are none
	Mutating        bool
	// BackgroundAudit says that the policy may judge objects that exist.
	// Default true.
	BackgroundAudit bool
	// ExecutionMode is WaPC by default.
	ExecutionMode ExecutionMode
	// PolicyType is KubernetesPolicy by default.
	PolicyType            PolicyType
	ContextAwareResources []Resource
	// HostCapabilities are patterns of what the policy asks of the host; nil
	// when it does not say.
	HostCapabilities []string
	// MinimumKubewardenVersion is a semantic version, empty for any.
	MinimumKubewardenVersion string
}

// ProtocolVersion is how host and guest talk in the mode WaPC.
type ProtocolVersion string

// ProtocolV1 is the only one there is; ProtocolUnknown is for modes that have
// none.
const (
	ProtocolV1      ProtocolVersion = "v1"
	ProtocolUnknown ProtocolVersion = "Unknown"
)

// ExecutionMode is how a module is called.
type ExecutionMode string

// The execution modes. OPA and Gatekeeper are both for modules that were
// compiled from Rego, Ferricel for those compiled from CEL, which are not run.
const (
	WaPC       ExecutionMode = "kubewarden-wapc"
	WASI       ExecutionMode = "wasi"
	OPA        ExecutionMode = "opa"
	Gatekeeper ExecutionMode = "gatekeeper"
	Ferricel   ExecutionMode = "ferricel"
)

// ErrCompiledCEL says why a module of the mode Ferricel is not run. Such a module
// carries its source. Source: https://flavio.github.io/ferricel, "Wasm Spec".
var ErrCompiledCEL = errors.New("execution mode ferricel: CEL that was compiled to Wasm is not run: CEL is a policy by itself; " +
	"take the ValidatingAdmissionPolicy that the module was made from, which is in its section ferricel.vap-source, " +
	"and make a policy of it with: warder scaffold vap")

// PolicyType is what a policy judges.
type PolicyType string

// KubernetesPolicy judges admission requests, RawPolicy any JSON.
const (
	KubernetesPolicy PolicyType = "kubernetes"
	RawPolicy        PolicyType = "raw"
)

// Rule is which requests a policy is for.
type Rule struct {
	APIGroups   []string `json:"apiGroups"`
	APIVersions []string `json:"apiVersions"`
	Resources   []string `json:"resources"`
	Operations  []string `json:"operations"`
}

// Resource is a kind that a policy reads from the cluster.
type Resource struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// ReadMetadata returns what a module says of itself, nil if it says nothing.
// Of several sections the first counts. The texts of the errors are
// Kubewarden's.
func ReadMetadata(module []byte) (*Metadata, error) {
	sections, err := wasm.Sections(module)
	if err != nil {
		return nil, fmt.Errorf("cannot parse custom section of wasm module: %w", err)
	}
	for _, s := range sections {
		payload, ok := metadataOf(s)
		if !ok {
			continue
		}
		m := &Metadata{}
		if err := json.Unmarshal(payload, m); err != nil {
			return nil, fmt.Errorf("cannot deserialize custom section `%s` of wasm module: %w", MetadataSection, err)
		}
		return m, nil
	}
	return nil, nil //nolint:nilnil // a module without metadata is no mistake
}

// metadataOf returns the metadata in a section, and whether it is one that has
// them. A custom section may be anything.
func metadataOf(s wasm.Section) ([]byte, bool) {
	if s.ID != wasm.SectionCustom {
		return nil, false
	}
	r := wasm.Reader{Text: s.Payload}
	name := r.Name()
	return r.Text[r.At:], r.Err == nil && name == MetadataSection
}

// CheckVersion returns an error, in Kubewarden's words, when the policy needs a
// later version of Kubewarden than the one that warder stands for. Patches,
// pre-releases and builds do not count.
func (m *Metadata) CheckVersion() error {
	if m.MinimumKubewardenVersion == "" {
		return nil
	}
	wanted, have := semver.MajorMinor("v"+m.MinimumKubewardenVersion), semver.MajorMinor("v"+KubewardenVersion)
	if semver.Compare(wanted, have) <= 0 {
		return nil
	}
	return fmt.Errorf("Policy required Kubewarden version %s.0 but is running on %s.0", wanted[1:], have[1:]) //nolint:staticcheck // upstream's text
}

// DetectMode says how a module is called that does not say so itself, by the
// functions that it exports. A module compiled from Rego is OPA: that it is for
// Gatekeeper cannot be seen.
func DetectMode(exports []string) (ExecutionMode, error) {
	switch {
	case slices.Contains(exports, "__guest_call"):
		return WaPC, nil
	case slices.ContainsFunc(exports, func(name string) bool { return strings.HasPrefix(name, "opa_") }):
		return OPA, nil
	case slices.Contains(exports, "cel_malloc"):
		return Ferricel, nil
	case slices.Contains(exports, "_start"):
		return WASI, nil
	}
	return "", errors.New("neither a waPC guest (it does not export __guest_call) nor a WASI command (it does not export _start); " +
		"a Go policy built with -buildmode=c-shared needs -tags wapc")
}

// metadataJSON is Metadata as it is written: its members in Kubewarden's order.
type metadataJSON struct {
	ProtocolVersion          *ProtocolVersion  `json:"protocolVersion"`
	Rules                    []Rule            `json:"rules"`
	Annotations              map[string]string `json:"annotations,omitempty"`
	Mutating                 bool              `json:"mutating"`
	BackgroundAudit          bool              `json:"backgroundAudit"`
	ExecutionMode            ExecutionMode     `json:"executionMode"`
	PolicyType               PolicyType        `json:"policyType"`
	ContextAwareResources    []Resource        `json:"contextAwareResources"`
	HostCapabilities         *[]string         `json:"hostCapabilities,omitempty"`
	MinimumKubewardenVersion string            `json:"minimumKubewardenVersion,omitempty"`
}

// MarshalJSON writes the metadata as Kubewarden's tools do: what is a set is
// sorted, and what is not said is left out.
func (m Metadata) MarshalJSON() ([]byte, error) {
	out := metadataJSON{
		Rules: append([]Rule{}, m.Rules...), Annotations: m.Annotations, Mutating: m.Mutating, BackgroundAudit: m.BackgroundAudit,
		ExecutionMode: m.ExecutionMode, PolicyType: m.PolicyType, MinimumKubewardenVersion: m.MinimumKubewardenVersion,
		ContextAwareResources: append([]Resource{}, m.ContextAwareResources...),
	}
	if m.ProtocolVersion != "" {
		out.ProtocolVersion = &m.ProtocolVersion
	}
	slices.SortFunc(out.ContextAwareResources, compareResources)
	out.ContextAwareResources = slices.Compact(out.ContextAwareResources)
	if m.HostCapabilities != nil {
		sorted := append([]string{}, slices.Compact(slices.Sorted(slices.Values(m.HostCapabilities)))...)
		out.HostCapabilities = &sorted
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
