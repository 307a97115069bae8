// Package sdk is what the author of a policy imports, and nothing else.
//
// A policy is a function from settings and a request to a verdict. The same
// source is a built-in of warder (a plain function call), a WASI command that
// runs on warder and on Kubewarden's policy server, and a waPC reactor:
//
//	func judge(ctx context.Context, s *Settings, req *sdk.Request) (sdk.Verdict, error) {
//		if sdk.View(req.Object).Get("spec", "hostNetwork").Bool() {
//			return sdk.Reject("spec.hostNetwork is true"), nil
//		}
//		return sdk.Accept(), nil
//	}
//
//	func main() { sdk.Main(sdk.Define(judge)) }
//
// Build it with
//
//	GOOS=wasip1 GOARCH=wasm go build -o policy.wasm                              # WASI command
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -tags wapc -o policy.wasm # waPC reactor
//
// The package imports the standard library alone, under every build tag.
package sdk

import (
	"encoding/json"
	"fmt"
)

// Request is what somebody asks of the API server: the request member of an
// AdmissionReview. Optional strings are empty, optional documents nil, when
// the review left them out or said null.
//
// Field names on the wire are those of k8s.io/api/admission/v1.AdmissionRequest.
type Request struct {
	UID       string
	Kind      GroupVersionKind
	Resource  GroupVersionResource
	Operation Operation
	UserInfo  UserInfo

	SubResource        string
	RequestKind        *GroupVersionKind
	RequestResource    *GroupVersionResource
	RequestSubResource string
	Name               string
	Namespace          string
	DryRun             *bool

	// Object is the object as it would be stored; nil for DELETE. The bytes
	// are those of the review: they are never decoded and encoded again.
	Object json.RawMessage
	// OldObject is the object as it is stored; nil for CREATE and CONNECT.
	OldObject json.RawMessage
	// Options is the operation's options (CreateOptions and so on).
	Options json.RawMessage

	// Raw is the whole document of a raw policy: any JSON, not a request to
	// the API server. When it is set, only UID is meaningful beside it.
	Raw json.RawMessage

	object    []byte // Object, with the rest of the review behind it
	oldObject []byte // and OldObject
	spans     *spans // of the review
}

// Operation is a verb of the API server.
type Operation string

// The operations that admission knows. Source: k8s.io/api/admission/v1.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// GroupVersionKind names a kind; Group is empty for the core group.
type GroupVersionKind struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

// GroupVersionResource names a resource by its plural.
type GroupVersionResource struct {
	Group    string `json:"group"`
	Version  string `json:"version"`
	Resource string `json:"resource"`
}

// UserInfo is who asked.
type UserInfo struct {
	Username string
	UID      string
	Groups   []string
	Extra    map[string][]string
}

// Verdict is what one policy says of one request. The zero Verdict rejects.
//
// A policy that cannot judge returns an error instead: an error is "no
// verdict", never "no", and the policy's failurePolicy decides.
type Verdict struct {
	// Accepted lets the request through.
	Accepted bool
	// Message is read by the person who was refused: where, what, why, what
	// then. Empty is no message.
	Message string
	// Code is the HTTP status given to the client with a rejection, 0 to
	// 65535. 0 leaves it to the API server, which says 400.
	Code uint16
	// MutatedObject is the whole object as it should be stored; nil leaves it
	// as it is. The host makes the patch.
	MutatedObject json.RawMessage
	// Patch is the same said shorter: it is applied to Request.Object (to
	// Request.Raw for a raw policy) to make MutatedObject. Setting both is an
	// error.
	Patch Patch
	// AuditAnnotations go to the API server's audit log.
	AuditAnnotations map[string]string
	// Warnings are shown to the client, accepted or not. The API server cuts
	// them after 256 bytes each and 4096 in all.
	Warnings []string
}

// Accept is the verdict that lets the request through as it is.
func Accept() Verdict { return Verdict{Accepted: true} }

// Reject is the verdict that refuses the request for a reason.
func Reject(reason string) Verdict { return Verdict{Message: reason} }

// Rejectf is Reject with a format of package fmt.
func Rejectf(format string, args ...any) Verdict {
	return Verdict{Message: fmt.Sprintf(format, args...)}
}

// Mutate is the verdict that lets the request through with another object.
func Mutate(object json.RawMessage) Verdict {
	return Verdict{Accepted: true, MutatedObject: object}
}

// subject is the document that a verdict on r may change.
func (r *Request) subject() json.RawMessage {
	if r.Raw != nil {
		return r.Raw
	}
	return r.Object
}

// Resolve returns v with its Patch applied, so that what changes is said in
// MutatedObject alone. Hosts call it; authors need not. The error names the
// operation that does not apply.
func (v Verdict) Resolve(r *Request) (Verdict, error) {
	if len(v.Patch) == 0 {
		return v, nil
	}
	if v.MutatedObject != nil {
		return v, fmt.Errorf("verdict: both a patch and a mutated object")
	}
	subject := r.subject()
	if subject == nil {
		// There is nothing to change, as in a deletion: whatever is put in its
		// place, the host refuses in its own words.
		v.MutatedObject, v.Patch = json.RawMessage("{}"), nil
		return v, nil
	}
	mutated, err := v.Patch.Apply(subject)
	if err != nil {
		return v, err
	}
	v.MutatedObject, v.Patch = mutated, nil
	return v, nil
}
