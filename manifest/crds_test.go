package manifest

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// TestAPIServerTakesTheCRDs asks the API server's own validation, which also
// bounds what the CEL rules cost.
func TestAPIServerTakesTheCRDs(t *testing.T) {
	all, err := CRDs()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, crd := range all {
		names = append(names, crd.Name)
		apiextensionsv1.SetDefaults_CustomResourceDefinition(crd)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
		internal := &apiextensions.CustomResourceDefinition{}
		if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, internal, nil); err != nil {
			t.Fatal(err)
		}
		for _, v := range crd.Spec.Versions {
			if v.Storage {
				internal.Status.StoredVersions = []string{v.Name}
			}
		}
		for _, problem := range crdvalidation.ValidateCustomResourceDefinition(t.Context(), internal) {
			t.Errorf("%s: %v", crd.Name, problem)
		}
	}
	want := []string{
		"admissionpolicies.policies.kubewarden.io", "admissionpolicygroups.policies.kubewarden.io",
		"clusteradmissionpolicies.policies.kubewarden.io", "clusteradmissionpolicygroups.policies.kubewarden.io",
		"policyservers.policies.kubewarden.io", "policyserverreplicas.policies.warder.dev",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestVersionsAndColumnsAreKubewardens(t *testing.T) {
	policyColumns := []string{
		"Policy Server .spec.policyServer", "Mutating .spec.mutating", "BackgroundAudit .spec.backgroundAudit", "Mode .spec.mode",
		"Observed mode .status.mode", "Status .status.policyStatus", "Age .metadata.creationTimestamp",
		`Severity .metadata.annotations['io\.kubewarden\.policy\.severity'] wide`,
		`Category .metadata.annotations['io\.kubewarden\.policy\.category'] wide`,
	}
	want := map[string]struct {
		short, scope string
		versions     []string
		columns      []string
	}{
		"AdmissionPolicy":             {"ap", "Namespaced", []string{"v1 stored", "v1alpha2 deprecated"}, policyColumns},
		"AdmissionPolicyGroup":        {"apg", "Namespaced", []string{"v1 stored"}, policyColumns},
		"ClusterAdmissionPolicy":      {"cap", "Cluster", []string{"v1 stored", "v1alpha2 deprecated"}, policyColumns},
		"ClusterAdmissionPolicyGroup": {"capg", "Cluster", []string{"v1 stored"}, policyColumns},
		"PolicyServer":                {"ps", "Cluster", []string{"v1 stored", "v1alpha2 deprecated"}, []string{"Replicas .spec.replicas", "Image .spec.image"}},
	}
	all, err := CRDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, crd := range all {
		w, ok := want[crd.Spec.Names.Kind]
		if !ok {
			continue
		}
		var versions, columns []string
		for _, v := range crd.Spec.Versions {
			if !v.Served || v.Subresources == nil || v.Subresources.Status == nil {
				t.Errorf("%s %s is not served, or without a status", crd.Name, v.Name)
			}
			text := v.Name
			if v.Storage {
				text += " stored"
			}
			if v.Deprecated {
				text += " deprecated"
				if v.DeprecationWarning == nil || *v.DeprecationWarning != "This version is deprecated. Please, consider using v1" {
					t.Errorf("%s %s: warning %v", crd.Name, v.Name, v.DeprecationWarning)
				}
			}
			versions = append(versions, text)
			if !v.Storage {
				continue
			}
			for _, c := range v.AdditionalPrinterColumns {
				text := c.Name + " " + c.JSONPath
				if c.Priority == 1 {
					text += " wide"
				}
				columns = append(columns, text)
			}
		}
		if diff := cmp.Diff(w.versions, versions); diff != "" {
			t.Errorf("%s: versions (-want +got):\n%s", crd.Name, diff)
		}
		if diff := cmp.Diff(w.columns, columns); diff != "" {
			t.Errorf("%s: columns (-want +got):\n%s", crd.Name, diff)
		}
		if diff := cmp.Diff([]string{w.short}, crd.Spec.Names.ShortNames); diff != "" || string(crd.Spec.Scope) != w.scope {
			t.Errorf("%s: short names %s, scope %s", crd.Name, diff, crd.Spec.Scope)
		}
	}
}

// kind validates objects as the API server does, without one.
type kind struct {
	structural *schema.Structural
	schema     validation.SchemaValidator
	cel        *cel.Validator
}

// kindsOf are the kinds of all CRDs, by "version Kind".
func kindsOf(t *testing.T) map[string]kind {
	t.Helper()
	all, err := CRDs()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]kind{}
	for _, crd := range all {
		for _, v := range crd.Spec.Versions {
			props := &apiextensions.JSONSchemaProps{}
			if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, props, nil); err != nil {
				t.Fatal(err)
			}
			structural, err := schema.NewStructural(props)
			if err != nil {
				t.Fatal(err)
			}
			validator, _, err := validation.NewSchemaValidator(props)
			if err != nil {
				t.Fatal(err)
			}
			kinds[v.Name+" "+crd.Spec.Names.Kind] = kind{structural, validator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
		}
	}
	return kinds
}

// read is the object after pruning and defaulting, with what was pruned.
func (k kind) read(t *testing.T, text string) (object map[string]any, pruned []string) {
	t.Helper()
	asJSON, err := yaml.YAMLToJSONStrict([]byte(text))
	if err == nil {
		err = json.Unmarshal(asJSON, &object) // whole numbers become int64
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	pruned = pruning.PruneWithOptions(object, k.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	defaulting.PruneNonNullableNullsWithoutDefaults(object, k.structural)
	defaulting.Default(object, k.structural)
	return object, pruned
}

func (k kind) problems(t *testing.T, object, old map[string]any) []string {
	t.Helper()
	var all field.ErrorList
	if old == nil {
		all = validation.ValidateCustomResource(nil, object, k.schema)
	} else {
		all = validation.ValidateCustomResourceUpdate(nil, object, old, k.schema)
	}
	all = append(all, listtype.ValidateListSetsAndMaps(nil, k.structural, object)...)
	var oldValue any // not a nil map: that would be an object
	if old != nil {
		oldValue = old
	}
	broken, _ := k.cel.Validate(t.Context(), nil, k.structural, object, oldValue, celconfig.RuntimeCELCostBudget)
	var texts []string
	for _, e := range append(all, broken...) {
		texts = append(texts, e.Error())
	}
	slices.Sort(texts)
	return texts
}

// check notes what is wrong with the object of a case.
func (k kind) check(t *testing.T, c policyCase, report *strings.Builder) {
	t.Helper()
	object, pruned := k.read(t, c.object)
	if len(pruned) > 0 {
		t.Errorf("%s: there are no such fields: %v", c.name, pruned)
	}
	var was map[string]any
	if c.old != "" {
		was, _ = k.read(t, c.old)
		if problems := k.problems(t, was, nil); len(problems) > 0 {
			t.Errorf("%s: the old object: %v", c.name, problems)
		}
	}
	problems := k.problems(t, object, was)
	if (len(problems) == 0) != c.taken {
		t.Errorf("%s: taken: %t, want %t: %v\n%s", c.name, !c.taken, c.taken, problems, c.object)
	}
	if len(problems) > 0 {
		report.WriteString(c.name + ":\n  " + strings.Join(problems, "\n  ") + "\n")
	}
}
