package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warder-dev/warder/wasm"
)

// Annotate returns a module that says of itself what m says, whatever it said
// before. The function that policies in JavaScript import to ask the host is
// called by the name that Kubewarden's hosts have for it.
func Annotate(module []byte, m Metadata) ([]byte, error) {
	sections, err := wasm.Sections(module)
	if err != nil {
		return nil, fmt.Errorf("cannot parse custom section of wasm module: %w", err)
	}
	text, err := m.MarshalJSON() // json.Marshal would escape < and >
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(module)+len(text)+64), wasm.Header...)
	for _, s := range sections {
		if _, old := metadataOf(s); old {
			continue
		}
		if s.ID == wasm.SectionImport {
			if s.Payload, err = renameImports(s.Payload); err != nil {
				return nil, fmt.Errorf("cannot parse import section of wasm module: %w", err)
			}
		}
		out = wasm.Append(out, s)
	}
	payload := append(wasm.AppendName(nil, MetadataSection), text...)
	return wasm.Append(out, wasm.Section{ID: wasm.SectionCustom, Payload: payload}), nil
}

// renameImports gives the host function of JavaScript policies its other name.
func renameImports(payload []byte) ([]byte, error) {
	r := wasm.Reader{Text: payload}
	count := r.U32()
	out := wasm.AppendU32(make([]byte, 0, len(payload)), count)
	for ; count > 0 && r.Err == nil; count-- {
		from, name, kindAt := r.Name(), r.Name(), r.At
		kind := r.Byte()
		skipImportType(&r, kind)
		if r.Err != nil {
			break
		}
		if kind == 0 && from == "kubewarden:javy/host" && name == "call" {
			from = "host"
		}
		out = wasm.AppendName(wasm.AppendName(out, from), name)
		out = append(out, payload[kindAt:r.At]...)
	}
	if r.More() {
		r.Fail(errors.New("there is more than the imports"))
	}
	return out, r.Err
}

// skipImportType skips what comes after the kind of an import.
func skipImportType(r *wasm.Reader, kind byte) {
	switch kind {
	case 0: // function
		r.U32()
	case 1: // table
		skipValueType(r)
		skipLimits(r)
	case 2: // memory
		skipLimits(r)
	case 3: // global
		skipValueType(r)
		r.Byte()
	case 4: // tag
		r.Byte()
		r.U32()
	default:
		r.Fail(fmt.Errorf("unknown kind of import %d", kind))
	}
}

// skipValueType skips a type of values; a reference with a heap type has that
// after it.
func skipValueType(r *wasm.Reader) {
	if t := r.Byte(); t == 0x63 || t == 0x64 {
		r.SkipSigned(33)
	}
}

// skipLimits skips how large a table or a memory may be, in numbers of up to 64
// bits, and how large its pages are.
func skipLimits(r *wasm.Reader) {
	flags := r.Byte()
	r.SkipSigned(64)
	if flags&1 != 0 {
		r.SkipSigned(64)
	}
	if flags&8 != 0 {
		r.U32()
	}
}

// Exports returns the names of the functions that a module exports.
func Exports(module []byte) ([]string, error) {
	sections, err := wasm.Sections(module)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range sections {
		if s.ID != wasm.SectionExport {
			continue
		}
		r := wasm.Reader{Text: s.Payload}
		for count := r.U32(); count > 0 && r.Err == nil; count-- {
			name, kind := r.Name(), r.Byte()
			r.U32()
			if r.Err == nil && kind == 0 {
				names = append(names, name)
			}
		}
		if r.Err != nil {
			return nil, fmt.Errorf("export section: %w", r.Err)
		}
	}
	return names, nil
}

// Capabilities returns the names of all that a policy can ask of the host, but
// its log, sorted.
func Capabilities() []string {
	return []string{
		"crypto/v1/is_certificate_trusted",
		"kubernetes/can_i", "kubernetes/get_resource", "kubernetes/list_resources_all", "kubernetes/list_resources_by_namespace",
		"net/v1/dns_lookup_host",
		"oci/v1/manifest_digest", "oci/v1/oci_manifest", "oci/v1/oci_manifest_config", "oci/v1/verify", "oci/v2/verify",
	}
}

// DetectCapabilities returns the capabilities whose names are in a module's
// data: what it probably asks of the host. It is a guess in both directions.
func DetectCapabilities(module []byte) ([]string, error) {
	sections, err := wasm.Sections(module)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, s := range sections {
		if s.ID != wasm.SectionData {
			continue
		}
		for _, capability := range Capabilities() {
			if mentions(s.Payload, capability) && !slices.Contains(found, capability) {
				found = append(found, capability)
			}
		}
	}
	slices.Sort(found)
	return found, nil
}

// mentions reports whether the data has the operation of a capability, and not
// just a longer one that begins with it. Compilers put texts one behind
// the other, so what comes after says nothing. The operations of kubernetes are
// common words: they count only if that is there too.
func mentions(data []byte, capability string) bool {
	namespace, operation, _ := strings.Cut(capability, "/")
	if namespace == "kubernetes" && !bytes.Contains(data, []byte(namespace)) {
		return false
	}
	n := bytes.Count(data, []byte(operation))
	for _, longer := range Capabilities() {
		if _, other, _ := strings.Cut(longer, "/"); other != operation && strings.HasPrefix(other, operation) {
			n -= bytes.Count(data, []byte(other))
		}
	}
	return n > 0
}

// CapabilityWarnings compares what the policy says that it asks of the host
// with what was detected in its module.
func (m *Metadata) CapabilityWarnings(detected []string) []string {
	var warnings []string
	warn := func(text string, names []string) {
		if names != nil {
			warnings = append(warnings, text+": "+strings.Join(names, ", "))
		}
	}
	if slices.Contains(m.HostCapabilities, "*") {
		return []string{"metadata declares all host capabilities (*); consider restricting to only the capabilities actually used by the policy"}
	}
	var undeclared, unused []string
	for _, capability := range detected {
		if !slices.ContainsFunc(m.HostCapabilities, func(pattern string) bool { return grants(pattern, capability) }) {
			undeclared = append(undeclared, capability)
		}
	}
	for _, pattern := range m.HostCapabilities {
		if !slices.ContainsFunc(detected, func(capability string) bool { return grants(pattern, capability) }) {
			unused = append(unused, pattern)
		}
	}
	warn("host capabilities used by the policy but not declared in metadata", undeclared)
	warn("host capabilities declared in metadata but not detected in the policy", unused)
	return warnings
}

// grants reports whether a pattern ("oci/*", "oci/v1/verify") has a capability.
func grants(pattern, capability string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	return pattern == capability || wild && strings.HasPrefix(capability, prefix)
}
