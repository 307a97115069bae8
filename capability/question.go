package capability

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/warder-dev/warder/sdk"
)

// question is what a policy asks, as sessions write it: a tag and its fields.
type question struct {
	tag    string
	fields any // a pointer to the tag's struct
}

// The tags and fields of sessions are Kubewarden's. Pointers may be null.
type (
	imageFields struct {
		Image string `json:"image"`
	}
	hostFields struct {
		Host string `json:"host"`
	}
	kindFields struct {
		APIVersion string `json:"api_version"`
		Kind       string `json:"kind"`
	}
	selectorFields struct {
		LabelSelector *string `json:"label_selector"`
		FieldSelector *string `json:"field_selector"`
	}
	listFields struct {
		kindFields
		Namespace string `json:"namespace"`
		selectorFields
		FieldMasks []string `json:"field_masks"`
	}
	listAllFields struct {
		kindFields
		selectorFields
		FieldMasks []string `json:"field_masks"`
	}
	changedFields struct {
		listAllFields
		// Since is how long before the recording, and so never compared.
		Since json.RawMessage `json:"since"`
	}
	getFields struct {
		kindFields
		Name         string   `json:"name"`
		Namespace    *string  `json:"namespace"`
		DisableCache bool     `json:"disable_cache"`
		FieldMasks   []string `json:"field_masks"`
	}
	canIFields struct {
		Request      accessReview `json:"request"`
		DisableCache bool         `json:"disable_cache"`
	}
	accessReview struct {
		Groups      []string               `json:"groups"`
		Attributes  *resourceAttributes    `json:"resource_attributes,omitempty"`
		User        string                 `json:"user"`
		UID         string                 `json:"uid,omitempty"`                     // an extension
		Extra       map[string][]string    `json:"extra,omitempty"`                   // an extension
		NonResource *nonResourceAttributes `json:"non_resource_attributes,omitempty"` // an extension
	}
	resourceAttributes struct {
		Group       *string `json:"group"`
		Name        *string `json:"name"`
		Namespace   *string `json:"namespace"`
		Resource    string  `json:"resource"`
		Subresource *string `json:"subresource"`
		Verb        string  `json:"verb"`
		Version     *string `json:"version"`

		FieldSelector []requirement `json:"field_selector,omitempty"` // an extension
		LabelSelector []requirement `json:"label_selector,omitempty"` // an extension
	}
	nonResourceAttributes struct {
		Path string `json:"path"`
		Verb string `json:"verb"`
	}
	requirement struct {
		Key      string   `json:"key"`
		Operator string   `json:"operator"`
		Values   []string `json:"values,omitempty"`
	}
	cryptoFields struct {
		Request certificateQuestion `json:"request"`
	}
)

// The tags that more than one place names.
const (
	tagListAll = "KubernetesListResourceAll"
	tagPlural  = "KubernetesGetResourcePluralName"
	tagChanged = "HasKubernetesListResourceAllResultChangedSinceInstant"
)

// newFields returns the empty fields of a tag, nil if there is no such tag.
func newFields(tag string) any {
	switch tag {
	case "OciManifestDigest", "OciManifest", "OciManifestAndConfig":
		return &imageFields{}
	case "DNSLookupHost":
		return &hostFields{}
	case "KubernetesListResourceNamespace":
		return &listFields{}
	case tagListAll:
		return &listAllFields{}
	case "KubernetesGetResource":
		return &getFields{}
	case tagPlural:
		return &kindFields{}
	case tagChanged:
		return &changedFields{}
	case "KubernetesCanI":
		return &canIFields{}
	case "CryptoIsCertificateTrusted":
		return &cryptoFields{}
	}
	if verification, _ := newVerification(tag); verification != nil {
		return verification
	}
	return nil
}

