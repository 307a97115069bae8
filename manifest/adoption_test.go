package manifest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/warder-dev/warder/api/v1"
)

// left is what another controller has left behind.
func left(name, service string, labels map[string]string, annotations ...string) *admissionv1.ValidatingWebhookConfiguration {
	path, port := "/validate/"+name, int32(443)
	o := &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: name + ".kubewarden.admission",
			ClientConfig: admissionv1.WebhookClientConfig{CABundle: []byte("theirs"), Service: &admissionv1.ServiceReference{
				Namespace: "warder", Name: service, Path: &path, Port: &port,
			}},
		}},
	}
	if len(annotations) == 2 {
		o.Annotations = map[string]string{annotationPolicy: annotations[0], annotationNamespace: annotations[1]}
	}
	return o
}

func TestWhatKubewardenLeftBehind(t *testing.T) {
	partOf, before116 := map[string]string{LabelPartOf: PartOf}, map[string]string{LabelLegacy: "true"}
	const ours = "policy-server-default"
	found := []*admissionv1.ValidatingWebhookConfiguration{
		left("kw.cap.adopted", ours, partOf, "adopted", ""),
		left("clusterwide-waits", ours, partOf, "waits", ""),
		left("clusterwide-renamed", ours, before116),
		left("clusterwide-gone", ours, partOf, "gone", ""),
		// The old name of "group-x" and of the group "x".
		left("clusterwide-group-x", ours, partOf, "group-x", ""),
		left("kw.cap.elsewhere", "policy-server-other", partOf, "elsewhere", ""),
		left("kubewarden-controller-validating-webhook-configuration", "kubewarden-controller-webhook-service", partOf),
		left("by-hand", ours, nil),
	}
	foreign := []string{"v:by-hand", "v:kubewarden-controller-validating-webhook-configuration", "v:kw.cap.elsewhere"}
	group := resource(t, `{kind: ClusterAdmissionPolicyGroup, metadata: {name: x}, spec: {expression: "a()", message: never, policies: {a: {module: x}}, `+onPods+`}}`)
	for mode, want := range map[string][]string{
		"Bundled":   {"v:clusterwide-waits", "v:policy-server-default.warder"},
		"PerPolicy": {"v:clusterwide-waits", "v:kw.cap.adopted", "v:kw.cap.renamed"},
	} {
		c := newCluster()
		for _, o := range found {
			c.apply(o)
		}
		waits := single(t, "waits", "")
		in := WebhookInput{
			Server: server(t, "default", "webhooks: "+mode), CABundle: []byte("ours"),
			Settled: []v1.Policy{single(t, "adopted", ""), single(t, "renamed", "")}, Unsettled: []v1.Policy{waits, group},
		}
		set := c.run(in)
		var mine []string
		for _, name := range c.names() {
			if !strings.Contains(strings.Join(foreign, " ")+" ", name+" ") {
				mine = append(mine, name)
			}
		}
		if diff := cmp.Diff(want, mine); diff != "" {
			t.Errorf("%s (-want +got):\n%s", mode, diff)
		}
		if len(c.names()) != len(want)+len(foreign) {
			t.Errorf("%s: somebody else's is gone: %v", mode, c.names())
		}
		if diff := cmp.Diff(v1.Enforcement{Configuration: "clusterwide-waits"}, set.Enforced["kw.cap.waits"]); diff != "" {
			t.Errorf("%s: %s", mode, diff)
		}
		if client := c.validating["clusterwide-waits"].Webhooks[0].ClientConfig; string(client.CABundle) != "ours" || *client.Service.Path != "/validate/clusterwide-waits" {
			t.Errorf("%s: the old name is asked for at %s with the authority %q", mode, *client.Service.Path, client.CABundle)
		}
		if _, ok := set.Enforced["kw.capg.x"]; ok {
			t.Errorf("%s: the webhook of another policy with the same old name counts for the group", mode)
		}
		in.Settled, in.Unsettled = append(in.Settled, waits, group), nil
		c.run(in)
		if set := c.run(in); !set.empty() {
			t.Errorf("%s: written again: %+v", mode, set)
		}
	}
}

