package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime/cel"
)

// KindOptions are what the webhooks of warder's own kinds look at.
type KindOptions struct {
	// Client reads PolicyServers anywhere, and Secrets and ConfigMaps of
	// Namespace: not from a cache, which would be behind what was applied just
	// before.
	Client client.Reader
	// Namespace is the one that warder is in.
	Namespace string
	// Settings asks the module of a policy, or of a member of a group as a policy
	// of its own, whether it takes the settings. It answers nil also when the
	// module is not at hand: the policy server asks again. A *ModuleError is
	// about the module; an error of the context means that there was no time.
	// Default: settings are not looked at.
	Settings func(ctx context.Context, p policy.Policy) error
	// Types warns of what expressions in CEL look for in objects that have no
	// such thing. Default: nothing.
	Types *cel.TypeChecker
}

// ModuleError says that a module cannot be used, whatever its settings.
type ModuleError struct{ Err error }

func (e *ModuleError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ModuleError) Unwrap() error { return e.Err }

// settingsTimeout bounds what modules take to check the settings of one object,
// all members of a group together. The API server waits for 10 s, and the policy
// server checks them again.
const settingsTimeout = 5 * time.Second

// KindHandlers returns the handlers of the webhooks that manifest.KindValidating and
// manifest.KindMutating register, by path.
func KindHandlers(o KindOptions) map[string]http.Handler {
	w := &kindWebhooks{opts: o, conditions: &cel.MatchConditions{}}
	handlers := map[string]http.Handler{}
	for _, kind := range manifest.WebhookKinds() {
		handlers[manifest.ValidatingPath(kind)] = &admission.Webhook{Handler: w.validator(kind)}
		handlers[manifest.MutatingPath(kind)] = &admission.Webhook{Handler: completer(kind)}
	}
	return handlers
}

// kindWebhooks validates objects of warder's own kinds.
type kindWebhooks struct {
	opts       KindOptions
	conditions *cel.MatchConditions
}

// newObject returns an empty object of one of warder's own kinds.
func newObject(kind string) v1.Object {
	if kind == manifest.KindPolicyServer {
		return &v1.PolicyServer{}
	}
	return v1.Kind(kind).New()
}

// decodeObject reads an object that is to be of the kind.
func decodeObject(kind string, raw []byte, namespace string) (v1.Object, error) {
	object := newObject(kind)
	if err := json.Unmarshal(raw, object); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	if object.GetNamespace() == "" && v1.Kind(kind).Namespaced() {
		object.SetNamespace(namespace)
	}
	return object, nil
}

// finding is what is wrong with an object, and what is legal and strange.
type finding struct {
	errs     field.ErrorList
	warnings []string
}

// validator answers for one kind. An update that leaves the spec as it is always
// passes: labels and finalizers of an object can be changed that was created
// while nobody validated, or whose Secret is gone.
func (w *kindWebhooks) validator(kind string) admission.HandlerFunc {
	return func(ctx context.Context, req admission.Request) admission.Response {
		if req.Operation != admissionv1.Create && req.Operation != admissionv1.Update {
			return admission.Allowed("")
		}
		object, err := decodeObject(kind, req.Object.Raw, req.Namespace)
		if err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		var old v1.Object
		if req.Operation == admissionv1.Update {
			if object.GetDeletionTimestamp() != nil || sameSpec(req.OldObject.Raw, req.Object.Raw) {
				return admission.Allowed("")
			}
			if old, err = decodeObject(kind, req.OldObject.Raw, req.Namespace); err != nil {
				return admission.Errored(http.StatusBadRequest, fmt.Errorf("old object: %w", err))
			}
		}
		found := w.validate(ctx, object, old)
		if len(found.errs) == 0 {
			return admission.Allowed("").WithWarnings(found.warnings...)
		}
		group := schema.GroupKind{Group: v1.GroupVersion().Group, Kind: kind}
		status := apierrors.NewInvalid(group, object.GetName(), found.errs).Status()
		return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &status, Warnings: found.warnings}}
	}
}

// validate checks an object; old is nil of a new one.
func (w *kindWebhooks) validate(ctx context.Context, object, old v1.Object) finding {
	if server, ok := object.(*v1.PolicyServer); ok {
		return w.policyServer(ctx, server)
	}
	p, ok := v1.View(object)
	if !ok {
		return finding{errs: field.ErrorList{field.InternalError(nil, fmt.Errorf("%T is no policy", object))}}
	}
	check := &policyCheck{view: p, conditions: w.conditions}
	if before, ok := v1.View(old); ok {
		check.old = &before
	}
	check.all()
	check.errs = append(check.errs, w.settings(ctx, check)...)
	if len(check.errs) == 0 {
		check.warn(ctx, w.opts.Client)
		check.warnOfTypes(ctx, w.opts.Types)
	}
	return check.finding
}

// sameSpec reports whether two objects say the same in their specs.
func sameSpec(a, b []byte) bool {
	var x, y struct {
		Spec any `json:"spec"`
	}
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x.Spec, y.Spec)
}