// questionOf reads the payload of a call, which Host.admit has let pass.
func questionOf(c sdk.HostCall) (question, error) {
	image := func(tag string) (question, error) {
		text, err := decodeText(c.Payload)
		return question{tag, &imageFields{text}}, err
	}
	kubernetes := func(tag string, mandatory ...string) (question, error) {
		q := question{tag, newFields(tag)}
		return q, decodeKind(c.Payload, q.fields, mandatory...)
	}
	switch c.Capability() {
	case "oci/v1/verify":
		tag, fields, err := decodeVerify1(c.Payload)
		return question{tag, fields}, err
	case "oci/v2/verify":
		tag, fields, err := decodeVerify2(c.Payload)
		return question{tag, fields}, err
	case "oci/v1/manifest_digest":
		return image("OciManifestDigest")
	case "oci/v1/oci_manifest":
		return image("OciManifest")
	case "oci/v1/oci_manifest_config":
		return image("OciManifestAndConfig")
	case "net/v1/dns_lookup_host":
		text, err := decodeText(c.Payload)
		return question{"DNSLookupHost", &hostFields{text}}, err
	case "crypto/v1/is_certificate_trusted":
		request, err := decodeCertificateQuestion(c.Payload)
		if err != nil {
			return question{}, err
		}
		return question{"CryptoIsCertificateTrusted", &cryptoFields{*request}}, nil
	case "kubernetes/get_resource":
		return kubernetes("KubernetesGetResource", "name")
	case "kubernetes/list_resources_all":
		return kubernetes(tagListAll)
	case "kubernetes/list_resources_by_namespace":
		return kubernetes("KubernetesListResourceNamespace", "namespace")
	case "kubernetes/can_i":
		fields, err := decodeCanI(c.Payload)
		return question{"KubernetesCanI", fields}, err
	}
	return question{}, fmt.Errorf("no session can hold a call of %s", c.Capability())
}

// decodeKind reads the payload of a question about a kind.
func decodeKind(payload []byte, fields any, mandatory ...string) error {
	return decode(payload, fields, append([]string{"api_version", "kind"}, mandatory...)...)
}

// decodeCanI reads the payload of kubernetes/can_i, whose attributes are called
// resourceAttributes by Kubewarden's SDK for Go.
func decodeCanI(payload []byte) (*canIFields, error) {
	var outer struct {
		Review       json.RawMessage `json:"subject_access_review"`
		DisableCache bool            `json:"disable_cache"`
	}
	if err := decode(payload, &outer, "subject_access_review"); err != nil {
		return nil, err
	}
	var review struct {
		Groups      []string            `json:"groups"`
		Attributes  json.RawMessage     `json:"resource_attributes"`
		OfGoSDK     json.RawMessage     `json:"resourceAttributes"`
		User        string              `json:"user"`
		UID         string              `json:"uid"`
		Extra       map[string][]string `json:"extra"`
		NonResource json.RawMessage     `json:"non_resource_attributes"`
	}
	if err := decode(outer.Review, &review, "user"); err != nil {
		return nil, err
	}
	text := review.Attributes
	if len(text) == 0 {
		text = review.OfGoSDK
	}
	fields := &canIFields{DisableCache: outer.DisableCache}
	fields.Request = accessReview{Groups: review.Groups, User: review.User, UID: review.UID, Extra: review.Extra}
	if len(review.NonResource) > 0 && string(review.NonResource) != "null" {
		if len(text) > 0 {
			return nil, errors.New("`resource_attributes` and `non_resource_attributes` exclude each other")
		}
		fields.Request.NonResource = &nonResourceAttributes{}
		return fields, decode(review.NonResource, fields.Request.NonResource, "path", "verb")
	}
	if len(text) == 0 {
		return nil, errors.New("missing field `resource_attributes`")
	}
	fields.Request.Attributes = &resourceAttributes{}
	if err := decode(text, fields.Request.Attributes, "resource", "verb"); err != nil {
		return nil, err
	}
	return fields, nil
}

// resource returns the kind that a question reads from the cluster, if it does.
func (q question) resource() (r Resource, ok bool) {
	switch f := q.fields.(type) {
	case *getFields:
		return Resource(f.kindFields), true
	case *listFields:
		return Resource(f.kindFields), true
	case *listAllFields:
		return Resource(f.kindFields), true
	}
	return Resource{}, false
}

// String is the same for questions that ask the same: members in order, and
// without those that say nothing.
func (q question) String() string {
	text, err := json.Marshal(q.fields)
	if err != nil {
		return "!" + q.tag + " " + err.Error() // a test shows that there is none
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var fields map[string]any
	_ = dec.Decode(&fields) // it was just encoded
	delete(fields, "since")
	text, _ = json.Marshal(prune(fields)) // it was just decoded
	return "!" + q.tag + " " + string(text)
}

// prune removes what means the same as nothing: null, "", false, {} and [], but
// for a chain of certificates, whose absence and emptiness differ.
func prune(fields map[string]any) map[string]any {
	for key, value := range fields {
		nothing := false
		switch v := value.(type) {
		case nil:
			nothing = true
		case string:
			nothing = v == ""
		case bool:
			nothing = !v
		case map[string]any:
			nothing = len(prune(v)) == 0
		case []any:
			nothing = len(v) == 0 && key != "cert_chain" && key != "certificate_chain"
		}
		if nothing {
			delete(fields, key)
		}
	}
	return fields
}