func TestNamesThatAreTooLong(t *testing.T) {
	long := single(t, strings.Repeat("n", 230), "")
	srv := server(t, "default", "webhooks: PerPolicy")
	set := Webhooks(WebhookInput{Server: srv, Settled: []v1.Policy{long, single(t, "short", "")}})
	const want = "has 258 characters, of which an API server takes 253: give the policy a shorter name, or bundle the webhooks of its policy server"
	if err := set.Refused[long.UniqueName()]; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if len(set.Widen) != 1 || len(set.Enforced) != 1 {
		t.Errorf("the other policy: %+v", set)
	}
	srv.Spec.Webhooks = v1.Bundled
	if set := Webhooks(WebhookInput{Server: srv, Settled: []v1.Policy{long}}); len(set.Refused) > 0 || len(set.Enforced) != 1 {
		t.Errorf("bundled: %+v", set)
	}
}

func TestSomebodyChangesAWebhook(t *testing.T) {
	for _, mode := range []string{"Bundled", "PerPolicy"} {
		in := WebhookInput{Server: server(t, "default", "webhooks: "+mode), Settled: []v1.Policy{single(t, "p", "")}}
		for what, change := range map[string]func(*admissionv1.ValidatingWebhookConfiguration){
			"rules":          func(o *admissionv1.ValidatingWebhookConfiguration) { o.Webhooks[0].Rules[0].Resources = nil },
			"failure policy": func(o *admissionv1.ValidatingWebhookConfiguration) { o.Webhooks[0].FailurePolicy = nil },
			"labels":         func(o *admissionv1.ValidatingWebhookConfiguration) { o.Labels = nil },
			"all webhooks":   func(o *admissionv1.ValidatingWebhookConfiguration) { o.Webhooks = nil },
			"another webhook": func(o *admissionv1.ValidatingWebhookConfiguration) {
				o.Webhooks = append(o.Webhooks, *o.Webhooks[0].DeepCopy())
				o.Webhooks[1].Name = "more.example.com"
			},
		} {
			c := newCluster()
			c.run(in)
			for _, o := range c.validating {
				change(o)
			}
			if set := c.run(in); set.empty() {
				t.Errorf("%s: %s: nothing is done", mode, what)
			}
			if set := c.run(in); !set.empty() {
				t.Errorf("%s: %s: not repaired at once: %+v", mode, what, set)
			}
		}
		// What others add is theirs.
		c := newCluster()
		c.run(in)
		for _, o := range c.validating {
			o.Labels["own"], o.Annotations = "label", map[string]string{annotationPolicy: "p", annotationNamespace: "", "own": "x"}
		}
		if set := c.run(in); !set.empty() {
			t.Errorf("%s: a label of somebody else's is in the way: %+v", mode, set)
		}
	}
}

// TestOneBadPolicyIsNotInTheWayOfOthers: the API server takes all webhooks of a
// configuration, or none.
func TestOneBadPolicyIsNotInTheWayOfOthers(t *testing.T) {
	tests := []struct{ spec, want string }{
		{"sideEffects: Some", `spec.sideEffects: webhooks cannot have "Some": say "None" or "NoneOnDryRun", and keep to it`},
		{"sideEffects: Unknown", `spec.sideEffects: webhooks cannot have "Unknown": say "None" or "NoneOnDryRun", and keep to it`},
		{"objectSelector: {matchExpressions: [{key: a, operator: In}]}",
			"spec.objectSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"},
		{"namespaceSelector: {matchLabels: {a: b c}}",
			`spec.namespaceSelector.matchLabels: Invalid value: "b c": a valid label must be an empty string or consist of`},
	}
	for _, mode := range []string{"Bundled", "PerPolicy"} {
		for _, tt := range tests {
			bad := single(t, "bad", tt.spec)
			c := newCluster()
			set := c.run(WebhookInput{Server: server(t, "default", "webhooks: "+mode), Settled: []v1.Policy{bad, single(t, "good", "")}})
			if err := set.Refused["kw.cap.bad"]; err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%s: %s: %v, want %q", mode, tt.spec, err, tt.want)
			}
			if _, ok := set.Enforced["kw.cap.bad"]; ok || len(set.Enforced) != 1 || len(c.hooks()) != 1 {
				t.Errorf("%s: %s: enforced: %v", mode, tt.spec, set.Enforced)
			}
		}
	}
}
