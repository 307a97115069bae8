package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/runtime"
	"github.com/warder-dev/warder/runtime/wapc"
)

// Annotations that annotate writes.
const (
	annotationTool  = "io.kubewarden.kwctl" // who has annotated the policy
	annotationUsage = "io.kubewarden.policy.usage"
)

type annotateFlags struct{ metadata, output, usage string }

func newAnnotate() *cobra.Command {
	var flags annotateFlags
	cmd := &cobra.Command{
		Use:   "annotate -m METADATA -o OUTPUT WASM",
		Short: "Write into a WebAssembly policy what it is",
		Long: `annotate writes a policy's metadata into its module: what it judges, whether it
changes objects, how it is called, who has made it. Without metadata a policy
cannot be pushed. The metadata are a file in YAML or JSON, as for kwctl annotate;
the protocol version is found out by asking the policy.

It warns when hostCapabilities are not what the module seems to ask for.`,
		Example: `  warder annotate -m metadata.yml -o policy.wasm built.wasm`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return usagef("%s takes one argument, the module, have %q", cmd.CommandPath(), args)
			case flags.metadata == "":
				return usagef("--metadata-path: say where the metadata are")
			case flags.output == "":
				return usagef("--output-path: say where the annotated module goes")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			warnings, err := flags.annotate(cmd.Context(), args[0])
			for _, w := range warnings {
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "warder: warning: %s\n", w)
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&flags.metadata, "metadata-path", "m", "", "file with the metadata, YAML or JSON")
	cmd.Flags().StringVarP(&flags.output, "output-path", "o", "", "file for the annotated module; it may be WASM itself")
	cmd.Flags().StringVarP(&flags.usage, "usage-path", "u", "", "file with a text, Markdown, on how the policy is used")
	return cmd
}

// annotate annotates the module in a file.
func (a annotateFlags) annotate(ctx context.Context, file string) (warnings []string, err error) {
	module, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	meta, err := a.prepare(ctx, file, module)
	if err != nil {
		return nil, err
	}
	detected, err := artifact.DetectCapabilities(module)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if _, bad := policy.ParseGrants(meta.HostCapabilities); bad != nil {
		warnings = append(warnings, fmt.Sprintf("%s: hostCapabilities: %v", a.metadata, bad))
	} else {
		warnings = meta.CapabilityWarnings(detected)
	}
	annotated, err := artifact.Annotate(module, meta)
	if err != nil {
		return warnings, fmt.Errorf("%s: %w", file, err)
	}
	return warnings, replaceFile(a.output, annotated)
}

// prepare returns the metadata of the file, with what annotate adds.
func (a annotateFlags) prepare(ctx context.Context, file string, module []byte) (meta artifact.Metadata, err error) {
	text, err := os.ReadFile(a.metadata)
	if err != nil {
		return meta, err
	}
	source, meta, err := parseMetadataFile(a.metadata, text)
	if err != nil {
		return meta, err
	}
	if meta.ProtocolVersion, err = protocolVersion(ctx, module, meta.ExecutionMode); err != nil {
		return meta, fmt.Errorf("%s: %w", file, err)
	}
	if meta.Annotations == nil {
		meta.Annotations = map[string]string{}
	}
	meta.Annotations[annotationTool] = "warder " + version()
	if a.usage != "" {
		usage, err := os.ReadFile(a.usage)
		if err != nil {
			return meta, err
		}
		meta.Annotations[annotationUsage] = string(usage)
	}
	if err := meta.Validate(); err != nil {
		return meta, source.place(err)
	}
	return meta, nil
}

// protocolTimeout bounds the start of a policy that is asked for its protocol.
const protocolTimeout = 30 * time.Second

// protocolVersion is which protocol a module speaks, "Unknown" for the modes
// that have none. The texts are kwctl's.
func protocolVersion(ctx context.Context, module []byte, mode artifact.ExecutionMode) (artifact.ProtocolVersion, error) {
	exports, err := artifact.Exports(module)
	if err != nil {
		return "", err
	}
	detected, _ := artifact.DetectMode(exports) // a module that is none of them is found out where it is compiled
	wrong := func(text string) error {
		return errors.New("Wrong value inside of policy's metadata for 'executionMode'. " + text)
	}
	switch {
	case mode == artifact.WASI || mode == artifact.Ferricel:
		return artifact.ProtocolUnknown, nil
	case mode == artifact.WaPC && detected == artifact.OPA:
		return "", wrong("This policy has been created using Rego")
	case mode == artifact.WaPC:
		return askProtocol(ctx, module)
	case detected != artifact.OPA:
		return "", wrong("The policy has not been created using Rego")
	}
	return artifact.ProtocolUnknown, nil
}

func askProtocol(ctx context.Context, module []byte) (answer artifact.ProtocolVersion, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("Error while detecting Kubewarden protocol version: %w", err)
		}
	}()
	compiler, err := runtime.NewCompiler(runtime.Options{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, compiler.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, protocolTimeout)
	defer cancel()
	guest, err := wapc.Compile(ctx, compiler, module)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, guest.Close()) }()
	text, err := guest.ProtocolVersion(ctx)
	return artifact.ProtocolVersion(text), err
}
