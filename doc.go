// Package warder is a Kubernetes policy engine: it judges what is asked of an
// API server by policies that are WebAssembly modules or built-in Go code, and
// it speaks the formats of Kubewarden. This package holds no code; it is the
// tour. Read the packages in this order.
//
// What a policy means:
//
//   - sdk is what the author of a policy imports: the request, the verdict, a
//     view on JSON that decodes only what is looked at, and the questions that
//     a policy may ask of its host. It is the bottom of the tree and imports
//     the standard library alone, so that a policy compiles to a small module.
//   - sdk/sdktest runs a policy in a Go test, without a server.
//   - examples holds policies as a stranger would write them, with sdk alone.
//   - library/* are the built-in policies, a folder each: the code, its test,
//     and its cases as data in testdata. They are written with sdk alone too,
//     and so each of them is also a Wasm policy.
//   - library is the list of them, by name, with what each is for and asks.
//   - library/schema makes a JSON Schema of the settings of one, from their type.
//
// What happens to a request, downward from the network to the module:
//
//   - admission is the HTTPS server: limits, deadlines, certificates, probes.
//   - review reads an AdmissionReview, and writes the answer with its patch.
//   - policy is what a policy is, as data: module, settings, mode, timeout and
//     grants under an ID, read from policies.yml.
//   - engine holds the compiled policies of a server and judges requests by
//     them. Its Evaluate is the only way to judge; every command uses it.
//   - runtime is what the engine sees of WebAssembly as a whole: limits, what a
//     module says of itself, why a guest gave no verdict.
//   - runtime/wapc, runtime/wasi, runtime/rego and runtime/native compile a
//     module, each for one way to call it, and keep it ready to be asked.
//   - runtime/cel judges by policies in CEL, as the API server does, and evaluates
//     the expressions of policy groups.
//   - runtime/celpolicy is the built-in cel-policy: the settings of Kubewarden's
//     policy of that name, evaluated natively.
//   - runtime/internal/guest is the WebAssembly that the first three share:
//     instances, memory that returns to a snapshot after each request, limits.
//   - wasm is the binary format of modules, as far as sections go.
//   - artifact gets modules from registries, keeps them in a store, and says
//     who has signed them.
//   - capability is what a policy may ask of the host: the cluster, registries,
//     names, signatures. Nothing is answered that was not granted.
//
// What runs in a cluster:
//
//   - api/v1 is the custom resources of Kubewarden, api/v1alpha2 their old
//     version, and api/v1alpha1 what is warder's own.
//   - manifest makes Kubernetes objects of custom resources, and what an
//     installation consists of. It is pure: the same input, the same bytes.
//   - vap makes policies of ours of the API server's own.
//   - controller reconciles: it applies what manifest makes, registers policies
//     with the API server, and answers the webhooks for our own kinds.
//   - replica makes an engine hold the policies that the API server has, and
//     says how far it is.
//   - install applies an installation, and removes it.
//   - charts makes the templates of the Helm chart of what manifest makes.
//   - devcluster, a module of its own, is a Kubernetes control plane with a node
//     for the pods of warder, and the end-to-end tests on it.
//
// What a person starts:
//
//   - cmd/warder is the program, one file for each subcommand.
//   - bench measures it: go run ./bench.
//
// Who may import whom is a table, in arch_test.go; a test holds every package
// to it. CONTRIBUTING.md says where a new thing goes.
package warder
