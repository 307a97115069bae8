package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
	"github.com/warder-dev/warder/manifest"
	"github.com/warder-dev/warder/vap"
)

type scaffoldVAPFlags struct {
	policies, bindings, from []string
	celPolicy, namespace     string
}

func newScaffoldVAP() *cobra.Command {
	var flags scaffoldVAPFlags
	cmd := &cobra.Command{
		Use:   "vap -p POLICY [-b BINDING] | vap --from-policy POLICY",
		Short: "Turn policies of the API server's own into policies of warder, or back",
		Long: `vap turns a ValidatingAdmissionPolicy and its binding, or a
MutatingAdmissionPolicy and its binding, into a ClusterAdmissionPolicy with the
same expressions in spec.cel. Each binding gives one policy, which has the
binding's name. A file may have several documents, and "-" is standard input.

The policy judges what the pair judges: whatever narrows that is kept, if need be
as a match condition, or the pair is refused with the field's name. What is kept
in another way is said on standard error.

--from-policy goes the other way: it turns policies of warder that have spec.cel
into what the API server enforces by itself. In a cluster spec.enforceAt does that,
and keeps it up to date.`,
		Example: `  warder scaffold vap -p policy.yaml -b binding.yaml
  kubectl get validatingadmissionpolicies,validatingadmissionpolicybindings -o yaml | warder scaffold vap -p -
  warder scaffold vap --from-policy no-latest.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			forth, back := len(flags.policies)+len(flags.bindings) > 0, len(flags.from) > 0
			switch {
			case len(args) > 0:
				return noArgs(cmd, args)
			case forth && back:
				return usagef("--from-policy: it goes the other way than --policy and --binding; give one or the other")
			case !back && len(flags.policies) == 0:
				return usagef("--policy: say in which file the policy is")
			case back && flags.celPolicy != "":
				return usagef("--cel-policy: it is for the way from --policy to a policy of warder")
			case times(slices.Concat(flags.policies, flags.bindings, flags.from), "-") > 1:
				return usagef(`"-": standard input can be read once`)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			convert := flags.forth
			if len(flags.from) > 0 {
				convert = flags.back
			}
			objects, warnings, err := convert(cmd.InOrStdin())
			for _, w := range warnings {
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "warder: warning: %s\n", w)
			}
			if err != nil {
				return err
			}
			return printPolicies(cmd.OutOrStdout(), objects)
		},
	}
	cmd.Flags().StringArrayVarP(&flags.policies, "policy", "p", nil, "file with policies, and maybe their bindings; may be given several times")
	cmd.Flags().StringArrayVarP(&flags.bindings, "binding", "b", nil, "file with bindings; may be given several times")
	cmd.Flags().StringVar(&flags.celPolicy, "cel-policy", "", "write policies of Kubewarden's cel-policy, whose module is at this URI, in place of spec.cel")
	cmd.Flags().StringArrayVar(&flags.from, "from-policy", nil, "file with policies of warder that have spec.cel; may be given several times")
	cmd.Flags().StringVarP(&flags.namespace, "namespace", "n", manifest.DefaultNamespace, "with --from-policy, the namespace that warder is in, which no policy judges")
	return cmd
}

// times is how often a string is in a list.
func times(list []string, of string) int {
	n := 0
	for _, s := range list {
		if s == of {
			n++
		}
	}
	return n
}

// readEach gives the text of each file to add. "-" is stdin.
func readEach(files []string, stdin io.Reader, add func([]byte) error) error {
	for _, file := range files {
		var text []byte
		var err error
		if file == "-" {
			file = "standard input"
			text, err = io.ReadAll(stdin)
		} else {
			text, err = os.ReadFile(file)
		}
		if err != nil {
			return err
		}
		if err := add(text); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// forth makes policies of warder.
func (f scaffoldVAPFlags) forth(stdin io.Reader) (out []v1.Object, warnings []string, err error) {
	var objects vap.Objects
	if err := readEach(slices.Concat(f.policies, f.bindings), stdin, objects.Read); err != nil {
		return nil, nil, err
	}
	pairs, err := objects.Pairs()
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	for _, pair := range pairs {
		policy, told, err := vap.Convert(pair)
		warnings = append(warnings, told...)
		if err == nil && f.celPolicy != "" {
			policy, err = vap.WithModule(policy, f.celPolicy)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, policy)
	}
	return out, warnings, errors.Join(errs...)
}

// back makes policies of the API server's own. They have nothing by which the
// controller would take them for its own.
func (f scaffoldVAPFlags) back(stdin io.Reader) (out []v1.Object, warnings []string, err error) {
	var policies []v1.Policy
	err = readEach(f.from, stdin, func(text []byte) error {
		more, err := vap.ReadPolicies(text)
		policies = append(policies, more...)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	for _, p := range policies {
		native, err := manifest.NativeOf(manifest.NativeInput{Policy: p, Options: manifest.Options{Namespace: f.namespace}})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", p.Kind, p.Object.GetName(), err))
			continue
		}
		for _, w := range native.Warnings {
			warnings = append(warnings, fmt.Sprintf("%s %q: %s", p.Kind, p.Object.GetName(), w))
		}
		name := p.Object.GetName()
		if p.Kind.Namespaced() {
			name = p.Object.GetNamespace() + "." + name
		}
		manifest.Rename(native, name)
		out = append(out, native.Policy, native.Binding)
	}
	return out, warnings, errors.Join(errs...)
}

// printPolicies prints YAML, document by document.
func printPolicies(w io.Writer, objects []v1.Object) error {
	for i, o := range objects {
		fields, err := manifest.Unstructured(o)
		if err != nil {
			return err
		}
		text, err := yaml.Marshal(fields.Object)
		if err != nil {
			return fmt.Errorf("%s %q: %w", fields.GetKind(), fields.GetName(), err)
		}
		if i > 0 {
			text = append([]byte("---\n"), text...)
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return nil
}
